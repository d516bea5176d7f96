"""Test-time augmentation for detectors that predict masks."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from mmcv.ops import batched_nms
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox2roi
from mmengine.model import BaseModel, BaseTTAModel
from mmengine.model.utils import stack_batch
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmcell.boxes.fusion import fuse_boxes
from mmcell.boxes.views import View, all_views, boxes_from_view, boxes_to_view, masks_from_view, matrix_of_meta
from mmcell.errors import MmcellError
from mmcell.masks.pasting import paste_masks
from mmcell.models.mask_head import add_masks, mask_nms_of
from mmcell.models.roi_heads import CellRoIHead, leave_out_unwanted


@MODELS.register_module()
class MaskTTAModel(BaseTTAModel):
    """Predicts several views of an image and merges boxes and masks; MMDetection's ``DetTTAModel`` refuses masks.

    The boxes of all views are merged first. Then the mask head predicts a mask for every merged box in every view. The
    mask probabilities are turned back to the image's orientation, averaged, pasted once and encoded as RLE. With
    ``mask_nms`` in the detector's ``test_cfg.rcnn``, these masks undergo non-maximum suppression.

    There are two ways to make views. By default, all combinations of scales, flips and turns are made from the image
    that the test pipeline gives. Alternatively, a ``tta_pipeline`` with mmcv's ``TestTimeAug`` makes them, as in
    MMDetection; its ``meta_keys`` must then include ``homography_matrix``. The features of all views are held in memory
    at once.

    With a single view that changes nothing, the prediction equals the detector's own bit for bit. Only if the test
    pipeline resizes the image, single pixels of masks may differ, because boxes are converted to the original image
    and back.

    Args:
        module: Two-stage detector, or its config, whose RoI head predicts masks like ``StandardRoIHead`` or
            ``CascadeRoIHead``.
        scales: Factors by which views are resized, relative to the output of the test pipeline.
        flips: Directions in which views are flipped: 'horizontal', 'vertical' or 'diagonal'; None does not flip.
        turns: Numbers of quarter turns of the views, counter-clockwise, 0 to 3. The defaults of ``scales``, ``flips``
            and ``turns`` together give all eight orientations at the scale of the test pipeline.
        tta_cfg: How boxes are merged: ``nms``, as in MMDetection's test_cfg, keeps the highest score of all views;
            ``wbf`` contains arguments of :func:`mmcell.boxes.fusion.fuse_boxes` (iou_threshold, skip_threshold);
            ``max_per_img`` is the largest number of boxes that are kept. Without ``nms`` and ``wbf``, or without
            ``max_per_img``, the values of the detector's ``test_cfg.rcnn`` are used.
        data_preprocessor: Ignored; the preprocessor of the detector is used.

    Raises:
        MmcellError: The detector has no suitable RoI head, its ``mask_thr_binary`` is not positive, its ``mask_nms`` is
            wrong, a scale, flip or turn is not allowed, or ``tta_cfg`` has other keys or both ``nms`` and ``wbf``.
    """

    def __init__(self, module: dict | nn.Module, scales: Sequence[float] = (1.,),
                 flips: Sequence[str | None] = (None, 'horizontal'), turns: Sequence[int] = (0, 1, 2, 3),
                 tta_cfg: dict | None = None, data_preprocessor: dict | nn.Module | None = None) -> None:
        super().__init__(module, data_preprocessor)
        self.data_preprocessor = self.module.data_preprocessor
        self.views = all_views(tuple(scales), tuple(flips), tuple(turns))
        predict_mask = getattr(type(getattr(self.module, 'roi_head', None)), 'predict_mask', None)
        known = (StandardRoIHead.predict_mask, CascadeRoIHead.predict_mask, CellRoIHead.predict_mask)
        if predict_mask not in known \
                or not self.module.roi_head.with_mask:
            raise MmcellError('test-time augmentation of masks needs Mask R-CNN or Cascade Mask R-CNN, whose mask head '
                              f'accepts any box; {type(self.module).__name__} is neither')
        test_cfg = self.module.roi_head.test_cfg
        self.mask_threshold = test_cfg.mask_thr_binary
        if self.mask_threshold <= 0:
            raise MmcellError(f'test_cfg.rcnn.mask_thr_binary must be positive, got {self.mask_threshold}')
        self.mask_nms = mask_nms_of(test_cfg)
        tta_cfg = dict(tta_cfg or {})
        self.max_per_img = tta_cfg.pop('max_per_img', test_cfg.max_per_img)
        self.wbf = tta_cfg.pop('wbf', None)
        self.nms = tta_cfg.pop('nms', test_cfg.nms if self.wbf is None else None)
        if tta_cfg or (self.wbf is not None and self.nms is not None):
            raise MmcellError('tta_cfg may contain max_per_img and either nms or wbf, got '
                              f'{list(tta_cfg) or "both nms and wbf"}')

    def test_step(self, data: dict | tuple | list) -> list[DetDataSample]:
        """Predicts a batch that the test pipeline or a ``tta_pipeline`` has loaded."""
        if not isinstance(data, dict) or isinstance(data['inputs'][0], Tensor):
            return BaseModel.test_step(self, data)
        batches = [self.data_preprocessor({key: values[i] for key, values in data.items()}, False)
                   for i in range(len(data['inputs']))]
        for batch in batches:
            for sample in batch['data_samples']:
                sample.set_metainfo({'homography_matrix': matrix_of_meta(sample.metainfo)})
        return self._predict_views((batch['inputs'], batch['data_samples']) for batch in batches)

    def forward(self, inputs: Tensor, data_samples: list[DetDataSample], mode: str = 'predict') -> list[DetDataSample]:
        """Makes the views of images and predicts them.

        Args:
            inputs: Images (B, 3, H, W), normalised, and padded at the right and the bottom.
            data_samples: B data samples with img_shape, ori_shape and scale_factor.
            mode: Only 'predict' is allowed.

        Returns:
            The data samples with ``pred_instances``: bboxes (N, 4) xyxy in px of the original image, scores (N,),
            labels (N,), and masks, a list of N RLEs.

        Raises:
            MmcellError: The mode is not 'predict'.
        """
        if mode != 'predict':
            raise MmcellError(f"MaskTTAModel can only predict: the mode must be 'predict', got {mode!r}")
        return self._predict_views((self._make_view(view, inputs, data_samples) for view in self.views), data_samples)

    def _make_view(self, view: View, inputs: Tensor,
                   data_samples: list[DetDataSample]) -> tuple[Tensor, list[DetDataSample]]:
        """Returns one view of each image, as a padded batch, and the data samples of these views."""
        images, samples = [], []
        for image, sample in zip(inputs, data_samples, strict=True):
            height, width = sample.img_shape[:2]
            image, matrix = view.make(image[:, :height, :width])
            images.append(image)
            # Points go from the original image to the network's input and from there to the view.
            original_to_input = np.diag([*sample.get('scale_factor', (1., 1.))[:2], 1.])
            samples.append(DetDataSample(metainfo=dict(
                img_shape=tuple(image.shape[-2:]), ori_shape=sample.ori_shape,
                homography_matrix=matrix @ original_to_input)))
        preprocessor = self.data_preprocessor
        batch = stack_batch(images, preprocessor.pad_size_divisor, preprocessor.pad_value)
        for sample in samples:
            sample.set_metainfo({'batch_input_shape': tuple(batch.shape[-2:])})
        return batch, samples

    def _predict_views(self, views: Iterable[tuple[Tensor, list[DetDataSample]]],
                       data_samples: list[DetDataSample] | None = None) -> list[DetDataSample]:
        """Predicts one view after another, and merges them into ``data_samples``, or into new ones if it is None."""
        predicted_views = []
        for inputs, samples in views:
            features = self.module.extract_feat(inputs)
            self._detect(features, samples)
            predicted_views.append((features, samples))
        # zip() turns one list of images per view into one tuple of views per image.
        merged = self.merge_preds(list(zip(*(samples for _, samples in predicted_views), strict=True)))
        for result, sample in zip(merged, data_samples or (), strict=False):
            result.pred_instances = leave_out_unwanted(result.pred_instances, sample.metainfo,
                                                       mask_nms=self.mask_nms)
        self._add_masks(merged, predicted_views)
        if data_samples is None:
            return merged
        for sample, result in zip(data_samples, merged, strict=True):
            sample.pred_instances = result.pred_instances
        return data_samples

    def _detect(self, features: tuple[Tensor, ...], samples: list[DetDataSample]) -> None:
        """Adds boxes in px of the view, as the detector's own ``predict`` finds them, to one view of each image."""
        proposals = self.module.rpn_head.predict(features, samples, rescale=False)
        detections_per_image = self.module.roi_head.predict_bbox(
            features, [sample.metainfo for sample in samples], proposals, self.module.roi_head.test_cfg)
        for sample, detections in zip(samples, detections_per_image, strict=True):
            sample.pred_instances = detections

    def merge_preds(self, data_samples_list: list[Sequence[DetDataSample]]) -> list[DetDataSample]:
        """Merges the boxes of the views.

        Args:
            data_samples_list: One sequence per image with the data samples of its views, whose ``pred_instances`` have
                bboxes in px of the view.

        Returns:
            One data sample per image: the meta information of its first view, and ``pred_instances`` with bboxes in px
            of the image, scores and labels.
        """
        merged = []
        for samples in data_samples_list:
            result = samples[0].new(data=dict())
            # The matrix describes only the first view, and dumps cannot hold arrays.
            result.pop('homography_matrix')
            result.pred_instances = self._merge_boxes(
                [boxes_from_view(sample.pred_instances.bboxes, sample.homography_matrix) for sample in samples],
                [sample.pred_instances.scores for sample in samples],
                [sample.pred_instances.labels for sample in samples])
            merged.append(result)
        return merged

    def _merge_boxes(self, bboxes: list[Tensor], scores: list[Tensor], labels: list[Tensor]) -> InstanceData:
        """Merges bboxes (N_v, 4) in px of the image, scores (N_v,) and labels (N_v,), one tensor per view v."""
        # Example: two views have the same box, with scores .9 and .7. NMS keeps .9, fusion gives (.9 + .7) / 2 = .8. If
        # only one view has the box, with .9, NMS keeps .9, and fusion gives .9 / 2 = .45.
        all_bboxes, all_scores, all_labels = (torch.cat(parts) for parts in (bboxes, scores, labels))
        if len(bboxes) == 1 or len(all_bboxes) == 0:
            # The detector has already merged the boxes of one view.
            merged = InstanceData(bboxes=all_bboxes, scores=all_scores, labels=all_labels)
        elif self.wbf is None:
            kept_rows, kept = batched_nms(all_bboxes, all_scores, all_labels, self.nms)
            merged = InstanceData(bboxes=kept_rows[:, :4], scores=kept_rows[:, 4], labels=all_labels[kept])
        else:
            view_index = np.repeat(np.arange(len(bboxes)), [len(part) for part in bboxes])
            fused = fuse_boxes(*(part.cpu().numpy() for part in (all_bboxes, all_scores, all_labels)), view_index,
                               np.ones(len(bboxes)), **self.wbf)
            merged = InstanceData(bboxes=all_bboxes.new_tensor(fused.bboxes_xyxy),
                                  scores=all_scores.new_tensor(fused.scores),
                                  labels=all_labels.new_tensor(fused.labels))
        return merged[:self.max_per_img] if self.max_per_img > 0 else merged

    def _add_masks(self, results: list[DetDataSample],
                   predicted_views: list[tuple[tuple[Tensor, ...], Sequence[DetDataSample]]]) -> None:
        """Adds the mask of each merged box, averaged over all views, as RLE."""
        # Example with two images that have 2 boxes and 1 box. In each view, bbox2roi gives 3 RoIs, whose first column
        # (the index of the image) is 0, 0, 1. The mask head gives 3 masks, and split([2, 1]) returns masks 0 and 1 to
        # the first image and mask 2 to the second image.
        detections_per_image = [result.pred_instances for result in results]
        n_boxes = [len(detections) for detections in detections_per_image]
        mask_sums = [0.] * len(results)
        for features, samples in predicted_views if any(n_boxes) else ():
            matrices = [sample.homography_matrix for sample in samples]
            rois = bbox2roi([boxes_to_view(detections.bboxes, matrix)
                             for detections, matrix in zip(detections_per_image, matrices, strict=True)])
            labels = torch.cat([detections.labels for detections in detections_per_image])
            masks = self._predict_mask_probabilities(features, rois, labels)
            for i, masks_of_image in enumerate(masks.split(n_boxes)):
                mask_sums[i] = mask_sums[i] + masks_from_view(masks_of_image, matrices[i])
        for result, detections, mask_sum in zip(results, detections_per_image, mask_sums, strict=True):
            if len(detections) == 0:
                detections.masks = []
            else:
                masks = paste_masks(mask_sum / len(predicted_views), detections.bboxes, *result.ori_shape[:2],
                                    self.mask_threshold)
                result.pred_instances = add_masks(detections, masks, self.mask_nms)

    def _predict_mask_probabilities(self, features: tuple[Tensor, ...], rois: Tensor, labels: Tensor) -> Tensor:
        """Returns mask probabilities (N, h, w) in RoIs (N, 5) of one view, for the class of each RoI.

        Cascade Mask R-CNN has one mask head per stage; the probabilities are their mean.
        """
        roi_head = self.module.roi_head
        if isinstance(roi_head, CascadeRoIHead):
            logits = [roi_head._mask_forward(stage, features, rois)['mask_preds']
                      for stage in range(roi_head.num_stages)]
            mask_head = roi_head.mask_head[-1]
        else:
            logits, mask_head = [roi_head._mask_forward(features, rois)['mask_preds']], roi_head.mask_head
        classes = torch.zeros_like(labels) if mask_head.class_agnostic else labels
        rows = torch.arange(len(labels), device=labels.device)
        return torch.stack([stage[rows, classes].sigmoid() for stage in logits]).mean(dim=0)

"""Test-time augmentation of instance masks."""

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
from mmcell.boxes.views import (
    View,
    all_views,
    boxes_from_view,
    boxes_to_view,
    masks_from_view,
    matrix_of_meta,
)
from mmcell.errors import MmcellError
from mmcell.masks.pasting import paste_to_rles


@MODELS.register_module()
class MaskTTAModel(BaseTTAModel):
    """Predicts several views of an image and merges boxes and masks; MMDetection's ``DetTTAModel`` refuses masks.

    The boxes of all views are merged first. Then the mask head looks at the merged boxes in every view; the
    probabilities are brought back to the image's orientation, averaged and pasted once, to RLE.

    Views are made from the image that the test pipeline gives, every combination of scales, flips and turns, or by a
    ``tta_pipeline`` with mmcv's ``TestTimeAug``, as MMDetection has it; then ``homography_matrix`` must be among the
    meta keys. The features of all views are held at once.

    With one view that changes nothing the prediction is that of the detector, bit for bit.

    Args:
        module: the detector, or its config: a two-stage one whose RoI head predicts masks as ``StandardRoIHead`` or
            ``CascadeRoIHead`` do.
        scales, flips, turns: of the views; see :class:`mmcell.boxes.views.View`. The default is all eight
            orientations at the scale of the test pipeline.
        tta_cfg: how boxes are merged. ``nms``: as in MMDetection's test_cfg, with the highest score of all views; or
            ``wbf``: arguments of :func:`mmcell.boxes.fusion.fuse_boxes` (iou_threshold, skip_threshold);
            ``max_per_img``: how many are kept. What is not given is that of the detector's ``test_cfg.rcnn``.
        data_preprocessor: as ``BaseTTAModel``.

    Raises:
        MmcellError: the detector, a view or ``tta_cfg`` is none of these.
    """

    def __init__(self, module: dict | nn.Module, scales: Sequence[float] = (1.,),
                 flips: Sequence[str | None] = (None, 'horizontal'), turns: Sequence[int] = (0, 1, 2, 3),
                 tta_cfg: dict | None = None, data_preprocessor: dict | nn.Module | None = None) -> None:
        super().__init__(module, data_preprocessor)
        self.data_preprocessor = self.module.data_preprocessor
        self.views = all_views(tuple(scales), tuple(flips), tuple(turns))
        predict_mask = getattr(type(getattr(self.module, 'roi_head', None)), 'predict_mask', None)
        if predict_mask not in (StandardRoIHead.predict_mask, CascadeRoIHead.predict_mask) \
                or not self.module.roi_head.with_mask:
            raise MmcellError('test-time augmentation of masks is for Mask R-CNN and Cascade Mask R-CNN, whose mask '
                              f'head takes any box; {type(self.module).__name__} is none')
        self.mask_threshold = self.module.roi_head.test_cfg.mask_thr_binary
        if self.mask_threshold <= 0:
            raise MmcellError(f'test_cfg.rcnn.mask_thr_binary must be positive, got {self.mask_threshold}')
        test_cfg = self.module.roi_head.test_cfg
        tta_cfg = dict(tta_cfg or {})
        self.max_per_img = tta_cfg.pop('max_per_img', test_cfg.max_per_img)
        self.wbf = tta_cfg.pop('wbf', None)
        self.nms = tta_cfg.pop('nms', test_cfg.nms if self.wbf is None else None)
        if tta_cfg or (self.wbf is not None and self.nms is not None):
            raise MmcellError(f'tta_cfg takes max_per_img and one of nms and wbf, got {list(tta_cfg) or "both"}')

    def test_step(self, data: dict | tuple | list) -> list[DetDataSample]:
        """Predicts a batch, as the test pipeline or a ``tta_pipeline`` gives it."""
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
            inputs: (B, 3, H, W), normalised and padded at the right and the bottom.
            data_samples: B, with img_shape, ori_shape and scale_factor.
            mode: 'predict' alone.

        Returns:
            The data samples with ``pred_instances``: bboxes (N, 4) xyxy px of the original image, scores, labels, and
            masks, N RLEs.

        Raises:
            MmcellError: another mode.
        """
        if mode != 'predict':
            raise MmcellError(f'MaskTTAModel predicts, and has no mode {mode}')
        return self._predict_views((self._make_view(view, inputs, data_samples) for view in self.views), data_samples)

    def _make_view(self, view: View, inputs: Tensor,
                   data_samples: list[DetDataSample]) -> tuple[Tensor, list[DetDataSample]]:
        """Input and data samples of one view."""
        images, samples = [], []
        for image, sample in zip(inputs, data_samples, strict=True):
            height, width = sample.img_shape[:2]
            image, matrix = view.make(image[:, :height, :width])
            images.append(image)
            to_input = np.diag([*sample.get('scale_factor', (1., 1.))[:2], 1.])
            samples.append(DetDataSample(metainfo=dict(
                img_shape=tuple(image.shape[-2:]), ori_shape=sample.ori_shape, homography_matrix=matrix @ to_input)))
        preprocessor = self.data_preprocessor
        batch = stack_batch(images, preprocessor.pad_size_divisor, preprocessor.pad_value)
        for sample in samples:
            sample.set_metainfo({'batch_input_shape': tuple(batch.shape[-2:])})
        return batch, samples

    def _predict_views(self, views: Iterable[tuple[Tensor, list[DetDataSample]]],
                       data_samples: list[DetDataSample] | None = None) -> list[DetDataSample]:
        """Predicts views, one after another, and merges them into ``data_samples``, or those of the first view."""
        seen = []
        for inputs, samples in views:
            features = self.module.extract_feat(inputs)
            self._detect(features, samples)
            seen.append((features, samples))
        merged = self.merge_preds(list(zip(*(samples for _, samples in seen), strict=True)))
        self._add_masks(merged, seen)
        if data_samples is None:
            return merged
        for sample, result in zip(data_samples, merged, strict=True):
            sample.pred_instances = result.pred_instances
        return data_samples

    def _detect(self, features: tuple[Tensor, ...], samples: list[DetDataSample]) -> None:
        """Adds the boxes that the detector finds in a view, in px of the view, as its own ``predict`` finds them."""
        proposals = self.module.rpn_head.predict(features, samples, rescale=False)
        roi_head = self.module.roi_head
        found = roi_head.predict_bbox(features, [sample.metainfo for sample in samples], proposals, roi_head.test_cfg)
        for sample, instances in zip(samples, found, strict=True):
            sample.pred_instances = instances

    def merge_preds(self, data_samples_list: list[Sequence[DetDataSample]]) -> list[DetDataSample]:
        """Merges the boxes of the views.

        Args:
            data_samples_list: for each image its views, whose ``pred_instances`` have bboxes in px of the view.

        Returns:
            One data sample an image: what the first view's says, and bboxes in px of the image, scores and labels.
        """
        merged = []
        for samples in data_samples_list:
            result = samples[0].new(data=dict())
            # An array, which is not for dumps, and of one view alone.
            result.pop('homography_matrix')
            result.pred_instances = self._merge_boxes(
                [boxes_from_view(sample.pred_instances.bboxes, sample.homography_matrix) for sample in samples],
                [sample.pred_instances.scores for sample in samples],
                [sample.pred_instances.labels for sample in samples])
            merged.append(result)
        return merged

    def _merge_boxes(self, bboxes: list[Tensor], scores: list[Tensor], labels: list[Tensor]) -> InstanceData:
        all_bboxes, all_scores, all_labels = (torch.cat(parts) for parts in (bboxes, scores, labels))
        if len(bboxes) == 1 or len(all_bboxes) == 0:
            # Merged they are already, by the detector.
            merged = InstanceData(bboxes=all_bboxes, scores=all_scores, labels=all_labels)
        elif self.wbf is None:
            found, kept = batched_nms(all_bboxes, all_scores, all_labels, self.nms)
            merged = InstanceData(bboxes=found[:, :4], scores=found[:, 4], labels=all_labels[kept])
        else:
            view_index = np.repeat(np.arange(len(bboxes)), [len(part) for part in bboxes])
            fused = fuse_boxes(*(part.cpu().numpy() for part in (all_bboxes, all_scores, all_labels)), view_index,
                               np.ones(len(bboxes)), **self.wbf)
            merged = InstanceData(bboxes=all_bboxes.new_tensor(fused.bboxes_xyxy),
                                  scores=all_scores.new_tensor(fused.scores),
                                  labels=all_labels.new_tensor(fused.labels))
        return merged[:self.max_per_img] if self.max_per_img > 0 else merged

    def _add_masks(self, results: list[DetDataSample],
                   seen: list[tuple[tuple[Tensor, ...], Sequence[DetDataSample]]]) -> None:
        """Adds RLEs of the masks that the views show, on average, in the boxes of each result.

        Args:
            results: one an image, with bboxes (N, 4) in px of the image, and labels.
            seen: features, and data samples of the same images, for each view.
        """
        found = [result.pred_instances for result in results]
        sums = [0.] * len(found)
        for features, samples in seen if any(map(len, found)) else ():
            matrices = [sample.homography_matrix for sample in samples]
            rois = bbox2roi([boxes_to_view(instances.bboxes, matrix)
                             for instances, matrix in zip(found, matrices, strict=True)])
            masks = self._predict_mask_probabilities(features, rois, torch.cat([one.labels for one in found]))
            for i, part in enumerate(masks.split([len(instances) for instances in found])):
                sums[i] = sums[i] + masks_from_view(part, matrices[i])
        for result, instances, total in zip(results, found, sums, strict=True):
            height, width = result.ori_shape[:2]
            instances.masks = [] if len(instances) == 0 else paste_to_rles(
                total / len(seen), instances.bboxes, height, width, self.mask_threshold)

    def _predict_mask_probabilities(self, features: tuple[Tensor, ...], rois: Tensor, labels: Tensor) -> Tensor:
        """Probabilities (N, h, w) inside RoIs (N, 5) of a view, of the class of each; Cascade's: mean of its stages."""
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

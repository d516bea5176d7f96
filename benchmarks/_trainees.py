"""The contestants of the training benchmark: a model, its samples, its step, and the methods that are its parts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from unittest import mock

import torch
from _models import mmdetection_config, mmdetection_model, torchvision_model
from _parts import PartClock, Watched
from _training_data import SeededSamples, load_for_torchvision, training_pipeline
from torch import Tensor, nn

KINDS = ('mmcell', 'torchvision', 'stock')
# torchvision's names of the losses, and MMDetection's.
LOSSES = {'loss_objectness': 'loss_rpn_cls', 'loss_rpn_box_reg': 'loss_rpn_bbox', 'loss_classifier': 'loss_cls',
          'loss_box_reg': 'loss_bbox', 'loss_mask': 'loss_mask'}
# So small that each step finds the same weights.
LEARNING_RATE = 1e-9


@dataclass(frozen=True)
class Trainee:
    """A model with everything that its training steps need.

    Attributes:
        kind: One of ``KINDS``.
        model: The model, in training mode.
        samples: The training samples.
        collate: Makes a batch of a list of samples.
        losses: Returns the losses of a batch by MMDetection's names, on the device of the model.
        update: Changes the weights by their gradients, and removes the gradients.
        watched: The parts of a step.
    """

    kind: str
    model: nn.Module
    samples: SeededSamples
    collate: Callable[[list], object]
    losses: Callable[[object], dict[str, Tensor]]
    update: Callable[[], object]
    watched: Sequence[Watched]

    def take_step(self, numbers: Sequence[int], clock: PartClock) -> dict[str, float]:
        """Reads the samples with these numbers, computes losses and gradients, and changes the weights.

        Returns:
            The losses by MMDetection's names.
        """
        with clock.part('loading'):
            batch = self.collate([self.samples[number] for number in numbers])
        return self.train_batch(batch, clock)

    def train_batch(self, batch: object, clock: PartClock) -> dict[str, float]:
        """Computes losses and gradients of a batch, changes the weights, and returns the losses."""
        losses = self.losses(batch)
        total = sum(losses.values())
        with clock.part('backward: losses'):
            total.backward()
        with clock.part('optimiser'):
            self.update()
        return {name: float(value.detach()) for name, value in losses.items()}


def make_trainee(kind: str, records: Sequence[dict], crops: bool, precision: str, device: str) -> Trainee:
    """Builds one of the contestants. All of them have the same weights, and their samples the same pixels and cells.

    Args:
        kind: One of ``KINDS``.
        records: One dict per image, as ``CellDataset.get_data_info`` returns it.
        crops: Whether the samples are crops; otherwise they are whole images.
        precision: 'fp32' or 'bf16', which is automatic mixed precision with bfloat16.
        device: 'cpu' or 'cuda'.
    """
    theirs = torchvision_model()
    if kind == 'torchvision':
        return _make_torchvision(theirs, records, crops, precision, device)
    return _make_mmdetection(kind, theirs, records, crops, precision, device)


def _make_torchvision(model: nn.Module, records: Sequence[dict], crops: bool, precision: str, device: str) -> Trainee:
    model.to(device).train()

    def losses(batch: list) -> dict[str, Tensor]:
        images, targets = zip(*batch, strict=True)
        images = [image.to(device) for image in images]
        targets = [{name: values.to(device) for name, values in target.items()} for target in targets]
        with autocast(precision, device):
            return {LOSSES[name]: value for name, value in model(images, targets).items()}

    return Trainee('torchvision', model, SeededSamples(records, lambda record: load_for_torchvision(record, crops)),
                   list, losses, _make_update(model), torchvision_parts(model))


def _make_mmdetection(kind: str, theirs: nn.Module, records: Sequence[dict], crops: bool, precision: str,
                      device: str) -> Trainee:
    from mmcv.transforms import Compose
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope
    init_default_scope('mmdet')
    stock = kind == 'stock'
    cfg = mmdetection_config(stock)
    # MMDetection's loader turns the colours of the file round.
    cfg.model.data_preprocessor.bgr_to_rgb = stock and records[0]['channel_order'] == 'rgb'
    model = mmdetection_model(theirs, cfg, stock, device).train()

    def losses(batch: dict) -> dict[str, Tensor]:
        with autocast(precision, device):
            batch = model.data_preprocessor(batch, training=True)
            values = model.loss(batch['inputs'], batch['data_samples'])
        return {name: sum(values[name]) if isinstance(values[name], list) else values[name]
                for name in LOSSES.values()}

    return Trainee(kind, model, SeededSamples(records, Compose(training_pipeline(stock, crops))),
                   pseudo_collate, losses, _make_update(model), mmdetection_parts(model))


def autocast(precision: str, device: str) -> object:
    """Returns a context in which torch computes in a precision, 'fp32' or 'bf16'."""
    return torch.autocast(device, torch.bfloat16) if precision == 'bf16' else nullcontext()


def _make_update(model: nn.Module) -> Callable[[], object]:
    """Returns the update of the baseline: AdamW with gradients that are cut off at the norm 10."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, weight_decay=.05)

    def update() -> None:
        nn.utils.clip_grad_norm_(trained, 10.)
        optimizer.step()
        optimizer.zero_grad()
    return update


@contextmanager
def first_candidates(trainee: Trainee) -> Iterator[None]:
    """Lets the samplers take the first boxes in place of random ones, inside the block.

    MMDetection puts the true boxes before the proposals, torchvision behind them; inside the block both put them first.
    All contestants then compute their losses from the same boxes.
    """
    with mock.patch.object(torch, 'randperm', lambda n, **kwargs: torch.arange(n, device=kwargs.get('device'))):
        if trainee.kind != 'torchvision':
            yield
            return
        heads = trainee.model.roi_heads
        with mock.patch.object(heads, 'add_gt_proposals', lambda proposals, boxes: [
                torch.cat(pair) for pair in zip(boxes, proposals, strict=True)]):
            yield


def mmdetection_parts(model: nn.Module) -> list[Watched]:
    """Returns the parts of a step or a prediction of MMDetection's and mmcell's Mask R-CNN."""
    rpn, heads = model.rpn_head, model.roi_head
    mask_head = heads.mask_head
    return [
        Watched(model.data_preprocessor, 'forward', 'transfer and preprocessing'),
        Watched(model.backbone, 'forward', 'backbone', 'backward: backbone'),
        Watched(model.neck, 'forward', 'neck', 'backward: neck'),
        Watched(rpn, 'forward', 'RPN head', 'backward: RPN head'),
        Watched(rpn, 'loss_by_feat', 'RPN loss'),
        Watched(rpn, 'get_targets', 'RPN targets (assignment)'),
        Watched(rpn, 'predict_by_feat', 'proposals (NMS)'),
        Watched(heads.bbox_assigner, 'assign', 'RoI targets (assignment)'),
        Watched(heads.bbox_sampler, 'sample', 'RoI targets (assignment)'),
        Watched(heads.bbox_roi_extractor, 'forward', 'box features', 'backward: box features'),
        Watched(heads.bbox_head, 'forward', 'box head', 'backward: box head'),
        Watched(heads.bbox_head, 'loss_and_target', 'box loss'),
        Watched(heads.bbox_head, 'predict_by_feat', 'boxes (NMS)'),
        Watched(heads.mask_roi_extractor, 'forward', 'mask features', 'backward: mask features'),
        Watched(mask_head, 'forward', 'mask head: other'),
        *_mask_head_parts(mask_head.convs, mask_head.upsample, mask_head.conv_logits),
        Watched(mask_head, 'loss_and_target', 'mask loss'),
        Watched(mask_head, 'get_targets', 'mask targets'),
        Watched(mask_head, 'predict_by_feat', 'pasting')]


def torchvision_parts(model: nn.Module) -> list[Watched]:
    """Returns the parts of a step or a prediction of torchvision's Mask R-CNN, by the same names."""
    from torchvision.models.detection import roi_heads
    rpn, heads = model.rpn, model.roi_heads
    predictor = heads.mask_predictor
    return [
        Watched(model.transform, 'forward', 'transfer and preprocessing'),
        Watched(model.backbone.body, 'forward', 'backbone', 'backward: backbone'),
        Watched(model.backbone.fpn, 'forward', 'neck', 'backward: neck'),
        Watched(rpn.head, 'forward', 'RPN head', 'backward: RPN head'),
        Watched(rpn, 'compute_loss', 'RPN loss'),
        Watched(rpn, 'assign_targets_to_anchors', 'RPN targets (assignment)'),
        Watched(rpn, 'filter_proposals', 'proposals (NMS)'),
        Watched(heads, 'select_training_samples', 'RoI targets (assignment)'),
        Watched(heads.box_roi_pool, 'forward', 'box features', 'backward: box features'),
        Watched(heads.box_head, 'forward', 'box head', 'backward: box head'),
        Watched(heads.box_predictor, 'forward', 'box head', 'backward: box head'),
        Watched(roi_heads, 'fastrcnn_loss', 'box loss'),
        Watched(heads, 'postprocess_detections', 'boxes (NMS)'),
        Watched(heads.mask_roi_pool, 'forward', 'mask features', 'backward: mask features'),
        *_mask_head_parts(heads.mask_head, predictor.conv5_mask, predictor.mask_fcn_logits),
        Watched(roi_heads, 'maskrcnn_loss', 'mask loss'),
        Watched(roi_heads, 'project_masks_on_boxes', 'mask targets'),
        Watched(model.transform, 'postprocess', 'pasting')]


def _mask_head_parts(convolutions: Sequence[nn.Module], upsampling: nn.Module, logits: nn.Module) -> list[Watched]:
    named = [*((layer, '3x3 convolutions') for layer in convolutions), (upsampling, 'deconvolution'),
             (logits, 'logits')]
    return [Watched(layer, 'forward', f'mask head: {name}', f'backward: mask head: {name}') for layer, name in named]

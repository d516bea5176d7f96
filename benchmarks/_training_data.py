"""Training samples for three frameworks: the same images, crops and flips, with masks as each of them holds masks."""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pycocotools.mask
import torch
from _models import replace_types
from mmengine.config import Config
from torch import Tensor
from torch.utils.data import Dataset

# The pipeline of the baseline, which all but three configs of the project have.
BASELINE = Path(__file__).parents[1] / 'configs' / 'cell' / 'mask-rcnn_r50.py'
CROPPING = ('RandomCrop', 'FilterAnnotations')
CROP_PX = 512


def training_pipeline(stock: bool, crops: bool) -> list[dict]:
    """Returns the baseline's training pipeline.

    Args:
        stock: Whether MMDetection's classes are in the place of mmcell's.
        crops: Whether images are cropped; otherwise they stay whole.
    """
    pipeline = [dict(transform) for transform in Config.fromfile(BASELINE).train_dataloader.dataset.pipeline
                if crops or transform['type'] not in CROPPING]
    if stock:
        pipeline = replace_types(pipeline)
        pipeline[1].update(with_bbox=True, with_mask=True)
    return pipeline


class SeededSamples(Dataset):
    """Samples whose random choices depend only on their number. After the last image the first one comes again.

    Args:
        records: One dict per image, as ``CellDataset.get_data_info`` returns it.
        load: Returns a sample for a record.
    """

    def __init__(self, records: Sequence[dict], load: callable) -> None:
        self.records, self.load = records, load

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> object:
        np.random.seed(number)
        return self.load(copy.deepcopy(self.records[number % len(self.records)]))


def load_for_torchvision(record: dict, crops: bool) -> tuple[Tensor, dict]:
    """Returns an image and its target as torchvision's ``references/detection`` make them from COCO files.

    The file is read by Pillow, each mask is decoded by pycocotools to a bitmap of the size of the image, and crop and
    flip change all bitmaps. Crop and flip are drawn as MMDetection's transforms draw them, and cells of which the crop
    holds no pixel are left out, so that all frameworks train on the same pixels and cells.

    Args:
        record: The record of the image.
        crops: Whether a part of the image is cropped.

    Returns:
        The image (3, H, W) float32 from 0 to 1, RGB; and ``boxes`` (N, 4) float32 xyxy in px, ``labels`` (N,) int64
        from 1, and ``masks`` (N, H, W) uint8.
    """
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor, to_dtype
    with Image.open(record['img_path']) as file:
        image = pil_to_tensor(file.convert('RGB'))
    if record.get('channel_order') == 'bgr':
        image = image.flip(0)
    instances = record['instances']
    masks = torch.zeros(0, *image.shape[1:], dtype=torch.uint8)
    if instances:
        masks = torch.stack([torch.from_numpy(pycocotools.mask.decode(_as_rle(instance['mask'], image)))
                             for instance in instances])
    boxes = torch.tensor([instance['bbox'] for instance in instances], dtype=torch.float32).reshape(-1, 4)
    labels = torch.tensor([instance['bbox_label'] + 1 for instance in instances], dtype=torch.int64)
    if crops:
        image, boxes, labels, masks = _crop(image, boxes, labels, masks)
    image, boxes, masks = _flip(image, boxes, masks)
    return to_dtype(image, torch.float32, scale=True), dict(boxes=boxes, labels=labels, masks=masks)


def _as_rle(mask: dict | list, image: Tensor) -> dict:
    if isinstance(mask, list):
        return pycocotools.mask.merge(pycocotools.mask.frPyObjects(mask, *image.shape[1:]))
    return mask


def _crop(image: Tensor, boxes: Tensor, labels: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    from torchvision.ops import masks_to_boxes
    top, left = (np.random.randint(0, max(side - CROP_PX, 0) + 1) for side in image.shape[1:])
    image, masks = (values[:, top:top + CROP_PX, left:left + CROP_PX] for values in (image, masks))
    kept = masks.flatten(1).bool().any(dim=1)
    masks = masks[kept]
    # masks_to_boxes() gives the last pixel, which belongs to the box.
    boxes = masks_to_boxes(masks) + torch.tensor([0., 0., 1., 1.])
    return image.contiguous(), boxes, labels[kept], masks


def _flip(image: Tensor, boxes: Tensor, masks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    direction = np.random.choice(['horizontal', 'vertical', 'diagonal', None], p=[.25] * 4)
    height, width = image.shape[1:]
    if direction in ('horizontal', 'diagonal'):
        image, masks = image.flip(2), masks.flip(2)
        boxes = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)
    if direction in ('vertical', 'diagonal'):
        image, masks = image.flip(1), masks.flip(1)
        boxes = torch.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], dim=1)
    return image, boxes, masks

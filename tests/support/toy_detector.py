"""A detector with known predictions: all pixels with the same value are one cell."""

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.structures import InstanceData

from mmcell.masks.rle import encode_label_map

TILES = dict(tile_px=32, overlap_px=12, border_px=2, align_px=1)


class ToyDetector(BaseModel):
    """Predicts one cell per value of the first channel, except 0.

    The label of a cell is the value of the second channel at its first pixel, and its score grows with its area. If the
    image was resized, it is first sampled back to ``ori_shape``, which is also the size of the masks.

    Attributes:
        seen: One list per batch that was predicted, with the (height, width) of each image of the batch.
    """

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode != 'predict':
            return self.weight * len(inputs)
        self.seen.append([tuple(image.shape[1:]) for image in inputs])
        for image, sample in zip(inputs, data_samples, strict=True):
            height, width = sample.ori_shape
            assert tuple(image.shape[1:]) == tuple(sample.img_shape)
            y, x = (np.minimum(((np.arange(n) + .5) * scale).astype(int), side - 1) for n, side, scale in zip(
                (height, width), image.shape[1:], sample.scale_factor[::-1], strict=True))
            pixels = image.cpu().numpy()[:, y][:, :, x]
            cells = encode_label_map(pixels[0].astype(np.int32))
            boxes = cells.bboxes_xywh.astype(np.float32)
            boxes[:, 2:] += boxes[:, :2]
            labels = [int(pixels[1][pixels[0] == value][0]) for value in cells.ids]
            sample.pred_instances = InstanceData(
                bboxes=torch.from_numpy(boxes), labels=torch.tensor(labels, dtype=torch.int64),
                scores=torch.from_numpy(1 - 1 / (1 + cells.areas_px.astype(np.float32))), masks=cells.rles)
        return data_samples


def as_data(label_map, classes=None):
    """Returns a batch with one image, whose first channel is a label map (H, W) and whose second holds the labels.

    Args:
        label_map: The first channel, (H, W) from 0 to 255.
        classes: The second channel, (H, W) from 0 to 255; None: all 0.
    """
    channels = [label_map, label_map * 0 if classes is None else classes, label_map * 0]
    shape = label_map.shape
    sample = DetDataSample(metainfo=dict(img_id=1, ori_shape=shape, img_shape=shape, scale_factor=(1., 1.)))
    return dict(inputs=[torch.from_numpy(np.stack(channels).astype(np.uint8))], data_samples=[sample])


def as_set(instances):
    """Returns the mask, label and box of each cell as a set, so that cells can be compared in any order."""
    return {(rle['counts'], *rle['size'], label, tuple(box))
            for rle, label, box in zip(instances.masks, instances.labels.tolist(), instances.bboxes.tolist(),
                                       strict=True)}

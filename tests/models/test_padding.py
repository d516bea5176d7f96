"""BatchMinSizePad pads batches of small images, and packing accepts images of a single pixel."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData


@pytest.mark.parametrize('shape, padded', [
    ((32, 32), (64, 64)), ((32, 200), (64, 200)), ((200, 32), (200, 64)), ((64, 96), (64, 96)),
])
def test_batches_are_padded_to_a_minimum_side(shape, padded):
    masks = BitmapMasks(np.ones((2, *shape), np.uint8), *shape)
    samples = [DetDataSample(gt_instances=InstanceData(masks=masks, labels=torch.zeros(2)),
                             metainfo=dict(batch_input_shape=shape, pad_shape=shape, img_shape=shape))]
    inputs, samples = MODELS.build(dict(type='BatchMinSizePad', min_side=64))(torch.ones(1, 3, *shape), samples)
    assert inputs.shape == (1, 3, *padded)
    assert inputs.sum() == 3 * shape[0] * shape[1] == 3 * inputs[:, 0, :shape[0], :shape[1]].sum()
    assert samples[0].batch_input_shape == samples[0].pad_shape == padded
    assert samples[0].gt_instances.masks.masks.shape == (2, *padded)
    assert samples[0].gt_instances.masks.masks.sum() == masks.masks.sum()
    assert samples[0].img_shape == shape


@pytest.mark.parametrize('shape', [(1, 1), (1, 5), (5, 1), (4, 6)])
def test_small_flipped_images_are_packed(shape):
    image = np.arange(shape[0] * shape[1] * 3, dtype=np.uint8).reshape(*shape, 3)
    pack = TRANSFORMS.build(dict(type='PackCellInputs', meta_keys=()))
    packed = pack(dict(img=image[::-1, ::-1]))['inputs']
    assert np.array_equal(packed.permute(1, 2, 0).numpy(), image[::-1, ::-1])

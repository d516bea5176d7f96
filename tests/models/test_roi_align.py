"""RoIAlign as weighted sums, compared with torchvision's kernel."""

import math

import pytest
import torch
import torchvision

from mmcell.models import roi_align as module
from mmcell.models.roi_align import roi_align

# torchvision sums in another order. Values are about 1, gradients sums of up to some hundred values.
TOLERANCE = dict(atol=1e-5, rtol=1e-5)


def random_rois(n, frame_px, side_px, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(n, 2, generator=generator) * (frame_px + 40) - 20  # some RoIs leave the image
    sides = side_px ** torch.rand(n, 2, generator=generator)
    image = torch.randint(0, 2, (n, 1), generator=generator)
    return torch.cat([image, corners, corners + sides], dim=1)


def compare(rois, *, size=(5, 7), scale=.25, sampling_ratio=0, aligned=True, shape=(2, 3, 30, 40)):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    weights = torch.randn(len(rois), shape[1], *size, generator=torch.Generator().manual_seed(2))
    results = []
    for function in (roi_align, torchvision.ops.roi_align):
        inputs = features.clone().requires_grad_()
        output = function(inputs, rois, size, scale, sampling_ratio, aligned)
        results.append((output, *torch.autograd.grad((output * weights).sum(), inputs)))
    assert results[0][0].shape == (len(rois), shape[1], *size)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, **TOLERANCE)
    return results[0][0]


@pytest.mark.parametrize('sampling_ratio', [0, 2, 3])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('side_px', [3, 30, 200])
def test_values_and_gradients_equal_torchvisions(sampling_ratio, aligned, side_px):
    assert compare(random_rois(60, 160, side_px), sampling_ratio=sampling_ratio, aligned=aligned).any()


@pytest.mark.parametrize('box', [
    [8, 8, 8, 8], [8, 8, 30, 8], [30, 8, 8, 40], [-400, -400, -300, -300], [500, 500, 600, 600], [-9, -9, 900, 700],
    [0, 0, 160, 120], [156, 116, 164, 124], [-4, -4, 4, 4], [-6, 2, -2, 30]])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('aligned', [True, False])
def test_degenerate_boxes_and_borders(box, sampling_ratio, aligned):
    compare(torch.tensor([[0, *box], [1, 3, 3, 50, 50]], dtype=torch.float32), sampling_ratio=sampling_ratio,
            aligned=aligned)


def test_features_of_a_single_position_no_roi_and_many_positions(monkeypatch):
    compare(random_rois(5, 10, 20), shape=(2, 3, 1, 1))
    compare(torch.zeros(0, 5))
    monkeypatch.setattr(module, '_MAX_POSITIONS', 100)
    compare(random_rois(20, 160, 100))


@pytest.mark.parametrize('value', [math.nan, math.inf, 1e12])
def test_other_boxes_are_left_to_torchvision(monkeypatch, value):
    calls = []
    monkeypatch.setattr(module.torchvision.ops, 'roi_align', lambda *args: calls.append(args))
    roi_align(torch.ones(1, 3, 4, 4), torch.tensor([[0, 0, 0, value, 3]]), (2, 2), 1., 0, True)
    assert len(calls) == 1


def test_a_known_value():
    # Columns count 0, 1, 2 … With pixel centres at whole numbers, a box from 1 to 5 covers the columns .5 to 4.5: four
    # bins of 1 px with the centres 1, 2, 3, 4.
    features = torch.arange(8.).expand(1, 1, 8, 8)
    output = roi_align(features, torch.tensor([[0, 1, 1, 5, 5.]]), (2, 4), 1., 0, True)
    assert output[0, 0].tolist() == [[1, 2, 3, 4]] * 2

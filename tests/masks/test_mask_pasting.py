import numpy as np
import pycocotools.mask
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask
from mmengine.config import ConfigDict
from support.host_waits import counting_host_waits

from mmcell.masks.batches import batches_of_similar_size
from mmcell.masks.pasting import paste_masks
from mmcell.masks.rle import areas_px


def stock_paste(probabilities, bboxes, height, width, threshold):
    """The bitmaps (N, H, W) that MMDetection's mask head makes."""
    head = FCNMaskHead(num_convs=0, num_classes=1, class_agnostic=True)
    return head._predict_by_feat_single(
        probabilities[:, None], bboxes.clone(), torch.zeros(len(bboxes), dtype=torch.long),
        dict(ori_shape=(height, width), scale_factor=(1., 1.)), ConfigDict(mask_thr_binary=threshold), rescale=True,
        activate_map=True).numpy()


def decoded(rles, height, width):
    return np.stack([pycocotools.mask.decode(rle) for rle in rles]) if rles else np.zeros((0, height, width))


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), height=st.integers(1, 70), width=st.integers(1, 70),
       threshold=st.sampled_from([.5, .3, .05, 1.]), whole=st.booleans())
def test_pixels_equal_those_of_the_stock_head(seed, n, height, width, threshold, whole):
    generator = torch.Generator().manual_seed(seed)
    # The stock head fails on boxes that lie completely outside the image.
    corner = torch.rand(n, 2, generator=generator) * torch.tensor([width + 8., height + 8.]) - 8
    bboxes = torch.cat([corner, corner.clamp(min=0) + torch.rand(n, 2, generator=generator) * 60], dim=1)
    if whole:
        bboxes[0] = torch.tensor([0., 0., width, height])
        bboxes = bboxes.round()
    probabilities = torch.rand(n, 7, 7, generator=generator).round(decimals=1)
    rles = paste_masks(probabilities, bboxes, height, width, threshold).to_rles()
    stock = stock_paste(probabilities, bboxes, height, width, threshold)
    assert np.array_equal(decoded(rles, height, width), stock)
    encoded = [pycocotools.mask.encode(np.asfortranarray(mask, np.uint8)) for mask in stock]
    assert rles == [{'size': [height, width], 'counts': rle['counts'].decode()} for rle in encoded]


@given(seed=st.integers(0, 10**6), n=st.integers(1, 20), height=st.integers(1, 70), width=st.integers(1, 70),
       threshold=st.sampled_from([.5, .3, .05]))
def test_pixels_equal_those_of_the_stock_head_that_samples_the_whole_image(seed, n, height, width, threshold):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * torch.tensor([width + 80., height + 80.]) - 40
    bboxes = torch.cat([corner, corner + .01 + torch.rand(n, 2, generator=generator) * 60], dim=1)
    probabilities = torch.rand(n, 7, 7, generator=generator).round(decimals=1)
    # On a GPU, the stock head calls this function with skip_empty=False.
    stock, _ = _do_paste_mask(probabilities[:, None], bboxes, height, width, skip_empty=False)
    rles = paste_masks(probabilities, bboxes, height, width, threshold, beyond_box=True).to_rles()
    assert np.array_equal(decoded(rles, height, width), (stock >= threshold).numpy())


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_pixels_equal_those_of_the_stock_head_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=generator) * 120 - 20
    bboxes = torch.cat([corner, corner + .01 + torch.rand(300, 2, generator=generator) * 60], dim=1).cuda()
    probabilities = torch.rand(300, 28, 28, generator=generator).cuda()
    head = FCNMaskHead(num_convs=0, num_classes=1, class_agnostic=True)
    stock = head._predict_by_feat_single(
        probabilities[:, None], bboxes.clone(), torch.zeros(300, dtype=torch.long).cuda(),
        dict(ori_shape=(90, 100), scale_factor=(1., 1.)), ConfigDict(mask_thr_binary=.5), rescale=True,
        activate_map=True).cpu().numpy()
    assert np.array_equal(decoded(paste_masks(probabilities, bboxes, 90, 100, .5).to_rles(), 90, 100), stock)


def test_boxes_with_nan_have_no_pixel():
    bboxes = torch.tensor([[5., 5., float('nan'), 20.], [float('nan')] * 4, [2., 2., 9., 9.]])
    for beyond_box in (False, True):
        rles = paste_masks(torch.ones(3, 7, 7), bboxes, 30, 40, .5, beyond_box=beyond_box).to_rles()
        assert areas_px(rles).tolist() == [0, 0, 49]


def test_a_cell_that_fills_the_image_is_one_run_per_column():
    runs = paste_masks(torch.ones(1, 7, 7), torch.tensor([[-20., -20., 70., 60.]]), 30, 40, .5)
    assert runs.starts.tolist() == list(range(0, 1200, 30))
    assert (runs.ends - runs.starts).tolist() == [30] * 40


@pytest.mark.parametrize('beyond_box', [False, True])
def test_a_device_is_waited_for_three_times_whatever_the_number_of_cells(beyond_box):
    for n in (1, 300):
        corner = torch.rand(n, 2) * 400
        bboxes = torch.cat([corner, corner + 5 + torch.rand(n, 2) * 100], dim=1)
        probabilities = torch.rand(n, 14, 14)
        with counting_host_waits() as waits:
            paste_masks(probabilities, bboxes, 400, 400, .5, beyond_box=beyond_box)
        assert len(waits) == 3, waits


def test_wide_and_high_boxes_are_not_padded_to_squares():
    sizes = torch.tensor([[1000, 10], [10, 1000]] * 50 + [[0, 9], [9, 0]])
    batches = list(batches_of_similar_size(sizes))
    assert sum(len(batch.index) * batch.size[0] * batch.size[1] for batch in batches) == 100 * 1000 * 10
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(100))


def test_boxes_outside_the_image_and_boxes_without_extent():
    bboxes = torch.tensor([[10., 10., 10., 10.], [5., 5., 9., 5.], [-1e4, -1e4, 1e4, 1e4],
                           [-50., -50., -10., -10.], [200., 5., 240., 30.]])
    probabilities = torch.ones(5, 28, 28)
    rles = paste_masks(probabilities, bboxes, 40, 60, .5).to_rles()
    assert np.array_equal(decoded(rles[:3], 40, 60), stock_paste(probabilities[:3], bboxes[:3], 40, 60, .5))
    assert areas_px(rles[2:]).tolist() == [40 * 60, 0, 0]


def test_no_masks():
    assert len(paste_masks(torch.zeros(0, 28, 28), torch.zeros(0, 4), 40, 60, .5)) == 0


@pytest.mark.parametrize('most_flags', [1, 4000, 1 << 26])
def test_pasting_in_many_batches_changes_nothing(monkeypatch, most_flags):
    monkeypatch.setattr('mmcell.masks.batches.BATCH_PX', 500)
    monkeypatch.setattr('mmcell.masks.pasting._MOST_FLAGS', most_flags)
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=generator) * 80
    bboxes = torch.cat([corner, corner + 1 + torch.rand(300, 2, generator=generator) * 30], dim=1)
    probabilities = torch.rand(300, 14, 14, generator=generator)
    assert np.array_equal(decoded(paste_masks(probabilities, bboxes, 90, 100, .5).to_rles(), 90, 100),
                          stock_paste(probabilities, bboxes, 90, 100, .5))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_probabilities_in_half_precision_are_sampled_in_float32(dtype):
    probabilities = torch.rand(3, 7, 7).to(dtype)
    bboxes = torch.tensor([[2., 3., 30., 25.]]).repeat(3, 1)
    pasted, expected = (paste_masks(values, bboxes, 40, 40, .5) for values in (probabilities, probabilities.float()))
    assert pasted.to_rles() == expected.to_rles()

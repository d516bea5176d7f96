"""SparseMaxIoUAssigner compared with the stock MaxIoUAssigner, bit for bit, and its memory."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.task_modules.assigners import MaxIoUAssigner
from mmdet.registry import TASK_UTILS
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.structures import InstanceData
from support.boxes import anchors, batch_sizes, box_arrays, cell_boxes, in_batches, tiny_box_arrays
from support.examples import examples
from support.host_waits import counting_host_waits
from torch.utils._python_dispatch import TorchDispatchMode

from mmcell.models import SparseMaxIoUAssigner

RPN = dict(pos_iou_thr=.7, neg_iou_thr=.3, min_pos_iou=.3)
RCNN = dict(pos_iou_thr=.5, neg_iou_thr=.5, min_pos_iou=.5, match_low_quality=False)
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU'))]


class AlwaysSearching(SparseMaxIoUAssigner):
    """Searches even where the stock method is faster; ``searched`` says whether the result came from the search."""

    searched = False

    def _search_pays(self, n_priors, n_boxes):
        return n_priors * n_boxes > 0

    def _assign_near(self, *args):
        result = super()._assign_near(*args)
        self.searched = result is not None
        return result


def assert_as_stock(priors, boxes, ignore_boxes=None, labels=None, **arguments):
    """Asserts that the result equals that of the stock class bit for bit; returns the assigner and its result."""
    if labels is None:
        labels = torch.arange(len(boxes), device=boxes.device) * 7 % 5
    ignore = None if ignore_boxes is None else InstanceData(bboxes=ignore_boxes)
    results = []
    for assigner in (MaxIoUAssigner(**arguments), AlwaysSearching(**arguments)):
        torch.manual_seed(0)
        results.append(assigner.assign(InstanceData(priors=priors), InstanceData(bboxes=boxes, labels=labels), ignore))
    stock, sparse = results
    assert sparse.num_gts == stock.num_gts
    for name in ('gt_inds', 'max_overlaps', 'labels'):
        expected, values = getattr(stock, name).detach(), getattr(sparse, name).detach()
        assert (values.dtype, values.device) == (expected.dtype, expected.device), name
        np.testing.assert_array_equal(values.double().cpu().numpy(), expected.double().cpu().numpy(), err_msg=name)
    return assigner, sparse


argument_sets = st.fixed_dictionaries(dict(
    pos_iou_thr=st.sampled_from([.7, .5, .25, 0., -1.]),
    neg_iou_thr=st.sampled_from([.3, .5, 0., 1, (0., .3), (.1, .5), (-2., .3)]),
    min_pos_iou=st.sampled_from([0., .01, .3, .5, -1.]),
    gt_max_assign_all=st.booleans(),
    match_low_quality=st.booleans(),
    ignore_iof_thr=st.sampled_from([-1, .5, .05, 1.]),
    ignore_wrt_candidates=st.booleans(),
    gpu_assign_thr=st.sampled_from([-1, 2]),
))


@settings(max_examples=examples(250))
@given(priors=box_arrays(25), boxes=box_arrays(8), ignore_boxes=st.none() | box_arrays(3), size=batch_sizes,
       dtype=st.sampled_from([torch.float32, torch.float64]), arguments=argument_sets)
def test_same_as_stock(priors, boxes, ignore_boxes, size, dtype, arguments):
    priors, boxes = torch.tensor(priors, dtype=dtype), torch.tensor(boxes, dtype=dtype)
    ignore_boxes = None if ignore_boxes is None else torch.tensor(ignore_boxes, dtype=dtype)
    with in_batches(size):
        assigner, result = assert_as_stock(priors, boxes, ignore_boxes, **arguments)
    all_ignored = bool((result.max_overlaps == -1).all())
    assert assigner.searched == bool(len(boxes) and len(priors) and not all_ignored)


@settings(max_examples=examples(150))
@given(priors=box_arrays(20), boxes=box_arrays(6), ignore_boxes=st.none() | box_arrays(2),
       dtypes=st.lists(st.sampled_from([torch.float16, torch.bfloat16, torch.float32]), min_size=2, max_size=2),
       scale=st.sampled_from([1., 7.7, 30.]), calculator=st.sampled_from([{}, dict(dtype='fp16', scale=2.)]),
       arguments=argument_sets)
def test_same_as_stock_in_half_precision(priors, boxes, ignore_boxes, dtypes, scale, calculator, arguments):
    # With a scale of 30, the areas of some boxes are infinite in float16.
    priors, boxes = (torch.tensor(b * scale).to(dtype) for b, dtype in zip((priors, boxes), dtypes, strict=True))
    ignore_boxes = None if ignore_boxes is None else torch.tensor(ignore_boxes * scale).to(dtypes[1])
    assert_as_stock(priors, boxes, ignore_boxes, iou_calculator=dict(type='BboxOverlaps2D', **calculator), **arguments)


@settings(max_examples=examples(150))
@given(priors=tiny_box_arrays(30), boxes=tiny_box_arrays(4))
def test_same_as_stock_where_corners_are_almost_equal(priors, boxes):
    assert_as_stock(torch.tensor(priors, dtype=torch.float32), torch.tensor(boxes, dtype=torch.float32), **RPN)


def test_corners_that_differ_by_a_rounding_error():
    priors = torch.zeros(4000, 4)
    priors[:, 2:] = 20
    priors[::2, 0] = 1e-17
    _, result = assert_as_stock(priors, torch.tensor([[0., 0, 20, 20]]).repeat(40, 1), **RPN)
    assert (result.gt_inds > 0).all()


def test_boxes_far_from_all_priors_in_another_precision():
    priors, boxes = anchors(4, (64, 96)).double(), torch.tensor([[5000., 5000, 5020, 5020]])
    for tested_boxes in (boxes, torch.cat([boxes, cell_boxes(5, (64, 96))])):
        with in_batches(1):
            assert_as_stock(priors, tested_boxes, **RPN)


def test_half_precision_is_searched():
    priors, boxes = anchors(4, (64, 96)).half(), cell_boxes(20, (64, 96)).half()
    assert assert_as_stock(priors, boxes, **RPN)[0].searched
    large_anchors = torch.cat([priors, priors * 10])
    assert assert_as_stock(large_anchors, boxes, **RPN)[0].searched, 'prior areas may be infinite'
    assert not assert_as_stock(large_anchors, torch.cat([boxes, boxes * 10]), **RPN)[0].searched
    without_area = torch.tensor([[-60000., 5, 60000, 5]]).half()
    assert not assert_as_stock(torch.cat([priors, without_area]), boxes, **RPN)[0].searched, 'infinity times 0'


@pytest.mark.parametrize('border', [-1, 0, 20])
@pytest.mark.parametrize('scale', [1.5, 4, 8])
@pytest.mark.parametrize('shape', [(160, 160), (93, 201)])
@pytest.mark.parametrize('device', DEVICES)
def test_anchors_of_rpn(shape, scale, border, device):
    boxes = cell_boxes(40, shape).to(device)
    priors = anchors(scale, shape, border=border).to(device)
    shuffled = priors[torch.randperm(len(priors), generator=torch.Generator().manual_seed(0))]
    for tested_priors in (priors, shuffled, priors + .3):
        for arguments in (RPN, RPN | dict(min_pos_iou=0., gt_max_assign_all=False), RPN | dict(neg_iou_thr=(.05, .3))):
            assert assert_as_stock(tested_priors, boxes, **arguments)[0].searched


def test_many_ratios_and_fractional_boxes():
    priors = anchors(5.3, (128, 160), ratios=(.25, .5, .75, 1, 1.5, 2, 3, 4))
    assert assert_as_stock(priors, cell_boxes(30, (128, 160)) * .973, **RPN)[0].searched


@pytest.mark.parametrize('with_gt', [True, False])
def test_proposals_of_rcnn(with_gt):
    boxes = cell_boxes(120, (300, 300))
    generator = torch.Generator().manual_seed(0)
    chosen = boxes[torch.randint(len(boxes), (600,), generator=generator)]
    proposals = (chosen + torch.randn(600, 4, generator=generator) * 5).clamp(0, 300)
    priors = torch.cat([boxes, proposals]) if with_gt else proposals
    for arguments in (RCNN, RCNN | dict(match_low_quality=True), RCNN | dict(ignore_iof_thr=.5)):
        assigner, result = assert_as_stock(priors, boxes, boxes[:5] + 20, **arguments)
        assert assigner.searched
    assert (result.gt_inds > 0).sum() > 200


def test_box_without_overlap_takes_all_priors_without_overlap():
    priors = anchors(4, (64, 64))
    boxes = torch.tensor([[10., 10, 30, 30], [500, 500, 520, 520], [30, 30, 50, 52]])
    for all_ties in (True, False):
        _, result = assert_as_stock(priors, boxes, pos_iou_thr=.7, neg_iou_thr=.3, gt_max_assign_all=all_ties)
        assert ((result.gt_inds == 2).sum() > 1000) == all_ties


def test_crowd_over_the_whole_image():
    priors, boxes = anchors(4, (64, 64), border=0), cell_boxes(20, (64, 64))
    half, whole = torch.tensor([[0., 0, 32, 64]]), torch.tensor([[-1., -1, 65, 65]])
    assigner, result = assert_as_stock(priors, boxes, half, ignore_iof_thr=.5, **RPN)
    assert assigner.searched and 0 < (result.max_overlaps == -1).sum() < len(priors)
    assert not assert_as_stock(priors, boxes, whole, ignore_iof_thr=.5, **RPN)[0].searched


def test_boxes_as_large_as_the_image():
    priors = anchors(8, (128, 128))
    boxes = torch.tensor([[0., 0, 128, 128], [-500, -500, 600, 600], [1, 0, 127, 128]])
    assert assert_as_stock(priors, boxes, **RPN)[0].searched


def test_box_types():
    priors, boxes = anchors(4, (64, 64)), cell_boxes(20, (64, 64))
    assert assert_as_stock(HorizontalBoxes(priors), HorizontalBoxes(boxes), **RPN)[0].searched


def boxes_with(value):
    boxes = cell_boxes(20, (64, 64))
    boxes[3, 2] = value
    return boxes


FALL_BACKS = {
    'another calculator': (boxes_with(5), dict(iou_calculator=dict(type='BboxOverlaps2D_GLIP'))),
    'permuted boxes': (boxes_with(5), dict(perm_repeat_gt_cfg=dict(iou_thr=.7))),
    'not a number': (boxes_with(float('nan')), {}),
    'infinite': (boxes_with(float('inf')), {}),
    'far away': (boxes_with(1e9), {}),
    'integers': (boxes_with(5).long(), {}),
    'scored': (torch.cat([boxes_with(5), torch.ones(20, 1)], 1), {}),
    'gradient': (boxes_with(5).requires_grad_(), {}),
    'no box': (torch.zeros(0, 4), {}),
}


@pytest.mark.parametrize('case', FALL_BACKS)
@pytest.mark.parametrize('swapped', [False, True])
def test_falls_back_to_stock(case, swapped):
    """Both as boxes and, swapped, as priors."""
    boxes, arguments = FALL_BACKS[case]
    others = anchors(4, (64, 64)).to(boxes.dtype)
    priors, boxes = (boxes, others) if swapped else (others, boxes)
    assert not assert_as_stock(priors, boxes, **RPN | arguments)[0].searched


def test_built_by_name_and_stock_where_search_does_not_pay():
    assigner = TASK_UTILS.build(dict(type='SparseMaxIoUAssigner', **RPN))
    priors, boxes = InstanceData(priors=anchors(4, (256, 256))), cell_boxes(50, (256, 256))
    with mock.patch.object(assigner, '_assign_near', wraps=assigner._assign_near) as search:
        for n_boxes, searches in ((12, 0), (50, 1)):
            gt = InstanceData(bboxes=boxes[:n_boxes], labels=torch.arange(n_boxes))
            assert assigner.assign(priors, gt).num_gts == n_boxes
            assert search.call_count == searches


class LargestResult(TorchDispatchMode):
    """Records the largest number of elements of any tensor that is made within a block."""

    n_elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        for tensor in out if isinstance(out, tuple | list) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.n_elements = max(self.n_elements, tensor.numel())
        return out


@pytest.mark.parametrize('arguments', [RPN, RPN | dict(ignore_iof_thr=.5)])
def test_no_tensor_is_priors_by_boxes(arguments):
    priors, boxes = anchors(8, (256, 256)), cell_boxes(100, (256, 256))
    ignore = InstanceData(bboxes=boxes + 100)
    instances = InstanceData(priors=priors), InstanceData(bboxes=boxes, labels=torch.zeros(100, dtype=torch.long))
    with in_batches(1000), LargestResult() as searching:
        SparseMaxIoUAssigner(**arguments).assign(*instances, ignore)
    assert searching.n_elements <= 4 * len(priors)
    with LargestResult() as stock:
        MaxIoUAssigner(**arguments).assign(*instances, ignore)
    assert stock.n_elements >= 100 * len(priors)


@pytest.mark.parametrize('ignored', [0, 1])
def test_a_device_is_waited_for_equally_often_whatever_the_number_of_cells(ignored):
    priors, n_waits = anchors(4, (256, 256)), []
    for n_cells in (15, 200):
        instances = InstanceData(bboxes=cell_boxes(n_cells, (256, 256)), labels=torch.zeros(n_cells, dtype=torch.long))
        ignore = InstanceData(bboxes=torch.tensor([[10., 10, 60, 60]] * ignored).reshape(-1, 4))
        with counting_host_waits() as waits:
            AlwaysSearching(**RPN, ignore_iof_thr=.5).assign(InstanceData(priors=priors), instances, ignore)
        n_waits.append(len(waits))
    # The constant in MMDetection's calculator of overlaps is sent twice.
    assert n_waits == ([18] * 2 if ignored else [9] * 2), waits

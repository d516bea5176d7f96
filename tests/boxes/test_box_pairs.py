"""Near pairs compared with all pairs: all that overlap, few others, and in the promised order."""

import pytest
import torch
from hypothesis import given, settings
from mmdet.structures.bbox import bbox_overlaps
from support.boxes import anchors, batch_sizes, box_arrays, cell_boxes, in_batches, tiny_box_arrays
from support.examples import examples

from mmcell.boxes.pairs import iterate_near_pairs


@settings(max_examples=examples(200))
@given(priors=box_arrays(30) | tiny_box_arrays(8), boxes=box_arrays(10) | tiny_box_arrays(3), size=batch_sizes)
def test_pairs_are_complete_unique_and_in_order(priors, boxes, size):
    priors, boxes = torch.tensor(priors), torch.tensor(boxes)
    with in_batches(size):
        batches = [(prior.tolist(), box.tolist()) for prior, box in iterate_near_pairs(priors, boxes)]
    ends = torch.minimum(priors[:, None, 2:], boxes[:, 2:])
    overlap = (ends > torch.maximum(priors[:, None, :2], boxes[:, :2])).all(dim=-1)
    pairs = [pair for batch in batches for pair in zip(*batch, strict=True)]
    assert len(pairs) == len(set(pairs))
    assert set(pairs) >= {tuple(pair) for pair in overlap.nonzero().tolist()}
    assert all(batch[0] for batch in batches)
    batched_boxes = [box for _, boxes_of_batch in batches for box in sorted(set(boxes_of_batch))]
    assert batched_boxes == sorted({box for _, box in pairs}), 'a box comes in two batches, or out of order'


@pytest.mark.parametrize(('scale', 'shape', 'border'),
                         [(4, (256, 384), -1), (8, (256, 256), -1), (4, (300, 200), 0), (40, (128, 160), -1)])
def test_pairs_of_anchors_contain_all_that_overlap_and_few_others(scale, shape, border):
    priors, boxes = anchors(scale, shape, border=border), cell_boxes(100, shape) + .1
    is_near = torch.zeros(len(boxes), len(priors), dtype=torch.bool)
    for prior_index, box_index in iterate_near_pairs(priors, boxes):
        is_near[box_index, prior_index] = True
    overlap = bbox_overlaps(boxes, priors) > 0
    assert not (overlap & ~is_near).any()
    assert is_near.sum() < 1.4 * overlap.sum()

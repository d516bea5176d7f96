"""mmcv's ops on torchvision's kernels compared with their definitions, and how the replacement is imported."""

import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmcv.ops import (
    DeformConv2d,
    ModulatedDeformConv2d,
    RoIAlign,
    batched_nms,
    deform_conv2d,
    modulated_deform_conv2d,
    nms,
    roi_align,
    soft_nms,
)
from torch import nn

from mmcell.framework.ops import provide_mmcv_ops
from mmcell.framework.torchvision_ext import MissingOpError


def random_boxes(n, seed, span=40.):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * span
    boxes = torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * span / 2], dim=1)
    return boxes, torch.rand(n, generator=generator)


def greedy_nms(boxes, scores, threshold, offset):
    """Computes NMS box by box, as its definition says."""
    areas = (boxes[:, 2] - boxes[:, 0] + offset) * (boxes[:, 3] - boxes[:, 1] + offset)
    kept = []
    for i in scores.argsort(descending=True).tolist():
        def overlaps(j, i=i):
            width = min(boxes[i, 2], boxes[j, 2]) - max(boxes[i, 0], boxes[j, 0]) + offset
            height = min(boxes[i, 3], boxes[j, 3]) - max(boxes[i, 1], boxes[j, 1]) + offset
            shared = max(width, 0) * max(height, 0)
            return shared / (areas[i] + areas[j] - shared) > threshold
        if not any(overlaps(j) for j in kept):
            kept.append(i)
    return kept


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('seed', range(5))
def test_nms_keeps_the_boxes_of_its_definition(offset, seed):
    boxes, scores = random_boxes(40, seed)
    dets, kept = nms(boxes, scores, .4, offset=offset)
    assert kept.tolist() == greedy_nms(boxes, scores, .4, offset)
    torch.testing.assert_close(dets, torch.cat([boxes[kept], scores[kept, None]], dim=1))


def test_offset_matters():
    boxes, scores = torch.tensor([[0., 0, 2, 2], [1, 0, 3, 2]]), torch.tensor([.9, .8])
    # IoU 2/6 as continuous boxes, 6/12 as pixels 0-2 and 1-3.
    assert nms(boxes, scores, .4, offset=0)[1].tolist() == [0, 1]
    assert nms(boxes, scores, .4, offset=1)[1].tolist() == [0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_nms_accepts_any_precision_and_empty_input(dtype):
    boxes, scores = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 10]], dtype=dtype), torch.tensor([.5, .75], dtype=dtype)
    assert nms(boxes, scores, .5)[1].tolist() == [1]
    assert nms(boxes[:0], scores[:0], .5)[0].shape == (0, 5)
    assert nms(boxes[:0], scores[:0], .5, offset=1)[1].shape == (0,)


def test_batched_nms_keeps_classes_apart():
    boxes, scores = torch.tensor([[0., 0, 10, 10], [0, 0, 10, 10]]), torch.tensor([.5, .75])
    config = dict(type='nms', iou_threshold=.5)
    assert batched_nms(boxes, scores, torch.tensor([0, 1]), config)[1].tolist() == [1, 0]
    assert batched_nms(boxes, scores, torch.tensor([1, 1]), config)[1].tolist() == [1]


def bilinear(image, y, x):
    """Value of an image (H, W) at (y, x), which is (0, 0) at the centre of the first pixel.

    Farther than one pixel outside the image the value is 0; closer to the image, (y, x) is clamped to it.
    """
    height, width = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    return ((1 - dy) * ((1 - dx) * image[top, left] + dx * image[top, right])
            + dy * ((1 - dx) * image[bottom, left] + dx * image[bottom, right]))


def roi_align_by_definition(features, rois, size, scale, sampling, aligned):
    """He et al. 2017, sec. 3: the mean of regularly spaced bilinear samples in each bin."""
    output = np.zeros((len(rois), features.shape[1], size, size))
    for n, (index, *box) in enumerate(rois.tolist()):
        x1, y1, x2, y2 = (value * scale - (.5 if aligned else 0) for value in box)
        width, height = x2 - x1, y2 - y1
        if not aligned:
            width, height = max(width, 1.), max(height, 1.)
        ny = sampling or int(np.ceil(height / size))
        nx = sampling or int(np.ceil(width / size))
        for c, i, j in np.ndindex(output.shape[1:]):
            samples = [bilinear(features[int(index), c], y1 + height / size * (i + (a + .5) / ny),
                                x1 + width / size * (j + (b + .5) / nx)) for a in range(ny) for b in range(nx)]
            output[n, c, i, j] = np.mean(samples)
    return output


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling', [0, 2])
def test_roi_align_equals_its_definition(aligned, sampling):
    features = torch.rand(2, 2, 7, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rois = torch.tensor([[0, 1, 2, 25, 20], [1, 3.3, 4.1, 9.9, 17.2], [0, -3, -3, 5, 5], [1, 20, 20, 60, 40.]]).double()
    output = RoIAlign(3, .25, sampling, aligned=aligned)(features, rois)
    expected = roi_align_by_definition(features.numpy(), rois, 3, .25, sampling, aligned)
    np.testing.assert_allclose(output.numpy(), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('aligned', [True, False])
def test_roi_align_gradients(aligned):
    features = torch.rand(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0, 1, 1, 15, 19], [0, 0, 0, 23, 23.]]).double()
    assert torch.autograd.gradcheck(lambda x: roi_align(x, rois, 2, .25, 2, 'avg', aligned), (features,))


def test_roi_align_without_boxes_is_empty_and_differentiable():
    features = torch.rand(1, 3, 6, 6, requires_grad=True)
    output = RoIAlign(2)(features, torch.zeros(0, 5))
    assert output.shape == (0, 3, 2, 2)
    output.sum().backward()
    assert (features.grad == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_roi_align_in_half_precision(dtype):
    features = torch.rand(1, 2, 8, 8, requires_grad=True)
    rois = torch.tensor([[0, 1.5, 1.5, 6, 6.]])
    exact = roi_align(features, rois, 3, 1., 2)
    half = roi_align(features.to(dtype), rois.to(dtype), 3, 1., 2)
    assert half.dtype == dtype
    torch.testing.assert_close(half.float(), exact, rtol=2e-2, atol=2e-2)
    half.float().sum().backward()
    assert features.grad.isfinite().all() and features.grad.abs().sum() > 0


def deform_conv_by_definition(x, offset, weight, mask=None, stride=1, padding=0, dilation=1, groups=1, deform_groups=1):
    """Dai et al. 2017, eq. 2 (with the modulation of Zhu et al. 2019, eq. 1), as a sum over kernel positions."""
    n, channels, height, width = x.shape
    out_channels, _, kh, kw = weight.shape
    h_out, w_out = offset.shape[2:]
    offset = offset.view(n, deform_groups, kh * kw, 2, h_out, w_out)
    mask = torch.ones_like(offset[:, :, :, 0]) if mask is None else mask.view(n, deform_groups, kh * kw, h_out, w_out)
    rows, cols = torch.meshgrid(torch.arange(h_out), torch.arange(w_out), indexing='ij')
    output = x.new_zeros(n, out_channels, h_out, w_out)
    for k in range(kh * kw):
        sampled = []
        for g in range(deform_groups):
            part = x[:, g * channels // deform_groups:(g + 1) * channels // deform_groups]
            y = rows * stride - padding + (k // kw) * dilation + offset[:, g, k, 0]
            z = cols * stride - padding + (k % kw) * dilation + offset[:, g, k, 1]
            grid = torch.stack([2 * z / (width - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
            values = nn.functional.grid_sample(part, grid, padding_mode='zeros', align_corners=True)
            sampled.append(values * mask[:, g, k].unsqueeze(1))
        kernel = weight[:, :, k // kw, k % kw][:, :, None, None]
        output += nn.functional.conv2d(torch.cat(sampled, dim=1), kernel, groups=groups)
    return output


def deform_inputs(n=2, channels=4, size=6, stride=1, padding=1, groups=2, deform_groups=2, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape):
        return torch.rand(*shape, generator=generator, dtype=torch.float64)
    out = (size + 2 * padding - 3) // stride + 1
    x, weight = rand(n, channels, size, size), rand(6, channels // groups, 3, 3) - .5
    offset = (rand(n, deform_groups * 18, out, out) - .5) * 3
    mask = rand(n, deform_groups * 9, out, out)
    return x, offset, mask, weight


@pytest.mark.parametrize('stride', [1, 2])
def test_deformable_convolutions_equal_their_definition(stride):
    x, offset, mask, weight = deform_inputs(stride=stride)
    geometry = dict(stride=stride, padding=1, groups=2, deform_groups=2)
    v1 = deform_conv2d(x, offset, weight, stride, 1, 1, 2, 2)
    torch.testing.assert_close(v1, deform_conv_by_definition(x, offset, weight, **geometry))
    bias = torch.arange(6).double()
    v2 = modulated_deform_conv2d(x, offset, mask, weight, bias, stride, 1, 1, 2, 2)
    expected = deform_conv_by_definition(x, offset, weight, mask, **geometry) + bias[:, None, None]
    torch.testing.assert_close(v2, expected)


def test_deformable_convolution_gradients():
    x, offset, mask, weight = (t.requires_grad_() for t in deform_inputs(n=1, size=4))
    bias = torch.rand(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: deform_conv2d(*a, 1, 1, 1, 2, 2), (x, offset, weight))
    assert torch.autograd.gradcheck(
        lambda *a: modulated_deform_conv2d(*a, 1, 1, 1, 2, 2), (x, offset, mask, weight, bias))
    assert torch.autograd.gradcheck(
        lambda *a: modulated_deform_conv2d(*a, None, 1, 1, 1, 2, 2), (x, offset, mask, weight))


def test_the_modules_of_mmcv_run_under_autocast():
    x = torch.rand(2, 4, 8, 8)
    offset, mask = torch.zeros(2, 18, 8, 8), torch.ones(2, 9, 8, 8)
    for module, extra in ((DeformConv2d(4, 3, 3, padding=1), ()), (ModulatedDeformConv2d(4, 3, 3, padding=1), (mask,))):
        plain = nn.functional.conv2d(x, module.weight, getattr(module, 'bias', None), padding=1)
        torch.testing.assert_close(module(x, offset, *extra), plain, rtol=1e-5, atol=1e-5)
        with torch.autocast('cpu', torch.bfloat16):
            half = module(x, offset.bfloat16(), *extra)
        assert half.dtype == torch.bfloat16
        half.float().sum().backward()
        torch.testing.assert_close(half.float(), plain, rtol=3e-2, atol=3e-2)
        assert module.weight.grad.isfinite().all()


def test_mmcv_itself_refuses_an_empty_batch_before_any_kernel():
    weight = torch.rand(3, 4, 3, 3)
    with pytest.raises(ValueError, match='too small'):
        deform_conv2d(torch.rand(0, 4, 8, 8), torch.zeros(0, 18, 6, 6), weight)


@pytest.mark.parametrize('call, name', [
    (lambda: soft_nms(torch.rand(2, 4), torch.rand(2)), 'softnms'),
    (lambda: roi_align(torch.rand(1, 1, 4, 4), torch.zeros(1, 5), 2, 1., 0, 'max'), 'max'),
])
def test_missing_ops_report_what_to_install(call, name):
    with pytest.raises(MissingOpError, match=f'{name}.*compiled mmcv') as error:
        call()
    assert 'MMCV_WITH_OPS' in str(error.value)


def test_providing_twice_changes_nothing():
    before = list(sys.meta_path)
    provide_mmcv_ops()
    assert sys.meta_path == before


def run_python(code, **environment):
    import os
    return subprocess.run([sys.executable, '-c', textwrap.dedent(code)], capture_output=True, text=True, check=False,
                          env={**os.environ, **environment})


def test_a_compiled_mmcv_is_not_replaced(tmp_path):
    """A module file represents the compiled extension, which Python's own finders must find first."""
    (tmp_path / '_ext.py').write_text("marker = 'compiled'")
    run = run_python(f"""
        import mmcell, mmcv
        mmcv.__path__.append({str(tmp_path)!r})
        import mmcv._ext
        print(mmcv._ext.marker)
    """)
    assert run.stdout.strip() == 'compiled', run.stderr


def test_the_replacement_passes_checks_for_the_extension():
    run = run_python("""
        import pkgutil, warnings
        warnings.simplefilter('ignore')
        import mmcell
        from mmcv.utils import ext_loader
        from mmengine.utils.dl_utils import mmcv_full_available
        assert ext_loader.check_ops_exist() and mmcv_full_available()
        import mmcv.ops
        assert ext_loader.check_ops_exist()
        assert pkgutil.find_loader('mmcv._ext') is not None
        from mmcv.utils import collect_env
        print(collect_env()['MMCV Compiler'])
    """)
    assert run.stdout.startswith('not compiled'), run.stderr


@pytest.mark.slow
def test_importing_mmdet_first_is_repaired():
    run = run_python("""
        from mmdet.structures.mask import BitmapMasks
        import mmcell
        import numpy as np
        masks = BitmapMasks(np.ones((1, 8, 8), np.uint8), 8, 8)
        print(masks.crop_and_resize(np.array([[0, 0, 8, 8]], np.float32), (4, 4), np.array([0])).masks.sum())
    """)
    assert run.stdout.strip() == '16', run.stderr


@pytest.mark.slow
def test_ops_work_in_spawned_workers(tmp_path):
    """A spawned worker receives a pickled data set, in which only LoadTiff belongs to mmcell."""
    (tmp_path / 'spawn.py').write_text(textwrap.dedent("""
        import json
        import sys
        from pathlib import Path

        def crop_in_worker(batch):
            import numpy as np
            import torch
            from mmcv.ops import nms
            assert torch.utils.data.get_worker_info() is not None
            masks = batch[0]['data_samples'].gt_instances.masks
            box, first = np.array([[0, 0, 16, 16]], np.float32), np.array([0])
            cropped = masks.crop_and_resize(box, (8, 8), first, binarize=False)
            return cropped.masks.sum(), nms(torch.tensor([[0., 0, 4, 4]]), torch.ones(1), .5)[1].tolist()

        if __name__ == '__main__':
            import mmcell
            import numpy as np
            import tifffile
            from mmdet.datasets import CocoDataset
            from torch.utils.data import DataLoader
            root = Path(sys.argv[1])
            tifffile.imwrite(root / 'i.tif', np.zeros((16, 16, 3), np.uint8), photometric='rgb')
            annotation = dict(id=1, image_id=1, category_id=1, bbox=[2, 2, 8, 8], area=64, iscrowd=0,
                              segmentation=[[2, 2, 10, 2, 10, 10, 2, 10]])
            (root / 'a.json').write_text(json.dumps(dict(
                images=[dict(id=1, file_name='i.tif', height=16, width=16)], categories=[dict(id=1, name='c')],
                annotations=[annotation])))
            dataset = CocoDataset(
                ann_file=str(root / 'a.json'), data_prefix=dict(img=str(root)), metainfo=dict(classes=('c',)),
                pipeline=[dict(type='mmdet.LoadTiff'),
                          dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
                          dict(type='mmdet.PackDetInputs')])
            loader = DataLoader(dataset, num_workers=1, multiprocessing_context='spawn', collate_fn=crop_in_worker)
            area, kept = next(iter(loader))
            print(float(area), kept)
    """))
    run = subprocess.run([sys.executable, str(tmp_path / 'spawn.py'), str(tmp_path)], capture_output=True, text=True,
                         check=False)
    assert run.stdout.splitlines()[-1] == '16.0 [0]', run.stderr


@pytest.mark.parametrize('y', [-1.5, -1., -.99, 0., 1.25, 3.5, 4.])
def test_the_gradient_of_an_offset_differs_from_mmcv_only_one_pixel_outside_the_image(y):
    """The formula of mmcv is get_coordinate_weight in deform_conv_cuda_kernel.cuh."""
    image = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    offset = torch.zeros(1, 2, 4, 4)
    offset[0, :, 0, 0] = torch.tensor([y, 1.])
    offset.requires_grad_()
    deform_conv2d(image[None, None], offset, torch.ones(1, 1, 1, 1))[0, 0, 0, 0].backward()
    above, below = (float(image[row, 1]) if 0 <= row < 4 else 0. for row in (math.floor(y), math.floor(y) + 1))
    mmcv = 0. if y <= -1 or y >= 4 else below - above
    assert float(offset.grad[0, 0, 0, 0]) == pytest.approx(below - above if y == -1 else mmcv)
    assert (below - above != mmcv) == (y == -1)

"""An image with thousands of cells trains and predicts without tensors of shape cells x cells or cells x anchors."""

import numpy as np
import pytest
import tifffile
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from support.paths import REPO
from support.synthetic_data import write_annotations
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PER_ROW = 55
N_DETECTIONS = 3000  # there are 3,025 cells
N_PROPOSALS = 6000
STEP_PX = 12


class TensorSizes(TorchDispatchMode):
    """Records the largest number of elements of any result, and all shapes with two or more sides from 2000 on."""

    def __init__(self):
        super().__init__()
        self.most_elements, self.matrices = 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in filter(torch.is_tensor, tree_leaves(out)):
            self.most_elements = max(self.most_elements, tensor.numel())
            if sum(side >= 2000 for side in tensor.shape) > 1:
                self.matrices.add(tuple(tensor.shape))
        return out


def write_crowd(folder):
    """Writes one image with cells of four classes: a disc of 9 px diameter in every square of 12x12 px."""
    side = PER_ROW * STEP_PX
    yy, xx = np.mgrid[:side, :side]
    square = yy // STEP_PX * PER_ROW + xx // STEP_PX
    inside = (yy % STEP_PX - 5) ** 2 + (xx % STEP_PX - 5) ** 2 <= 4 ** 2
    image_folder = folder / 'train' / 'crowd'
    image_folder.mkdir(parents=True)
    tifffile.imwrite(image_folder / 'image.tif', np.where(inside, 90, 220).astype(np.uint8)[..., None].repeat(3, -1),
                     photometric='rgb')
    for number in range(1, 5):
        label_map = np.where(inside & (square % 4 == number - 1), square + 1, 0).astype(np.uint16)
        tifffile.imwrite(image_folder / f'class{number}.tif', label_map)


@pytest.mark.slow
def test_three_thousand_cells_train_and_predict(tmp_path):
    write_crowd(tmp_path)
    write_annotations(tmp_path, tmp_path / 'train.json', ['a', 'b', 'c', 'd'])
    cfg = Config.fromfile(REPO / 'configs' / 'cell' / 'mask-rcnn_r18_demo.py')
    loader = dict(num_workers=0, persistent_workers=False, dataset=dict(ann_file=str(tmp_path / 'train.json')))
    many = dict(nms_pre=N_PROPOSALS, max_per_img=N_PROPOSALS)
    cfg.merge_from_dict(dict(
        train_dataloader=dict(loader, batch_size=1, sampler=dict(times=1)), val_dataloader=loader,
        model=dict(
            roi_head=dict(mask_head=dict(num_convs=1)), train_cfg=dict(rpn_proposal=many),
            test_cfg=dict(rpn=many, rcnn=dict(score_thr=0., max_per_img=N_DETECTIONS, nms=dict(iou_threshold=1.)))),
        train_cfg=dict(max_epochs=1), work_dir=str(tmp_path / 'run'), log_level='WARNING', experiment_name='crowd'))
    cfg.train_dataloader.dataset.pipeline = [
        step for step in cfg.train_dataloader.dataset.pipeline if step.type != 'RandomCrop']
    cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
    runner = Runner.from_cfg(cfg)
    predicted = []
    process = runner.val_loop.evaluator.process
    runner.val_loop.evaluator.process = lambda data_samples, data_batch=None: (
        predicted.extend(data_samples), process(data_samples, data_batch))
    with TensorSizes() as sizes:
        runner.train()
    assert np.isfinite(runner.message_hub.log_scalars['train/loss'].data[0]).all()
    detections = predicted[0].pred_instances
    assert len(detections.masks) == len(detections) == N_DETECTIONS
    # The largest tensor holds the features of all detections for the mask head: 64 channels of 14x14.
    assert sizes.most_elements == N_DETECTIONS * 64 * 14 * 14
    # The only matrix holds the features of all proposals for the fully connected layers: 64 channels of 7x7, flattened.
    assert sizes.matrices == {(N_PROPOSALS, 64 * 7 * 7)}

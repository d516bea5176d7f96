"""Hooks around each training step."""

import math
from pathlib import Path

import cv2
import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcell.errors import MmcellError
from mmcell.framework.randomness import STEP, derive_seed, seed_generators
from mmcell.masks.encoding import masks_to_rles
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import draw_instances


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds each training step from the seed of the run, the step and the process.

    What the model draws (sampled boxes, dropped paths) then does not depend on where the training was resumed; with
    :class:`mmcell.datasets.SeededSampler` for the data, a resumed training on the CPU ends with the same weights.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Gives the sampler the seed of the run, which a resumed run takes from its checkpoint."""
        if hasattr(runner.train_dataloader.sampler, 'seed'):
            runner.train_dataloader.sampler.seed = runner.seed

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seeds all generators."""
        seed_generators(derive_seed(STEP, runner.seed, runner.iter, get_rank()))


class NonFiniteLossError(MmcellError):
    """A loss or gradient became NaN or infinite; the message names the images of the batch."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops the training when a loss is NaN or infinite, names the images and saves the batch.

    Every step is looked at; mmengine's logging reads the losses in every step anyway. A gradient that is not finite
    stops too, where it is clipped (mmengine records its norm then) and no loss scaler expects such steps: the weights
    are lost with it. MMDetection's ``CheckInvalidLossHook`` looks at every 50th step, and names nothing.

    ``nonfinite_batch_*/`` beside the log gets the images as PNG with their cells, and ``batch.pth`` with image names,
    losses, images (3, H, W) uint8, boxes xyxy, labels and masks as RLE.
    """

    priority = 'HIGH'

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Looks at the losses.

        Raises:
            NonFiniteLossError: one is not finite.
        """
        losses = {name: float(torch.as_tensor(value).detach())
                  for name, value in (outputs or {}).items() if 'loss' in name}
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is None or not scaler.is_enabled():
            losses.update(last_gradient_norm(runner))
        wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if not wrong:
            return
        names = [sample.metainfo.get('img_path', '?') for sample in data_batch['data_samples']]
        folder = Path(runner.log_dir) / f'nonfinite_batch_iter{runner.iter}_rank{get_rank()}'
        save_batch(data_batch, losses, folder)
        found = ', '.join(f'{name} is {value}' for name, value in wrong.items())
        raise NonFiniteLossError(
            f'step {runner.iter + 1}: {found}. Images of the batch: {", ".join(names)}; saved for a look in {folder}. '
            'If the data are right, lower the learning rate, lengthen the warm-up or clip the gradient '
            '(optim_wrapper.clip_grad); resume from the last checkpoint')


def last_gradient_norm(runner: Runner) -> dict[str, float]:
    """'grad_norm' to the norm of the last step's gradient before clipping; empty where none is recorded."""
    buffer = runner.message_hub.log_scalars.get('train/grad_norm')
    return {} if buffer is None else {'grad_norm': float(buffer.current())}


def save_batch(data_batch: dict, losses: dict[str, float], folder: Path) -> None:
    """Writes a batch as MMDetection's ``PackDetInputs`` makes it: ``batch.pth``, and a PNG an image."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = [image.cpu() for image in data_batch['inputs']]
    truths = [sample.gt_instances for sample in data_batch['data_samples']]
    batch = {'img_path': [sample.metainfo.get('img_path') for sample in data_batch['data_samples']], 'losses': losses,
             'inputs': inputs, 'bboxes': [torch.as_tensor(getattr(truth.bboxes, 'tensor', truth.bboxes)).cpu()
                                          for truth in truths],
             'labels': [truth.labels.cpu() for truth in truths],
             'masks': [masks_to_rles(truth.masks) if 'masks' in truth else [] for truth in truths]}
    torch.save(batch, folder / 'batch.pth')
    for number, (image, labels, rles) in enumerate(zip(inputs, batch['labels'], batch['masks'], strict=True)):
        colors = class_colors(int(labels.max()) + 1 if len(labels) else 1)
        picture = draw_instances(image.permute(1, 2, 0).numpy(), rles, [colors[label] for label in labels.tolist()], 2)
        cv2.imwrite(str(folder / f'{number}.png'), picture[:, :, ::-1])

"""Hooks that run before or after each training step."""

import math
from pathlib import Path

import torch
from mmdet.registry import HOOKS
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch.utils.data import BatchSampler

from mmcell.errors import MmcellError
from mmcell.framework.randomness import STEP, derive_seed, seed_generators
from mmcell.masks.encoding import masks_to_rles
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import draw_instances, write_png

# The name under which the message hub has the epoch that has begun last, with its first step.
_EPOCH = 'epoch_begun'


class ResumeError(MmcellError):
    """A training cannot be continued exactly from a checkpoint."""


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Seeds each training step from the seed of the run, the number of the step and the number of the process.

    The random choices of the model (sampled boxes, dropped paths) then do not depend on where the training was
    resumed. With :class:`mmcell.datasets.SeededSampler` for the data, a training on the CPU that is resumed ends with
    the same weights as a training without interruption, also if its checkpoint was saved inside an epoch.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Gives the sampler the seed of the run; a resumed run has taken its seed from the checkpoint."""
        if hasattr(runner.train_dataloader.sampler, 'seed'):
            runner.train_dataloader.sampler.seed = runner.seed
        if runner.iter and isinstance(runner.train_loop, EpochBasedTrainLoop):
            self._continue_epoch(runner)

    @staticmethod
    def _continue_epoch(runner: Runner) -> None:
        """Leaves out the samples of the resumed epoch that were used before.

        Raises:
            ResumeError: The checkpoint was saved inside an epoch, and the sampler cannot leave out samples, or batches
                and processes are not those of the first part of the epoch.
        """
        loader = runner.train_dataloader
        begun = runner.message_hub.runtime_info.get(_EPOCH)
        # Checkpoints of earlier versions do not say at which step the epoch began.
        is_inside = runner.iter % len(loader) > 0 if begun is None else begun['epoch'] == runner.epoch
        if not is_inside:
            return
        can_skip = hasattr(loader.sampler, 'skip') and type(loader.batch_sampler) is BatchSampler
        if begun is None or begun['batch'] != _batch_of(runner) or not can_skip:
            raise ResumeError(
                f'--resume: the checkpoint was saved inside epoch {runner.epoch + 1}, at step {runner.iter}. The epoch '
                'can only be continued with the same batch size and number of processes, with SeededSampler, and '
                'without a batch_sampler: resume from a checkpoint that was saved at the end of an epoch')
        loader.sampler.skip((runner.iter - begun['step']) * loader.batch_size)

    def before_train_epoch(self, runner: Runner) -> None:
        """Notes for checkpoints at which step this epoch began, unless it is a continued epoch."""
        begun = runner.message_hub.runtime_info.get(_EPOCH)
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and (begun is None or begun['epoch'] != runner.epoch):
            runner.message_hub.update_info(
                _EPOCH, dict(epoch=runner.epoch, step=runner.iter, batch=_batch_of(runner)))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Seeds the generators of Python, NumPy and torch."""
        seed_generators(derive_seed(STEP, runner.seed, runner.iter, get_rank()))


def steps_done(runner: Runner) -> int:
    """Returns the number of steps that a training with the present number of steps per epoch would have done.

    It differs from ``runner.iter`` in a training that was resumed with another batch size or on other data.
    """
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        return runner.iter
    return runner.epoch * len(runner.train_dataloader) + steps_in_epoch(runner)


def steps_in_epoch(runner: Runner) -> int:
    """Returns the number of steps of the present epoch that are done; 0 between two epochs."""
    begun = runner.message_hub.runtime_info.get(_EPOCH)
    return runner.iter - begun['step'] if begun is not None and begun['epoch'] == runner.epoch else 0


def _batch_of(runner: Runner) -> list[int | None]:
    """Returns the number of images per step of one process, and the number of processes."""
    return [runner.train_dataloader.batch_size, runner.world_size]


class NonFiniteLossError(MmcellError):
    """A loss or gradient became NaN or infinite; the message names the images of the batch."""


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Stops the training when a loss is NaN or infinite, names the images of the batch and saves the batch.

    Every step is checked, which costs little, because MMEngine's logging reads the losses in every step anyway.
    The training also stops when a gradient is not finite, because such a step destroys the weights. This is only
    possible if gradients are clipped, since MMEngine then records their norm, and only without a loss scaler, which
    handles such steps itself. MMDetection's ``CheckInvalidLossHook`` checks every 50th step and names no image.

    The folder ``nonfinite_batch_*/`` beside the log contains the images with their cells as PNG, and ``batch.pth``
    with image names, losses, images (3, H, W) uint8, boxes xyxy in px, labels and masks as RLE.
    """

    priority = 'HIGH'

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Checks the losses and the norm of the gradient.

        Raises:
            NonFiniteLossError: A loss or the norm of the gradient is not finite.
        """
        losses = {name: float(torch.as_tensor(value).detach())
                  for name, value in (outputs or {}).items() if 'loss' in name}
        scaler = getattr(runner.optim_wrapper, 'loss_scaler', None)
        if scaler is None or not scaler.is_enabled():
            losses.update(last_gradient_norm(runner))
        nonfinite = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if not nonfinite:
            return
        names = [sample.metainfo.get('img_path', '?') for sample in data_batch['data_samples']]
        folder = Path(runner.log_dir) / f'nonfinite_batch_iter{runner.iter}_rank{get_rank()}'
        save_batch(data_batch, losses, folder)
        description = ', '.join(f'{name} is {value}' for name, value in nonfinite.items())
        raise NonFiniteLossError(
            f'step {runner.iter + 1}: {description}. Images of the batch: {", ".join(names)}; the batch was saved in '
            f'{folder}. If the data are right, lower the learning rate, lengthen the warm-up or clip the gradient '
            '(optim_wrapper.clip_grad), and resume from the last checkpoint')


def last_gradient_norm(runner: Runner) -> dict[str, float]:
    """Returns the gradient's norm in the last step, before clipping, as {'grad_norm': norm}; empty if not recorded."""
    buffer = runner.message_hub.log_scalars.get('train/grad_norm')
    return {} if buffer is None else {'grad_norm': float(buffer.current())}


def save_batch(data_batch: dict, losses: dict[str, float], folder: Path) -> None:
    """Writes a batch to a folder: ``batch.pth`` and one PNG per image.

    Args:
        data_batch: The batch, collated from samples that ``PackDetInputs`` has packed.
        losses: The losses of the step by name.
        folder: The folder where the files are written; it is made if needed.
    """
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
        write_png(picture, folder / f'{number}.png')

"""Learning rates that follow the length of a training, whatever ``max_epochs`` or ``max_iters`` a config sets.

MMEngine's schedulers take their begin, end and milestones in epochs or steps. The schedulers of this module take shares
of the training instead. With 10,020 steps, ``end_share=.25`` is step 2,505; with 84 steps it is step 21.
"""

import warnings
from collections.abc import Sequence

from mmdet.registry import PARAM_SCHEDULERS
from mmengine.optim import CosineAnnealingLR, LinearLR, MultiStepLR, OptimWrapper
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import Runner

from mmcell.errors import MmcellError

# What MMEngine's schedulers compute from their arguments and from the length of the training.
_POSITIONS = ('by_epoch', 'begin', 'end', 'T_max', 'total_iters', 'milestones')


class ScheduleError(MmcellError):
    """A learning-rate schedule does not fit the training, or its arguments do not fit each other."""


class _ByShare:
    """Mixin for a scheduler of MMEngine: turns shares of the training into steps.

    The steps are rounded to whole numbers. A part that gets fewer than ``min_steps`` steps changes nothing.

    Args:
        optimizer: The optimizer wrapper.
        end: Number of steps of the whole training. MMEngine's runner gives it to schedulers with ``by_epoch=False``
            whose config has no ``end``, in epoch-based and in iteration-based trainings.
        begin_share: Where this part of the schedule begins, from 0 to 1.
        end_share: Where it ends, from 0 to 1.
        by_epoch: Must be False, because the rate changes after every step.
        kwargs: Further arguments of the scheduler, except those in steps: begin, T_max, milestones.

    Raises:
        ScheduleError: An argument is out of its range, or given in steps.
    """

    min_steps = 1

    def __init__(self, optimizer: OptimWrapper, *, end: int = INF, begin_share: float = 0., end_share: float = 1.,
                 by_epoch: bool = True, **kwargs) -> None:
        name = type(self).__name__
        if by_epoch or end >= INF:
            raise ScheduleError(f'param_scheduler: {name} counts steps of the whole training: write by_epoch=False, '
                                'and no convert_to_iter_based')
        if not 0 <= begin_share < end_share <= 1:
            raise ScheduleError(f'param_scheduler: {name} needs 0 <= begin_share < end_share <= 1, got '
                                f'begin_share={begin_share} and end_share={end_share}')
        if in_steps := {'begin', 'T_max'} & kwargs.keys():
            raise ScheduleError(f'param_scheduler: {name} takes begin_share and end_share, from 0 to 1, in place of '
                                f'{" and ".join(sorted(in_steps))}')
        first, last = round(begin_share * end), round(end_share * end)
        if last - first < self.min_steps:
            # MMEngine refuses a scheduler without steps. This one begins after the end of every training.
            first, last = INF, INF + 1
        super().__init__(optimizer, begin=first, end=last, by_epoch=False, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, optimizer: OptimWrapper, *, epoch_length: int, **kwargs) -> '_ByShare':
        """Is called by MMEngine for ``convert_to_iter_based``, which this class refuses as it does ``by_epoch=True``.

        Raises:
            ScheduleError: Always.
        """
        return cls(optimizer, **{**kwargs, 'by_epoch': True})


@PARAM_SCHEDULERS.register_module()
class LinearLRByShare(_ByShare, LinearLR):
    """``LinearLR`` over a share of the training: a warm-up.

    In a warm-up of W steps, the step t from 0 to W - 1 has the rate ``lr * (s + (e - s) * t / (W - 1))``, with s for
    ``start_factor`` and e for ``end_factor``. If the share is shorter than two steps, there is no warm-up.

    Args: Those of :class:`_ByShare`, and ``start_factor`` and ``end_factor`` of MMEngine's ``LinearLR``.
    """

    # The last step of a warm-up has the full rate. A single step would have the start's rate, and so would all others.
    min_steps = 2


@PARAM_SCHEDULERS.register_module()
class CosineAnnealingLRByShare(_ByShare, CosineAnnealingLR):
    """``CosineAnnealingLR`` over a share of the training.

    The step t of the T steps of the share has the rate ``eta_min + (lr - eta_min) * (1 + cos(pi * t / T)) / 2``.

    Args: Those of :class:`_ByShare`, and ``eta_min`` or ``eta_min_ratio`` of MMEngine's ``CosineAnnealingLR``.
    """


@PARAM_SCHEDULERS.register_module()
class MultiStepLRByShare(_ByShare, MultiStepLR):
    """``MultiStepLR`` whose milestones are shares of the training: the rate is multiplied by ``gamma`` at each of them.

    Args:
        optimizer: The optimizer wrapper.
        milestone_shares: Where the rate changes, each from 0 to 1.
        gamma: Factor of each change.
        end: Number of steps of the whole training, which MMEngine's runner gives.
        by_epoch: Must be False.

    Raises:
        ScheduleError: An argument is out of its range, or given in steps.
    """

    def __init__(self, optimizer: OptimWrapper, *, milestone_shares: Sequence[float], gamma: float = .1,
                 end: int = INF, by_epoch: bool = True) -> None:
        if not all(0 <= share <= 1 for share in milestone_shares):
            raise ScheduleError('param_scheduler: MultiStepLRByShare needs milestone_shares from 0 to 1, got '
                                f'{list(milestone_shares)}')
        super().__init__(optimizer, end=end, by_epoch=by_epoch, gamma=gamma,
                         milestones=[round(share * end) for share in milestone_shares])


def follow_length(runner: Runner, step: int) -> bool:
    """Makes the schedule of a resumed training follow the training's length, if it is not that of the checkpoint.

    MMEngine takes the schedule of a resumed training from the checkpoint. If ``max_epochs``, ``max_iters`` or the
    number of steps per epoch has changed, the learning rate would stay at its last value, or not reach it. Here the
    schedule is built again, and gets the rate that a training of the present length has at this step.

    Args:
        runner: The runner of a training that was resumed, before its next step.
        step: The number of steps that a training of the present length would have done.

    Returns:
        Whether the schedule was built again. It is not if nothing in it depends on the length of the training, if it
        depends on validation values, or if there are several optimizers.
    """
    schedulers = runner.param_schedulers
    # A dict belongs to several optimizers.
    if not isinstance(schedulers, list) or any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        return False
    groups = runner.optim_wrapper.param_groups
    rates = [group['lr'] for group in groups]
    for group in groups:
        group['lr'] = group.get('initial_lr', group['lr'])
    rebuilt = runner.build_param_scheduler(runner.cfg.param_scheduler)
    if [_positions(scheduler) for scheduler in rebuilt] == [_positions(scheduler) for scheduler in schedulers]:
        for group, rate in zip(groups, rates, strict=True):
            group['lr'] = rate
        return False
    with warnings.catch_warnings():
        # Each step of a scheduler without a step of the optimizer gives a warning.
        warnings.simplefilter('ignore')
        for scheduler in rebuilt:
            for _ in range(runner.epoch if scheduler.by_epoch else step):
                scheduler.step()
    runner.param_schedulers = rebuilt
    return True


def _positions(scheduler: object) -> list:
    return [getattr(scheduler, name, None) for name in _POSITIONS]

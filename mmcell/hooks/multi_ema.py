"""The hook that averages the weights of a training with several momenta, and keeps the best average."""

import math
from collections.abc import Sequence
from numbers import Real

from mmdet.registry import HOOKS
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner, ValLoop
from mmengine.runner.loops import _parse_losses

from mmcell.checkpoints.fit import FitError
from mmcell.errors import MmcellError
from mmcell.hooks.checkpoints import CellCheckpointHook
from mmcell.models.weight_averages import AVERAGES, RAW, WeightAverages, momentum_at


@HOOKS.register_module()
class MultiEMAHook(Hook):
    """Keeps several exponential moving averages (EMA) of the weights in one training, and chooses the best one.

    After each step, average += m * (weights - average) for each momentum m, where m is greater at the beginning:
    (1 - momentum) * exp(-step / gamma) + momentum (:func:`mmcell.models.weight_averages.momentum_at`). An average thus
    reaches back over about 1 / momentum steps. Trainable parameters and the running statistics of BatchNorm are
    averaged, as ``EMAHook`` does with ``ema_type='ExpMomentumEMA'`` and ``update_buffers=True``.

    Each validation measures every average. The best one by the value that ``save_best`` of the checkpoint hook names
    counts: its values are those of the validation, for the best checkpoint, early stopping and the learning rate, and
    checkpoints have its weights as ``state_dict`` until the next validation. The values of all are logged as
    ``ema_0.002/AP50``, ``ema_0.0005/AP50`` and ``raw/AP50``. The training itself does not change.

    The price: a validation takes as long as one validation per average, and each average takes the memory of the
    trainable weights on the device of the model. ``epoch_*.pth`` and ``iter_*.pth`` have all averages once, for
    ``--resume``; ``best_*.pth`` has only the best one. A file that a metric writes (``out_file``) has the values of the
    average that is validated last.

    The warm-up must be short for short trainings. With ``gamma=2000``, the default of ``ExpMomentumEMA``, the momentum
    after 4,000 steps is still .14, whether it is to be .002 or .0005. With ``gamma=100``, it is at most twice .0005
    after 760 steps, and after 4,000 steps the weights of the first 760 steps are 19 % of the average with the momentum
    .0005, and .1 % with .002.

    Args:
        momenta: The momenta, each between 0 and 1, for example [2e-3, 5e-4].
        gamma: The length of the warm-up of the momenta in steps.
        validate_raw: Whether the weights that are trained are validated, and can be chosen, too.

    Raises:
        MmcellError: A momentum is not between 0 and 1 or is given twice, or ``gamma`` is not positive.
    """

    # Before StartingCheckpointHook compares weights, and before all hooks that read the values of a validation.
    priority = 'HIGHEST'

    def __init__(self, momenta: Sequence[float], gamma: float = 100, validate_raw: bool = False) -> None:
        are_right = (isinstance(momenta, Sequence) and len(momenta) > 0 and not isinstance(momenta, str)
                     and all(isinstance(momentum, Real) and 0 < momentum < 1 for momentum in momenta))
        self.momenta = {f'ema_{momentum:g}': momentum for momentum in momenta} if are_right else {}
        if not are_right or len(self.momenta) < len(momenta):
            raise MmcellError('momenta of MultiEMAHook must be different numbers between 0 and 1, such as '
                              f'[0.002, 0.0005], got {momenta}')
        if not isinstance(gamma, Real) or gamma <= 0:
            raise MmcellError(f'gamma of MultiEMAHook must be positive, got {gamma}')
        self.gamma = gamma
        self.candidates = [*self.momenta, *([RAW] if validate_raw else [])]
        self.chosen = self.candidates[0]
        self.scores: dict[str, float] = {}
        self.averages: WeightAverages | None = None
        self.saver: CheckpointHook | None = None
        self.resumed: dict | None = None
        self.is_synchronized = False
        # The label of the average that is in the model at present, during a validation or a test.
        self.in_model: str | None = None
        # The step and the chosen weights of the last checkpoint that can be resumed from.
        self.saved: tuple[int, str] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Takes the averages from a checkpoint to resume from, and gives the model the weights that are trained.

        Raises:
            FitError: The checkpoint has averages with other momenta, or those of ``EMAHook``.
        """
        if not runner._resume:
            return
        if 'ema_state_dict' in checkpoint:
            raise FitError('--resume: the training of the checkpoint has averaged its weights with EMAHook: go on with '
                           'EMAHook in custom_hooks, in place of MultiEMAHook')
        self.resumed = checkpoint.pop(AVERAGES, None)
        if self.resumed is None:
            runner.logger.warning('--resume: the checkpoint has no averages of weights: they begin with this step')
            return
        weights, chosen = self.resumed['weights'], self.resumed['in_state_dict']
        names = next(iter(weights.values()))
        weights[chosen] = {name: checkpoint['state_dict'][name] for name in names}
        checkpoint['state_dict'].update(weights.pop(RAW))
        if weights.keys() != self.momenta.keys():
            raise FitError(f'--resume: momenta of MultiEMAHook are those of {", ".join(sorted(weights))} in the '
                           f'checkpoint, and of {", ".join(sorted(self.momenta))} in the config: go on with the same')
        if chosen in self.candidates:
            self.chosen = chosen

    def before_train(self, runner: Runner) -> None:
        """Begins or resumes the averages, and checks that the best one can be chosen.

        Raises:
            FitError: There are several averages, but no validation or no value to choose one by, or there is an
                ``EMAHook``, too.
        """
        self._refuse_unfit(runner)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        self.averages = WeightAverages(model, self.momenta, self.gamma)
        if self.resumed is not None:
            self.averages.resume(self.resumed['steps'], self.resumed['weights'])
            self.resumed = None
        n_steps = self.averages.n_steps + runner.max_iters - runner.iter
        for momentum in self.momenta.values():
            last = momentum_at(n_steps, momentum, self.gamma)
            if last > 2 * momentum:
                runner.logger.warning(f'MultiEMAHook: the momentum {momentum:g} is not reached: after the {n_steps:,} '
                                      f'steps of this training it is still {last:.2g} (gamma={self.gamma:g})')

    def _refuse_unfit(self, runner: Runner) -> None:
        if any(isinstance(hook, EMAHook) for hook in runner.hooks):
            raise FitError('custom_hooks has EMAHook and MultiEMAHook: remove EMAHook, and give its momentum to '
                           'MultiEMAHook')
        self.saver = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if len(self.candidates) == 1:
            return
        if not isinstance(runner.val_loop, ValLoop):
            raise FitError(f'MultiEMAHook chooses among {", ".join(self.candidates)} by a validation, but the config '
                           'has none: set val_dataloader, val_cfg and val_evaluator, or give one momentum')
        if getattr(self.saver, 'save_best', None) in (None, ['auto']):
            raise FitError(f'MultiEMAHook chooses among {", ".join(self.candidates)} by the value that the best '
                           "checkpoint is chosen by: set default_hooks.checkpoint.save_best, for example to 'AP50'")

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Begins to average parameters that another hook has made trainable."""
        self.averages.add_unfrozen()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None,
                         outputs: dict | None = None) -> None:
        """Updates the averages, and gives those of all processes the same BatchNorm statistics before a checkpoint."""
        self.averages.update()
        self.is_synchronized = False
        saver = self.saver
        if saver is not None and not saver.by_epoch and (
                self.every_n_train_iters(runner, saver.interval, saver.save_begin)
                or (saver.save_last and self.is_last_train_iter(runner))):
            self._synchronize()

    def after_train_epoch(self, runner: Runner) -> None:
        """Gives the averages of all processes the same statistics of BatchNorm, before a checkpoint is saved."""
        self._synchronize()

    def _synchronize(self) -> None:
        # Once between two steps, so that what was validated is what was saved.
        if get_world_size() > 1 and not self.is_synchronized:
            self.averages.average_processes()
        self.is_synchronized = True

    def _put_into_model(self, label: str) -> None:
        self.averages.exchange(label)
        self.in_model = label

    def _restore_model(self) -> None:
        if self.in_model is not None:
            self.averages.exchange(self.in_model)
            self.in_model = None

    def before_val_epoch(self, runner: Runner) -> None:
        """Gives the averages of all processes the same statistics of BatchNorm, if they have been trained since."""
        if self.averages is not None:
            self._synchronize()

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Puts the first average into the model: the validation loop measures it."""
        # Not in before_val_epoch, where SyncBuffersHook changes the statistics of the weights that are trained.
        if self.averages is not None and self.in_model is None:
            self._put_into_model(self.candidates[0])

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float]) -> None:
        """Measures the other averages, logs the values of all, and makes those of the best one the ``metrics``."""
        if self.averages is None:
            return
        self._restore_model()
        first, *others = self.candidates
        if others:
            values = {first: dict(metrics), **{label: self._validate(runner, label) for label in others}}
            for label, scores in values.items():
                for name, value in scores.items():
                    if isinstance(value, Real):
                        runner.message_hub.update_scalar(f'val/{label}/{name}', value)
            self._choose(values)
            metrics.clear()
            metrics.update(values[self.chosen])

    def _validate(self, runner: Runner, label: str) -> dict[str, float]:
        """Returns the values of further weights, as ``ValLoop.run`` does; hooks only see the images of the pass."""
        loop = runner.val_loop
        runner.call_hook('before_val_pass', name=f'validation of {label}')
        self._put_into_model(label)
        loop.val_loss.clear()
        for index, data_batch in enumerate(loop.dataloader):
            loop.run_iter(index, data_batch)
        metrics = loop.evaluator.evaluate(len(loop.dataloader.dataset))
        if loop.val_loss:
            metrics.update(_parse_losses(loop.val_loss, 'val'))
        self._restore_model()
        return metrics

    def _choose(self, values: dict[str, dict[str, float]]) -> None:
        """Chooses the best weights, the first among equal ones; those chosen before, if there is no value to compare.

        If ``save_best`` names several values, the first decides.
        """
        name = self.saver.key_indicators[0]
        self.scores = {label: scores[name] for label, scores in values.items()
                       if scores.get(name) is not None and not math.isnan(scores[name])}
        best = None
        for label, score in self.scores.items():
            if best is None or self.saver.is_better_than[name](score, self.scores[best]):
                best = label
        self.chosen = best or self.chosen

    def after_val(self, runner: Runner) -> None:
        """Shows the values, and saves the checkpoint of this validation again if it has other weights than the best."""
        if self.averages is None or len(self.candidates) == 1:
            return
        scores = ', '.join(f'{label} {score:.4f}{" (best)" if label == self.chosen else ""}'
                           for label, score in self.scores.items())
        runner.logger.info(f'{self.saver.key_indicators[0]} of the averaged weights: {scores or "undefined"}')
        if self.saved is not None and self.saved[0] == runner.iter and self.saved[1] != self.chosen:
            self.saver._save_checkpoint_with_step(runner, runner.epoch if self.saver.by_epoch else runner.iter,
                                                  dict(epoch=runner.epoch, iter=runner.iter))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Puts the chosen weights into ``state_dict``, and all others beside it if the checkpoint can be resumed."""
        if self.averages is None:
            return
        others = self.averages.replace_in(checkpoint['state_dict'], self.chosen)
        if isinstance(self.saver, CellCheckpointHook):
            self.saver.record['weights'] = self.chosen
        if 'optimizer' in checkpoint:
            checkpoint[AVERAGES] = dict(in_state_dict=self.chosen, steps=self.averages.n_steps, weights=others)
            self.saved = checkpoint['meta']['iter'], self.chosen

    def before_test_epoch(self, runner: Runner) -> None:
        """Puts the chosen weights into the model, if it is tested after its training in the same process."""
        if self.averages is not None:
            self._put_into_model(self.chosen)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Puts the weights that are trained back into the model."""
        self._restore_model()

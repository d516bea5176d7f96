"""Pretrained weights of a part of a model, which must have a place in it."""

from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmcell.framework.safe_loading import LEAST_SHARE, WeightsError


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class CheckedPretrainedInit(PretrainedInit):
    """``init_cfg=dict(type='Pretrained', …)`` that stops if the checkpoint is of another model.

    MMEngine only logs which weights were not found, and the module trains from random weights. The arguments are those
    of ``mmengine.model.PretrainedInit``.
    """

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights into the module.

        Raises:
            WeightsError: Fewer than half of the module's weights are in the checkpoint with the same name and shape.
        """
        loaded = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location, logger='silent')
        prefix = f'{self.prefix.rstrip(".")}.' if self.prefix else ''
        state = {name.removeprefix('module.').removeprefix(prefix): value
                 for name, value in loaded.get('state_dict', loaded).items()
                 if name.removeprefix('module.').startswith(prefix) and isinstance(value, Tensor)}
        wanted = module.state_dict()
        n_found = sum(name in state and state[name].shape == value.shape for name, value in wanted.items())
        if n_found < LEAST_SHARE * len(wanted):
            raise WeightsError(
                f'only {n_found} of the {len(wanted)} weights of {type(module).__name__} are in {self.checkpoint} with '
                f'the same name and shape{f" after {prefix}" if prefix else ""}. The module has for example '
                f'{next(iter(wanted))}, the file {next(iter(loaded.get("state_dict", loaded)), "nothing")}: name '
                'weights of this module, and in init_cfg the prefix that their names have')
        super().__call__(module)

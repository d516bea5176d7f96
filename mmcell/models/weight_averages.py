"""Exponential moving averages (EMA) of the weights of a model, with several momenta at once."""

import math
from collections.abc import Iterable, Mapping

import torch
from mmengine.dist import all_reduce_params
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

# The label of the weights that are trained, beside the labels of their averages.
RAW = 'raw'
# The key in a checkpoint of everything but the chosen weights, which are its ``state_dict``.
AVERAGES = 'weight_averages'


def momentum_at(step: int, momentum: float, gamma: float) -> float:
    """Returns the momentum of an average after a step, which is greater at the beginning (warm-up).

    It is (1 - momentum) * exp(-step / gamma) + momentum: the formula of MMDetection's ``ExpMomentumEMA``, which is that
    of YOLOX (``ModelEMA`` in yolox/utils/ema.py). After step 1 it is 1, as in ``ExpMomentumEMA``, so that the weights
    before the first step do not count.

    Args:
        step: How many steps have been averaged, this one included; from 1.
        momentum: The momentum after the warm-up.
        gamma: The length of the warm-up in steps. After gamma * ln(1 / momentum) steps, twice ``momentum`` is reached.
    """
    return 1. if step == 1 else (1 - momentum) * math.exp(-step / gamma) + momentum


class WeightAverages:
    """Exponential moving averages of the weights of one model, one per momentum.

    What a training changes is averaged: trainable parameters, and buffers of floating-point numbers, which are the
    running statistics of BatchNorm. Everything else has no copy: frozen parameters and counters are those of the model.
    Weights that modules share are averaged once.

    Args:
        model: The model, without the wrapper for several processes.
        momenta: The momentum of each average, by the label of the average.
        gamma: The length of the warm-up of the momenta, see :func:`momentum_at`.

    Attributes:
        n_steps: The number of steps that were averaged.
        sources: The model's own tensors that are averaged, by their names in the state dict.
        weights: Their averages, by label and name; of the shape, type, device and memory format of the model's.
    """

    def __init__(self, model: nn.Module, momenta: Mapping[str, float], gamma: float) -> None:
        self.model = model
        self.momenta = momenta
        self.gamma = gamma
        self.n_steps = 0
        self.sources: dict[str, Tensor] = {}
        self.weights: dict[str, dict[str, Tensor]] = {label: {} for label in momenta}
        self._names: list[str] = []
        self._frozen: list[Tensor] = []
        self._add(name for name, tensor in model.state_dict(keep_vars=True).items() if _is_changed(tensor))

    def _add(self, names: Iterable[str]) -> None:
        """Begins to average further weights, from their present values."""
        tensors = self.model.state_dict(keep_vars=True)
        names = [name for name in names if name not in self.sources]
        self.sources.update((name, tensors[name]) for name in names)
        for weights in self.weights.values():
            copies: dict[int, Tensor] = {}
            for name in names:
                weights[name] = copies.setdefault(id(tensors[name]), tensors[name].detach().clone())
        # One name of each tensor, which has several names if modules share it.
        self._names = list({id(tensor): name for name, tensor in self.sources.items()}.values())
        self._frozen = [tensor for name, tensor in tensors.items()
                        if name not in self.sources and isinstance(tensor, nn.Parameter)]

    def add_unfrozen(self) -> None:
        """Begins to average parameters that have become trainable. To be called before each step."""
        if any(tensor.requires_grad for tensor in self._frozen):
            self._add(name for name, tensor in self.model.state_dict(keep_vars=True).items() if _is_changed(tensor))

    def update(self) -> None:
        """Adds the present weights of the model to the averages: average += momentum * (weights - average)."""
        self.n_steps += 1
        sources = [self.sources[name] for name in self._names]
        for label, momentum in self.momenta.items():
            average = get_ema_multi_avg_fn(1 - momentum_at(self.n_steps, momentum, self.gamma))
            average([self.weights[label][name] for name in self._names], sources, None)

    @torch.no_grad()
    def exchange(self, label: str) -> None:
        """Exchanges the values of the model and of an average; the second call restores both. ``RAW``: does nothing."""
        for name in self._names if label != RAW else ():
            source, average = self.sources[name], self.weights[label][name]
            kept = source.detach().clone()
            source.copy_(average)
            average.copy_(kept)

    def average_processes(self) -> None:
        """Sets the averages of BatchNorm's statistics to their mean over all processes, which have statistics each."""
        all_reduce_params([weights[name] for weights in self.weights.values() for name in self._names
                           if not isinstance(self.sources[name], nn.Parameter)], op='mean')

    def replace_in(self, state_dict: dict[str, Tensor], label: str) -> dict[str, dict[str, Tensor]]:
        """Puts an average into a state dict of the model, and returns what the other weights are.

        Args:
            state_dict: The state dict of the model on the CPU, which is changed.
            label: The label of the average that is put into it; ``RAW`` leaves it as it is.

        Returns:
            The weights that are trained (``RAW``) and the averages by label and name, except those of ``label``.
        """
        weights = {RAW: {name: state_dict[name] for name in self.sources}}
        weights |= {label: {name: tensor.cpu() for name, tensor in average.items()}
                    for label, average in self.weights.items()}
        state_dict.update(weights.pop(label))
        return weights

    @torch.no_grad()
    def resume(self, n_steps: int, weights: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Takes the averages of a checkpoint; ``weights`` has the averages by label and name, on any device."""
        self.n_steps = n_steps
        for label, average in weights.items():
            self._add(average)
            for name, tensor in average.items():
                self.weights[label][name].copy_(tensor)


def _is_changed(tensor: object) -> bool:
    """Whether a training changes a tensor of a state dict; extra states of modules may be no tensors."""
    return isinstance(tensor, Tensor) and tensor.is_floating_point() and (
        tensor.requires_grad or not isinstance(tensor, nn.Parameter))

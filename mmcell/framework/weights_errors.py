"""The errors of checkpoints and weights, which need no import of torch."""

from mmcell.errors import MmcellError


class WeightsError(MmcellError):
    """A checkpoint or pretrained weights cannot be read, downloaded or written; the message says how to go on."""


class UntrustedCheckpointError(WeightsError):
    """A checkpoint holds more than tensors, numbers and strings, so that opening it may run code."""

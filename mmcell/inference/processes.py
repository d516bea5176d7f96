"""What the processes of one prediction tell one another."""

from mmengine.dist import all_gather_object

from mmcell.errors import MmcellError


class LostProcessError(MmcellError):
    """Another process has ended, so that no work can be shared with it any more."""


def gather(value: object) -> list:
    """Returns the values of all processes in the order of their ranks, as soon as all of them have given their value.

    Raises:
        LostProcessError: Another process has ended, for example because it was interrupted.
    """
    try:
        return all_gather_object(value)
    except RuntimeError as error:  # torch's connection to the process is closed
        raise LostProcessError('another process has ended early, and this one cannot go on without it') from error

"""Settings of anchors that would give other anchors in silence."""

from collections.abc import Mapping

from mmcell.errors import MmcellError
from mmcell.settings.names import iterate_dicts


class AnchorSettingError(MmcellError):
    """Scales or ratios of anchors are a single number; the message says what to write."""


def refuse_number_of_anchors(config: Mapping) -> None:
    """Stops if ``scales`` or ``ratios`` of an anchor generator are a number and not a list.

    MMDetection makes ``torch.Tensor(scales)`` of them, which for the number 2 is a tensor of two arbitrary values.

    Args:
        config: The resolved config, as nested dicts and lists.

    Raises:
        AnchorSettingError: One of the settings is a number.
    """
    for path, settings in iterate_dicts(config):
        for name in ('scales', 'ratios') if str(settings.get('type')).endswith('AnchorGenerator') else ():
            if isinstance(settings.get(name), int | float):
                raise AnchorSettingError(f'{".".join([*path, name])} is the number {settings[name]}, but must be a '
                                         f'list: write [{settings[name]}]')

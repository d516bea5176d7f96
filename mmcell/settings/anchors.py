"""Settings of anchors that would give other anchors in silence."""

from collections.abc import Mapping

from mmcell.errors import MmcellError


class AnchorSettingError(MmcellError):
    """Scales or ratios of anchors are a single number; the message says what to write."""


def refuse_number_of_anchors(value: object, path: tuple[str, ...] = ()) -> None:
    """Stops if ``scales`` or ``ratios`` of an anchor generator are a number and not a list.

    MMDetection makes ``torch.Tensor(scales)`` of them, which for the number 2 is a tensor of two arbitrary values.

    Args:
        value: The resolved config, as nested dicts and lists, or a part of it.
        path: Where the part stands in the config.

    Raises:
        AnchorSettingError: One of the settings is a number.
    """
    if isinstance(value, Mapping):
        if str(value.get('type')).endswith('AnchorGenerator'):
            for name in ('scales', 'ratios'):
                if isinstance(value.get(name), int | float):
                    raise AnchorSettingError(f'{".".join([*path, name])} is the number {value[name]}, but must be a '
                                             f'list: write [{value[name]}]')
        for key, part in value.items():
            refuse_number_of_anchors(part, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            refuse_number_of_anchors(part, (*path, str(index)))

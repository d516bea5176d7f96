"""Settings that would fit a data set better than those of a config, each with its reason in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Advice:
    """What one group of settings of a config should be for a data set, and why.

    Attributes:
        kind: The topic: 'classes', 'anchors', 'proposals', 'detections', 'input-scale', 'crop', 'tiles', 'sampling',
            'masks', 'colors' or 'contrast'.
        sentence: The reason with its numbers, in one to three short sentences.
        settings: The keys of the config, with dots, and the values that they should have; empty if the config fits.
        flag: What to type for commands that have a flag for it, for example '--tile 512'; may be ''.
        table: A header and rows of numbers for people; may be empty.
    """

    kind: str
    sentence: str
    settings: dict[str, object] = field(default_factory=dict)
    flag: str = ''
    table: tuple[tuple[str, ...], ...] = ()


def as_options(settings: Mapping[str, object]) -> str:
    """Returns what to type for settings that are short enough to be typed; empty if there are none, or longer ones.

    Example: ``--cfg-options model.test_cfg.rcnn.max_per_img=1000``.
    """
    texts = [f'{key}="{value}"' if isinstance(value, list) else f'{key}={value}' for key, value in settings.items()]
    is_short = all(not any(isinstance(part, dict) for part in value) if isinstance(value, list)
                   else not isinstance(value, dict) for value in settings.values())
    return f'--cfg-options {" ".join(texts)}' if texts and is_short else ''

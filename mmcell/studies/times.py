"""Times on the command line, and in words."""

import re


def parse_time(text: str) -> float:
    """Returns the seconds of a time such as 90s, 90m, 8h or 1h30m.

    Raises:
        ValueError: The text is not such a time.
    """
    match = re.fullmatch(r'(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?', text)
    if not match or not any(match.groups()):
        raise ValueError(f'a time such as 90m, 8h or 1h30m expected, got {text}')
    return sum(float(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True))


def describe_time(seconds: float) -> str:
    """Returns a time in words: '5 s', '2 min', '2.5 h'."""
    if seconds < 120:
        return f'{seconds:.0f} s'
    return f'{seconds // 60:.0f} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'

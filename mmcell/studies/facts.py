"""What a study notes beside a run: with which settings it was trained and tested, and how long that took."""

import json
from collections.abc import Mapping
from pathlib import Path

from mmcell.files.whole_files import written_whole

# Written when a training has come to its end: its settings, flags, time and memory.
TRAINED = 'trained.json'
# The settings with which a training was tested, by the name of the dump.
TESTED = 'tested.json'
# Time and memory of all processes of a run so far.
EFFORT = 'effort.json'


def read_json(path: Path) -> dict:
    """Returns the dict in a JSON file; an empty one if there is no file."""
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}


def write_json(content: Mapping, path: Path) -> None:
    """Writes a JSON file completely or not at all."""
    with written_whole([path]) as (temporary,):
        temporary.write_text(json.dumps(content, indent=1), encoding='utf-8')


def to_plain(value: object) -> object:
    """Returns nested dicts and lists of JSON's types; other values become texts."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def read_effort_facts(folder: Path) -> dict:
    """Returns what the processes of a run have cost so far.

    Returns:
        Seconds and greatest memory of the processes that trained (``seconds``, ``peak_bytes``), the most seconds that
        one of them took to stop (``stop_seconds``), the seconds of each test by the name of its dump (``tests``), and
        those in which its weights were written into the folder that is carried (``share_seconds``). Keys are missing
        until they are known.
    """
    return read_json(folder / EFFORT)


def add_training(folder: Path, seconds: float, peak_bytes: int, stop_seconds: float) -> dict:
    """Adds a process that trained to the effort of a run; returns seconds and memory of all of them."""
    before = read_effort_facts(folder)
    facts = {'seconds': before.get('seconds', 0.) + seconds, 'peak_bytes': max(before.get('peak_bytes', 0), peak_bytes)}
    slowest = max(before.get('stop_seconds', 0.), stop_seconds)
    write_json({**before, **facts, **({'stop_seconds': slowest} if slowest else {})}, folder / EFFORT)
    return facts


def add_test(folder: Path, name: str, seconds: float) -> None:
    """Adds the time of a test, which may have been killed before its end, to the effort of a run."""
    before = read_effort_facts(folder)
    write_json({**before, 'tests': {**before.get('tests', {}), name: seconds}}, folder / EFFORT)


def add_share(folder: Path, seconds: float) -> None:
    """Notes how long it took to write the weights of a run into the folder that is carried."""
    write_json({**read_effort_facts(folder), 'share_seconds': seconds}, folder / EFFORT)

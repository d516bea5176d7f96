"""The section about the settings of trainings: what differs from the config that each inherits from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

import mmcell
from mmcell.checkpoints.seeds import read_settings
from mmcell.evaluation.table_formats import ValueTable
from mmcell.reports.content import Section, Table
from mmcell.reports.curve_sections import Run
from mmcell.reports.run_configs import (
    BaseConfigError,
    difference_table,
    find_config_file,
    find_config_name,
    read_base,
    read_config_file,
)

# Tables of more rows are folded.
_MAX_ROWS = 40


def read_configs(runs: Sequence[Run]) -> dict[Run, dict]:
    """Returns the config of each run, of several seeds the first, as nested dicts and lists; known ones only."""
    return {run: settings for run in runs if (settings := read_settings(run.work_dirs[0]))}


def config_texts(configs: Mapping[Run, dict]) -> list[tuple[str, str]]:
    """Returns a title and the complete config of each run, for the configs that :func:`read_configs` returns."""
    return [(f'config of {run.name}', Config(settings).pretty_text) for run, settings in configs.items()]


def settings_section(configs: Mapping[Run, dict], base: str | Path | None) -> Section | None:
    """Returns the section with the settings that differ from a base, and from those of the first run.

    Args:
        configs: The configs that :func:`read_configs` returns.
        base: A config file with which the configs are compared; None: the config that each inherits from, if its file
            lies in the folder ``configs``.

    Returns:
        The section; None if the config of no run is known.

    Raises:
        BaseConfigError: ``base`` cannot be read.
    """
    if not configs:
        return None
    tables, notes = _differences(configs, base)
    return Section('settings', 'Settings', [
        'A name with dots is a setting inside others. The complete configs are at the end of the page.'], tables=[
        Table(table, texts=table.headers[1:], is_folded=len(table.rows) > _MAX_ROWS) for table in tables], notes=notes)


def _differences(configs: Mapping[Run, dict], base: str | Path | None) -> tuple[list[ValueTable], list[str]]:
    """Returns the tables of what differs from the base, and from the first run; and what cannot be compared."""
    tables, notes = [], []
    given = None if base is None else (str(base), read_config_file(base))
    for run, settings in configs.items():
        try:
            other = given or _find_base(run)
        except BaseConfigError as error:
            notes.append(f'{run.name}: {error}')
            continue
        if other is None:
            notes.append(f'{run.name}: the config that it inherits from is not known, because its config file was not '
                         'found in the folder configs; --base names a config to compare with.')
        else:
            tables.append(_compare(other, (run.name, settings)))
    first, *others = ((run.name, settings) for run, settings in configs.items())
    return [*tables, *(_compare(first, other) for other in others)], notes


def _compare(before: tuple[str, dict], now: tuple[str, dict]) -> ValueTable:
    # The names of several inherited files are too long for the head of a column.
    heads = before[0] if len(before[0]) <= 40 else 'inherited', now[0]
    return difference_table(before[1], now[1], heads, f'{now[0]}: differences from {before[0]}')


def _find_base(run: Run) -> tuple[str, dict] | None:
    file = find_config_file(find_config_name(run.work_dirs[0]),
                            [Path('configs'), Path(mmcell.__file__).parents[1] / 'configs'])
    return None if file is None else read_base(file)

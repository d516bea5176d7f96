"""Where the values of a report come from: command, software, data, checkpoints, and the configs of the trainings."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path

import mmcell
from mmcell.checkpoints.provenance import PACKAGES, describe_software
from mmcell.checkpoints.records import CheckpointRecord, find_checkpoint, read_record, read_records
from mmcell.evaluation.evaluation import EvaluatedFile
from mmcell.evaluation.report_files import describe_file
from mmcell.framework.safe_loading import WeightsError
from mmcell.reports.content import Section, Table
from mmcell.reports.curve_sections import Run
from mmcell.reports.run_configs import (
    BaseConfigError,
    RunConfig,
    difference_table,
    find_config_file,
    read_base,
    read_run_config,
    read_settings,
)


def describe_origin(command: str, files: Sequence[EvaluatedFile]) -> list[tuple[str, str]]:
    """Returns names and values about the making of a report: command, time, software, and the files that were read."""
    facts = [('command', command), ('written', time.strftime('%Y-%m-%d %H:%M:%S %Z')),
             ('software', _list_software({**describe_software(PACKAGES), 'Python': platform.python_version(),
                                          'system': platform.platform(terse=True)}))]
    for file in files[:1]:
        truth = file.pairs.truth
        counts = ', '.join(f'{n:,} {name}' for name, n in truth.count_by_class(truth.class_index).items())
        facts += [('true cells', _file_text(truth.source)),
                  ('images and cells', f'{len(truth.image_ids):,} images with {len(truth.rles):,} cells: {counts}')]
    facts += [(f'predictions: {file.name}', f'{len(file.pairs.predictions):,} detections in {_file_text(file.path)}')
              for file in files]
    return facts


def describe_trainings(runs: Sequence[Run], base: str | Path | None) -> tuple[list[tuple[str, str]], Section | None,
                                                                              list[tuple[str, str]]]:
    """Returns what is known about the trainings in work folders. Of several seeds, the first counts for its config.

    Args:
        runs: The runs.
        base: A config file with which the configs are compared; None: the config that each inherits from, if its file
            lies in the folder ``configs``.

    Returns:
        Names and values about the checkpoints; the section about the differences of the configs, None without any
        config; and titles and texts, the configs.

    Raises:
        BaseConfigError: ``base`` cannot be read.
    """
    records = {folder: _best_record(folder) for run in runs for folder in run.work_dirs}
    facts = [(f'training: {run.name}', _training_text(folder, records[folder]))
             for run in runs for folder in run.work_dirs]
    configs = {run.name: config for run in runs
               if (config := read_run_config(run.work_dirs[0], records[run.work_dirs[0]])).settings}
    if not configs:
        return facts, None, []
    tables, notes = _differences(configs, base)
    section = Section('settings', 'Settings', [
        'A name with dots is a setting inside others. The complete configs are at the end of the page.'], tables=[
        Table(table, texts=table.headers[1:], is_folded=len(table.rows) > 40) for table in tables], notes=notes)
    return facts, section, [(f'config of {name}', config.text) for name, config in configs.items()]


def _differences(configs: dict[str, RunConfig], base: str | Path | None) -> tuple[list, list[str]]:
    """Returns the tables of what differs from the base, and from the first run; and what cannot be compared."""
    tables, notes = [], []
    given = None if base is None else (str(base), read_settings(base))
    for name, config in configs.items():
        try:
            other = given or _find_base(config)
        except BaseConfigError as error:
            notes.append(f'{name}: {error}')
            continue
        if other is None:
            notes.append(f'{name}: the config that {config.name or "its config"} inherits from is not known, because '
                         'its file was not found in the folder configs/; --base names another config to compare with.')
        else:
            tables.append(difference_table(other[1], config.settings, (other[0], name), f'{name}: differences from '
                                                                                        f'{other[0]}'))
    (first_name, first), *others = configs.items()
    tables += [difference_table(first.settings, config.settings, (first_name, name), f'{name}: differences from '
                                                                                     f'{first_name}')
               for name, config in others]
    return tables, notes


def _find_base(config: RunConfig) -> tuple[str, dict] | None:
    file = find_config_file(config.name, [Path('configs'), Path(mmcell.__file__).parents[1] / 'configs'])
    return None if file is None else read_base(file)


def _best_record(folder: Path) -> CheckpointRecord | None:
    """Returns the record of the checkpoint that a work folder stands for; None if it holds none."""
    if not read_records(folder):
        return None
    try:
        return read_record(find_checkpoint(folder))
    except WeightsError:
        return None


def _training_text(folder: Path, record: CheckpointRecord | None) -> str:
    if record is None:
        return f'{folder} (no checkpoint)'
    content, parts = record.content, [str(record.path)]
    parts += [f'{name} {content[key]}' for name, key in (
        ('epoch', 'epoch'), ('step', 'iter'), ('seed', 'seed'), ('saved', 'time'), ('begun', 'run'))
        if content.get(key) is not None]
    parts += [f'best {name} {value:.4f}' for name, (value, _) in record.best_values.items()]
    parameters = content.get('parameters')
    if isinstance(parameters, dict):
        parts.append(', '.join(f'{number:,} {name} parameters' for name, number in parameters.items()))
    if isinstance(content.get('software'), dict):
        parts.append(f"software: {_list_software(content['software'])}")
    if isinstance(content.get('data'), dict):
        parts += [f"{split} data: {part['ann_file']}, {len(part['images']):,} images, SHA-256 {part['sha256'][:16]}…"
                  for split in ('train', 'val') for part in content['data'].get(split) or ()]
    return '; '.join(parts)


def _file_text(path: str) -> str:
    described = describe_file(path)
    return f"{described['path']} (SHA-256 {described['sha256']})"


def _list_software(versions: dict) -> str:
    return ', '.join(f'{name} {version}' for name, version in versions.items() if version is not None)

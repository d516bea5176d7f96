"""Where the values of a report come from: command, software, data and checkpoints."""

import platform
import time
from collections.abc import Sequence
from pathlib import Path

from mmcell.checkpoints.provenance import PACKAGES, describe_software
from mmcell.checkpoints.records import CheckpointRecord, find_checkpoint, read_record, read_records
from mmcell.evaluation.evaluation import EvaluatedFile
from mmcell.evaluation.report_files import describe_file
from mmcell.framework.safe_loading import WeightsError
from mmcell.reports.curve_sections import Run


def describe_origin(command: str, files: Sequence[EvaluatedFile], runs: Sequence[Run]) -> list[tuple[str, str]]:
    """Returns names and values about the making of a report: command, time, software, and the files that were read.

    Args:
        command: The command line.
        files: The results files.
        runs: The trainings; the best checkpoint in each work folder is described.
    """
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
    return facts + [(f'training: {run.name}', _training_text(folder)) for run in runs for folder in run.work_dirs]


def _best_record(folder: Path) -> CheckpointRecord | None:
    """Returns the record of the checkpoint that a work folder stands for; None if it holds none."""
    if not read_records(folder):
        return None
    try:
        return read_record(find_checkpoint(folder))
    except WeightsError:
        return None


def _training_text(folder: Path) -> str:
    record = _best_record(folder)
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

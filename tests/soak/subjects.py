"""The commands that are attacked, with small synthetic data."""

import csv
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from soak.processes import Command, Surroundings
from support.paths import REPO

from mmcell.framework.safe_loading import load_tensors_only
from mmcell.predictions.dump_file import load_results

# Where commands write, relative to their current folder: inside a folder on which a small disk can be mounted.
DISK, OUT = 'disk', 'disk/out'
_NARROW = f"""_base_ = ['{REPO}/configs/cell/mask-rcnn_r18_demo.py']
model = dict(
    backbone=dict(stem_channels=8, base_channels=8),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), bbox_head=dict(in_channels=16, fc_out_channels=32),
        mask_roi_extractor=dict(out_channels=16), mask_head=dict(in_channels=16, conv_out_channels=16)),
    test_cfg=dict(rpn=dict(max_per_img=100), rcnn=dict(score_thr=0., max_per_img=20)))
train_dataloader = dict(
    batch_size=2, num_workers=1, sampler=dict(times=2), dataset=dict(ann_file='DATA/annotations/train.json'))
val_dataloader = dict(num_workers=1, dataset=dict(ann_file='DATA/annotations/val.json'))
test_dataloader = dict(num_workers=1, dataset=dict(ann_file='DATA/annotations/test.json'))
train_cfg = dict(max_epochs=3)
param_scheduler = [dict(type='ConstantLR', factor=1., by_epoch=False)]
custom_hooks = [dict(type='StepSeedHook'), dict(type='FiniteLossHook'), dict(type='EMAHook', momentum=.1)]
"""
_TIME = re.compile(r'\d{8}_\d{6}')
# What the clock and the machine decide.
_MEASURED = {'step_seconds', 'peak_bytes'}


@dataclass(frozen=True)
class Subject:
    """A command, and what it leaves when nothing disturbs it.

    Attributes:
        name: Its name in tables.
        script: The script, relative to the repository.
        arguments: Its arguments; DATA stands for the folder of :func:`prepare`.
        resume: Arguments that are added when it was interrupted.
        older: Arguments of a call whose files may lie there already; None if there is none.
        ignored: Patterns of files that hold times or logs.
        changing: Patterns of files that a running command replaces by later ones.
        readers: What is compared of the files that match a pattern, in place of their bytes.
        asked_to_stop: The exit status after SIGTERM, if the command handles it.
        n_processes: 0 for a process of its own, otherwise torchrun starts this number.
        patches: Values of variables in modules (see :class:`Surroundings`).
    """

    name: str
    script: str
    arguments: tuple[str, ...]
    resume: tuple[str, ...] = ()
    older: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    changing: tuple[str, ...] = ()
    readers: dict[str, Callable[[Path], bytes]] = field(default_factory=dict)
    asked_to_stop: int = 0
    n_processes: int = 0
    patches: dict[str, object] = field(default_factory=dict)

    def start(self, place, resumed=False, older=False, n_files=None, **variables):
        """Starts the command in a folder; the other arguments are those of :class:`Surroundings`."""
        arguments = self.older if older else self.arguments + (self.resume if resumed else ())
        return Command(self.script, [argument.replace('DATA', str(place.data)) for argument in arguments], place.folder,
                       Surroundings({'TMPDIR': str(place.temporary), **variables}, n_files, self.patches),
                       self.n_processes)

    def is_changing(self, name):
        """Whether a running command replaces this file by later ones."""
        return _matches(name, self.changing)

    def read_outputs(self, folder):
        """Returns a digest of each file below a folder, by its path there. <time> stands for the time in a name.

        Short contents are their own digests, so that findings show them.
        """
        files = sorted((path for path in folder.rglob('*') if path.is_file()), key=lambda path: path.parts)
        names = {path: _TIME.sub('<time>', str(path.relative_to(folder))) for path in files}
        contents = ((name, self._content(path, name)) for path, name in names.items()
                    if not _matches(name, self.ignored))
        return {name: repr(content) if len(content) < 200 else hashlib.sha256(content).hexdigest()
                for name, content in contents}

    def _content(self, path, name):
        read = next((read for pattern, read in self.readers.items() if fnmatch(name, pattern)), Path.read_bytes)
        try:
            return read(path)
        except Exception as error:  # a file that is not complete
            return f'cannot be read: {error!r}'.encode() + path.read_bytes()


def _matches(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


def read_table(path):
    """The table of a study, without what the clock decides."""
    rows = (json.loads(path.read_text())['rows'] if path.suffix == '.json'
            else csv.DictReader(path.read_text().splitlines()))
    return json.dumps([{key: value for key, value in row.items() if key not in _MEASURED} for row in rows]).encode()


def read_values(path):
    """The values of an evaluation, without the commit, which changes while somebody works on the project."""
    document = json.loads(path.read_text())
    del document['software']
    return json.dumps(document).encode()


def read_results(path):
    """The predictions in a results file, whose bytes depend on addresses in memory."""
    return b''.join(_flatten(load_results(path)))


def read_checkpoint(path):
    """What a training has learned and where it stands, without times and the place of its files."""
    checkpoint = load_tensors_only(path)
    learned = {key: checkpoint.get(key) for key in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers')}
    return b''.join(_flatten({**learned, 'epoch': checkpoint['meta']['epoch'], 'iter': checkpoint['meta']['iter']}))


def read_checkpoint_record(path):
    """The step of a checkpoint, and the best values of one that is the best.

    MMEngine writes other checkpoints again when a validation has found a better value, and a resumed training does not.
    """
    record = json.loads(path.read_text())
    best = record.get('best') if path.name.startswith('best_') else None
    return json.dumps([record['epoch'], record['iter'], best]).encode()


def _flatten(value):
    """Yields the bytes of all tensors and the text of all other values."""
    if isinstance(value, torch.Tensor | np.ndarray):
        yield f'{value.dtype} {tuple(value.shape)} '.encode()
        yield np.asarray(value).tobytes()
    elif isinstance(value, dict):
        for key in sorted(value):
            yield f'{key!r}: '.encode()
            yield from _flatten(value[key])
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _flatten(part)
    else:
        yield f'{value!r} '.encode()


def read_page(path):
    """A report page, without the time when it was written."""
    return re.sub(rb'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC', b'', path.read_bytes())


def prepare(folder):
    """Makes the data that the commands read: images, annotations, configs, a trained model and predictions."""
    (folder / 'temporary').mkdir(parents=True)
    (folder / 'narrow.py').write_text(_NARROW.replace('DATA', str(folder)))
    (folder / 'wide.py').write_text(f"_base_ = ['{folder / 'narrow.py'}']\n"
                                    'model = dict(rpn_head=dict(anchor_generator=dict(scales=[8])))\n')
    demo = ['--density', '8', '--images']
    for script, arguments in (
            ('data_prep/make_demo_data.py', [f'{folder}/raw', *demo, '8', '--test-images', '5', '--size', '96']),
            ('data_prep/make_demo_data.py', [f'{folder}/large', *demo, '0', '--test-images', '1', '--size', '640']),
            ('data_prep/to_coco.py', [f'{folder}/raw', '--out', f'{folder}/annotations', '--val-ratio', '.3']),
            ('tools/train.py', [f'{folder}/narrow.py', '--work-dir', f'{folder}/run']),
            ('tools/test.py', [f'{folder}/narrow.py', f'{folder}/run', '--out', f'{folder}/test.pkl', '--work-dir',
                               f'{folder}/tests']),
            ('tools/test.py', [f'{folder}/narrow.py', f'{folder}/run', '--out', f'{folder}/val.pkl', '--work-dir',
                               f'{folder}/tests', '--split', 'val'])):
        Command(script, arguments, folder).finish()


_RUN = 'DATA/run/epoch_3.pth'
_LARGE = 'DATA/large/test_release/*.tif'
_LOGS = ('<time>/*', '*/<time>/*', '.lock*', '*/.lock*', '*.log')
_PREDICT = ('--out', OUT, '--score-thr', '0', '--no-amp')
_TRAINING = dict(
    script='tools/train.py', arguments=('DATA/narrow.py', '--work-dir', OUT), resume=('--resume',), asked_to_stop=3,
    ignored=(*_LOGS, 'narrow.py'), changing=('last_checkpoint', 'best_*'),
    readers={'*.pth': read_checkpoint, '*.json': read_checkpoint_record})
_TESTING = dict(
    script='tools/test.py', arguments=('DATA/narrow.py', _RUN, '--out', f'{OUT}/test.pkl', '--work-dir', f'{OUT}/work'),
    ignored=('work/<time>/*.log', 'work/<time>/*.json', 'work/<time>/vis_data/*', 'work/*.py'),
    readers={'*.pkl': read_results})
# The record of an image, which says that it is not done yet.
_RECORDS = ('.*.json',)
_SMALL = dict(
    script='tools/predict.py', resume=('--resume',), changing=_RECORDS,
    arguments=(_RUN, 'DATA/raw/test_release', *_PREDICT, '--formats', 'labels', 'class-labels', 'geojson', 'geojson-gz',
               'rois', 'coco', 'csv', 'overlay'))
_STREAMED = dict(
    script='tools/predict.py', resume=('--resume',), changing=_RECORDS,
    arguments=(_RUN, _LARGE, *_PREDICT, '--tile', '160', '--overlap', '32', '--formats', 'labels', 'class-labels',
               'label-pyramid', 'geojson', 'csv'),
    patches={'mmcell.inference.prediction_plan.STREAMED_PX': 100_000})
SUBJECTS = {subject.name: subject for subject in (
    Subject('conversion', 'data_prep/to_coco.py', ('DATA/raw', '--out', OUT, '--val-ratio', '.3', '--jobs', '2'),
            older=('DATA/raw', '--out', OUT, '--val-ratio', '.5')),
    Subject('conversion back', 'data_prep/from_coco.py', ('DATA/annotations/trainval.json', '--out', OUT),
            changing=_RECORDS),
    Subject('training', **_TRAINING),
    Subject('training by two processes', **_TRAINING, n_processes=2),
    Subject('test', **_TESTING),
    Subject('test by two processes', **_TESTING, n_processes=2),
    Subject('prediction', **_SMALL),
    Subject('prediction by two processes', **_SMALL, n_processes=2),
    Subject('prediction in tiles', 'tools/predict.py', (_RUN, _LARGE, *_PREDICT, '--tile', '160', '--overlap', '32'),
            resume=('--resume',), changing=_RECORDS),
    Subject('prediction of streamed images', **_STREAMED),
    Subject('submission', 'tools/submit.py',
            ('DATA/test.pkl', '--annotations', 'DATA/annotations/test.json', '--out', f'{OUT}/submission.zip'),
            older=('DATA/test.pkl', '--annotations', 'DATA/annotations/test.json', '--out', f'{OUT}/submission.zip',
                   '--score-thr', '.3')),
    Subject('evaluation', 'tools/evaluate.py',
            ('DATA/val.pkl', 'DATA/annotations/val.json', '--out', f'{OUT}/values.json', '--per-image',
             f'{OUT}/images.csv', '--overlays', f'{OUT}/overlays', '--score-thr', '.05', '--resamples', '50'),
            older=('DATA/val.pkl', 'DATA/annotations/val.json', '--out', f'{OUT}/values.json', '--per-image',
                   f'{OUT}/images.csv', '--score-thr', '.5', '--resamples', '50'),
            readers={'values.json': read_values}),
    Subject('report', 'tools/report.py',
            ('DATA/run', 'DATA/val.pkl', '--out', f'{OUT}/report.html', '--score-thr', '.05', '--resamples', '50'),
            older=('DATA/run', 'DATA/val.pkl', '--out', f'{OUT}/report.html', '--title', 'Older'),
            readers={'report.html': read_page}),
    Subject('ensemble', 'tools/ensemble.py', ('DATA/test.pkl', 'DATA/test.pkl', '--out', f'{OUT}/both.pkl'),
            readers={'*.pkl': read_results}),
    Subject('export of a model', 'tools/export_model.py',
            (_RUN, '--out', f'{OUT}/model.safetensors', '--mpp', '0.5', '--licence', 'CC0-1.0')),
    Subject('study', 'tools/study.py',
            ('DATA/narrow.py', 'DATA/wide.py', '--out', OUT, '--max-epochs', '1', '--resamples', '50', '--score-thr',
             '.05', '--jobs', '2'), asked_to_stop=130,
            ignored=(*_LOGS, '*/effort.json', 'times.json', '*/narrow.py', '*/wide.py', '*.html', '*/trained.json',
                     'table.md', 'table.tex'),
            changing=('table.*', '*/last_checkpoint', '*/best_*', '*/tested.json'),
            readers={'table.*': read_table, '*.pkl': read_results, '*.pth': read_checkpoint,
                     '*/epoch_?.json': read_checkpoint_record,
                     '*/best_*.json': read_checkpoint_record}),
)}

"""Advice as a config file."""

import ast
import json

import numpy as np
import pytest
import tifffile
from mmdet.registry import MODELS
from mmengine.config import Config
from support.commands import TINY, read_log, run
from support.configs import load, path_of
from support.paths import REPO
from support.synthetic_data import discs, write_annotations

from mmcell.inspection.advice import advise, merge_settings
from mmcell.inspection.advice_places import with_settings
from mmcell.inspection.advice_record import Advice
from mmcell.inspection.sets import inspect_sets
from mmcell.inspection.written_config import WrittenConfigError, write_config

BASE = path_of('cell/mask-rcnn_r50')
PIPELINE = [dict(type='LoadTiff', percentiles=(1., 99.8)), dict(type='LoadCellAnnotations'),
            dict(type='RandomCrop', crop_size=(768, 768), allow_negative_crop=True, recompute_bbox=True),
            dict(type='PackCellInputs')]
ADVICE = [
    Advice('classes', 'The data have 2 classes (a "b", c\\d), the model 4.',
           {'model.roi_head.bbox_head.num_classes': 2, 'model.roi_head.mask_head.num_classes': 2}),
    Advice('crop', 'Cells are cut.', {'train_dataloader.dataset.pipeline': PIPELINE}),
    Advice('tiles', 'Nothing to set.', flag='--tile 512'),
    Advice('anchors', 'Recall is low. ' * 20, {'model.rpn_head.anchor_generator.scales': [3., 4.24],
                                               'model.rpn_head.anchor_generator.base_sizes': None}),
]
FILES = {'train': 'annotations/mine/train.json', 'val': 'annotations/mine/val.json',
         'test': 'annotations/mine/test.json'}


@pytest.fixture
def written(tmp_path):
    path = tmp_path / 'own' / 'fitted.py'
    write_config(path, BASE, ADVICE, FILES)
    return path


def test_the_file_equals_the_base_with_exactly_these_settings(written):
    expected = with_settings(load('cell/mask-rcnn_r50').to_dict(), merge_settings(ADVICE) | {
        f'{part}_dataloader.dataset.ann_file': file for part, file in FILES.items()})
    assert Config.fromfile(written).to_dict() == expected


def test_reasons_stand_once_above_what_they_change(written):
    lines = written.read_text().splitlines()
    assert max(map(len, lines)) <= 120
    comments = [line.strip('# ') for line in lines if line.strip().startswith('#')]
    text = ' '.join(comments)
    assert text.count('The data have 2 classes (a "b", c\\d), the model 4.') == 1
    assert text.count('Recall is low.') == 20
    assert text.count('Annotation files.') == 1
    assert 'Nothing to set' not in text
    place = lines.index('    # The data have 2 classes (a "b", c\\d), the model 4.')
    assert lines[place + 1].startswith('    roi_head=dict(bbox_head=dict(num_classes=2)')


def test_the_header_asks_and_names_the_command(written):
    docstring = ast.get_docstring(ast.parse(written.read_text()))
    assert docstring.startswith('Does mask-rcnn_r50.py find more cells')
    assert f'python tools/train.py {written}' in docstring
    assert 'not run yet' in docstring


def test_the_model_can_be_built(written):
    cfg = Config.fromfile(written)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model)
    assert model.roi_head.mask_head.num_classes == 2
    assert model.rpn_head.prior_generator.num_base_priors == [6] * 5


def test_lists_of_stages_are_written_whole(tmp_path):
    config = load('cell/cascade-mask-rcnn_r50').to_dict()
    heads = [{**head, 'num_classes': 3} for head in config['model']['roi_head']['bbox_head']]
    settings = {'model.roi_head.bbox_head': heads, 'model.roi_head.mask_head.num_classes': 3}
    write_config(tmp_path / 'mine.py', path_of('cell/cascade-mask-rcnn_r50'), [Advice('classes', 'Why.', settings)], {})
    assert Config.fromfile(tmp_path / 'mine.py').to_dict() == with_settings(config, settings)


def test_nothing_to_change_is_a_config_that_equals_its_base(tmp_path):
    write_config(tmp_path / 'mine.py', BASE, [], {})
    assert Config.fromfile(tmp_path / 'mine.py').to_dict() == load('cell/mask-rcnn_r50').to_dict()


def test_a_file_is_replaced_only_on_request(written):
    before = written.read_bytes()
    with pytest.raises(WrittenConfigError, match='exists already'):
        write_config(written, BASE, [], {})
    assert written.read_bytes() == before
    write_config(written, BASE, [], {}, overwrites=True)
    assert written.read_bytes() != before


@pytest.mark.parametrize(('name', 'files', 'message'), [
    ('mine.txt', {}, 'must end in .py'), ('mine.py', {'trainval': 'a.json'}, 'one of train, val, test')])
def test_other_names_are_refused(tmp_path, name, files, message):
    with pytest.raises(WrittenConfigError, match=message):
        write_config(tmp_path / name, BASE, [], files)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_config_of_real_advice_trains_and_tests(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(4):
        folder = tmp_path / 'train' / f'image{number}'
        folder.mkdir(parents=True)
        large = discs((96, 128), [(place + 1, 20 + 24 * (place // 4), 16 + 30 * (place % 4), 9) for place in range(12)])
        tifffile.imwrite(folder / 'image.tif', np.where(large[..., None] > 0, 90, 220).astype(np.uint8)
                         + rng.integers(0, 20, (96, 128, 3), np.uint8))
        for name, keep in (('class1', large % 6 != 1), ('class2', large % 6 == 1)):
            tifffile.imwrite(folder / f'{name}.tif', np.where(keep, large, 0).astype(np.float64))
    files = {part: tmp_path / 'annotations' / f'{part}.json' for part in ('train', 'val', 'test')}
    for file in files.values():
        write_annotations(tmp_path, file, ['one', 'two'])
    base = REPO / 'configs/cell/mask-rcnn_r18_demo.py'
    given = advise(inspect_sets([files['train'], files['val']]), Config.fromfile(base))
    config, work_dir = tmp_path / 'fitted.py', tmp_path / 'run'
    write_config(config, base, given, files)
    assert Config.fromfile(config).model.roi_head.mask_head.num_classes == 2
    run('tools/train.py', config, '--work-dir', work_dir, '--cfg-options', *TINY, 'train_cfg.max_epochs=1')
    assert 'Epoch(train)' in read_log(work_dir)
    out = tmp_path / 'results.pkl'
    run('tools/test.py', config, work_dir / 'epoch_1.pth', '--work-dir', tmp_path / 'test', '--out', out,
        '--cfg-options', *TINY)
    assert out.exists()
    assert len(json.loads(files['test'].read_text())['images']) == 4

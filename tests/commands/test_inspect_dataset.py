"""The inspection of data sets as a command: alarms, exit statuses, JSON, the page, and the config that it writes."""

import csv
import json
import pickle
import re
import shutil

import numpy as np
import pycocotools.mask
import pytest
from mmengine.config import Config
from support.commands import call, convert


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Annotation files of twelve small synthetic images without a defect."""
    folder = tmp_path_factory.mktemp('demo')
    made = call('data_prep/make_demo_data.py', folder / 'data', '--images', '12', '--test-images', '1', '--size', '160')
    assert made.returncode == 0, made.stderr
    run = convert(folder / 'data', '--out', folder / 'ann', '--channel-order', 'bgr')
    assert run.returncode == 0, run.stderr
    return folder / 'ann'


@pytest.fixture
def files(demo, tmp_path):
    """Copies of train.json and val.json that a test may change."""
    for name in ('train', 'val'):
        document = json.loads((demo / f'{name}.json').read_text())
        document['info'] = {'data_root': str(demo.parent / 'data'), 'channel_order': 'bgr'}
        (tmp_path / f'{name}.json').write_text(json.dumps(document))
    return tmp_path


def inspect(folder, *arguments):
    return call('data_prep/inspect_dataset.py', folder / 'train.json', folder / 'val.json', '--jobs', '1', *arguments)


def list_image_twice(files, name='train/<b>/image.tif'):
    """Puts an image of train.json into val.json, too, under a name with markup."""
    train, val = (json.loads((files / f'{part}.json').read_text()) for part in ('train', 'val'))
    image = train['images'][0]
    root = files / 'data'
    shutil.copytree(train['info']['data_root'], root)
    (root / name).parent.mkdir(parents=True)
    shutil.copy(root / image['file_name'], root / name)
    for document in (train, val):
        document['info']['data_root'] = 'data'
    val['images'].append({**image, 'id': 999, 'file_name': name})
    val['annotations'] += [{**annotation, 'id': 10**6 + annotation['id'], 'image_id': 999}
                           for annotation in train['annotations'] if annotation['image_id'] == image['id']]
    for part, document in (('train', train), ('val', val)):
        (files / f'{part}.json').write_text(json.dumps(document))


def test_data_without_a_defect_give_no_alarm(files, tmp_path):
    run = inspect(files, '--out', tmp_path / 'report.json')
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith('12 images inspected: no alarm')
    report = json.loads((tmp_path / 'report.json').read_text())
    assert {finding['level'] for finding in report['findings']} <= {'note'}
    train = json.loads((files / 'train.json').read_text())
    everything = report['contents']['train']['all']
    assert (everything['n_images'], everything['n_cells']) == (len(train['images']), len(train['annotations']))
    by_class = report['contents']['train']['classes']
    assert sum(numbers['n_cells'] for numbers in by_class.values()) == everything['n_cells']
    areas = sorted(annotation['area'] for annotation in train['annotations'])
    assert areas[0] <= everything['area_px_5'] <= everything['area_px_50'] <= everything['area_px_95'] <= areas[-1]
    assert {entry['kind'] for entry in report['advice']['entries']} >= {'anchors', 'detections', 'classes'}
    for row in ('train: class1', 'val: class2'):
        assert row in run.stdout


def test_an_image_in_two_files_is_an_error_on_the_screen_in_json_and_on_the_page(files, tmp_path):
    list_image_twice(files)
    run = inspect(files, '--out', tmp_path / 'report.json', '--page', tmp_path / 'page.html')
    assert run.returncode == 3, run.stdout + run.stderr
    assert re.match(r'ERROR \S*: ', run.stdout) and 'train/<b>/image.tif' in run.stdout
    alarms = [finding for finding in json.loads((tmp_path / 'report.json').read_text())['findings']
              if finding['level'] == 'error']
    assert 'train/<b>/image.tif' in json.dumps(alarms[0]['places'])
    page = (tmp_path / 'page.html').read_text()
    assert 'train/&lt;b&gt;/image.tif' in page and '<b>/image.tif' not in page
    assert page.count('<img src="data:image/webp') >= 1 and not re.search(r'(src|href)="?https?:', page)
    assert alarms[0]['kind'] in page and 'Advice' in page
    for finding in json.loads((tmp_path / 'report.json').read_text())['findings']:
        if finding['level'] == 'note' and finding['kind'] != 'summary' and finding['places']:
            assert f"{finding['kind']}: where" in page


def test_the_written_config_has_the_advised_settings_and_files(files, tmp_path):
    path = tmp_path / 'config.py'
    run = inspect(files, '--write-config', path, '--out', tmp_path / 'report.json')
    assert run.returncode == 0, run.stderr
    config = Config.fromfile(path)
    assert config.train_dataloader.dataset.ann_file == str(files / 'train.json')
    assert config.val_dataloader.dataset.ann_file == str(files / 'val.json')
    entries = json.loads((tmp_path / 'report.json').read_text())['advice']['entries']
    settings = {key: value for entry in entries for key, value in entry['settings'].items()}
    assert settings
    for key, value in settings.items():
        found = config
        for part in key.split('.'):
            found = found[int(part)] if part.isdecimal() else found[part]
        assert json.loads(json.dumps(found)) == value
    again = inspect(files, '--write-config', path)
    assert again.returncode == 1 and 'exists already' in again.stderr
    assert inspect(files, '--write-config', path, '--force').returncode == 0


def moved(rle):
    mask = np.roll(pycocotools.mask.decode(rle), 2, axis=1)
    encoded = pycocotools.mask.encode(np.asfortranarray(mask))
    return {'size': rle['size'], 'counts': encoded['counts'].decode()}


def test_predictions_show_labels_that_are_probably_wrong(files, tmp_path):
    """The predictions are the labels before a ninth of them got another class, moved by 2 px."""
    train = json.loads((files / 'train.json').read_text())
    scores = np.random.default_rng(0).uniform(.5, 1, len(train['annotations'])).tolist()
    results = [{**{key: annotation[key] for key in ('image_id', 'category_id', 'bbox')}, 'score': score,
                'segmentation': moved(annotation['segmentation'])}
               for annotation, score in zip(train['annotations'], scores, strict=True)]
    for annotation in train['annotations'][::9]:
        annotation['category_id'] = annotation['category_id'] % 4 + 1
    (files / 'train.json').write_text(json.dumps(train))
    (tmp_path / 'results.json').write_text(json.dumps(results))
    run = inspect(files, '--predictions', tmp_path / 'results.json', '--errors-out', tmp_path / 'errors')
    assert run.returncode == 0, run.stdout + run.stderr
    changed = {annotation['id'] for annotation in train['annotations'][::9]}
    assert f'note: {len(changed)} labels have another class than the predictions of their cell' in run.stdout
    with open(tmp_path / 'errors' / 'label_errors.csv', encoding='utf-8', newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['kind'] == 'wrong class']
    assert {int(row['cell_id']) for row in rows} == changed


def test_errors_without_predictions_are_a_wrong_command_line(files, tmp_path):
    run = inspect(files, '--errors-out', tmp_path)
    assert run.returncode == 2 and '--errors-out needs --predictions' in run.stderr


def test_an_image_that_cannot_be_read_is_an_alarm_and_no_traceback(files, tmp_path):
    list_image_twice(files, 'train/x/image.tif')
    (files / 'data' / 'train' / 'x' / 'image.tif').write_bytes(pickle.dumps('no image'))
    run = inspect(files, '--page', tmp_path / 'page.html')
    assert run.returncode == 3 and 'train/x/image.tif' in run.stdout and 'Traceback' not in run.stderr
    assert (tmp_path / 'page.html').exists()

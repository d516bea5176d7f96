import json
import os
import re
from pathlib import Path

import pytest
from support.browser_pages import check_page_works
from support.commands import call
from support.html_pages import Page
from support.report_files import CLASSES, ODD_CLASS, predictions, write_json, write_run, write_truth

from mmcell.evaluation.tables import BY_CLASS, BY_SIZE, HEADLINE
from mmcell.reports.value_sections import TILES

CONFIG = "val_dataloader = dict(dataset=dict(ann_file='val.json'))\nmodel = dict(depth=18)\n"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs the command in a folder with val.json, its images, a.json and b.json; returns the output and the page."""
    monkeypatch.chdir(tmp_path)
    write_truth(tmp_path)
    write_json(tmp_path / 'a.json', predictions())
    write_json(tmp_path / 'b.json', predictions(shift=2, seed=1))

    def run_command(*args, script='tools/report.py', flag='--out', page='page.html'):
        ended = call(script, *args, flag, page)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout, Page((tmp_path / page).read_text(encoding='utf-8'))
    return run_command


def numbers(values, names, form='.3f'):
    return ['-' if values[name] is None else format(values[name], form) for name in names]


def test_the_numbers_are_those_of_evaluate(run, tmp_path):
    page = run('a.json', '--annotations', 'val.json')[1]
    run('a.json', 'val.json', '--out', 'm.json', '--per-image', 'images.json', script='tools/evaluate.py',
        flag='--report', page='other.html')
    measured = json.loads((tmp_path / 'm.json').read_text())
    values, intervals, errors = measured['values'], measured['intervals'], measured['errors']
    rows = page.rows('headline')
    assert {name: rows[name][:2] for name in HEADLINE} == {
        name: [f'{values[name]:.3f}', '{:.3f} to {:.3f}'.format(*intervals[name])] for name in HEADLINE}
    for name in TILES:
        assert f'{name}{values[name]:.3f}' in page.sections['headline']
    for name in CLASSES:
        assert page.rows('classes')[name][2:] == numbers(values, [f'{value}/{name}' for value in BY_CLASS])
    assert page.rows('sizes')['0-16px'][1:] == numbers(values, [f'{value}/0-16px' for value in BY_SIZE])
    for name, counts in zip(errors['confusion']['rows_true'], errors['confusion']['counts'], strict=True):
        assert page.rows('confusion')[name] == list(map(str, counts))
    for name, kind in errors['error_kinds']['kinds'].items():
        assert page.rows('errors')[name][:2] == [str(kind['n']), f"{kind['F1_if_mended']:.3f}"]
    assert f"{errors['reliability']['expected_calibration_error']:.3f}" in page.sections['reliability']
    images = json.loads((tmp_path / 'images.json').read_text())['images']
    for row in images:
        shown = page.rows('values-of-images')[str(row['image_id'])]
        assert shown == [row['file_name'], *(str(row[name]) for name in (
            'true_cells', 'detections', 'hits', 'missed', 'spurious', 'wrong_class')),
            *numbers(row, ['F1', 'PQ', 'AJI+', 'Dice', 'AP', 'AP50'])]
    worst_first = [row[1] for row in page.tables['values-of-images'][0][1:]]
    assert worst_first == [row['file_name'] for row in sorted(images, key=lambda row: row['F1'])]


def test_the_page_of_evaluate_is_the_same(run):
    page = run('a.json', 'b.json', '--annotations', 'val.json')[1]
    output, other = run('a.json', 'b.json', 'val.json', script='tools/evaluate.py', flag='--report')
    assert 'wrote a page to look at to page.html' in output
    origin, other_origin = page.rows('origin'), other.rows('origin')
    assert origin.pop('command') != other_origin.pop('command')
    assert all(rows.pop('written') for rows in (origin, other_origin)) and origin == other_origin
    for name in page.sections.keys() - {'origin'}:
        assert (page.sections[name], page.tables[name]) == (other.sections[name], other.tables[name])
    assert page.scripts == other.scripts


def test_results_that_evaluate_compares_are_compared_on_its_page(run):
    page = run('a.json', 'val.json', '--compare', 'b.json', script='tools/evaluate.py', flag='--report')[1]
    assert 'b.json minus a' in page.sections['comparison']


def test_several_results_are_compared_with_the_first(run, tmp_path):
    page = run('a.json', 'b.json', '--annotations', 'val.json', '--names', 'old', 'new')[1]
    call('tools/evaluate.py', 'b.json', 'a.json', 'val.json', '--out', 'm.json')
    [other] = json.loads((tmp_path / 'm.json').read_text())['others']
    rows = page.rows('comparison')
    for name in HEADLINE:
        difference = other['differences'][name]
        assert rows[name] == [f"{difference['first']:.3f}", f"{difference['second']:.3f}",
                              f"{difference['difference']:+.3f}", '{:+.3f} to {:+.3f}'.format(*difference['interval'])]
    assert page.rows('headline')[''][:2] == ['old', 'new']
    gallery = json.loads(page.scripts[0])
    assert [run['name'] for run in gallery['runs']] == ['old', 'new']
    assert page.title == 'old, new'


def test_odd_names_are_only_text(run):
    page = run('a.json', '--annotations', 'val.json', '--title', '</title><script>alert(1)</script>')[1]
    assert page.title == '</title><script>alert(1)</script>'
    assert len(page.scripts) == 2 and ODD_CLASS in page.rows('classes')
    gallery = json.loads(page.scripts[0])
    assert ODD_CLASS in [entry['name'] for entry in gallery['classes']]
    assert any('<script>' in image['name'] for image in gallery['images'])
    # The only letters in bold print are the numbers of the tiles.
    assert sum(tag == 'b' for tag, _ in page.tags) == len(TILES)


def test_sections_appear_for_what_is_given(run, tmp_path):
    write_run(tmp_path / 'work', config=CONFIG)
    of_results = {'headline', 'precision', 'classes', 'confusion', 'errors', 'reliability', 'sizes', 'values-of-images'}
    of_trainings = {'curves', 'settings'}
    everything = run('work', 'a.json')[1]
    assert everything.sections.keys() == {*of_results, *of_trainings, 'gallery', 'origin'}
    links = {attributes['href'][1:] for tag, attributes in everything.tags if tag == 'a'}
    assert links == everything.sections.keys()
    without_pictures = run('a.json', '--annotations', 'val.json', '--max-images', 0)[1]
    assert without_pictures.sections.keys() == {*of_results, 'origin'} and len(without_pictures.scripts) == 1
    output, curves = run('work')
    assert curves.sections.keys() == {*of_trainings, 'origin'} and 'nothing is measured' in output
    assert {'comparison'} == run('a.json', 'b.json', '--annotations', 'val.json')[1].sections.keys() - {
        *of_results, 'gallery', 'origin'}


def test_pictures_of_missing_images_are_left_out_with_a_sentence(run, tmp_path):
    (tmp_path / 'images' / 'one.tif').unlink()
    (tmp_path / 'images' / 'empty.tif').write_bytes(b'II*\0 is cut')
    output, page = run('a.json', '--annotations', 'val.json')
    for text in (output, ' '.join(page.notes)):
        assert '1 of 3 images cannot be found, first images/one.tif: these are grey in the pictures' in text
        assert '1 image cannot be shown and is grey: images/empty.tif: ' in text
    assert len(json.loads(page.scripts[0])['images']) == 3
    for path in (tmp_path / 'images').iterdir():
        path.unlink()
    output, page = run('a.json', '--annotations', 'val.json')
    assert '3 of 3 images cannot be found' in output and 'the report has no pictures' in ' '.join(page.notes)
    assert 'gallery' not in page.sections and page.rows('headline')['AP50']


def test_the_images_with_the_lowest_f1_are_shown(run):
    page = run('a.json', '--annotations', 'val.json', '--max-images', 1)[1]
    images = json.loads(page.scripts[0])['images']
    assert [image['name'] for image in images] == ['images/empty.tif'] and 'lowest F1' in page.sections['gallery']


def test_without_detections_and_without_intervals(run, tmp_path):
    write_json(tmp_path / 'none.json', [])
    page = run('none.json', '--annotations', 'val.json', '--resamples', 0)[1]
    assert page.rows('headline')['AP50'] == ['0.000', 'masks, IoU .50, every detection']
    assert page.rows('errors')['missed'][:2] == ['24', '1.000']
    assert 'no detection has a score >= 0.5' in page.sections['reliability']
    assert 'interval' not in page.sections['headline'] and 'nan' not in page.sections['errors'].lower()


def test_one_image(run, tmp_path):
    write_truth(tmp_path, n_images=1)
    write_json(tmp_path / 'a.json', [detection for detection in predictions() if detection['image_id'] == 1])
    page = run('a.json', '--annotations', 'val.json')[1]
    assert 'in 1 image.' in page.sections['headline'] and len(page.tables['values-of-images'][0]) == 2


def test_a_score_threshold_is_that_of_tables_and_pictures(run):
    page = run('a.json', '--annotations', 'val.json', '--score-thr', .99)[1]
    assert 'score of at least 0.99' in page.sections['headline'] and json.loads(page.scripts[0])['threshold'] == .99
    # Nothing is predicted in the image without cells: its F1 is not defined, and it is the last one.
    assert page.tables['values-of-images'][0][-1][1:9] == ['images/empty.tif', *'000000', '-']


def test_the_annotation_file_and_the_dump_of_a_work_folder(run, tmp_path):
    work = tmp_path / 'work'
    write_run(work, config=CONFIG)
    write_dump(work / 'val.pkl', tmp_path)
    output, page = run('work')
    assert 'the true cells are those of val.json, the validation file in the config of work' in output
    assert 'work/val.pkl is measured, the only dump in work' in output
    assert page.rows('headline')['AP50'][0] == run('a.json', '--annotations', 'val.json')[1].rows('headline')['AP50'][0]
    assert 'predictions: work' in page.rows('origin')
    # Ids are the same in all annotation files: the names of the images say that a dump is about others.
    write_dump(work / 'val.pkl', tmp_path, folder='elsewhere')
    output, page = run('work')
    assert 'work/val.pkl is not measured, because its images are not those of val.json' in output
    assert 'headline' not in page.sections
    write_dump(work / 'more.pkl', tmp_path)
    output, page = run('work')
    assert 'work holds 2 dumps, of which none is measured' in output and 'headline' not in page.sections
    (tmp_path / 'val.json').unlink()
    output, page = run('work')
    assert 'no config of a work folder names a validation file that exists here' in output
    ended = call('tools/report.py', 'work', 'a.json', '--out', 'x.html')
    assert ended.returncode == 1 and '--annotations' in ended.stderr and not (tmp_path / 'x.html').exists()


def write_dump(path, root, folder='images'):
    import torch
    from mmengine.fileio import dump
    names = [image['file_name'] for image in json.loads((root / 'val.json').read_text())['images']]
    samples = []
    for image_id, name in enumerate(names, start=1):
        own = [detection for detection in predictions() if detection['image_id'] == image_id]
        boxes = torch.tensor([detection['bbox'] for detection in own], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        samples.append(dict(img_id=image_id, img_path=str(root / name.replace('images', folder)), pred_instances=dict(
            bboxes=boxes, scores=torch.tensor([detection['score'] for detection in own], dtype=torch.float64),
            labels=torch.tensor([detection['category_id'] - 1 for detection in own]),
            masks=[detection['segmentation'] for detection in own])))
    if folder != 'images':
        (root / folder).mkdir(exist_ok=True)
        for name in names:
            (root / name.replace('images', folder)).write_bytes((root / name).read_bytes())
    dump(samples, str(path))


def test_curves_of_several_runs(run, tmp_path):
    write_run(tmp_path / 'a', losses=(3., float('nan'), 1.))
    write_run(tmp_path / 'b', losses=(2.,), scores=())
    write_run(tmp_path / 'b', losses=(1.5, 1.), scores=(), started='20260102_000000', config='resume = False\n')
    page = run('a', 'b', '--names', 'first', 'second')[1]
    assert 'loss is NaN or infinite 1 times, first at step 20' in page.sections['curves']
    rows = page.rows('curves')
    assert rows['first'][0] == '30 (epoch 3)' and 'AP50: best 0.4 at step 20 (epoch 2)' in rows['first'][1]
    assert {'second, training 1', 'second, training 2'} <= rows.keys()
    charts = [attributes['aria-label'] for tag, attributes in page.tags if tag == 'svg']
    everyone = 'first, second, training 1, second, training 2 over epochs'
    assert charts == [f'loss of {everyone}', 'AP of first over epochs', 'AP50 of first over epochs',
                      f'learning rate of {everyone}']


def test_a_training_without_validation(run, tmp_path):
    write_run(tmp_path / 'a', scores=())
    page = run('a')[1]
    assert 'Nothing was validated' in page.sections['curves'] and 'settings' not in page.sections


def test_seeds_are_one_run(run, tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / 's' / f'seed{seed}', losses=(3., 2., 1.)[:2 + seed], scores=(.3, .4 + .2 * seed),
                  config=f'randomness = dict(seed={seed})\nmodel = dict(depth=18)\n')
    page = run('s/seed0', 's/seed1')[1]
    assert 'The line of several seeds is their mean' in page.sections['curves']
    assert sum(attributes.get('class') == 'band' for tag, attributes in page.tags if tag == 'path') == 4
    # Beyond the end of the band, the longer training is a thin line in the charts of loss and learning rate.
    assert sum('stroke-width:1' in attributes.get('style', '') for _, attributes in page.tags) == 2


def test_the_settings_are_compared_with_those_that_the_config_inherits(run, tmp_path):
    (tmp_path / 'configs' / 'mine').mkdir(parents=True)
    (tmp_path / 'configs' / 'base.py').write_text('model = dict(depth=50, width=1)\ntrain_cfg = dict(max_epochs=2)\n')
    (tmp_path / 'configs' / 'mine' / 'child.py').write_text("_base_ = '../base.py'\nmodel = dict(depth=18)\n")
    now = 'model = dict(depth=18, width=1)\ntrain_cfg = dict(max_epochs=3)\nhelper = 5\n'
    write_run(tmp_path / 'a', config=now)
    write_run(tmp_path / 'b', config=now.replace('18', '34'))
    (tmp_path / 'a' / 'child.py').write_text(now)
    page = run('a', 'b')[1]
    assert page.tables['settings'] == [
        [['setting', '../base.py', 'a'], ['model.depth', '50', '18'], ['train_cfg.max_epochs', '2', '3']],
        [['setting', 'a', 'b'], ['model.depth', '18', '34']]]
    assert 'b: the config that it inherits from is not known' in page.sections['settings']
    assert 'model = dict(depth=18, width=1)' in page.sections['origin']
    page = run('a', '--base', 'configs/mine/child.py')[1]
    assert page.tables['settings'] == [
        [['setting', 'configs/mine/child.py', 'a'], ['train_cfg.max_epochs', '2', '3']]]
    (tmp_path / 'configs' / 'base.py').write_text('1 / 0')
    assert 'cannot be read: ZeroDivisionError' in run('a')[1].sections['settings']
    ended = call('tools/report.py', 'a', '--base', 'configs/base.py', '--out', 'x.html')
    assert ended.returncode == 1 and 'ZeroDivisionError' in ended.stderr and not (tmp_path / 'x.html').exists()


def test_the_origin_is_told(run, tmp_path):
    write_run(tmp_path / 'work', config=CONFIG)
    write_json(tmp_path / 'work' / 'epoch_3.json', {
        'epoch': 3, 'iter': 30, 'seed': 5, 'run': '20260101_000000', 'software': {'mmcell': '0.1.0', 'commit': 'abc'},
        'best': {'AP50': {'value': .4, 'rule': 'greater'}},
        'data': {'train': [{'ann_file': 'train.json', 'images': {'a.tif': 5}, 'sha256': 'f' * 64}], 'val': []}})
    (tmp_path / 'work' / 'epoch_3.pth').write_bytes(b'')
    rows = run('work', 'a.json')[1].rows('origin')
    assert rows['command'][0].endswith('work a.json --out page.html')
    assert re.fullmatch(r'val\.json \(SHA-256 [0-9a-f]{64}\)', rows['true cells'][0])
    assert rows['images and cells'] == [f'3 images with 24 cells: 16 round, 8 {ODD_CLASS}, 0 absent']
    assert rows['predictions: a'][0].startswith('19 detections in a.json (SHA-256 ')
    assert 'mmcell ' in rows['software'][0] and 'Python 3' in rows['software'][0]
    assert rows['training: work'] == [
        'work/epoch_3.pth; epoch 3; step 30; seed 5; begun 20260101_000000; best AP50 0.4000; software: mmcell 0.1.0, '
        f"commit abc; train data: train.json, 1 images, SHA-256 {'f' * 16}…"]


@pytest.mark.parametrize('args, status, message', [
    (['a.json', '--out', 'x.pdf'], 2, '--out must end with .html or .htm'),
    (['a.json', '--out', 'x.html'], 2, '--annotations must name the file with the true cells'),
    (['a.json', 'a.json', '--annotations', 'val.json', '--out', 'x.html'], 2, 'a.json is given twice'),
    (['a.json', 'b.json', '--annotations', 'val.json', '--names', 'a', 'a', '--out', 'x.html'], 2, '2 different names'),
    (['a.json', 'b.json', '--annotations', 'val.json', '--resamples', 0, '--out', 'x.html'], 2, '--resamples above 0'),
    (['a.json', '--annotations', 'val.json', '--score-thr', 2, '--out', 'x.html'], 2, 'from 0 to 1'),
    (['a.json', '--annotations', 'val.json', '--max-images', -1, '--out', 'x.html'], 2, 'must not be negative'),
    (['images', '--out', 'x.html'], 1, 'no training has logged a loss in images/'),
    (['a.json', '--annotations', 'a.json', '--out', 'x.html'], 1, 'a.json'),
])
def test_what_does_not_fit_is_said_and_nothing_is_written(run, tmp_path, args, status, message):
    ended = call('tools/report.py', *args)
    assert ended.returncode == status and message in ended.stderr and not list(tmp_path.glob('x.*'))


def test_annotations_without_cells_are_refused(run, tmp_path):
    document = json.loads((tmp_path / 'val.json').read_text())
    write_json(tmp_path / 'empty.json', {**document, 'annotations': []})
    ended = call('tools/report.py', 'a.json', '--annotations', 'empty.json', '--out', 'x.html')
    assert ended.returncode == 1 and 'no true cell to measure against' in ended.stderr


def test_names_have_as_many_folders_as_make_them_different(run, tmp_path):
    for name in ('r50/seed0', 'r101/seed0'):
        write_run(tmp_path / name, config=f'model = dict(depth={name[1:3]})\n')
    page = run('r50/seed0', tmp_path / 'r101/seed0', 'a.json', '--annotations', 'val.json')[1]
    assert page.title == 'r50/seed0, r101/seed0, a'
    (tmp_path / 'r50' / 'a.json').write_bytes((tmp_path / 'a.json').read_bytes())
    (tmp_path / 'r101' / 'a.json').write_bytes((tmp_path / 'a.json').read_bytes())
    assert run(tmp_path / 'r50/a.json', 'r101/a.json', '--annotations', 'val.json')[1].title == 'r50/a, r101/a'


def test_a_page_with_everything_works_in_a_browser(run, tmp_path):
    names = ['a_training_with_a_long_name_' * 3, 'results_with_a_long_name_' * 4, 'more_results_with_a_long_name_' * 4]
    write_run(tmp_path / 'work', config=CONFIG)
    run('work', 'a.json', 'b.json', '--names', *names)
    check_page_works(tmp_path / 'page.html')


@pytest.mark.slow
def test_the_page_of_a_real_training_works_in_a_browser(tmp_path):
    if 'MMCELL_REAL_RUN' not in os.environ:
        pytest.skip('set MMCELL_REAL_RUN to the work folder of a training on real images that holds one dump')
    ended = call('tools/report.py', Path(os.environ['MMCELL_REAL_RUN']).resolve(), '--out', tmp_path / 'page.html')
    assert ended.returncode == 0, ended.stderr
    check_page_works(tmp_path / 'page.html')

import json
import re
import shutil

import numpy as np
import pytest
import tifffile
from _documents import choose_validation
from support.commands import convert
from support.masks import paint_rles
from support.stains import stained_image

from mmcell.annotations.annotated_image import AnnotatedImage


def test_label_maps_are_converted_without_loss(raw_root, tmp_path):
    root, maps = raw_root
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    document = json.loads((tmp_path / 'ann' / 'trainval.json').read_text())
    assert [c['id'] for c in document['categories']] == [1, 2]
    assert [a['id'] for a in document['annotations']] == [1, 2, 3, 4]
    for image in document['images']:
        name = image['file_name'].split('/')[1]
        for number in (1, 2):
            cells = [a for a in document['annotations']
                     if a['image_id'] == image['id'] and a['category_id'] == number]
            expected = maps[name].get(number)
            assert bool(cells) == (expected is not None)
            if cells:
                ids = np.unique(expected[expected > 0])
                decoded = paint_rles([cell['segmentation'] for cell in cells], ids)
                np.testing.assert_array_equal(decoded, expected)
                assert [cell['area'] for cell in cells] == [(expected == i).sum() for i in ids]


def test_every_image_is_in_one_split_with_the_same_id_in_all_files(raw_root, tmp_path):
    root, _ = raw_root
    assert convert(root, '--out', tmp_path / 'ann').returncode == 0
    parts = {name: json.loads((tmp_path / 'ann' / f'{name}.json').read_text()) for name in ('train', 'val', 'trainval')}
    for key in ('images', 'annotations'):
        records = parts['train'][key] + parts['val'][key]
        assert sorted(records, key=lambda record: record['id']) == parts['trainval'][key]
    assert len(parts['val']['images']) == 1


def test_test_images_keep_the_ids_of_the_id_list(raw_root, tmp_path):
    root, _ = raw_root
    assert convert(root, '--out', tmp_path / 'ann').returncode == 0
    document = json.loads((tmp_path / 'ann' / 'test.json').read_text())
    assert document['images'] == [{'id': 5, 'file_name': 'test_release/t.tif', 'height': 30, 'width': 20}]
    assert document['annotations'] == []
    assert (tmp_path / 'ann' / document['info']['data_root'] / 'test_release' / 't.tif').exists()


def test_the_same_input_gives_the_same_bytes(raw_root, tmp_path):
    root, _ = raw_root
    for out in ('one', 'two'):
        assert convert(root, '--out', tmp_path / out).returncode == 0
    for name in ('train', 'val', 'trainval', 'test'):
        assert (tmp_path / 'one' / f'{name}.json').read_bytes() == (tmp_path / 'two' / f'{name}.json').read_bytes()


def test_class_names_and_the_table(raw_root, tmp_path):
    root, _ = raw_root
    run = convert(root, '--out', tmp_path / 'ann', '--class-names', 'epithelial', 'lymphocyte', 'neutrophil')
    assert run.returncode == 0
    document = json.loads((tmp_path / 'ann' / 'val.json').read_text())
    assert document['categories'] == [
        {'id': 1, 'name': 'epithelial'}, {'id': 2, 'name': 'lymphocyte'}, {'id': 3, 'name': 'neutrophil'}]
    row = next(line for line in run.stdout.splitlines() if 'epithelial' in line)
    assert row.split('│')[-2].strip() == '3'


def test_a_single_image_is_used_for_training(raw_root, tmp_path):
    root, _ = raw_root
    for path in (root / 'train' / 'b').iterdir():
        path.unlink()
    (root / 'train' / 'b').rmdir()
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0
    assert 'val.json is empty' in run.stdout
    assert json.loads((tmp_path / 'ann' / 'val.json').read_text())['images'] == []
    assert len(json.loads((tmp_path / 'ann' / 'train.json').read_text())['images']) == 1


def test_groups_of_images_stay_together():
    names = ['TCGA-AA_1', 'TCGA-AA_2', 'other', 'TCGA-BB_1', 'TCGA-BB_2', 'another']
    images = [AnnotatedImage(f'train/{name}/image.tif', 8, 8) for name in names]
    for pattern in (r'^(TCGA-\w\w)_', r'^TCGA-\w\w'):
        for seed in range(5):
            chosen = set((np.flatnonzero(choose_validation(images, .3, seed, re.compile(pattern))) + 1).tolist())
            assert len(chosen) == 2
            assert len(chosen & {1, 2}) in (0, 2) and len(chosen & {4, 5}) in (0, 2)


def test_wrong_options_are_refused(tmp_path):
    for options in (['--group-by', '('], ['--val-ratio', '1'], ['--jobs', '0'], ['--jobs', 'all'],
                    ['--seed', '-1']):
        run = convert(tmp_path, *options)
        assert run.returncode == 2 and options[0] in run.stderr


def test_files_that_are_left_out_are_listed(raw_root, tmp_path):
    root, _ = raw_root
    folder = root / 'train' / 'b'
    (folder / 'class1.tif').rename(folder / 'CLASS1.TIF')
    (folder / 'notes.txt').write_text('')
    tifffile.imwrite(folder / 'class2.tif', np.zeros((36, 44)))
    tifffile.imwrite(root / 'test_release' / 'u.tif', np.zeros((3, 3), np.uint8))
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    for line in ('masks without any cell: 1 (train/b/class2.tif)', 'class<k>.tif: 1 (train/b/notes.txt)',
                 'not in the id list: 1 (u.tif)', 'images without any cell, kept: 0'):
        assert line in run.stdout


def test_images_that_need_a_contrast_stretch_are_converted(raw_root, tmp_path):
    root, _ = raw_root
    tifffile.imwrite(root / 'train' / 'b' / 'image.tif', np.zeros((36, 44), np.float32))
    assert convert(root, '--out', tmp_path / 'ann').returncode == 0


def test_the_path_to_the_images_is_right_from_a_linked_folder(raw_root, tmp_path):
    root, _ = raw_root
    (tmp_path / 'deep' / 'er').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'deep' / 'er')
    assert convert(root, '--out', tmp_path / 'link').returncode == 0
    document = json.loads((tmp_path / 'link' / 'train.json').read_text())
    assert (tmp_path / 'link' / document['info']['data_root'] / 'train').is_dir()


def test_an_outdated_test_file_is_removed(raw_root, tmp_path):
    root, _ = raw_root
    assert convert(root, '--out', tmp_path / 'ann').returncode == 0
    (root / 'test_release').rename(root / 'elsewhere')
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0 and 'removed' in run.stdout
    assert not (tmp_path / 'ann' / 'test.json').exists()


@pytest.mark.parametrize('folder, cells', [
    ('hw3_sample', [2, 159]),
    pytest.param('hw3', [662, 2997, 57, 139], marks=pytest.mark.slow),
    pytest.param('consep', [371, 3941, 5537, 5706], marks=pytest.mark.slow),
])
def test_real_data(real_data, tmp_path, folder, cells):
    run = convert(real_data / folder, '--out', tmp_path / 'ann', '--jobs', 2)
    assert run.returncode == 0, run.stderr
    document = json.loads((tmp_path / 'ann' / 'trainval.json').read_text())
    n_cells = np.bincount([a['category_id'] for a in document['annotations']], minlength=len(cells) + 1)
    assert n_cells[1:].tolist() == cells


def paint(root, rng, train_step=1, test_step=1):
    """Gives the images of a raw folder the colours of H&E; a step of -1 swaps red and blue in the files."""
    for path in [*root.glob('train/*/image.tif'), *root.glob('test_release/*.tif')]:
        step = test_step if path.parent.name == 'test_release' else train_step
        tifffile.imwrite(path, stained_image(rng, tifffile.imread(path).shape[:2])[:, :, ::step], photometric='rgb')


@pytest.mark.parametrize('step, flags, stated, typed', [
    (1, [], 'rgb', None), (-1, [], None, 'bgr'), (-1, ['--channel-order', 'bgr'], 'bgr', None),
    (1, ['--channel-order', 'rgb'], 'rgb', None), (1, ['--channel-order', 'bgr'], 'bgr', 'rgb'),
    (-1, ['--channel-order', 'rgb'], 'rgb', 'bgr')])
def test_the_channel_order_is_written_and_swapped_colours_are_warned_of(raw_root, tmp_path, rng, step, flags, stated,
                                                                        typed):
    root, _ = raw_root
    paint(root, rng, step, step)
    run = convert(root, '--out', tmp_path / 'ann', *flags)
    assert run.returncode == 0, run.stderr
    for name in ('train', 'val', 'trainval', 'test'):
        info = json.loads((tmp_path / 'ann' / f'{name}.json').read_text())['info']
        assert info.get('channel_order') == stated
    warnings = [line for line in run.stderr.splitlines() if line.startswith('warning')]
    assert len(warnings) == (typed is not None)
    for line in warnings:
        assert '2 of 2 training images and 1 of 1 test images' in line
        assert f'convert again with --channel-order {typed}' in line


def test_images_without_a_stain_are_not_warned_of(raw_root, tmp_path):
    run = convert(raw_root[0], '--out', tmp_path / 'ann')
    assert 'warning' not in run.stderr
    assert json.loads((tmp_path / 'ann' / 'train.json').read_text())['info']['channel_order'] == 'rgb'


def test_parts_in_different_orders_are_warned_of(raw_root, tmp_path, rng):
    paint(raw_root[0], rng, train_step=1, test_step=-1)
    run = convert(raw_root[0], '--out', tmp_path / 'ann')
    assert 'nuclei look brown in 1 of 1 test images' in run.stderr and 'must have the same order' in run.stderr


@pytest.fixture
def six_images(raw_root):
    """The folder of raw_root with six training images: three of each of the two, the first with cells of class 2."""
    root, _ = raw_root
    for name in ('a', 'b'):
        for number in (1, 2):
            shutil.copytree(root / 'train' / name, root / 'train' / f'{name}_{number}')
    return root


def fold_by_folder(path):
    return {image['file_name'].split('/')[1]: image['fold'] for image in json.loads(path.read_text())['images']}


def test_folds_are_written_to_the_file_of_all_images(six_images, tmp_path):
    assert convert(six_images, '--out', tmp_path / 'without').returncode == 0
    run = convert(six_images, '--out', tmp_path / 'ann', '--folds', '3')
    assert run.returncode == 0 and 'warning' not in run.stderr, run.stderr
    folds = fold_by_folder(tmp_path / 'ann' / 'trainval.json')
    # Each fold has an image with cells of class 2, which a, a_1 and a_2 are, and one without.
    assert sorted(folds[name] for name in ('a', 'a_1', 'a_2')) == [0, 1, 2]
    assert sorted(folds[name] for name in ('b', 'b_1', 'b_2')) == [0, 1, 2]
    for row in (['images', '2', '2', '2'], ['class1', '3', '3', '3'], ['class2', '1', '1', '1']):
        assert re.search(r'\W+'.join(row), run.stdout.partition('fold 2')[2]), run.stdout
    # The other files are as without folds, but for the id of the file set.
    for name in ('train', 'val', 'trainval'):
        documents = [json.loads((tmp_path / folder / f'{name}.json').read_text()) for folder in ('ann', 'without')]
        for document in documents:
            del document['info']['file_set']
            for image in document['images']:
                assert ('fold' in image) == (document is documents[0] and name == 'trainval')
                image.pop('fold', None)
        assert documents[0] == documents[1]


def test_groups_are_in_one_fold(six_images, tmp_path):
    assert convert(six_images, '--out', tmp_path / 'ann', '--folds', '2', '--group-by', '^(.)').returncode == 0
    folds = fold_by_folder(tmp_path / 'ann' / 'trainval.json')
    assert len({folds[name] for name in ('a', 'a_1', 'a_2')}) == len({folds[name] for name in ('b', 'b_1')}) == 1
    assert folds['a'] != folds['b']


def test_a_class_that_is_missing_from_a_fold_is_warned_of(six_images, tmp_path):
    run = convert(six_images, '--out', tmp_path / 'ann', '--folds', '5', '--class-names', 'big', 'small', 'absent')
    assert run.returncode == 0
    lines = [line for line in run.stderr.splitlines() if line.startswith('warning: fold')]
    assert len(lines) == 2 and all('has no cell of small, which cannot be measured' in line for line in lines)


@pytest.mark.parametrize('flags, message', [
    (['--folds', '7'], '--folds 7: the number of training images is only 6, and each fold needs at least one training '
                       'image: give --folds 6'),
    (['--folds', '3', '--group-by', '^(.)'], 'the number of groups of 6 training images (--group-by) is only 2, and '
                                             'each fold needs at least one group: give --folds 2'),
    (['--folds', '3', '--group-by', '^()'], 'is only 1, and each fold needs at least one group: leave --folds out')])
def test_too_few_images_for_the_folds(six_images, tmp_path, flags, message):
    run = convert(six_images, '--out', tmp_path / 'ann', *flags)
    assert run.returncode == 1 and message in run.stderr and 'nothing was written' in run.stderr
    assert not (tmp_path / 'ann').exists()


def test_one_fold_is_none(tmp_path):
    run = convert(tmp_path, '--folds', '1')
    assert run.returncode == 2 and '--folds must be at least 2, got 1' in run.stderr


def test_the_scale_comes_from_the_image_files_or_the_command_line(raw_root, tmp_path):
    root, _ = raw_root
    for path in root.glob('train/*/image.tif'):
        image = tifffile.imread(path)
        tifffile.imwrite(path, image, photometric='rgb', resolution=(40_000, 40_000), resolutionunit='CENTIMETER')
    for flags, expected in (([], .25), (['--mpp', '.5'], .5)):
        assert convert(root, '--out', tmp_path / 'ann', *flags).returncode == 0
        document = json.loads((tmp_path / 'ann' / 'trainval.json').read_text())
        assert {image['mpp'] for image in document['images']} == {expected}
    refused = convert(root, '--out', tmp_path / 'ann', '--mpp', '350')
    assert refused.returncode == 2 and 'no number of micrometres per pixel from 0.01 to 20' in refused.stderr

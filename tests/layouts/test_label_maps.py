"""One label map per image in its forms: names of files, kinds of files, classes, parts, and files that are refused."""

import json
import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image
from support.cells import cells_from_label_map
from support.commands import convert
from support.masks import paint_rles
from support.synthetic_data import discs

from mmcell.layouts.base import LayoutOptions
from mmcell.layouts.file_pairs import FileKind, pair_files
from mmcell.writers.base import ImageInfo
from mmcell.writers.writing import writing_cells

SHAPE = (40, 50)
CELLS = discs(SHAPE, [(3, 10, 10, 6), (7, 25, 35, 8), (9, 12, 40, 4)])


def write_image(path, shape=SHAPE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*shape, 3), 180, np.uint8)).save(path)


def write_map(path, label_map=CELLS):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith('_seg.npy'):
        # What Cellpose saves: other arrays, texts, None and numbers lie beside the masks.
        content = {'outlines': label_map > 0, 'masks': label_map.astype(np.uint16), 'filename': 'a.tif',
                   'est_diam': None, 'chan_choose': [0, 0], 'flows': [np.zeros((2, 3), np.float32), []],
                   'diameter': np.float64(17.5), 'ismanual': np.zeros(3, bool), 'normalize_params': {'lowhigh': None}}
        np.save(path, content)
    elif path.suffix == '.npy':
        np.save(path, label_map)
    elif path.suffix == '.mat':
        types = np.where(label_map == 7, 2., label_map > 0)
        scipy.io.savemat(path, {'inst_map': label_map.astype(float), 'type_map': types})
    elif path.suffix == '.png':
        Image.fromarray(label_map.astype(np.uint16)).save(path)
    else:
        tifffile.imwrite(path, label_map.astype(np.uint16))


def read(tmp_path, name='trainval'):
    return json.loads((tmp_path / 'ann' / f'{name}.json').read_text())


def areas_by_class(document):
    names = {category['id']: category['name'] for category in document['categories']}
    return sorted((names[a['category_id']], a['area']) for a in document['annotations'])


AREA = {number: int((number == CELLS).sum()) for number in (3, 7, 9)}
AREAS = sorted(AREA.values())


@pytest.mark.parametrize('image, mask', [
    ('a.tif', 'a_masks.tif'), ('a.png', 'a_label.png'), ('a.tif', 'a_labels.tif'), ('a.jpg', 'A_MASKS.tif'),
    ('a.tif', 'a-labels.npy'), ('a.tif', 'a_seg.tif'), ('a.png', 'a_cp_masks.png'), ('images/a.png', 'masks/a.tif'),
    ('images/a.tif', 'labels/a.tif'), ('a.tif', 'masks/a.tif'), ('train/images/a.png', 'train/masks/a.png'),
    ('Images/a.tif', 'Labels/a_mask.npy'), ('a.ome.tif', 'a_masks.tif'), ('a.tif', 'a.tif_masks.png'),
    ('a_seg.png', 'a_seg_masks.png'), ('day 1/ä.tif', 'day 1/ä_masks.tif'), ('a.tif', 'a_seg.npy')])
def test_a_label_map_is_found_by_the_usual_names(tmp_path, image, mask):
    write_image(tmp_path / 'data' / image)
    write_map(tmp_path / 'data' / mask)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    name = 'cellpose' if mask == 'a_seg.npy' else 'label-maps'
    assert run.stdout.startswith(f'layout: {name} (1 image with ') and mask in run.stdout.splitlines()[0]
    document = read(tmp_path)
    assert [record['file_name'] for record in document['images']] == [image]
    assert document['categories'] == [{'id': 1, 'name': 'cell'}] and 'left out: nothing' in run.stdout
    np.testing.assert_array_equal(
        paint_rles([a['segmentation'] for a in document['annotations']], np.array([3, 7, 9])), CELLS)


def test_the_user_may_name_folders_and_ends(tmp_path):
    write_image(tmp_path / 'pictures' / 'x' / 'a.tif')
    write_map(tmp_path / 'drawn' / 'a_nuc.tif')
    flags = ['--layout', 'label-maps', '--images', tmp_path / 'pictures', '--masks', tmp_path / 'drawn']
    run = convert(tmp_path, *flags, '--mask-suffix', '_nuc', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert areas_by_class(read(tmp_path)) == [('cell', area) for area in AREAS]
    run = convert(tmp_path, *flags, '--mask-suffix', '_x', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'looked for NAME_x.tif' in run.stderr


def test_a_pyramid_of_predictions_is_read_unless_a_plain_label_map_lies_beside_it(tmp_path):
    write_image(tmp_path / 'data' / 'a.tif')
    image, cells = ImageInfo(tmp_path / 'data' / 'a.tif', *SHAPE, ['x', 'y']), cells_from_label_map(CELLS, [0, 1, 0])
    for formats, flags, problem in ((['label-pyramid'], [], None), (['labels'], [], 'ome.tif and a_labels.tif'),
                                    ([], ['--mask-suffix', '_labels'], None),
                                    ([], ['--mask-suffix', '_labels.ome'], None)):
        with writing_cells(formats, tmp_path / 'data', 'a', image) as add:
            add(cells)
        run = convert(tmp_path / 'data', '--layout', 'label-maps', '--out', tmp_path / 'ann', *flags)
        assert run.returncode == (problem is not None) and (problem is None or problem in run.stderr), run.stderr
        if problem is None:
            # The classes are in the table of the format labels.
            names = ['cell'] * 3 if formats else ['x', 'y', 'x']
            assert areas_by_class(read(tmp_path)) == sorted(zip(names, AREA.values(), strict=True))


def test_parts_test_images_and_files_that_do_not_belong_together(tmp_path):
    root = tmp_path / 'data'
    for name in ('train/a', 'train/b', 'val/c'):
        write_image(root / f'{name}.png')
        write_map(root / f'{name}_masks.tif')
    for name in ('train/alone', 'test/t', 'test/u'):
        write_image(root / f'{name}.png')
    write_map(root / 'train' / 'orphan_masks.tif')
    write_map(root / 'test' / 'u_masks.tif')
    (root / 'notes.txt').touch()
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    for line in ('images without a file of cells: 1 (train/alone.png)', 'other files: 1 (notes.txt)',
                 'files of cells without an image: 1 (train/orphan_masks.tif)'):
        assert f'left out, {line}' in run.stdout
    for part, names in (('train', ['train/a.png', 'train/b.png']), ('val', ['val/c.png']),
                        ('test', ['test/t.png', 'test/u.png'])):
        assert [record['file_name'] for record in read(tmp_path, part)['images']] == names
    # Test images may have cells, and are numbered from 1.
    assert {a['image_id'] for a in read(tmp_path, 'test')['annotations']} == {2}


@pytest.mark.parametrize('files, message', [
    (['a.tif', 'a_masks.tif', 'a_label.png'], r'a.tif: has several files of cells, a_label.png and a_masks.tif'),
    (['a.tif', 'a.png', 'a_masks.tif'], r'has the same name, so that it is not clear .*a_masks.tif'),
    (['a.tif', 'a_masks.tif', 'a_seg.npy'], r'--layout label-maps .*--layout cellpose')])
def test_what_is_not_clear_is_a_question(tmp_path, files, message):
    for name in files:
        (write_map if '_' in name else write_image)(tmp_path / 'data' / name)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and re.search(message, run.stderr), run.stderr
    assert not (tmp_path / 'ann').exists()


@pytest.mark.parametrize('name, text', [
    ('a_classes.csv', 'id,class\n3,tumour\n7,immune\n9,tumour\n'),
    ('a_labels.csv', '\ufefflabel,class,score\r\n3,tumour,.9\r\n7,immune,.8\r\n9,tumour,.7\r\n'),
    ('a_classes.csv', 'Cell ID;Cell Type\n3;tumour\n7;immune\n9;tumour\n'),
    ('table.csv', 'image\tlabel\ttype\na.tif\t3\ttumour\na\t7\timmune\nC:\\x\\a.tif\t9\ttumour\nb.tif\t3\tother\n')])
def test_classes_come_from_tables(tmp_path, name, text):
    write_image(tmp_path / 'data' / 'a.tif')
    write_map(tmp_path / 'data' / 'a_masks.tif')
    (tmp_path / 'data' / name).write_text(text, encoding='utf-8', newline='')
    table = ['--class-table', tmp_path / 'data' / name] if name == 'table.csv' else []
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann', *table)
    assert run.returncode == 0, run.stderr
    assert areas_by_class(read(tmp_path)) == sorted(
        [('tumour', AREA[3]), ('immune', AREA[7]), ('tumour', AREA[9])])


@pytest.mark.parametrize('name', ['a_class.tif', 'a_type.png'])
def test_classes_come_from_a_map_by_most_pixels(tmp_path, name):
    classes = np.where(CELLS == 7, 2, (CELLS > 0) * 4)
    classes[19:23, 30:40] = np.where(CELLS[19:23, 30:40] == 7, 4, 0)
    write_image(tmp_path / 'data' / 'a.tif')
    write_map(tmp_path / 'data' / 'a_masks.tif')
    write_map(tmp_path / 'data' / name, classes)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert 'which got the class of most of their pixels that have one: 1 (a_masks.tif: 7)' in run.stdout
    assert areas_by_class(read(tmp_path)) == sorted(
        [('class4', AREA[3]), ('class2', AREA[7]), ('class4', AREA[9])])
    assert [category['name'] for category in read(tmp_path)['categories']] == ['class1', 'class2', 'class3', 'class4']


def test_cells_and_rows_that_do_not_match_are_counted(tmp_path):
    write_image(tmp_path / 'data' / 'a.tif')
    write_map(tmp_path / 'data' / 'a_masks.tif')
    (tmp_path / 'data' / 'a_classes.csv').write_text('id,class\n3,tumour\n7,0\n5,tumour\n')
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert 'label map: 1 (a_classes.csv: 5)' in run.stdout
    assert re.search(r'cells without a class, called unclassified .*: 2 \(a_masks.tif: 7, a_masks.tif: 9\)', run.stdout)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann', '--rename', 'unclassified=')
    assert areas_by_class(read(tmp_path)) == [('tumour', AREA[3])]


@pytest.mark.parametrize('text, message', [
    ('a,b\n1,2\n', 'columns id and class is expected .* a, b'), ('', 'is empty'),
    ('id,class\nx,tumour\n', "row 2 is .'x', 'tumour'"), ('id,class\n3,a\n3,b\n', 'cell 3 has two classes'),
    ('id,class\n3\n', 'row 2')])
def test_wrong_tables_are_named(tmp_path, text, message):
    write_image(tmp_path / 'data' / 'a.tif')
    write_map(tmp_path / 'data' / 'a_masks.tif')
    (tmp_path / 'data' / 'a_classes.csv').write_text(text)
    run = convert(tmp_path / 'data', '--layout', 'label-maps', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and re.search(message, run.stderr), run.stderr


@pytest.mark.parametrize('types', ['type_map', 'inst_type', None])
def test_consep_as_it_is_published(tmp_path, types):
    for part in ('Train', 'Test'):
        for name in ('1', '2'):
            write_image(tmp_path / 'data' / part / 'Images' / f'{part}_{name}.png')
            content = {'inst_map': CELLS.astype(float), 'type_map': np.where(CELLS == 7, 2., CELLS > 0),
                       'inst_type': np.array([[1.], [2.], [1.]]), 'inst_centroid': np.zeros((3, 2))}
            kept = ('inst_map', types, 'inst_centroid')
            (tmp_path / 'data' / part / 'Labels').mkdir(exist_ok=True)
            scipy.io.savemat(tmp_path / 'data' / part / 'Labels' / f'{part}_{name}.mat',
                             {key: value for key, value in content.items() if key in kept}, do_compression=True)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('layout: hovernet (4 images with .mat files such as ')
    expected = [('class1', AREA[3]), ('class1', AREA[9]), ('class2', AREA[7])] if types else [
        ('cell', area) for area in AREAS]
    for part in ('trainval', 'test'):
        assert areas_by_class(read(tmp_path, part)) == sorted(expected * 2)


def test_classes_of_cells_that_cannot_be_told_apart_are_refused(tmp_path):
    write_image(tmp_path / 'data' / 'a.tif')
    scipy.io.savemat(tmp_path / 'data' / 'a.mat', {'inst_map': CELLS.astype(float), 'inst_type': [[1.], [2.]]})
    run = convert(tmp_path / 'data', '--layout', 'hovernet', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'inst_type has 2 classes, but inst_map has 3 cells' in run.stderr
    write_map(tmp_path / 'data' / 'a_masks.tif')
    write_map(tmp_path / 'data' / 'a_type.tif')
    for name in ('a_classes.csv', 'chosen.csv'):
        (tmp_path / 'data' / name).write_text('id,class\n3,x\n7,x\n9,x\n')
    flags = ('--layout', 'label-maps', '--out', tmp_path / 'ann')
    run = convert(tmp_path / 'data', *flags)
    assert run.returncode == 1 and re.search('in several files, .*a_classes.csv, .*a_type.tif', run.stderr)
    run = convert(tmp_path / 'data', *flags, '--class-table', tmp_path / 'data' / 'chosen.csv')
    assert run.returncode == 0 and areas_by_class(read(tmp_path)) == [('x', area) for area in AREAS]
    write_image(tmp_path / 'data' / 'b.tif')
    write_map(tmp_path / 'data' / 'b_masks.tif')
    run = convert(tmp_path / 'data', *flags, '--class-table', tmp_path / 'data' / 'chosen.csv')
    assert run.returncode == 1 and 'not clear which of the 2 images' in run.stderr


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def damaged(name):
    def write(path):
        write_map(path)
        if name == 'cut':
            path.write_bytes(path.read_bytes()[:-40])
        elif name == 'no masks':
            np.save(path, {'other': CELLS})
        elif name == 'not a dict':
            np.save(path, np.array([CELLS, 'x'], object))
        elif name == 'stack':
            np.save(path, {'masks': np.stack([CELLS, CELLS])})
        elif name == 'colours':
            np.save(path, np.zeros((*SHAPE, 3)))
        elif name == 'huge':
            header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000), }"
            path.write_bytes(b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little') + header)
        elif name == 'texts':
            np.save(path, {'masks': np.array([['a']])})
        elif name == 'other size':
            np.save(path, {'masks': CELLS.T})
        elif name == 'lies':
            content = pickle.dumps({'masks': CELLS})
            path.write_bytes(b'\x93NUMPY\x01\x00\x10\x00not a header    ' + content)
    return write


@pytest.mark.parametrize('name, message', [
    ('cut', 'cannot be read as an .npy file'), ('no masks', 'not the array "masks"'),
    ('not a dict', 'other than the dict'), ('stack', r'shape \(2, 40, 50\)'), ('colours', r'shape \(40, 50, 3\)'),
    ('huge', 'at most'),
    ('texts', 'does not have numbers'), ('other size', 'the mask is 40 x 50 px'), ('lies', 'cannot be read')])
def test_files_that_are_no_label_maps_are_refused(tmp_path, name, message):
    write_image(tmp_path / 'data' / 'a.tif')
    damaged(name)(tmp_path / 'data' / 'a_seg.npy')
    run = convert(tmp_path / 'data', '--layout', 'cellpose', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and re.search(message, run.stderr), run.stderr
    assert 'a_seg.npy' in run.stderr and 'Traceback' not in run.stderr


def test_no_code_of_a_file_is_run(tmp_path):
    write_image(tmp_path / 'data' / 'a.tif')
    np.save(tmp_path / 'data' / 'a_seg.npy', {'masks': CELLS, 'trap': Trap(tmp_path / 'was here')})
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert not (tmp_path / 'was here').exists()
    assert run.returncode == 0 and len(read(tmp_path)['annotations']) == 3


@pytest.mark.parametrize('content, message', [
    (b'MATLAB 7.3 MAT-file' + bytes(105) + b'\x00\x02IM', 'MATLAB 7.3|cannot be read'),
    (b'nonsense' * 40, 'cannot be read'), ('other', 'has no inst_map, but x'),
    ('huge', r'array inst_map of shape \(9000, 9000\), which is larger'), ('cut', 'cannot be read'),
    ('cells', 'does not have real numbers')])
def test_mat_files_that_cannot_be_used_are_named(tmp_path, content, message):
    write_image(tmp_path / 'data' / 'a.tif')
    path = tmp_path / 'data' / 'a.mat'
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        arrays = {'other': {'x': 1}, 'huge': {'inst_map': np.zeros((9000, 9000), np.uint8)},
                  'cells': {'inst_map': np.full(SHAPE, 'x', object)}}.get(content, {'inst_map': CELLS})
        scipy.io.savemat(path, arrays, do_compression=True)
        if content == 'cut':
            path.write_bytes(path.read_bytes()[:-30])
    run = convert(tmp_path / 'data', '--layout', 'hovernet', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and re.search(message, run.stderr) and 'Traceback' not in run.stderr, run.stderr


def test_binary_masks_give_a_warning(tmp_path):
    write_image(tmp_path / 'data' / 'a.tif')
    write_map(tmp_path / 'data' / 'a_masks.tif', (CELLS > 0) * 255)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0 and 'look binary' in run.stderr


def test_links_around_in_a_circle_end(tmp_path):
    write_image(tmp_path / 'data' / 'x' / 'a.tif')
    write_map(tmp_path / 'data' / 'x' / 'a_masks.tif')
    (tmp_path / 'data' / 'x' / 'up').symlink_to(tmp_path / 'data')
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0 and len(read(tmp_path)['images']) == 1


def test_real_label_maps(real_data, tmp_path):
    shutil.copytree(real_data / 'dsb2018' / 'test', tmp_path / 'dsb' / 'test')
    for path in sorted((real_data / 'dsb2018' / 'train').glob('*_masks.tif'))[:4]:
        for name in (path.name, path.name.replace('_masks.tif', '.png')):
            (tmp_path / 'dsb' / 'train').mkdir(exist_ok=True)
            shutil.copy(path.with_name(name), tmp_path / 'dsb' / 'train' / name)
    run = convert(tmp_path / 'dsb', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    n_cells = sum(len(np.unique(tifffile.imread(path))) - 1 for path in (tmp_path / 'dsb').glob('train/*_masks.tif'))
    assert len(read(tmp_path)['annotations']) == n_cells and len(read(tmp_path, 'test')['images']) == 30


def test_a_mask_of_two_images_in_different_folders_is_a_question(tmp_path):
    for day in ('day1', 'day2'):
        write_image(tmp_path / 'data' / 'raw' / day / 'a.png')
    write_image(tmp_path / 'data' / 'raw' / 'day1' / 'b.png')
    for name in 'ab':
        write_map(tmp_path / 'data' / 'cells' / f'{name}.tif')
    run = convert(tmp_path / 'data', '--layout', 'label-maps', '--images', tmp_path / 'data' / 'raw', '--masks',
                  tmp_path / 'data' / 'cells', '--out', tmp_path / 'ann')
    unnamed = convert(tmp_path / 'data', '--masks', tmp_path / 'data' / 'cells', '--out', tmp_path / 'ann')
    assert unnamed.returncode == 1 and 'name the layout as well' in unnamed.stderr
    assert run.returncode == 1 and re.search(r'day1/a.png: .*day2/a.png has the same name', run.stderr), run.stderr


def test_folders_may_be_written_in_another_way_than_the_data_root(tmp_path, monkeypatch):
    write_image(tmp_path / 'data' / 'images' / 'a.tif')
    write_map(tmp_path / 'data' / 'masks' / 'a.tif')
    listings = []
    monkeypatch.chdir(tmp_path)
    for masks in (Path('data/masks'), tmp_path / 'data' / 'masks', Path('data/images/../masks')):
        listings.append(pair_files(Path('data'), LayoutOptions(masks=masks), FileKind(('.tif',))))
    assert listings[0] == listings[1] == listings[2]
    source, = listings[0].sources
    assert source.problem is None and source.files == (Path('data/masks/a.tif'),)


def test_files_of_cellpose_that_old_versions_of_numpy_wrote_are_read(tmp_path):
    write_image(tmp_path / 'data' / 'a.tif')
    content = np.array({'masks': CELLS.astype(np.uint16), 'filename': 'a.tif'}, object)
    with open(tmp_path / 'data' / 'a_seg.npy', 'wb') as file:
        np.lib.format.write_array_header_1_0(file, {'descr': '|O', 'fortran_order': False, 'shape': ()})
        pickle.dump(content, file, protocol=2)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert sorted(a['area'] for a in read(tmp_path)['annotations']) == AREAS

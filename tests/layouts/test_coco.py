"""COCO JSON of other programs: parts by name, repairs, polygons by the centres of pixels, crowds, hostile input."""

import json

import numpy as np
import pycocotools.mask
import pytest
import tifffile
from support.commands import convert

SQUARE = [2, 2, 6, 2, 6, 6, 2, 6]
DOT = [9.6, 4.6, 9.8, 4.6, 9.8, 4.8]


def document(names=('a.tif',), annotations=None, categories=('tumour', 'immune'), **change):
    """A file with two cells in its first image: a square of 16 px and a triangle smaller than a pixel."""
    if annotations is None:
        annotations = [dict(id=1, image_id=1, category_id=2, segmentation=[SQUARE]),
                       dict(id=2, image_id=1, category_id=1, segmentation=[DOT])]
    return dict(images=[dict(id=number, file_name=name, height=20, width=30) for number, name in enumerate(names, 1)],
                annotations=annotations,
                categories=[dict(id=number, name=name) for number, name in enumerate(categories, 1)]) | change


@pytest.fixture
def folder(tmp_path):
    (tmp_path / 'data' / 'images').mkdir(parents=True)
    for name in 'abc':
        tifffile.imwrite(tmp_path / 'data' / 'images' / f'{name}.tif', np.full((20, 30, 3), 200, np.uint8),
                         photometric='rgb')
    return tmp_path / 'data'


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def read(tmp_path, name='trainval'):
    return json.loads((tmp_path / 'ann' / f'{name}.json').read_text())


def test_polygons_become_pixels_by_their_centres_and_no_cell_is_lost(folder, tmp_path):
    path = write(folder / 'export.json', document(('a.tif', 'b.tif')))
    run = convert(path, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('layout: coco (the COCO file export.json)')
    for line in ('export.json: repaired: 2 annotations: polygons written as RLE, by the centres of the pixels',
                 'repaired: 1 annotations: polygons that contain no centre of a pixel written as one pixel'):
        assert line in run.stdout
    found = read(tmp_path)
    assert found['categories'] == [dict(id=1, name='tumour'), dict(id=2, name='immune')]
    dot, square = found['annotations']
    assert (square['category_id'], square['area'], square['bbox']) == (2, 16, [2, 2, 4, 4])
    assert (dot['category_id'], dot['area'], dot['bbox']) == (1, 1, [9, 4, 1, 1])
    assert (tmp_path / 'ann' / found['info']['data_root'] / found['images'][1]['file_name']).samefile(
        folder / 'images' / 'b.tif')


def test_a_file_per_part_is_not_split_again(folder, tmp_path):
    for part, names in (('train', ['a.tif']), ('valid', ['b.tif']), ('test', ['c.tif'])):
        write(folder / part / '_annotations.coco.json', document([f'../images/{name}' for name in names]))
    run = convert(folder, '--layout', 'coco', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    for part, name in (('train', 'a.tif'), ('val', 'b.tif'), ('test', 'c.tif')):
        assert [image['file_name'].rsplit('/', 1)[1] for image in read(tmp_path, part)['images']] == [name]
    assert len(read(tmp_path, 'test')['annotations']) == 2  # test images may have cells
    assert 'test' in run.stdout.splitlines()[2]


def test_names_of_files_name_parts_also_between_digits(folder, tmp_path):
    write(folder / 'annotations' / 'instances_train2017.json', document(['a.tif']))
    write(folder / 'annotations' / 'instances_val2017.json', document(['b.tif'], categories=('immune', 'tumour')))
    run = convert(folder, '--layout', 'coco', '--images', folder / 'images', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert len(read(tmp_path, 'val')['images']) == len(read(tmp_path, 'train')['images']) == 1
    # Classes go by name, although the second file numbers them otherwise.
    sizes = {(a['image_id'], a['category_id']): a['area'] for a in read(tmp_path)['annotations']}
    assert sizes == {(1, 1): 1, (1, 2): 16, (2, 2): 1, (2, 1): 16}


@pytest.mark.parametrize('files, message', [
    ({'one.json': ['a.tif'], 'two.json': ['b.tif']}, 'several COCO files (one.json, two.json)'),
    ({'train.json': ['a.tif'], 'val.json': ['a.tif']}, 'has the image a.tif, which another file has as well'),
    ({'train.json': ['none.tif'], 'val.json': ['a.tif']}, 'name the folder of the images with --images'),
])
def test_unclear_files_are_a_question(folder, tmp_path, files, message):
    for name, images in files.items():
        write(folder / name, document(images))
    run = convert(folder, '--layout', 'coco', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and message in run.stderr and not (tmp_path / 'ann').exists()


def test_lists_say_what_files_are_for(folder, tmp_path):
    one, two = write(folder / 'one.json', document(['a.tif'])), write(folder / 'two.json', document(['b.tif']))
    run = convert(folder, '--layout', 'coco', '--lists', f'train={one}', f'val={two}', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert [image['file_name'] for image in read(tmp_path, 'val')['images']] == ['images/b.tif']


def test_text_ids_from_0_missing_areas_and_uncompressed_rles_are_repaired_and_counted(folder, tmp_path):
    counts = [20 * 3 + 4, 5, 15, 5, 600 - 20 * 3 - 4 - 25]
    content = document(('a.tif', 'b.tif'), annotations=[
        dict(id='x', image_id='0', category_id='1', segmentation=dict(size=[20, 30], counts=counts)),
        dict(id='y', image_id='1', category_id='0', segmentation=[SQUARE], area=0)])
    content['images'] = [{**image, 'id': str(image['id'] - 1)} for image in content['images']]
    content['categories'] = [{**category, 'id': str(category['id'] - 1)} for category in content['categories']]
    run = convert(write(folder / 'x.json', content), '--layout', 'coco', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    for line in ('2 annotations: id numbered from 1', '2 categories: id numbered from 1', '1 annotations: run lengths'):
        assert f'x.json: repaired: {line}' in run.stdout, run.stdout
    # An RLE of listed runs comes through bit for bit.
    expected = np.zeros((20, 30), bool)
    expected[4:9, 3:5] = True
    rle = next(a['segmentation'] for a in read(tmp_path)['annotations'] if a['area'] == 10)
    np.testing.assert_array_equal(pycocotools.mask.decode(rle).astype(bool), expected)


@pytest.mark.parametrize('flags, n_crowds', [([], 1), (['--drop-crowds'], 0)])
def test_crowds_stay_crowds_or_are_left_out(folder, tmp_path, flags, n_crowds):
    content = document()
    content['annotations'][0]['iscrowd'] = 1
    run = convert(write(folder / 'x.json', content), '--layout', 'coco', '--out', tmp_path / 'ann', *flags)
    assert run.returncode == 0, run.stderr
    assert sorted(a['iscrowd'] for a in read(tmp_path)['annotations']) == [0] + [1] * n_crowds
    assert ('x.json: left out: ' in run.stdout) == (not n_crowds)


@pytest.mark.parametrize('polygons', [
    [[1, 1]], [[float('nan')] * 6], [['x'] * 6], [], 'no', [[0, 0, 30, 20] * 2000]])
def test_polygons_that_are_none_are_left_out_and_named(folder, tmp_path, polygons):
    content = document()
    content['annotations'][0]['segmentation'] = polygons
    run = convert(write(folder / 'x.json', content), '--layout', 'coco', '--out', tmp_path / 'ann')
    assert run.returncode == 0 and 'Traceback' not in run.stderr
    n_cells = len(read(tmp_path)['annotations'])
    assert n_cells == 2 or ('x.json: left out: ' in run.stdout and n_cells == 1)


@pytest.mark.parametrize('name', ['/home/someone/data/a.tif', 'C:\\data\\a.tif', 'other/a.tif'])
def test_paths_of_another_computer_are_replaced_if_the_folder_is_named(folder, tmp_path, name):
    path = write(tmp_path / 'x.json', document((name, 'b.tif')))
    run = convert(path, '--layout', 'coco', '--images', folder, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert '2 images: file_name replaced, because --images has exactly one file of this name' in run.stdout
    root = tmp_path / 'ann' / read(tmp_path)['info']['data_root']
    assert [(root / image['file_name']).resolve().name for image in read(tmp_path)['images']] == ['a.tif', 'b.tif']
    (folder / 'a.tif').write_bytes((folder / 'images' / 'a.tif').read_bytes())
    run = convert(path, '--layout', 'coco', '--images', folder, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'does not exist' in run.stderr  # two files have the name


def test_a_missing_image_is_a_bad_image(folder, tmp_path):
    path = write(folder / 'x.json', document(('a.tif', 'b.tif', 'none.tif')))
    run = convert(path, '--layout', 'coco', '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'none.tif: does not exist' in run.stderr
    run = convert(path, '--layout', 'coco', '--out', tmp_path / 'ann', '--skip-bad')
    assert run.returncode == 3 and len(read(tmp_path)['images']) == 2


@pytest.mark.parametrize('names, folders', [
    (('annotations/instances_train2017.json', 'annotations/instances_val2017.json'), ('train2017', 'val2017')),
    (('annotations/instances_train.json', 'annotations/instances_val.json'), ('images/train', 'images/val')),
    (('train.json', 'val.json'), ('train', 'val'))])
def test_images_lie_in_folders_that_the_files_name(tmp_path, names, folders):
    """Both folders have images of the same name; each file is about those of its own folder."""
    for name, folder, width in zip(names, folders, (30, 40), strict=True):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        tifffile.imwrite(tmp_path / 'data' / folder / 'a.tif', np.full((20, width, 3), 200, np.uint8),
                         photometric='rgb')
        content = document()
        content['images'][0]['width'] = width
        write(tmp_path / 'data' / name, content)
    run = convert(tmp_path / 'data', '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert f'{names[0]}: repaired: ' in run.stdout
    for part, folder, width in zip(('train', 'val'), folders, (30, 40), strict=True):
        record, = read(tmp_path, part)['images']
        assert (record['file_name'], record['width']) == (f'{folder}/a.tif', width)


@pytest.mark.parametrize('name', ['train.json', 'val.json', 'trainval.json', 'test.json'])
def test_annotations_that_no_conversion_has_written_are_neither_overwritten_nor_removed(folder, tmp_path, name):
    out = tmp_path / 'out'
    write(folder / 'all.json', document(('a.tif', 'b.tif', 'c.tif')))
    write(out / name, document())
    before = (out / name).read_bytes()
    ended = convert(folder, '--out', out)
    assert ended.returncode == 1 and f'{out / name}, which no conversion has written' in ended.stderr
    assert [path.name for path in out.iterdir()] == [name] and (out / name).read_bytes() == before
    (out / name).rename(tmp_path / 'kept.json')
    for _ in range(2):
        assert convert(folder, '--out', out).returncode == 0


def test_the_files_that_are_converted_are_not_overwritten(folder, tmp_path):
    write(tmp_path / 'images' / 'train.json', document())
    before = (tmp_path / 'images' / 'train.json').read_bytes()
    ended = convert(tmp_path / 'images', '--out', tmp_path / 'images')
    assert ended.returncode == 1 and 'would be overwritten' in ended.stderr
    assert (tmp_path / 'images' / 'train.json').read_bytes() == before


def test_files_of_an_earlier_conversion_in_the_same_folder_are_passed_over(folder, tmp_path):
    write(folder / 'export.json', document(('a.tif', 'b.tif')))
    for _ in range(2):
        run = convert(folder, '--layout', 'coco', '--out', folder / 'annotations')
        assert run.returncode == 0, run.stderr
    assert len(json.loads((folder / 'annotations' / 'trainval.json').read_text())['annotations']) == 2

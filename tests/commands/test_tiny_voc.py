"""From PASCAL VOC's folders to COCO JSON to the data set: masks, classes, and the refusal of bad files."""

import json

import cv2
import numpy as np
import pycocotools.mask
import pytest
from mmdet.datasets import VOCDataset
from mmdet.registry import DATASETS
from PIL import Image
from support.commands import call
from support.masks import paint_rles

from mmcell.classes.matching import ClassesError
from mmcell.errors import MmcellError
from mmcell.files.folders import FileError
from mmcell.images.limits import ImageReadError
from mmcell.layouts.base import LayoutError, LayoutOptions, Source
from mmcell.layouts.reading import read_source
from mmcell.layouts.voc import CLASS_NAMES, LAYOUT, read_image_names
from mmcell.masks.label_map_masks import LabelMapMasks

BOTTLE, CAT, TRAIN = 5, 8, 19
COLOR = (40, 120, 200)
PIPELINE = [dict(type='mmdet.LoadTiff'), dict(type='mmdet.LoadCellAnnotations'), dict(type='mmdet.PackCellInputs')]


def write_palette_png(path, indices):
    image = Image.fromarray(indices.astype(np.uint8), mode='P')
    # Two indices share each colour, so that a reader of colours could not tell them apart.
    image.putpalette([value // 2 for value in range(256) for _ in range(3)])
    image.save(path)


def write_voc_image(root, name, objects, class_of_object):
    """Writes an image filled with COLOR and its masks; ``objects`` are (H, W) object numbers with 255 for void."""
    classes = np.select([objects == number for number in class_of_object], list(class_of_object.values()), 0)
    classes[objects == 255] = 255
    for folder, indices in (('SegmentationObject', objects), ('SegmentationClass', classes)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        write_palette_png(root / folder / f'{name}.png', indices)
    (root / 'JPEGImages').mkdir(exist_ok=True)
    cv2.imwrite(str(root / 'JPEGImages' / f'{name}.jpg'), np.full((*objects.shape, 3), COLOR[::-1], np.uint8))


def objects_a():
    """Two bottles that touch (1, 2) and a cat in two pieces (3), with a void border around and between them."""
    objects = np.zeros((40, 60), np.uint8)
    objects[4:20, 2:30] = 255
    objects[6:18, 4:14], objects[6:18, 14:22] = 1, 2
    objects[25:36, 20:50] = 255
    objects[27:34, 22:30] = objects[27:34, 40:48] = 3
    return objects


def objects_b():
    """One train with a hole, at the border of the image."""
    objects = np.zeros((30, 20), np.uint8)
    objects[0:10, 0:20] = 1
    objects[3:6, 5:9] = 0
    return objects


@pytest.fixture
def voc_root(tmp_path):
    root = tmp_path / 'VOC2012'
    write_voc_image(root, '2007_000001', objects_a(), {1: BOTTLE, 2: BOTTLE, 3: CAT})
    write_voc_image(root, '2007_000002', objects_b(), {1: TRAIN})
    lists = root / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('2007_000001\n')
    (lists / 'val.txt').write_text('2007_000002\n')
    return root


def convert(*args):
    return call('data_prep/to_coco.py', '--jobs', '1', *args)


def read_voc_image(name, voc_root):
    files = (voc_root / 'SegmentationObject' / f'{name}.png', voc_root / 'SegmentationClass' / f'{name}.png')
    source = Source(voc_root / 'JPEGImages' / f'{name}.jpg', files)
    return read_source(source, LAYOUT.read_cells, LayoutOptions(), voc_root)


def build(path, **kwargs):
    return DATASETS.build(dict(type='TinyVOCDataset', ann_file=str(path), **kwargs))


def test_the_classes_are_those_of_pascal_voc():
    assert VOCDataset.METAINFO['classes'] == CLASS_NAMES
    assert (CLASS_NAMES[BOTTLE - 1], CLASS_NAMES[CAT - 1], CLASS_NAMES[TRAIN - 1]) == ('bottle', 'cat', 'train')


def test_masks_equal_the_objects(voc_root):
    image = read_voc_image('2007_000001', voc_root)
    assert (image.file_name, image.height, image.width) == ('JPEGImages/2007_000001.jpg', 40, 60)
    assert list(image.cells) == ['bottle', 'cat']
    bottles, cats = image.cells.values()
    assert bottles.ids.tolist() == [1, 2] and cats.ids.tolist() == [3]
    decoded = paint_rles([*bottles.rles, *cats.rles], np.array([1, 2, 3]))
    np.testing.assert_array_equal(decoded, np.where(objects_a() == 255, 0, objects_a()))


def test_random_masks_are_read_without_loss(voc_root, rng):
    objects = rng.choice([0, 1, 2, 7, 255], size=(33, 21))
    write_voc_image(voc_root, 'random', objects, {1: BOTTLE, 2: CAT, 7: BOTTLE})
    bottles, cats = read_voc_image('random', voc_root).cells.values()
    decoded = paint_rles([*bottles.rles, *cats.rles], np.array([1, 7, 2]))
    np.testing.assert_array_equal(decoded, np.where(objects == 255, 0, objects))


def test_void_pixels_of_an_object_do_not_affect_its_class(voc_root):
    classes = np.array(Image.open(voc_root / 'SegmentationClass' / '2007_000002.png'))
    classes[0, :3] = 255
    write_palette_png(voc_root / 'SegmentationClass' / '2007_000002.png', classes)
    assert list(read_voc_image('2007_000002', voc_root).cells) == ['train']


def test_an_image_may_have_no_object(voc_root):
    write_voc_image(voc_root, 'empty', np.full((8, 9), 255), {1: CAT})
    assert read_voc_image('empty', voc_root).cells == {}


def set_pixels(folder, area, value):
    def damage(root):
        path = root / folder / '2007_000001.png'
        indices = np.array(Image.open(path))
        indices[area] = value
        write_palette_png(path, indices)
    return damage


def colored(root):
    Image.new('RGB', (60, 40)).save(root / 'SegmentationObject' / '2007_000001.png')


def cut_short(root):
    path = root / 'SegmentationClass' / '2007_000001.png'
    path.write_bytes(path.read_bytes()[:60])


def other_size(root):
    write_palette_png(root / 'SegmentationObject' / '2007_000001.png', objects_a()[:, :-1])


def git_lfs_pointer(root):
    (root / 'JPEGImages' / '2007_000001.jpg').write_text('version https://git-lfs.github.com/spec/v1\nsize 5\n')


WHOLE = np.s_[:, :]


@pytest.mark.parametrize('damage, error, message', [
    (set_pixels('SegmentationClass', np.s_[6:8, 4:6], CAT), LayoutError, r'000001\.png: object 1 .* \[5, 8\]'),
    (set_pixels('SegmentationClass', np.s_[6:8, 4:6], 0), LayoutError, r'object 1 .* \[0, 5\]'),
    (set_pixels('SegmentationClass', np.s_[6:18, 4:14], 21), LayoutError, r'object 1 .* \[21\]'),
    (set_pixels('SegmentationClass', WHOLE, 255), LayoutError, r'object 1 .* \[\]'),
    (colored, ImageReadError, 'SegmentationObject.*mode RGB'),
    (cut_short, ImageReadError, 'SegmentationClass.*cannot be read'),
    (other_size, LayoutError, r'SegmentationObject.*\(40, 59\).*\(40, 60\)'),
    (lambda root: (root / 'SegmentationClass' / '2007_000001.png').unlink(), FileError, 'Class/2007.*does not exist'),
    (git_lfs_pointer, FileError, 'git lfs pull'),
    (lambda root: (root / 'JPEGImages' / '2007_000001.jpg').unlink(), FileError, 'JPEGImages.*does not exist'),
])
def test_bad_files_are_named(voc_root, damage, error, message):
    damage(voc_root)
    with pytest.raises(error, match=message):
        read_voc_image('2007_000001', voc_root)


def test_lists_are_text_or_coco(tmp_path):
    (tmp_path / 'a.txt').write_text('2007_000003\r\n\n 2007_000001 \n')
    (tmp_path / 'b.json').write_text('{"images": [{"file_name": "train_images/2007_000002.jpg"}]}')
    assert read_image_names(tmp_path / 'a.txt') == ['2007_000003', '2007_000001']
    assert read_image_names(tmp_path / 'b.json') == ['2007_000002']


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
@pytest.mark.parametrize('name', ['a.txt', 'a.json'])
def test_lists_may_have_a_byte_order_mark(tmp_path, encoding, name):
    content = {'a.txt': 'bär.01\nkatze.JPG\n',
               'a.json': '{"images": [{"file_name": "bär.01"}, {"file_name": "katze.JPG"}]}'}
    (tmp_path / name).write_text(content[name], encoding=encoding)
    assert read_image_names(tmp_path / name) == ['bär.01', 'katze']


@pytest.mark.parametrize('name, content, message', [
    ('a.txt', '\n', 'is empty'), ('a.txt', 'x\ny\nx', "'x' more than once"), ('a.json', '{}', 'images'),
    ('a.json', '{', 'is not JSON'), ('a.json', '{"images": [3]}', 'file_name'), ('a.json', '[1]', 'COCO JSON'),
    ('a.json', '{"images": [{"file_name": 3}]}', '1 of its images .* 3'), ('a.txt', 'x -1\ny 1', 'second column'),
    ('a.txt', 'a\n..\nb', r"'\.\.' is not an image name"), ('a.txt', 'x\x1b[31m', r'x\\x1b.*not an image name')])
def test_bad_lists_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(MmcellError, match=f'{name}.*{message}'):
        read_image_names(tmp_path / name)


def test_from_folders_to_samples(voc_root, tmp_path):
    out = tmp_path / 'ann'
    (tmp_path / 'list.json').write_text('{"images": [{"file_name": "2007_000002.jpg", "id": 7}]}')
    lists = [f"train={voc_root / 'ImageSets' / 'Segmentation' / 'train.txt'}", f"val={tmp_path / 'list.json'}"]
    run = convert(voc_root, '--out', out, '--lists', *lists)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith('layout: voc (JPEGImages/, SegmentationObject/ and SegmentationClass/ of PASCAL VOC)')
    assert sorted(path.name for path in out.iterdir()) == ['train.json', 'trainval.json', 'val.json']
    assert 'bottle' in run.stdout
    document = json.loads((out / 'train.json').read_text())
    assert [cat['id'] for cat in document['categories']] == list(range(1, 21))
    assert [(a['id'], a['category_id'], a['area'], a['bbox']) for a in document['annotations']] == [
        (1, BOTTLE, 120, [4, 6, 10, 12]), (2, BOTTLE, 96, [14, 6, 8, 12]), (3, CAT, 112, [22, 27, 26, 7])]

    dataset = build(out / 'train.json', pipeline=PIPELINE)
    assert dataset.metainfo['classes'] == CLASS_NAMES and len(dataset.metainfo['palette']) == 20
    sample = dataset[0]
    assert np.abs(sample['inputs'][:, 0, 0].numpy().astype(int) - COLOR).max() <= 4
    instances = sample['data_samples'].gt_instances
    assert isinstance(instances.masks, LabelMapMasks)
    assert instances.labels.tolist() == [BOTTLE - 1, BOTTLE - 1, CAT - 1]
    np.testing.assert_array_equal(instances.masks.to_ndarray(), [objects_a() == number for number in (1, 2, 3)])
    train = build(out / 'val.json', pipeline=PIPELINE)[0]['data_samples']
    assert train.img_id == 2
    np.testing.assert_array_equal(train.gt_instances.masks.to_ndarray(), [objects_b() == 1])


def test_a_bad_image_stops_the_conversion_or_is_skipped(voc_root, tmp_path):
    colored(voc_root)
    run = convert(voc_root, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'mode RGB' in run.stderr and 'nothing was written' in run.stderr
    assert not (tmp_path / 'ann').exists()
    run = convert(voc_root, '--out', tmp_path / 'ann', '--skip-bad')
    assert run.returncode == 1 and 'skipped: ' in run.stderr and 'train.json would have no image' in run.stderr
    assert not (tmp_path / 'ann').exists()
    write_voc_image(voc_root, '2007_000003', objects_b(), {1: TRAIN})
    (voc_root / 'ImageSets' / 'Segmentation' / 'train.txt').write_text('2007_000001\n2007_000003\n')
    run = convert(voc_root, '--out', tmp_path / 'ann', '--skip-bad')
    assert run.returncode == 3 and 'skipped: ' in run.stderr
    assert run.stderr.splitlines()[-1] == 'skipped 1 of 3 training images'
    assert [len(json.loads((tmp_path / 'ann' / f'{name}.json').read_text())['images'])
            for name in ('train', 'val')] == [1, 1]


@pytest.mark.parametrize('lists, message', [
    (['train'], "'train' does not have the form PART=FILE"), (['train='], 'PART=FILE with one of train, val, test'),
    (['a=b'], 'PART=FILE with one of train, val, test'), (['train=a', 'train=b'], 'every name may be given once')])
def test_lists_must_name_a_part_each(tmp_path, lists, message):
    run = convert(tmp_path, '--layout', 'voc', '--lists', *lists)
    assert run.returncode == 2 and '--lists' in run.stderr and message in run.stderr


def test_an_image_in_two_lists_is_refused(voc_root, tmp_path):
    (voc_root / 'ImageSets' / 'Segmentation' / 'val.txt').write_text('2007_000001\n')
    run = convert(voc_root, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and "'2007_000001', which is in the list of the part train as well" in run.stderr


def test_a_share_of_validation_does_not_go_with_lists(voc_root, tmp_path):
    run = convert(voc_root, '--out', tmp_path / 'ann', '--val-ratio', '.5')
    assert run.returncode == 1 and '--val-ratio has no effect' in run.stderr


POLYGON = [[2., 2., 2., 20., 20., 20., 20., 2.]]
OVERLAPPING = [[10., 10., 10., 30., 30., 30., 30., 10.], [40., 2., 40., 12., 50., 12., 50., 2.]]


def course_file(tmp_path, names=CLASS_NAMES, first_id=1):
    """Writes a file like Tiny PASCAL VOC's own: polygons, no info, and images in a folder that it does not name.

    Returns:
        The path of the file, and the bitmap (H, W) uint8 of its region that is annotated as iscrowd.
    """
    (tmp_path / 'train_images').mkdir(exist_ok=True)
    cv2.imwrite(str(tmp_path / 'train_images' / 'a.jpg'), np.zeros((40, 60, 3), np.uint8))
    crowd = np.zeros((40, 60), np.uint8)
    crowd[30:, :10] = 1
    counts = [30, *[10, 30] * 9, 10, 2000]
    masks = [(POLYGON, CAT, 0, [2, 2, 18, 18]), (OVERLAPPING, TRAIN, 0, [10, 2, 40, 28]),
             (dict(size=[40, 60], counts=counts), BOTTLE, 1, [0, 30, 10, 10])]
    annotations = [
        dict(id=number, image_id=1, category_id=category + first_id - 1, iscrowd=is_crowd, segmentation=mask,
             area=100., bbox=bbox)
        for number, (mask, category, is_crowd, bbox) in enumerate(masks, start=1)]
    path = tmp_path / 'pascal_train.json'
    path.write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.jpg', height=40, width=60)], annotations=annotations,
        categories=[dict(id=number, name=name, supercategory=name) for number, name in enumerate(names, first_id)])))
    return path, crowd


def test_tiny_pascal_vocs_own_file_is_read_unchanged(tmp_path):
    path, crowd = course_file(tmp_path)
    sample = build(path, data_prefix=dict(img=str(tmp_path / 'train_images')), pipeline=PIPELINE)[0]['data_samples']
    masks = sample.gt_instances.masks
    assert sample.gt_instances.labels.tolist() == [CAT - 1, TRAIN - 1]
    expected = [pycocotools.mask.decode(pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, 40, 60)))
                for polygons in (POLYGON, OVERLAPPING)]
    assert (expected[0] & expected[1]).any()
    np.testing.assert_array_equal(masks.to_ndarray(), expected)
    np.testing.assert_array_equal(sample.ignored_instances.masks.to_ndarray(), [crowd])
    assert sample.ignored_instances.labels.tolist() == [BOTTLE - 1]


def swapped(names, i, j):
    names = list(names)
    names[i], names[j] = names[j], names[i]
    return names


@pytest.mark.parametrize('names, message', [
    ((*CLASS_NAMES[:-1], 'tv/monitor'), "only in the config: 'tvmonitor'; only in .*: 'tv/monitor'"),
    (CLASS_NAMES[:-1], "only in the config: 'tvmonitor'"),
    ((*CLASS_NAMES, 'cell'), "only in .*: 'cell'"),
    ((*CLASS_NAMES[:-1], 'TVmonitor'), 'differ only in case'),
])
@pytest.mark.parametrize('test_mode', [False, True])
def test_other_categories_are_refused(tmp_path, names, message, test_mode):
    path, _ = course_file(tmp_path, names)
    with pytest.raises(ClassesError, match=message):
        build(path, data_prefix=dict(img=str(tmp_path / 'train_images')), test_mode=test_mode)


@pytest.mark.parametrize('names, first_id', [(swapped(CLASS_NAMES, 4, 5), 1), (CLASS_NAMES, 2)])
def test_categories_in_another_order_or_with_other_numbers_are_known_by_their_names(tmp_path, names, first_id):
    path, _ = course_file(tmp_path, names, first_id)
    dataset = build(path, data_prefix=dict(img=str(tmp_path / 'train_images')))
    assert dataset.metainfo['classes'] == CLASS_NAMES
    # The file gives its annotations the classes that stand at these places in its own list.
    assert [dataset.metainfo['classes'][instance['bbox_label']] for instance in dataset[0]['instances']] == [
        names[CAT - 1], names[TRAIN - 1], names[BOTTLE - 1]]

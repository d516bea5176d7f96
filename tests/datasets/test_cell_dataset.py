import json

import numpy as np
import pytest
import tifffile
from mmdet.registry import DATASETS
from mmdet.structures.mask import BitmapMasks

from mmcell.annotations.coco_json import AnnotationError
from mmcell.datasets import CellDataset, LoadTiff

PIPELINE = [dict(type='mmdet.LoadTiff'), dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='mmdet.PackDetInputs')]


def edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def build(path, **kwargs):
    return DATASETS.build(dict(type='CellDataset', ann_file=str(path), **kwargs))


def test_classes_and_the_image_folder_come_from_the_file(annotation_file):
    dataset = build(annotation_file, pipeline=PIPELINE, channel_order='bgr')
    assert dataset.metainfo['classes'] == ('big', 'small')
    assert dataset.metainfo['channel_order'] == 'bgr'
    assert len(dataset.metainfo['palette']) == 2
    sample = dataset[0]
    assert sample['inputs'].shape == (3, 40, 50)
    # The file is tagged RGB and holds 200, 100, 50 in this order.
    assert sample['inputs'][:, 0, 0].tolist() == [50, 100, 200]
    assert isinstance(sample['data_samples'].gt_instances.masks, BitmapMasks)
    assert sample['data_samples'].gt_instances.labels.tolist() == [0, 0, 1]


def test_masks_equal_the_raw_label_maps(annotation_file, raw_root):
    _, maps = raw_root
    masks = build(annotation_file, pipeline=PIPELINE)[0]['data_samples'].gt_instances.masks.masks
    expected = [maps['a'][1] == 3, maps['a'][1] == 9, maps['a'][2] == 7]
    np.testing.assert_array_equal(masks, expected)


def test_files_of_other_programs_need_no_info(annotation_file, raw_root):
    root, _ = raw_root
    for info in (None, 'x', {}):
        edit(annotation_file, lambda d, info=info: d.update(info=info))
        assert len(build(annotation_file, data_prefix=dict(img=str(root)))) == 2


def test_images_without_cells_and_small_images_are_kept(annotation_file):
    edit(annotation_file, lambda d: d.update(annotations=[a for a in d['annotations'] if a['image_id'] == 1]))
    assert len(build(annotation_file)) == 2
    assert len(build(annotation_file, filter_cfg=dict(filter_empty_gt=True))) == 1


def test_an_explicit_folder_overrides_the_file(annotation_file, raw_root):
    root, _ = raw_root
    moved = root.rename(root.with_name('moved'))
    with pytest.raises(FileNotFoundError, match='2 of 2 images.*data_prefix'):
        build(annotation_file)
    assert len(build(annotation_file, data_prefix=dict(img=str(moved)))) == 2


@pytest.mark.parametrize('classes', [('small', 'big'), ('big',), ('big', 'smal')])
def test_other_classes_in_the_config_are_refused(annotation_file, classes):
    assert build(annotation_file, metainfo=dict(classes=('big', 'small'))).metainfo['classes'] == ('big', 'small')
    with pytest.raises(AnnotationError, match='same order'):
        build(annotation_file, metainfo=dict(classes=classes))


def set_first(key, field, value):
    def change(document):
        document[key][0][field] = value
    return change


@pytest.mark.parametrize('change, message', [
    (lambda d: d.update(annotations=[]), 'not one cell'),
    (lambda d: d.update(annotations=[], images=[]), 'no image'),
    (set_first('annotations', 'id', 0), '1 of 4 annotations: id is not a whole number from 1'),
    (set_first('annotations', 'id', 2), '2 of 4 annotations: the id is not unique'),
    (set_first('annotations', 'category_id', 3), 'category_id is not the id of one of the categories; .*: 3'),
    (set_first('annotations', 'area', 0), 'area is not a number of px above 0'),
    (set_first('images', 'width', 0), "1 of 2 images: .*; first image 1 .'train/a/image.tif'.*"),
    (lambda d: d.pop('images'), 'images'),
])
def test_files_that_contradict_themselves_are_refused(annotation_file, change, message):
    edit(annotation_file, change)
    with pytest.raises(AnnotationError, match=message):
        build(annotation_file)


def test_the_message_about_an_empty_validation_file_says_what_to_do(annotation_file):
    edit(annotation_file, lambda d: d.update(annotations=[], images=[]))
    with pytest.raises(AnnotationError, match='val_dataloader=None'):
        build(annotation_file, test_mode=True)


def test_test_data_may_have_no_annotations(annotation_file):
    edit(annotation_file, lambda d: d.pop('annotations'))
    assert len(build(annotation_file, test_mode=True)) == 2


def test_training_ignores_crowd_regions_and_says_so(annotation_file, monkeypatch):
    edit(annotation_file, set_first('annotations', 'iscrowd', True))
    edit(annotation_file, lambda d: d['annotations'][1].update(ignore=1))
    messages = []
    monkeypatch.setattr('mmcell.datasets.cell_dataset.print_log', lambda text, **_: messages.append(text))
    dataset = build(annotation_file)
    assert [instance['ignore_flag'] for instance in dataset.get_data_info(0)['instances']] == [1, 1, 0]
    assert '2 of 4 annotations are regions that are not annotated cell by cell' in messages[0]


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='to_coco'):
        build(tmp_path / 'none.json')
    (tmp_path / 'bad.json').write_text('{')
    with pytest.raises(AnnotationError, match='bad.json'):
        build(tmp_path / 'bad.json')


def test_load_tiff_adds_its_keys(tmp_path):
    tifffile.imwrite(tmp_path / 'i.tif', np.full((4, 6, 3), [1, 2, 3], np.uint8), photometric='rgb')
    for own, declared, expected in ((None, None, [1, 2, 3]), (None, 'bgr', [3, 2, 1]), ('rgb', 'bgr', [1, 2, 3])):
        results = {'img_path': str(tmp_path / 'i.tif'), **({'channel_order': declared} if declared else {})}
        results = LoadTiff(channel_order=own)(results)
        assert results['img'][0, 0].tolist() == expected
        assert results['img_shape'] == results['ori_shape'] == (4, 6)
        assert results['scale_factor'] == (1., 1.)


@pytest.mark.parametrize('cls', [LoadTiff, CellDataset])
def test_wrong_channel_orders_are_refused(cls):
    with pytest.raises(ValueError, match="'gbr'"):
        cls(channel_order='gbr')

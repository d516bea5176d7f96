import json

import numpy as np
import pytest
import tifffile
from mmcv.transforms import LoadImageFromFile
from mmdet.datasets import ConcatDataset
from mmdet.registry import DATASETS
from mmdet.structures.mask import BitmapMasks
from mmengine.dataset import RepeatDataset
from support.opened_files import recording_opens
from support.stains import stained_image
from support.synthetic_data import write_folds

from mmcell.annotations.coco_json import AnnotationError
from mmcell.classes.matching import ClassesError
from mmcell.datasets import CellDataset, CellMixDataset, LoadTiff
from mmcell.datasets.class_order import class_names, order_classes
from mmcell.datasets.colors import ColorError

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


def test_a_sample_opens_its_image_once(annotation_file, raw_root):
    dataset = build(annotation_file, pipeline=PIPELINE)
    with recording_opens() as n_opens:
        dataset[0]
    assert n_opens == {(raw_root[0] / 'train' / 'a' / 'image.tif').resolve(): 1}


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


@pytest.mark.parametrize('classes, message', [
    (('big',), r"the config has the classes \['big'\], but .*train.json has \['big', 'small'\]: only in .*: 'small'"),
    (('big', 'smal'), "only in the config: 'smal'; only in .*: 'small'"),
    (('small', 'big', 'third'), "only in the config: 'third'"),
    (('big', 'Small '), "'Small ' and 'small' differ only in case"),
    (('big', 'big'), 'the config has a class twice')])
def test_other_classes_in_the_config_are_refused(annotation_file, classes, message):
    with pytest.raises(ClassesError, match=message):
        build(annotation_file, metainfo=dict(classes=classes))


def labels_by_name(dataset):
    """Returns for each image the names of the classes of its cells, in the order of the annotations."""
    names = dataset.metainfo['classes']
    return [[names[instance['bbox_label']] for instance in dataset.get_data_info(index)['instances']]
            for index in range(len(dataset))]


def renumber(path, ids, order):
    """Gives the categories other ids and another order, without changing the class of any cell."""
    def change(document):
        document['categories'] = [{**document['categories'][i], 'id': ids[i]} for i in order]
        for annotation in document['annotations']:
            annotation['category_id'] = ids[annotation['category_id'] - 1]
    edit(path, change)


@pytest.mark.parametrize('ids, order', [((1, 2), (1, 0)), ((10, 20), (0, 1)), ((7, 3), (1, 0))])
def test_labels_follow_the_names_wherever_they_stand(annotation_file, ids, order):
    original = build(annotation_file)
    renumber(annotation_file, ids, order)
    for classes in (('big', 'small'), ('small', 'big')):
        declared = build(annotation_file, metainfo=dict(classes=classes))
        ordered = build(annotation_file)
        ordered.order_classes(classes, 'the model')
        for dataset in (declared, ordered):
            assert dataset.metainfo['classes'] == classes
            assert labels_by_name(dataset) == labels_by_name(original)
            assert dataset.cat_ids == [dict(zip(('big', 'small'), ids, strict=True))[name] for name in classes]


def test_a_new_order_keeps_filters_subsets_and_colours(annotation_file):
    dataset = build(annotation_file, indices=[1], filter_cfg=dict(filter_empty_gt=True),
                    metainfo=dict(palette=[(1, 1, 1), (2, 2, 2)]))
    dataset.order_classes(['small', 'big'], 'the model')
    assert len(dataset) == 1 and dataset.metainfo['palette'] == [(2, 2, 2), (1, 1, 1)]
    with pytest.raises(ClassesError, match=r'the model has .* only in the model: .third.'):
        dataset.order_classes(['small', 'big', 'third'], 'the model')


@pytest.mark.parametrize('wrap', [
    lambda a, b: ConcatDataset([a, b]), lambda a, b: RepeatDataset(b, 2),
    lambda a, b: CellMixDataset(ConcatDataset([b]).datasets[0], pipeline=[])])
def test_data_sets_in_wrappers_get_one_order(annotation_file, wrap):
    other = annotation_file.with_name('other.json')
    other.write_text(annotation_file.read_text())
    renumber(other, (1, 2), (1, 0))
    dataset = wrap(build(annotation_file), build(other))
    order_classes(dataset, ['big', 'small'], 'the model')
    metainfo = dataset.metainfo if isinstance(dataset.metainfo, list) else [dataset.metainfo]
    assert {part['classes'] for part in metainfo} == {('big', 'small')}
    assert {info['instances'][0]['bbox_label'] for info in map(dataset.get_data_info, range(len(dataset)))} == {0}
    assert class_names(dataset.metainfo) == ['big', 'small']


def test_a_stock_data_set_in_another_order_is_refused(annotation_file, raw_root):
    stock = DATASETS.build(dict(type='CocoDataset', ann_file=str(annotation_file), data_prefix=dict(img='x'),
                                metainfo=dict(classes=('big', 'small'))))
    order_classes(stock, ['big', 'small'], 'the model')
    with pytest.raises(ClassesError, match="the order .'big', 'small'., which only type='CellDataset' can change"):
        order_classes(stock, ['small', 'big'], 'the model')


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


@pytest.fixture
def warnings(monkeypatch):
    """The messages of the data set."""
    messages = []
    monkeypatch.setattr('mmcell.datasets.cell_dataset.print_log', lambda text, **_: messages.append(text))
    return messages


def state_order(path, order):
    edit(path, lambda document: document['info'].update(channel_order=order))


def first_pixel(dataset):
    return dataset[0]['inputs'][:, 0, 0].tolist()


def test_the_channel_order_is_that_of_the_annotation_file(annotation_file, warnings):
    for order, pixel in (('rgb', [200, 100, 50]), ('bgr', [50, 100, 200])):
        state_order(annotation_file, order)
        dataset = build(annotation_file, pipeline=PIPELINE)
        assert dataset.metainfo['channel_order'] == order and first_pixel(dataset) == pixel
    assert not warnings


@pytest.mark.parametrize('settings', [
    dict(channel_order='rgb', pipeline=PIPELINE),
    dict(pipeline=[dict(type='mmdet.LoadTiff', channel_order='rgb'), *PIPELINE[1:]])])
def test_a_config_that_contradicts_the_file_counts_and_is_warned_of(annotation_file, warnings, settings):
    state_order(annotation_file, 'bgr')
    dataset = build(annotation_file, **settings)
    assert dataset.metainfo['channel_order'] == 'rgb' and first_pixel(dataset) == [200, 100, 50]
    warning, = warnings
    assert "states that its images are bgr, but the config says channel_order='rgb'" in warning
    warnings.clear()
    state_order(annotation_file, 'rgb')
    build(annotation_file, **settings)
    assert not warnings


def test_a_file_that_states_nonsense_is_refused(annotation_file):
    state_order(annotation_file, 'grb')
    with pytest.raises(AnnotationError, match="channel_order must be one of .*got 'grb'"):
        build(annotation_file)


@pytest.mark.parametrize('is_swapped', [False, True])
def test_files_that_do_not_state_the_order_are_looked_at(annotation_file, raw_root, warnings, is_swapped, rng):
    for path in raw_root[0].glob('train/*/image.tif'):
        tifffile.imwrite(path, stained_image(rng, tifffile.imread(path).shape[:2])[:, :, ::-1 if is_swapped else 1],
                         photometric='rgb')
    build(annotation_file)
    assert len(warnings) == is_swapped
    assert all('swapped in 2 of 2 images' in text and '--channel-order bgr' in text for text in warnings)
    warnings.clear()
    build(annotation_file, channel_order='rgb')
    assert not warnings


def test_the_stock_loader_cannot_read_swapped_files(annotation_file):
    stock = [dict(type=LoadImageFromFile), *PIPELINE[1:]]
    build(annotation_file, pipeline=stock)
    state_order(annotation_file, 'bgr')
    with pytest.raises(ColorError, match=r"LoadImageFromFile in the pipeline .* dict\(type='LoadTiff'\)"):
        build(annotation_file, pipeline=stock)


@pytest.mark.parametrize('cls', [LoadTiff, CellDataset])
def test_wrong_channel_orders_are_refused(cls):
    with pytest.raises(ValueError, match="'gbr'"):
        cls(channel_order='gbr')


def test_the_two_sides_of_a_fold(annotation_file):
    path = write_folds(annotation_file, [1, 0])
    for fold in (0, 1):
        train, held_out = (build(path, fold=fold, held_out=side, pipeline=PIPELINE) for side in (False, True))
        assert [[dataset[0]['data_samples'].img_id] for dataset in (train, held_out)] == [[1 + fold], [2 - fold]]
        assert len(train) == len(held_out) == 1
        assert (held_out.metainfo['fold'], held_out.metainfo['held_out']) == (fold, True)
        assert train.metainfo['classes'] == held_out.metainfo['classes'] == ('big', 'small')
    assert len(build(path)) == 2 and 'fold' not in build(path).metainfo


def test_a_file_without_this_fold_is_refused(annotation_file):
    with pytest.raises(AnnotationError, match='2 of 2 images have no fold.*--folds'):
        build(annotation_file, fold=0)
    with pytest.raises(AnnotationError, match='fold 2 cannot be held out'):
        build(write_folds(annotation_file, [1, 0]), fold=2, held_out=True)

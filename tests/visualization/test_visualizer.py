from types import SimpleNamespace

import numpy as np
import pycocotools.mask
import pytest
import tifffile
import torch
from mmdet.registry import HOOKS, VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.structures import InstanceData
from support.synthetic_data import discs

import mmcell  # noqa: F401
from mmcell.errors import MmcellError
from mmcell.images.image_file import read_image
from mmcell.masks.encoding import masks_to_rles
from mmcell.masks.label_map_masks import LabelMapMasks
from mmcell.masks.rle import encode_label_map
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import picture_name
from mmcell.visualization.panels import GAP_PX
from mmcell.visualization.visualizer import CellVisualizer

GREY = np.full((40, 60, 3), 100, np.uint8)
LABEL_MAP = discs((40, 60), [(3, 12, 14, 6), (5, 25, 40, 8), (9, 30, 10, 4)])
LABELS = [0, 1, 1]
RLES = encode_label_map(LABEL_MAP).rles
BITMAPS = np.stack([i == LABEL_MAP for i in (3, 5, 9)])
MASKS = {'rle': RLES, 'bytes': [{**rle, 'counts': rle['counts'].encode()} for rle in RLES],
         'bitmaps': BitmapMasks(BITMAPS.astype(np.uint8), 40, 60), 'array': BITMAPS, 'tensor': torch.tensor(BITMAPS),
         'label map': LabelMapMasks.from_label_maps([LABEL_MAP]),
         'layers': LabelMapMasks(np.stack([LABEL_MAP, LABEL_MAP]), [0, 1, 0], [3, 5, 9])}


@pytest.fixture
def visualizer():
    return make_visualizer()


def make_visualizer(**kwargs):
    visualizer = CellVisualizer(**kwargs)
    visualizer.dataset_meta = dict(classes=('round', 'long'))
    return visualizer


def instances(masks, scores=None, labels=LABELS):
    fields = dict(labels=torch.tensor(labels, dtype=torch.long), masks=masks)
    return InstanceData(**fields, **({} if scores is None else dict(scores=torch.tensor(scores))))


def predicted(masks=RLES, scores=(.9, .9, .9), **meta):
    return DetDataSample(pred_instances=instances(masks, list(scores)), metainfo=meta)


def cells_of(picture):
    """The first panel of a picture, without legend and heading."""
    return picture[-40:, :60]


def test_outlines_and_fills_in_the_colours_of_the_classes(visualizer):
    cells = cells_of(visualizer.draw(GREY, predicted()))
    first, second = class_colors(2)
    assert cells[12, 8].tolist() == list(first) and cells[25, 32].tolist() == list(second)
    assert cells[12, 14].tolist() == np.round(100 + .15 * (np.array(first) - 100)).tolist()
    assert (cells[LABEL_MAP == 0] == 100).all()
    assert (cells != 100).any(axis=2)[LABEL_MAP > 0].all()


@pytest.mark.parametrize('kind', MASKS)
def test_masks_of_every_kind_give_the_same_picture(visualizer, kind):
    np.testing.assert_array_equal(visualizer.draw(GREY, predicted(MASKS[kind], [.9, .6, .3]), pred_score_thr=.5),
                                  visualizer.draw(GREY, predicted(RLES, [.9, .6, .3]), pred_score_thr=.5))
    truth = visualizer.draw(GREY, DetDataSample(gt_instances=instances(MASKS[kind])))
    np.testing.assert_array_equal(cells_of(truth), cells_of(visualizer.draw(GREY, predicted())))


def test_label_maps_are_encoded_without_bitmaps(monkeypatch):
    masks = LabelMapMasks(LABEL_MAP[None], [0, 0, 0, 0], [9, 3, 4, 9])
    monkeypatch.setattr(LabelMapMasks, 'to_ndarray', None)
    rles = masks_to_rles(masks)
    assert [rles[0], rles[1], rles[3]] == [RLES[2], RLES[0], RLES[2]]
    assert LabelMapMasks.from_rles(rles, 40, 60).areas[2] == 0


def test_the_refusal_of_polygons_names_the_transform_to_use():
    with pytest.raises(TypeError, match='LoadCellAnnotations'):
        masks_to_rles(PolygonMasks([[np.array([0., 0, 5, 0, 5, 5])]], 40, 60))


def test_classes_and_scores_choose_what_is_drawn():
    only_long = cells_of(make_visualizer(classes=['long']).draw(GREY, predicted()))
    assert (only_long[LABEL_MAP == 3] == 100).all() and (only_long[LABEL_MAP == 5] != 100).any()
    above = cells_of(make_visualizer().draw(GREY, predicted(scores=[.5, .49, .9]), pred_score_thr=.5))
    assert (above[LABEL_MAP == 5] == 100).all() and (above[LABEL_MAP == 3] != 100).any()


def test_unknown_classes_are_refused():
    with pytest.raises(MmcellError, match=r"unknown names \['lang'\]; .* has the classes \['round', 'long'\]"):
        make_visualizer(classes=['lang'])
    with pytest.raises(MmcellError, match=r"unknown names \['lang'\]; .* has the classes \['class 0', 'class 1'\]"):
        CellVisualizer(classes=['lang']).draw(GREY, predicted())
    with pytest.raises(MmcellError, match=r"\['long'\]"):
        CellVisualizer(classes='long')


def test_labels_without_a_name_are_refused(visualizer):
    with pytest.raises(ValueError, match=r"no class for label 2: the data set has the classes \['round', 'long'\]"):
        visualizer.draw(GREY, DetDataSample(pred_instances=instances(RLES, [.9] * 3, [0, 1, 2])))


def test_masks_without_a_pixel_are_not_counted(visualizer):
    empty = pycocotools.mask.encode(np.zeros(RLES[0]['size'], np.uint8, order='F'))
    empty['counts'] = empty['counts'].decode()
    with_empty = DetDataSample(pred_instances=instances([RLES[0], empty], [.9, .9], [0, 0]))
    without_empty = DetDataSample(pred_instances=instances([RLES[0]], [.9], [0]))
    np.testing.assert_array_equal(visualizer.draw(GREY, with_empty), visualizer.draw(GREY, without_empty))


def test_truth_beside_prediction(visualizer):
    sample = predicted()
    # PackDetInputs gives an image without annotations this empty InstanceData, for which no panel is drawn.
    sample.gt_instances = InstanceData()
    one_panel = visualizer.draw(GREY, sample)
    sample.gt_instances = instances([], labels=[])
    two_panels = visualizer.draw(GREY, sample)
    assert (cells_of(two_panels) == 100).all()
    # The panels are narrower than their columns.
    second = two_panels.shape[1] // 2 + GAP_PX // 2
    np.testing.assert_array_equal(two_panels[-40:, second:second + 60], cells_of(one_panel))
    np.testing.assert_array_equal(cells_of(visualizer.draw(GREY, sample, draw_gt=False)), cells_of(one_panel))
    np.testing.assert_array_equal(visualizer.draw(GREY, sample, draw_gt=False, draw_pred=False), GREY)


def test_no_predicted_cell_and_an_image_of_one_pixel(visualizer):
    np.testing.assert_array_equal(cells_of(visualizer.draw(GREY, predicted(scores=[0.] * 3))), GREY)
    sample = DetDataSample(pred_instances=instances([], [], []))
    np.testing.assert_array_equal(cells_of(visualizer.draw(GREY, sample)), GREY)
    np.testing.assert_array_equal(visualizer.draw(GREY), GREY)
    pixel = DetDataSample(pred_instances=instances(encode_label_map(np.ones((1, 1), int)).rles, [.9], [1]))
    picture = visualizer.draw(GREY[:1, :1], pixel)
    assert picture[-1, 0].tolist() == list(class_colors(2)[1])


def test_masks_of_another_size_are_refused(visualizer):
    with pytest.raises(ValueError, match=r'masks are \[40, 60\], but the image is \[20, 60\]'):
        visualizer.draw(GREY[:20], predicted())


def test_a_written_file_shows_the_picture(visualizer, tmp_path):
    visualizer.add_datasample('x', GREY, predicted(), out_file=tmp_path / 'new' / 'x.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'new' / 'x.png'), visualizer.draw(GREY, predicted()))
    assert len(list((tmp_path / 'new').iterdir())) == 1


def test_every_process_draws_with_the_class_names(monkeypatch, tmp_path):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda *_: 1)
    visualizer = make_visualizer()
    visualizer.add_datasample('x', GREY, predicted(), out_file=tmp_path / 'x.png')
    assert (tmp_path / 'x.png').exists() and visualizer.dataset_meta['classes'] == ('round', 'long')


class FakeDataset(list):
    def get_data_info(self, index):
        return self[index]


def drawing_hook(tmp_path, dataset):
    """Returns a hook that draws, and a runner that tests a data set."""
    VISUALIZERS.build(dict(type='CellVisualizer', name='visualizer of the hook'))
    hook = HOOKS.build(dict(type='CellVisualizationHook', draw=True, test_out_dir='shown'))
    hook._visualizer = make_visualizer()
    return hook, SimpleNamespace(work_dir=str(tmp_path / 'work'), timestamp='now',
                                 test_dataloader=SimpleNamespace(dataset=dataset))


@pytest.mark.parametrize('n_true', [2, 0])
def test_the_hook_draws_the_true_cells_that_the_test_pipeline_does_not_load(tmp_path, n_true):
    tifffile.imwrite(tmp_path / 'x.tif', GREY, photometric='rgb')
    path = str(tmp_path / 'x.tif')
    truth = [dict(bbox=[0, 0, 1, 1], bbox_label=label, ignore_flag=0, mask=rle)
             for label, rle in zip(LABELS, RLES, strict=True)]
    # The second image has cells, so that the truth of the first one is known even if it has none.
    hook, runner = drawing_hook(tmp_path, FakeDataset([
        dict(img_id=1, img_path=path, instances=truth[:n_true]), dict(img_id=2, img_path='y.tif', instances=truth)]))
    hook.after_test_iter(runner, 0, {}, [predicted(img_id=1, img_path=path, channel_order='rgb', percentiles=None)])
    expected = predicted()
    expected.gt_instances = instances(RLES[:n_true], labels=LABELS[:n_true])
    np.testing.assert_array_equal(read_image(tmp_path / 'work' / 'now' / 'shown' / '0001_x.png'),
                                  make_visualizer().draw(GREY, expected, pred_score_thr=.3))


def test_images_without_known_truth_have_one_panel(tmp_path):
    tifffile.imwrite(tmp_path / 'x.tif', GREY, photometric='rgb')
    path = str(tmp_path / 'x.tif')
    hook, runner = drawing_hook(tmp_path, FakeDataset([dict(img_id=1, img_path=path, instances=[])]))
    hook.after_test_iter(runner, 0, {}, [predicted(img_id=1, img_path=path)])
    np.testing.assert_array_equal(read_image(tmp_path / 'work' / 'now' / 'shown' / '0001_x.png'),
                                  make_visualizer().draw(GREY, predicted(), pred_score_thr=.3))


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
def test_the_hook_shows_16_bit_rgba_in_true_colours_under_unique_names(tmp_path, order):
    color = [200, 100, 50]
    stored = np.full((40, 60, 4), [*color[::1 if order == 'rgb' else -1], 7], np.uint16) * 257
    samples = []
    for number, folder in enumerate('ab'):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / 'image.tif'
        tifffile.imwrite(path, stored, photometric='rgb', extrasamples=['unassalpha'])
        meta = dict(img_id=number, img_path=str(path), channel_order=order, percentiles=None)
        samples.append(DetDataSample(pred_instances=instances([], [], []), metainfo=meta))
    hook, runner = drawing_hook(tmp_path, FakeDataset([]))
    for sample in samples:
        hook.after_test_iter(runner, 0, {}, [sample])
    written = sorted((tmp_path / 'work' / 'now' / 'shown').iterdir())
    assert [path.name for path in written] == ['0000_a.png', '0001_b.png']
    assert (cells_of(read_image(written[0])) == color).all()


def test_names_of_pictures():
    assert picture_name(7, 'train/abc/image.tif') == '0007_abc.png'
    assert picture_name(12345, 'x/consep_1.png') == '12345_consep_1.png'
    assert picture_name('2007_000033', '2007_000033.jpg') == '2007_000033_2007_000033.png'

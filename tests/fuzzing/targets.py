"""All readers of files that other people made: each is given one file, and reads it as the commands do.

A reader that refuses the file raises an error that a command turns into its message. A target may also compare what was
read, and raises an AssertionError if two ways to read the file disagree.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pycocotools.mask
from fuzzing.image_targets import read_image_in_all_ways, read_label_map_in_all_ways
from fuzzing.workers import Target

from mmcell.annotations.coco_json import read_annotations
from mmcell.annotations.ground_truth import read_true_cells
from mmcell.annotations.id_list import read_test_ids
from mmcell.checkpoints.config import build_without_trust, read_checkpoint_config
from mmcell.checkpoints.prediction_config import make_prediction_config
from mmcell.checkpoints.records import read_record
from mmcell.errors import MmcellError
from mmcell.files.text_files import read_json
from mmcell.framework.model_files import description_path
from mmcell.framework.safe_loading import load_tensors_only
from mmcell.images.image_file import open_image
from mmcell.inference.detector import load_detector
from mmcell.inference.roi_files import read_rois
from mmcell.inference.tile_journal import TileJournal, remove_journal
from mmcell.layouts import aperio, coco, imagej, label_maps, qupath, voc
from mmcell.layouts.base import LayoutOptions, Source
from mmcell.layouts.class_tables import check_table_of_images, read_class_table
from mmcell.masks.coco_masks import to_compressed_rles
from mmcell.masks.rle import foreground_pixels_of_all
from mmcell.predictions.packed_results import read_packed_results
from mmcell.predictions.result_files import describe_unusual, read_predictions
from mmcell.predictions.submission import check_submission, read_test_set
from mmcell.visualization.training_curves import describe_curve, read_step_facts, read_trainings

_SIZE = 40, 60


def _read_cells(read: Callable, path: Path, *others: Path) -> None:
    image_path = path.parent / 'image.tif'
    with open_image(image_path) as image:
        cells = read(Source(image_path, (path, *others)), image, LayoutOptions())
    for instances in (*cells.cells.values(), *cells.crowds.values()):
        for rle, area_px in zip(instances.rles, instances.areas_px.tolist(), strict=True):
            assert tuple(rle['size']) == _SIZE and pycocotools.mask.area(rle) == area_px


def _read_annotations(path: Path) -> None:
    truth = read_true_cells(path)
    for rle, size in zip(truth.rles, truth.sizes[truth.image_index].tolist(), strict=True):
        assert list(rle['size']) == size
    read_annotations(path, masks_as_rle=False)


def _read_coco_layout(path: Path) -> None:
    for source in coco.find_sources(path, LayoutOptions(images=path.parent)).sources:
        with open_image(source.image) as image:
            coco.read_cells(source, image, LayoutOptions())


def _read_rles(path: Path) -> None:
    """Decodes masks, and compares them with those that pycocotools decodes."""
    masks = read_json(path, MmcellError)
    if not isinstance(masks, list):
        raise MmcellError('no list')
    rles, problems = to_compressed_rles(masks, [_SIZE] * len(masks))
    usable = [rle for rle in rles if rle is not None]
    positions, n_px = foreground_pixels_of_all(usable)
    expected = [pycocotools.mask.decode(rle).ravel('F') for rle in usable]
    assert n_px.tolist() == [int(mask.sum()) for mask in expected]
    assert positions.tolist() == [place for mask in expected for place in np.flatnonzero(mask).tolist()]
    for problem in problems.values():
        assert str(problem).isprintable() and len(str(problem)) < 1000


def _read_results(path: Path) -> None:
    images = read_test_set(path.parent / 'test.json')
    describe_unusual(read_predictions(path, images).predictions, images)


def _check_submission(path: Path) -> None:
    report = check_submission(read_packed_results(path), read_test_set(path.parent / 'test.json'))
    if report.errors:
        raise MmcellError(report.errors[0])


def _read_class_table(path: Path) -> None:
    check_table_of_images(path, [path.parent / 'image.tif'])
    read_class_table(path, path.parent / 'image.tif')


def _read_id_list(path: Path) -> None:
    read_test_ids(path)
    read_test_set(path)


def _read_voc_masks(path: Path) -> None:
    _read_cells(voc.read_cells, path, path)


def _read_checkpoint(path: Path) -> None:
    load_tensors_only(path)
    read_record(path)
    load_detector(path)


def _read_weights(path: Path) -> None:
    """Reads weights as safetensors beside a description that has the right check sum."""
    description = json.loads((path.parent / 'model.json').read_text())
    description['sha256'] = hashlib.sha256(path.read_bytes()).hexdigest()
    description_path(path).write_text(json.dumps(description))
    load_detector(path)


def _read_description(path: Path) -> None:
    weights = path.with_suffix('.safetensors')
    weights.write_bytes((path.parent / 'model.safetensors').read_bytes())
    load_detector(weights)


def _read_config(path: Path) -> None:
    checkpoint = {'meta': {'cfg': path.read_text(encoding='utf-8', errors='replace')}, 'state_dict': {}}
    config = read_checkpoint_config(checkpoint)
    build_without_trust(config, checkpoint)
    make_prediction_config(config, path.parent / 'test.json')


def _read_curves(path: Path) -> None:
    folder = path.parent / 'run' / 'vis_data'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'scalars.json').write_bytes(path.read_bytes())
    read_step_facts(path.parent)
    for training in read_trainings(path.parent):
        for kind, curves in (('losses', training.losses), ('scores', training.scores)):
            for name in curves:
                describe_curve(training, kind, name)


def _read_journal(path: Path) -> None:
    """Reads the tiles of an interrupted run, as a run that goes on does."""
    folder = path.parent / 'tiles'
    folder.mkdir()
    (folder / 'tiles-0.jsonl').write_bytes(path.read_bytes())
    remove_journal(folder, keep_settings={'tile_px': 32})
    with closing(TileJournal(folder, {'tile_px': 32})) as journal:
        tiles = [tile for tile in range(4) if tile in journal]
        if not tiles:
            raise MmcellError('no tile is taken over')
        for tile in tiles:
            assert len(journal.read(tile).masks.to_rles()) >= 0


TARGETS = {
    'TIFF image': Target('tiff', read_image_in_all_ways),
    'PNG and other images': Target('encoded', read_image_in_all_ways),
    'label map': Target('label_map', read_label_map_in_all_ways),
    'label map with classes': Target('label_map', lambda path: _read_cells(label_maps.read_label_map, path)),
    'HoVer-Net': Target('mat', lambda path: _read_cells(label_maps.read_hovernet, path)),
    'VOC masks': Target('voc_masks', _read_voc_masks),
    'VOC list': Target('voc_list', lambda path: voc.read_image_names(path)),
    'annotations': Target('coco', _read_annotations),
    'COCO layout': Target('coco', _read_coco_layout),
    'RLE and polygons': Target('masks', _read_rles),
    'results': Target('results', _read_results),
    'submission': Target('submission', _check_submission),
    'dump': Target('dump', _read_results),
    'QuPath': Target('geojson', lambda path: _read_cells(qupath.read_cells, path)),
    'regions': Target('geojson', lambda path: read_rois(path, [path.parent / 'image.tif'])),
    'Aperio': Target('aperio', lambda path: _read_cells(aperio.read_cells, path)),
    'ImageJ': Target('imagej', lambda path: _read_cells(imagej.read_cells, path)),
    'class table': Target('class_table', _read_class_table),
    'id list': Target('id_list', _read_id_list),
    'checkpoint': Target('checkpoint', _read_checkpoint),
    'weights': Target('weights', _read_weights),
    'description of a model': Target('description', _read_description),
    'config in a checkpoint': Target('config', _read_config),
    'curves': Target('curves', _read_curves),
    'tiles of an interrupted run': Target('journal', _read_journal),
}

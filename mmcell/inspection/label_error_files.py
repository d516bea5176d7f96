"""Files with likely label errors: a table, and for each image a file that QuPath opens beside its labels."""

import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import shapely

from mmcell.cells.outlines import outline_masks
from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole
from mmcell.inspection.label_errors import LabelErrors
from mmcell.inspection.label_suspects import BADLY_LOCATED, KINDS, MERGED, MISSING, SPLIT, SPURIOUS, WRONG_CLASS
from mmcell.masks.runs import MaskRuns
from mmcell.ragged import split_by
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import picture_name
from mmcell.writers.geojson import whole_numbers

TABLE = 'label_errors.csv'
_SUFFIX = 'label_errors.geojson'
_COLUMNS = ('rank', 'kind', 'suspicion', 'image_id', 'file_name', 'cell_id', 'other_cell_id', 'class',
            'predicted_class', 'score', 'x_px', 'y_px', 'width_px', 'height_px', 'detail', 'geojson')
# What the list of objects in QuPath shows, with the class in the file and the predicted class.
_NAMES = {WRONG_CLASS: '{} → {}?', MISSING: 'no label → {1}?', SPURIOUS: '{} → no cell?',
          BADLY_LOCATED: '{} → elsewhere?', MERGED: '{} → several cells?', SPLIT: '{} → one cell?'}
# Kinds of which the predicted outline says more than the one that is labelled.
_WITH_PREDICTION = (BADLY_LOCATED, SPLIT)
# Bytes of a file name that are not UTF-8 are written as escapes like \udce4.
_TEXT = dict(encoding='utf-8', errors='backslashreplace', newline='')


def write_label_errors(errors: LabelErrors, folder: str | Path) -> list[Path]:
    """Writes ``label_errors.csv``, and a GeoJSON file for each image that has a likely error.

    In QuPath each error is an annotation with the class 'label: ' and the kind, a name like 'epithelial → lymphocyte?'
    and the measurements Suspicion and Rank. Its outline is that of the label, or of the prediction where a label is
    missing. Predicted outlines of badly located and split labels are added as detections. Either all files are written,
    or none.

    Args:
        errors: The errors.
        folder: Where the files are written. It is made if it does not exist.

    Returns:
        The files, the table first.

    Raises:
        MmcellError: The folder has a GeoJSON file of an earlier call that would stay, beside a table that does not
            list it.
        OSError: A file cannot be written.
    """
    folder = Path(folder)
    groups = split_by(errors.image_index)
    names = [_geojson_name(errors, int(group[0])) for group in groups]
    left_over = sorted({path.name for path in folder.glob(f'*.{_SUFFIX}')} - set(names))
    if left_over:
        raise MmcellError(f'{folder} has {len(left_over)} files of an earlier check that would be mixed with the new '
                          f'ones, for example {left_over[0]}: name another folder, or remove them')
    paths = [folder / TABLE, *(folder / name for name in names)]
    with written_whole(paths) as (table, *collections):
        with open(table, 'w', **_TEXT) as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(_rows(errors))
        for path, group in zip(collections, groups, strict=True):
            text = json.dumps({'type': 'FeatureCollection', 'features': list(_features(errors, group))},
                              ensure_ascii=False)
            with open(path, 'w', **_TEXT) as file:
                file.write(text + '\n')
    return paths


def _geojson_name(errors: LabelErrors, error: int) -> str:
    image = errors.image_index[error]
    return picture_name(errors.truth.image_ids[image], errors.truth.file_names[image], _SUFFIX)


def _rows(errors: LabelErrors) -> Iterator[Sequence]:
    truth = errors.truth
    boxes = errors.boxes_xywh
    for error, image in enumerate(errors.image_index.tolist()):
        ids = [int(truth.annotation_ids[cell]) if cell >= 0 else ''
               for cell in (errors.cells[error], errors.other_cells[error])]
        predicted = errors.predicted[error]
        score = '' if predicted < 0 else round(float(errors.predictions.scores[predicted]), 6)
        yield [error + 1, errors.kinds[error], round(float(errors.suspicions[error]), 6), truth.image_ids[image],
               truth.file_names[image], *ids, *errors.class_names(error), score, *boxes[error].round(2).tolist(),
               errors.details[error], _geojson_name(errors, error)]


def _features(errors: LabelErrors, group: np.ndarray) -> Iterator[dict]:
    """Yields the QuPath objects of some errors of one image."""
    height, width = errors.truth.sizes[errors.image_index[group[0]]].tolist()
    colors = dict(zip(KINDS, class_colors(len(KINDS)), strict=True))
    for error in group.tolist():
        kind = str(errors.kinds[error])
        cells = [cell for cell in (errors.cells[error], errors.other_cells[error]) if cell >= 0]
        labelled = [errors.truth.rles[cell] for cell in cells]
        predicted = [] if errors.predicted[error] < 0 else [errors.predictions.rles[errors.predicted[error]]]
        name = _NAMES[kind].format(*errors.class_names(error))
        measurements = {'Suspicion': round(float(errors.suspicions[error]), 6), 'Rank': error + 1}
        yield _feature(_outline(labelled or predicted, height, width), 'annotation', name, f'label: {kind}',
                       colors[kind], measurements)
        if kind in _WITH_PREDICTION:
            yield _feature(_outline(predicted, height, width), 'detection', f'{name} predicted',
                           'label: predicted outline', colors[kind], measurements)


def _feature(outline: shapely.Geometry, object_type: str, name: str, class_name: str, color: Sequence[int],
             measurements: dict[str, float]) -> dict:
    return {'type': 'Feature', 'geometry': whole_numbers(shapely.geometry.mapping(outline)),
            'properties': {'objectType': object_type, 'name': name,
                           'classification': {'name': class_name, 'color': list(color)},
                           'measurements': measurements}}


def _outline(rles: Sequence[dict], height: int, width: int) -> shapely.Geometry:
    """Returns the outline of masks of one image together."""
    masks = MaskRuns.from_rles(rles, height, width)
    return outline_masks(masks.unite(np.zeros(len(masks), np.int64)))[0]

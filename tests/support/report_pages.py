"""Pages with a gallery of synthetic images, for the tests of reports."""

from dataclasses import replace

import numpy as np
from support.label_map_pairs import SIZE, image_pair, pairs_of, synthetic_maps

from mmcell.annotations.coco_json import categories
from mmcell.evaluation.error_types import judge_predictions
from mmcell.evaluation.image_statistics import image_statistics
from mmcell.evaluation.pairs import Pairs
from mmcell.evaluation.per_image import image_rows
from mmcell.evaluation.table_formats import ValueTable
from mmcell.reports.content import Report, Section, Table, Tile
from mmcell.reports.page import render_page

LONG_NAME = 'slides/' + 'a_very_long_file_name_without_a_space_' * 5 + '.tif'
CLASSES = categories(['lymphocyte', 'epithelial', 'neutrophil', 'a class without cells'])


def synthetic_pairs(rng, names=('one.tif', LONG_NAME, 'empty.tif', '<b>&"quoted"</b>.tif')):
    """Returns the pairs of images, of which the third has no cells; each image is predicted worse than the one before.

    Predictions have scores with many digits, some of them exactly .5. The first eight predictions of an image repeat
    later ones, four of them with another class.
    """
    images = []
    for number in range(len(names)):
        true_map, pred_map, true_classes, pred_classes = synthetic_maps(number % 3)
        if number == 2:
            images.append(image_pair(np.zeros(SIZE, int), np.zeros(SIZE, int)))
            continue
        cells = image_pair(true_map, pred_map, true_classes, pred_classes, rng.random(len(pred_classes)))
        repeated = rng.permutation(len(pred_classes))[:8]
        repeated_classes = pred_classes[repeated]
        repeated_classes[:4] = repeated_classes[:4] % 3 + 1
        scores = np.concatenate([rng.random(len(repeated)), cells.pred_scores])
        scores[::9] = .5
        images.append(cells._replace(
            pred_rles=[cells.pred_rles[index] for index in repeated] + cells.pred_rles,
            pred_classes=np.concatenate([repeated_classes, pred_classes]), pred_scores=scores))
    pairs = pairs_of(*images, classes=CLASSES)
    return Pairs(replace(pairs.truth, file_names=list(names)), pairs.predictions)


def with_lower_scores(pairs):
    """Returns the pairs as of another model, whose scores are lower and which lacks every fifth cell."""
    kept = pairs.predictions.take(np.flatnonzero(np.arange(len(pairs.predictions)) % 5 > 0))
    return Pairs(pairs.truth, replace(kept, scores=kept.scores * .8))


def rows_of(pairs, score_threshold):
    """Returns the rows of the evaluation, one per image."""
    statistics = [image_statistics(image.above(score_threshold), len(CLASSES)) for image in pairs.painted]
    return image_rows(pairs.truth, statistics, judge_predictions(pairs, score_threshold))


def read_pixels(image):
    """Returns a picture, whose colours differ between images."""
    yy, xx = np.mgrid[:SIZE[0], :SIZE[1]]
    return np.stack([200 + 0 * yy, 150 + yy // 2, 120 + (xx + 40 * image) % 100], axis=-1).astype(np.uint8)


def page_of(gallery):
    """Returns the HTML of a page with a text, numbers, a table, long names, a config, and a gallery or None."""
    table = ValueTable(['run', 'AP50', 'PQ'], [['first', '.805 *', '.771'], [LONG_NAME, '.771', '.805 *']], 'Values')
    overview = [Section('headline', 'Headline', ['What was measured.'], tiles=[
        Tile('AP50', '.805', '.77 to .83', 'The mean precision over recalls.')] * 3, tables=[Table(table)])]
    return render_page(Report('Cells of ' + LONG_NAME, '4 images', overview, [], gallery,
                              [('command', 'tools/report.py ' + LONG_NAME), ('commit', 'abcdef')],
                              [('config', 'model = dict(type="MaskRCNN")\n' * 20)]))

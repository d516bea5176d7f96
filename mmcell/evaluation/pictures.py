"""Pictures of the true and the predicted cells of an image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmcell.annotations.ground_truth import ImageSource
from mmcell.errors import MmcellError
from mmcell.evaluation.error_types import Verdicts
from mmcell.evaluation.pairs import Pairs, cells_of_image
from mmcell.images.image_file import read_image
from mmcell.visualization.cell_panels import CellPicture, CellSet, compose_cell_sets
from mmcell.visualization.overlay import picture_name
from mmcell.visualization.vector_pictures import write_cell_picture


def compose_picture(source: ImageSource, pairs: Pairs, image: int, score_threshold: float, *,
                    shown_classes: Sequence[int] | None = None, scale: int = 2,
                    verdicts: Verdicts | None = None) -> CellPicture:
    """Returns a picture of the true cells of an image beside the predicted ones.

    It shows only the predicted ones if no true cell of any image is known.

    Args:
        source: Where the image is.
        pairs: The true and the predicted cells.
        image: The place of the image.
        score_threshold: Predictions with a lower score are not drawn.
        shown_classes: The places of the classes that are drawn; None draws all of them.
        scale: The whole number by which the image is enlarged.
        verdicts: The verdicts on the predictions with at least this score, of all classes: cells are drawn as hit,
            wrong class, missed or spurious. None draws cells by their class.

    Raises:
        MmcellError: The image cannot be read, or has another size than its cells.
        FileNotFoundError: There is no such image.
    """
    pixels = read_image(source.path, source.channel_order, source.percentiles)
    truth, predicted = pairs.truth, pairs.predictions
    true, own = (cells_of_image(side.image_index, image) for side in (truth, predicted))
    kept = own.start + np.flatnonzero(predicted.scores[own] >= score_threshold)
    true_verdicts, pred_verdicts = None, None
    if verdicts is not None:
        all_true, all_pred = verdicts.of_cells
        true_verdicts = all_true[true].tolist()
        pred_verdicts = all_pred[cells_of_image(verdicts.image_index, image)].tolist()
    cell_sets = [CellSet.predicted([predicted.rles[cell] for cell in kept], predicted.class_index[kept].tolist(),
                                   score_threshold, pred_verdicts)]
    if truth.rles:
        cell_sets.insert(0, CellSet.true(truth.rles[true], truth.class_index[true].tolist(), true_verdicts))
    try:
        return compose_cell_sets(pixels, cell_sets, truth.class_names, shown_classes, scale)
    except MmcellError as error:
        raise MmcellError(f'{source.path}: {error}') from error


def draw_images(folder: Path, pairs: Pairs, sources: dict[int, ImageSource], images: Sequence[int],
                verdicts: Verdicts, score_threshold: float) -> None:
    """Draws some images into a folder, with hits, missed cells and spurious detections.

    The names of the pictures begin with the place of the image among ``images``: 01_0007_abc.png.

    Args:
        folder: The folder, which is made if necessary.
        sources: Where images are, by their places in the annotation file; the annotation file knows the others.
        images: The places of the images that are drawn.
        pairs, verdicts, score_threshold: As for :func:`compose_picture`.

    Raises:
        MmcellError: An image cannot be read, or does not fit its cells.
        OSError: An image does not exist, or a picture cannot be written.
    """
    for rank, image in enumerate(images, start=1):
        source = sources.get(image) or pairs.truth.image_source(image)
        picture = compose_picture(source, pairs, image, score_threshold, verdicts=verdicts)
        write_cell_picture(picture, folder / f'{rank:02d}_{picture_name(pairs.truth.image_ids[image], source.path)}')

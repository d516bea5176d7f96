"""Pictures of the true and the predicted cells of an image, and where the image files are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.annotations.channel_order import stated_channel_order
from mmcell.errors import MmcellError
from mmcell.evaluation.error_types import judge_predictions
from mmcell.evaluation.image_pairs import ImagePair
from mmcell.evaluation.per_image import cell_verdicts
from mmcell.images.pixels import read_image
from mmcell.visualization.cell_panels import CellSet, draw_cell_sets


@dataclass(frozen=True)
class ImageSource:
    """The file of an image, and how it is read; the arguments of :func:`mmcell.images.pixels.read_image`."""

    path: Path
    channel_order: str = 'rgb'
    percentiles: tuple[float, float] | None = None


def image_sources(document: dict, annotation_file: str | Path, samples: Iterable[dict] = ()) -> dict[int, ImageSource]:
    """Returns the source of every image of an annotation file by its id.

    Args:
        document: The content of the annotation file.
        annotation_file: Its path. Images lie in the folder that the entry ``info.data_root`` names relative to it, or
            beside it. ``info.channel_order`` says how they are read.
        samples: The entries of a dump. They know the file of their image and, unless MMDetection's own class wrote the
            dump, how the model was shown it.
    """
    info = document.get('info') if isinstance(document.get('info'), dict) else {}
    folder = Path(annotation_file).parent / info.get('data_root', '')
    order = stated_channel_order(document, annotation_file) or 'rgb'
    sources = {image['id']: ImageSource(folder / image['file_name'], order) for image in document['images']}
    for sample in samples:
        if isinstance(sample.get('img_path'), str):
            sources[sample['img_id']] = ImageSource(
                Path(sample['img_path']), sample.get('channel_order') or order, sample.get('percentiles'))
    return sources


def draw_image_pair(source: ImageSource, pair: ImagePair, categories: Sequence[dict], score_threshold: float, *,
                    shown_ids: Sequence[int] | None = None, scale: int = 2, with_truth: bool = True,
                    with_verdicts: bool = False) -> np.ndarray:
    """Draws the true cells of an image beside the predicted ones.

    Args:
        source: Where the image is.
        pair: The cells of the image.
        categories: COCO categories.
        score_threshold: Predictions with a lower score are not drawn.
        shown_ids: The category ids that are drawn; None draws all of them.
        scale: The whole number by which the image is enlarged.
        with_truth: Whether there is a panel for the true cells; False if they are not known.
        with_verdicts: Whether cells are drawn as hit, wrong class, missed or spurious, instead of by their class. The
            verdicts are those of all classes, also if only some are drawn.

    Returns:
        The picture, (height, width, 3) uint8 RGB.

    Raises:
        MmcellError: The image cannot be read, or has another size than its cells.
        FileNotFoundError: There is no such image.
    """
    image = read_image(source.path, source.channel_order, source.percentiles)
    label_of = {category['id']: label for label, category in enumerate(categories)}
    is_kept = pair.pred_scores >= score_threshold
    pred_rles = [rle for rle, kept in zip(pair.pred_rles, is_kept, strict=True) if kept]
    true_labels, pred_labels = ([label_of[class_id] for class_id in classes.tolist()]
                                for classes in (pair.true_classes, pair.pred_classes[is_kept]))
    true_verdicts, pred_verdicts = (cell_verdicts(judge_predictions(pair, score_threshold)) if with_verdicts
                                    else (None, None))
    cell_sets = [CellSet.predicted(pred_rles, pred_labels, score_threshold, pred_verdicts)]
    if with_truth:
        cell_sets.insert(0, CellSet.true(pair.true_rles, true_labels, true_verdicts))
    try:
        return draw_cell_sets(image, cell_sets, [category['name'] for category in categories],
                              None if shown_ids is None else [label_of[class_id] for class_id in shown_ids], scale)
    except MmcellError as error:
        raise MmcellError(f'{source.path}: {error}') from error

"""Out-of-fold predictions: every image is predicted by the model of the fold that did not learn from it."""

from collections.abc import Sequence
from pathlib import Path

from mmcell.annotations.ground_truth import read_true_cells
from mmcell.errors import list_some
from mmcell.predictions.dump_file import ResultsError, load_results, save_results
from mmcell.predictions.rules import MAX_LISTED


def gather_folds(dumps: Sequence[str | Path], annotations: str | Path, out: str | Path) -> int:
    """Joins the dumps of the folds of a cross-validation into one dump, and writes it.

    What the dumps say about an image stays as it is, also the names and the order of the classes. Whatever reads the
    new dump treats it like the dump of one model: ``tools/evaluate.py`` pools the cells of all folds.

    Args:
        dumps: The dumps that ``tools/test.py --split val --out`` wrote, one per fold, in any order.
        annotations: The annotation file of all images, ``trainval.json``.
        out: The file to write. The images have the order of the annotation file.

    Returns:
        The number of images.

    Raises:
        FileNotFoundError: A file does not exist.
        AnnotationError: The annotation file cannot be used.
        ResultsError: A file is not a dump, or an image is in two dumps, in no dump, or not in the annotation file.
    """
    images = read_true_cells(annotations)
    names = dict(zip(images.image_ids, images.file_names, strict=True))
    sources: dict[int, str | Path] = {}
    by_image: dict[int, dict] = {}
    for path in dumps:
        results = {result['img_id']: result for result in load_results(path)}
        _refuse_unknown(results, names, path, annotations)
        repeated = [image_id for image_id in results if image_id in by_image]
        if repeated:
            raise ResultsError(f'{len(repeated)} images are predicted both in {sources[repeated[0]]} and in {path}, '
                               f'which is no prediction by one model per fold: {_list_images(repeated, names)}. '
                               'Predictions of several models for the same images are fused by tools/ensemble.py')
        by_image |= results
        sources |= dict.fromkeys(results, path)
    missing = [image_id for image_id in names if image_id not in by_image]
    if missing:
        raise ResultsError(f'{len(missing)} of the {len(names)} images of {annotations} are in none of the '
                           f'{len(dumps)} dumps: {_list_images(missing, names)}. Give the dumps of all folds')
    save_results([by_image[image_id] for image_id in names], out)
    return len(names)


def _refuse_unknown(results: dict[int, dict], names: dict[int, str], path: str | Path,
                    annotations: str | Path) -> None:
    unknown = [image_id for image_id in results if image_id not in names]
    if unknown:
        raise ResultsError(f'{path}: {len(unknown)} of {len(results)} images are not in {annotations}: image ids '
                           f'{list_some(unknown, ", ", MAX_LISTED)}')


def _list_images(image_ids: Sequence[int], names: dict[int, str]) -> str:
    return list_some([f'{image_id} ({names[image_id]})' for image_id in image_ids], ', ', MAX_LISTED)

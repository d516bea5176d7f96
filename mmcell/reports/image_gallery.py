"""The gallery of a report from results files: which images are there, and what is said about those that are not."""

from collections.abc import Callable, Sequence

import numpy as np

from mmcell.annotations.coco_json import is_file
from mmcell.annotations.ground_truth import ImageSource
from mmcell.errors import MmcellError, escape, list_some
from mmcell.evaluation.evaluation import EvaluatedFile
from mmcell.evaluation.tables import count
from mmcell.images.image_file import read_image
from mmcell.reports.gallery import MAX_IMAGES, gallery_of

# The grey of images that cannot be read; their cells are shown nevertheless.
_GREY = 160


def make_gallery(files: Sequence[EvaluatedFile], max_images: int = MAX_IMAGES,
                 on_step: Callable[[str], None] = lambda step: None) -> tuple[dict | None, list[str]]:
    """Returns the gallery of the page, with the true cells and the predicted cells of all results files.

    Args:
        files: At least one results file; all were measured on the same images.
        max_images: How many images are shown at most: those with the lowest F1 in the first file.
        on_step: A function that is called with the name of each image before it is read.

    Returns:
        The gallery, see :func:`mmcell.reports.gallery.gallery_of`; None if no image is there, or none is to be shown.
        And sentences about images that are missing or cannot be read: these are grey in the gallery.
    """
    first, truth = files[0], files[0].pairs.truth
    if not max_images:
        return None, []
    sources = [first.sources.get(place) or truth.image_source(place) for place in range(len(truth.image_ids))]
    missing = {place for place, source in enumerate(sources) if not is_file(source.path)}
    remarks = _describe_missing(sources, missing)
    if len(missing) == len(sources):
        return None, remarks
    failed = []

    def read_pixels(place: int) -> np.ndarray:
        on_step(truth.file_names[place])
        if place not in missing:
            try:
                return _read(sources[place], truth.sizes[place])
            except MmcellError as error:
                failed.append(str(error))
        return np.full((*truth.sizes[place], 3), _GREY, np.uint8)

    gallery = gallery_of([file.name for file in files], [file.pairs for file in files],
                         first.evaluation.errors['score_threshold'], read_pixels, max_images)
    if failed:
        remarks.append(f"{count(len(failed), 'image')} cannot be shown and {'is' if len(failed) == 1 else 'are'} grey: "
                       f'{list_some(failed, "; ", 3)}')
    return gallery, remarks


def _describe_missing(sources: Sequence[ImageSource], missing: set[int]) -> list[str]:
    if not missing:
        return []
    left_out = 'the report has no pictures' if len(missing) == len(sources) else 'these are grey in the pictures'
    return [f"{len(missing)} of {count(len(sources), 'image')} cannot be found, first "
            f'{escape(sources[min(missing)].path)}: {left_out}. The values are complete']


def _read(source: ImageSource, size: np.ndarray) -> np.ndarray:
    """Returns an image, (H, W, 3) uint8 RGB.

    Raises:
        MmcellError: The image cannot be read, or has another size than its cells.
    """
    pixels = read_image(source.path, source.channel_order, source.percentiles)
    if pixels.shape[:2] != tuple(size):
        raise MmcellError(f'{source.path}: its cells are those of an image of {size.tolist()}, but it is '
                          f'{list(pixels.shape[:2])} (height, width)')
    return pixels

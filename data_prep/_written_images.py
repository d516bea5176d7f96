"""The images whose cells from_coco.py writes: found, named, chosen, and compared with their files."""

import sys
from argparse import Namespace
from collections import Counter
from dataclasses import dataclass

from mmcell.annotations import coco_json
from mmcell.annotations.ground_truth import GroundTruth, ImageSource, to_ground_truth
from mmcell.errors import MmcellError, list_some
from mmcell.files.output_names import name_outputs
from mmcell.images.image_file import open_image
from mmcell.predictions.result_files import read_predictions
from mmcell.writers.base import ImageInfo
from mmcell.writers.formats import need_pixels
from mmcell.writers.numbered_cells import NumberedCells, has_usable_ids, number_predicted_cells, number_true_cells


@dataclass(frozen=True)
class ImageToWrite:
    """An image whose cells are written.

    Attributes:
        cells: The cells of the annotation file, of which those of this image are written.
        place: The place of the image in the annotation file.
        source: The image file.
        mpp: Micrometres per pixel, if the annotation file states them.
        name: The beginning of the names of the files.
    """

    cells: NumberedCells
    place: int
    source: ImageSource
    mpp: float | None
    name: str


def read_images(args: Namespace) -> list[ImageToWrite]:
    """Reads the annotation files, and the predictions if there are any; names the outputs of all images."""
    found = []
    for path in args.annotations:
        document = coco_json.read_annotations(path)
        truth = to_ground_truth(document, path)
        cells, sources = read_cells(truth, args)
        found += [(cells, place, source, truth.mpps[place]) for place, source in sources.items()]
    refuse_other_classes([cells for cells, _, _, _ in found])
    paths = [source.path for _, _, source, _ in found]
    for path in paths:
        if not path.stem.strip('.'):
            raise MmcellError(f'the file_name of {path} is not the name of a file')
    path, count = Counter(path.resolve() for path in paths).most_common(1)[0] if paths else (None, 0)
    if count > 1:
        raise MmcellError(f'the image {path} occurs {count} times in {list_some(args.annotations)}: give files that '
                          'have no image in common')
    return [ImageToWrite(*image, name) for image, name in zip(found, name_outputs(paths), strict=True)]


def refuse_other_classes(cells_of_images: list[NumberedCells]) -> None:
    """Checks that all annotation files list the same classes in the same order, so that class k is the same in all.

    Raises:
        MmcellError: They do not.
    """
    first = cells_of_images[0].images if cells_of_images else None
    for cells in cells_of_images:
        if cells.images.class_names != first.class_names:
            raise MmcellError(f'{cells.images.source} has the classes {cells.images.class_names}, but {first.source} '
                              f'has {first.class_names}: write the files of each by a command of its own')


def read_cells(truth: GroundTruth, args: Namespace) -> tuple[NumberedCells, dict[int, ImageSource]]:
    """Returns the true or predicted cells, and the files of the images that they are about by their places."""
    if args.predictions is None:
        cells = number_true_cells(truth)
        n_crowds = len(truth.rles) - len(cells.rles)
        if n_crowds:
            print(f'left out, regions that are not annotated cell by cell (iscrowd): {n_crowds}', file=sys.stderr)
        if not has_usable_ids(truth):
            print(f'note: {truth.source} has annotation ids that label maps cannot hold: cells are numbered from 1 in '
                  'each image', file=sys.stderr)
        return cells, {place: truth.image_source(place) for place in range(len(truth.image_ids))}
    file = read_predictions(args.predictions, truth)
    for remark in file.assumed:
        print(f'note: {remark}', file=sys.stderr)
    min_score = .5 if args.score_thr is None else args.score_thr
    return number_predicted_cells(file.predictions, truth, min_score), file.sources


def choose_images(images: list[ImageToWrite], names: list[str] | None) -> list[ImageToWrite]:
    """Returns the images that --only names by the names of their outputs or of their files; all if it is None.

    Raises:
        MmcellError: A name stands for no image.
    """
    if names is None:
        return images
    known = {key for image in images for key in _names_of(image)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise MmcellError(f'--only: no image is called {list_some(unknown)}; there are '
                          f'{list_some([image.name for image in images])}')
    return [image for image in images if _names_of(image) & set(names)]


def _names_of(image: ImageToWrite) -> set[str]:
    return {image.name, image.cells.images.file_names[image.place]}


def check_image_files(images: list[ImageToWrite], args: Namespace) -> list[str]:
    """Compares the image files with the annotation file, and returns those that do not exist.

    Raises:
        FileNotFoundError: An image is missing whose pixels are needed.
        AnnotationError: An image cannot be read, or has another size.
    """
    are_needed = need_pixels(args.formats) or args.copy_images
    present = [image for image in images if are_needed or coco_json.is_file(image.source.path)]
    for source in dict.fromkeys(image.cells.images.source for image in present):
        of_file = [image for image in present if image.cells.images.source == source]
        records = [dict(zip(('id', 'file_name', 'height', 'width'), (
            image.cells.images.image_ids[image.place], image.cells.images.file_names[image.place],
            *image.cells.images.sizes[image.place].tolist()), strict=True)) for image in of_file]
        coco_json.check_image_files({'images': records}, [image.source.path for image in of_file], source)
    is_present = {id(image) for image in present}
    return [str(image.source.path) for image in images if id(image) not in is_present]


def describe_image(image: ImageToWrite, args: Namespace) -> ImageInfo:
    """Returns what the writers need to know about an image; its pixels are read only for pictures."""
    source, images = image.source, image.cells.images
    mpp, pixels = image.mpp, None
    if coco_json.is_file(source.path):
        with open_image(source.path, source.channel_order, source.percentiles) as file:
            mpp = file.mpp if mpp is None else mpp
            pixels = file.read() if need_pixels(args.formats) else None
    height, width = images.sizes[image.place].tolist()
    return ImageInfo(source.path, height, width, images.class_names, mpp, pixels, images.channel_order,
                     image.cells.scores is not None, coco_json.is_file(source.path), is_editable=args.editable)

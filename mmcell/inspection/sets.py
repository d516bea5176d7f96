"""The annotation files that are inspected, with what is measured once on each of their images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mmcell.annotations.ground_truth import GroundTruth, read_true_cells
from mmcell.files.parallel import map_with_progress
from mmcell.inspection.findings import Place
from mmcell.inspection.measuring import ImageMeasures, ImageTask, measure_image


@dataclass(frozen=True)
class InspectedSet:
    """One annotation file with I images and N cells.

    Attributes:
        name: A short name, which no other set has: 'train' for ``train.json``.
        truth: The images, classes and true cells.
        images: What was measured on each image, I entries; None for an image that could not be used.
        problems: Why an image could not be used, by its place.
    """

    name: str
    truth: GroundTruth
    images: list[ImageMeasures | None]
    problems: dict[int, str] = field(default_factory=dict)

    def place(self, image: int, cell: int | None = None, class_name: str | None = None, detail: str = '') -> Place:
        """Returns a place to look at.

        Args:
            image: The place of the image in ``truth``.
            cell: The index of a cell in ``truth``; its class is named, too.
            class_name: The class that the place is about, if it is not one cell.
            detail: What is seen there.
        """
        truth = self.truth
        if cell is None:
            return Place(truth.source, truth.file_names[image], None, class_name, detail)
        return Place(truth.source, truth.file_names[image], int(truth.annotation_ids[cell]),
                     truth.class_names[truth.class_index[cell]], detail)

    def cells_of(self, image: int) -> np.ndarray:
        """Returns the indices of the cells of an image in ``truth``, (M,) int64, ascending."""
        begin, end = np.searchsorted(self.truth.image_index, [image, image + 1])
        return np.arange(begin, end)


def inspect_sets(paths: Sequence[str | Path], jobs: int = 1) -> list[InspectedSet]:
    """Reads annotation files, and measures each of their images once, however many of the files list it.

    Args:
        paths: The annotation files.
        jobs: The number of processes that read images.

    Returns:
        One set per file, in the order of the files.

    Raises:
        FileNotFoundError: An annotation file does not exist.
        AnnotationError: An annotation file cannot be used. Image files that cannot be used are ``problems`` of their
            set.
    """
    truths = [read_true_cells(path) for path in paths]
    tasks = [[image_task(truth, image) for image in range(len(truth.image_ids))] for truth in truths]
    distinct = {task.key: task for tasks_of_set in tasks for task in tasks_of_set}
    measures, _ = map_with_progress(measure_image, list(distinct.values()), jobs, 'inspecting images', skip_bad=False)
    by_key = dict(zip(distinct, measures, strict=True))
    return [_as_set(name, truth, [by_key[task.key] for task in tasks_of_set])
            for name, truth, tasks_of_set in zip(_name_files(paths), truths, tasks, strict=True)]


def image_task(truth: GroundTruth, image: int) -> ImageTask:
    """Returns what a process needs to measure one image of an annotation file."""
    begin, end = np.searchsorted(truth.image_index, [image, image + 1])
    source = truth.image_source(image)
    return ImageTask(source.path, source.channel_order, tuple(truth.sizes[image].tolist()), truth.rles[begin:end],
                     truth.class_index[begin:end], truth.is_crowd[begin:end])


def _as_set(name: str, truth: GroundTruth, measures: Sequence[ImageMeasures | Exception]) -> InspectedSet:
    problems = {place: str(entry) for place, entry in enumerate(measures) if isinstance(entry, Exception)}
    return InspectedSet(name, truth, [None if place in problems else entry for place, entry in enumerate(measures)],
                        problems)


def _name_files(paths: Sequence[str | Path]) -> list[str]:
    """Returns the name of each file without its suffix; with its folder, or its number, if several have this name."""
    paths = [Path(path) for path in paths]
    candidates = [[path.stem for path in paths], [f'{path.parent.name}/{path.stem}' for path in paths],
                  [f'{path.stem} {number}' for number, path in enumerate(paths, start=1)]]
    return next(names for names in candidates if len(set(names)) == len(names) or names is candidates[-1])

"""The images of several annotation files, each once."""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.inspection.findings import Place
from mmcell.inspection.measuring import ImageMeasures
from mmcell.inspection.sets import InspectedSet
from mmcell.settings.folds import FILE_WITH_FOLDS


@dataclass(frozen=True)
class ListedImage:
    """A usable image, and where it is listed.

    Attributes:
        part: The first set that lists it.
        index: Its place in this set.
        also_in: The names of other sets that list it. Sets that are meant to contain others, as ``trainval.json`` does,
            count only if no other set lists the image.
    """

    part: InspectedSet
    index: int
    also_in: tuple[str, ...] = ()

    @property
    def measures(self) -> ImageMeasures:
        """What was measured on the image."""
        return self.part.images[self.index]

    @property
    def cells(self) -> np.ndarray:
        """The indices of its cells in ``part.truth``, (M,) int64."""
        return self.part.cells_of(self.index)

    @property
    def is_crowd(self) -> np.ndarray:
        """(M,) bool, whether a cell is a region that is not annotated cell by cell."""
        return self.part.truth.is_crowd[self.cells]

    @property
    def class_names(self) -> list[str]:
        """The names of the classes of its M cells."""
        truth = self.part.truth
        return [truth.class_names[place] for place in truth.class_index[self.cells]]

    def place(self, cell: int | None = None, class_name: str | None = None, detail: str = '') -> Place:
        """Returns a place to look at; ``cell`` is the index of a cell among the M cells of the image."""
        return self.part.place(self.index, None if cell is None else int(self.cells[cell]), class_name, detail)

    def shares_a_split_with(self, other: 'ListedImage') -> bool:
        """Whether one annotation file lists both images."""
        return bool({self.part.name, *self.also_in} & {other.part.name, *other.also_in})


def list_images(sets: Sequence[InspectedSet]) -> list[ListedImage]:
    """Returns the usable images of all sets, each once, in the order of the sets."""
    paths = _paths(sets)
    unions = {index for index in range(len(sets)) if _is_union(sets, paths, index)}
    homes = defaultdict(list)
    for index, part in enumerate(sets):
        for image, measures in enumerate(part.images):
            if measures is not None:
                homes[paths[index][image]].append((index, image))
    images = []
    for listed in homes.values():
        (first, image), *others = [home for home in listed if home[0] not in unions] or listed[:1]
        images.append(ListedImage(sets[first], image, tuple(sets[index].name for index, _ in others)))
    return images


def without_unions(sets: Sequence[InspectedSet]) -> list[InspectedSet]:
    """Returns the sets, without those that are meant to contain others and all of whose images others list."""
    paths = _paths(sets)
    is_kept = [not _is_union(sets, paths, index) or not set(paths[index]) <= set().union(
        *(others for place, others in enumerate(paths) if place != index)) for index in range(len(sets))]
    return [part for part, kept in zip(sets, is_kept, strict=True) if kept]


def name_sets(images: Sequence[ListedImage]) -> str:
    """Returns the names of the sets of some images, for sentences: "train and val"."""
    names = list(dict.fromkeys(image.part.name for image in images))
    return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _paths(sets: Sequence[InspectedSet]) -> list[list[str]]:
    return [[os.path.realpath(part.truth.image_source(image).path) for image in range(len(part.images))]
            for part in sets]


def _is_union(sets: Sequence[InspectedSet], paths: Sequence[Sequence[str]], index: int) -> bool:
    """Whether a set is meant to contain others: by its name, or because it consists of two or more of them."""
    own = set(paths[index])
    contained = [set(others) for place, others in enumerate(paths) if place != index and others and own > set(others)]
    return Path(sets[index].truth.source).name == FILE_WITH_FOLDS or (
        len(contained) > 1 and own == set().union(*contained) and len(own) == sum(map(len, contained)))

"""One image with its true cells, in the form that every layout of files is read into."""

from dataclasses import dataclass, field

from mmcell.errors import MmcellError, escape
from mmcell.masks.rle import EncodedInstances


class LayoutError(MmcellError):
    """Files or folders do not follow their layout; the message says which path, what was found and what to do."""

    def __str__(self) -> str:
        """Returns the message in one line, also if the name of a file has line breaks."""
        return escape(super().__str__())


@dataclass(frozen=True)
class AnnotatedImage:
    """An image with its cells, encoded as RLE.

    Attributes:
        file_name: The path of the image relative to the data root, with forward slashes.
        height: The height of the image in px.
        width: The width of the image in px.
        cells: The cells of each class by the name of the class. Classes that only have a number are called class1,
            class2 … Classes without a cell are left out.
        crowds: Regions that are not annotated cell by cell (``iscrowd`` 1 in COCO), in the same form.
        part: 'train', 'val' or 'test' if the files say which part the image belongs to; None leaves it to the split.
        image_id: The id of the image in submissions; None numbers the images from 1.
        mpp: Micrometres per pixel, if the file of the cells says it; the image file may say it as well.
        remarks: What was left out or repaired, by its kind in words: the names of the files, cells or records that it
            concerns. It is printed as "kind: number (names)", for example with the kind 'left out, masks without any
            cell' or 'polygons smaller than a pixel, which became one pixel'.
        doubts: For each mask that has a cell, its path relative to the data root, its class, and what is doubtful about
            it: see :func:`mmcell.annotations.mask_doubts.find_doubts`.
        looks_swapped: Whether red and blue look swapped when the file is read as RGB; None if its colours do not tell,
            or were not looked at.
    """

    file_name: str
    height: int
    width: int
    cells: dict[str, EncodedInstances] = field(default_factory=dict)
    crowds: dict[str, EncodedInstances] = field(default_factory=dict)
    part: str | None = None
    image_id: int | None = None
    mpp: float | None = None
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    looks_swapped: bool | None = None

    @property
    def n_cells(self) -> int:
        """The number of cells of all classes."""
        return sum(len(instances.ids) for instances in self.cells.values())

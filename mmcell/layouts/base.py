"""What every layout has: how it is recognized, how its images are found, and how the cells of an image are read."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mmcell.annotations.annotated_image import LayoutError
from mmcell.errors import MmcellError
from mmcell.images.image_file import ImageFile
from mmcell.masks.rle import EncodedInstances

__all__ = ['ONLY_CLASS', 'PAIR_OPTIONS', 'Layout', 'LayoutError', 'LayoutOptions', 'Listing', 'ReadCells', 'Source',
           'SourceCells']

# The name of the class of cells whose file names no class at all.
ONLY_CLASS = 'cell'
# The options that layouts read whose files of cells are found by their names (mmcell.layouts.file_pairs).
PAIR_OPTIONS = ('images', 'masks', 'mask_suffix')


@dataclass(frozen=True)
class LayoutOptions:
    """What the user says about the files; the flags of ``data_prep/to_coco.py``. Each layout reads what it needs.

    Attributes:
        images: The folder of the images (``--images``); None: where the layout usually has them.
        masks: The folder of the masks or annotations (``--masks``); None: where the layout usually has them.
        mask_suffix: What the name of a mask has in addition to the name of its image, for example ``_masks``
            (``--mask-suffix``); None: one of the usual ends.
        class_table: A CSV file with the class of each cell (``--class-table``); None: a table beside each mask,
            if there is one.
        lists: Files that list the images of each part by the name of the part (``--lists``).
        test_ids: The list of the test images and their ids (``--test-ids``); None: its usual place, if it is there.
        drop_crowds: Whether regions that are not annotated cell by cell are left out (``--drop-crowds``).
    """

    images: Path | None = None
    masks: Path | None = None
    mask_suffix: str | None = None
    class_table: Path | None = None
    lists: dict[str, Path] = field(default_factory=dict)
    test_ids: Path | None = None
    drop_crowds: bool = False


@dataclass(frozen=True)
class Source:
    """An image that is to be converted, and where its cells come from. It can be pickled.

    Attributes:
        image: The image file.
        files: The files with its cells, in the order that the layout wants; empty if they are in ``content``, or if the
            cells of a test image are unknown.
        part: 'train', 'val' or 'test' if the layout says which part the image belongs to; None leaves it to the split.
        content: What the layout has read already, for example the records of this image in a file of many images.
        image_id: The id of the image in submissions; None numbers the images from 1.
        problem: Why the image cannot be used, if that was seen while it was looked for. It is raised when the image is
            read, so that ``--skip-bad`` leaves only this image out.
    """

    image: Path
    files: tuple[Path, ...] = ()
    part: str | None = None
    content: object = None
    image_id: int | None = None
    problem: MmcellError | None = None

    @property
    def is_unlabelled(self) -> bool:
        """Whether this is a test image whose cells are unknown. Layouts are not asked to read them."""
        return self.part == 'test' and not self.files and self.content is None


@dataclass(frozen=True)
class Listing:
    """What a layout has found in a folder. Nothing is passed over in silence: every file is in one of the lists.

    Attributes:
        sources: The images with cells, sorted by path; and images of the part 'test', whose cells may be unknown.
        images_without_masks: Image files without a file of cells. They are not used for training.
        masks_without_image: Files of cells without an image.
        other_files: Files of other kinds.
        leftovers: Hidden files, and leftovers of other programs.
        notes: Lines about the whole that are printed, for example the kinds of repairs with their numbers.
        remarks: Other things that were left out, as in :class:`mmcell.annotations.annotated_image.AnnotatedImage`.
        class_names: The names of all classes in the order of their numbers, if the layout knows them; they may include
            classes without a cell. None: the classes are those that occur.
    """

    sources: list[Source]
    images_without_masks: list[Path] = field(default_factory=list)
    masks_without_image: list[Path] = field(default_factory=list)
    other_files: list[Path] = field(default_factory=list)
    leftovers: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    class_names: list[str] | None = None


@dataclass(frozen=True)
class SourceCells:
    """The cells of one image, as a layout has read them.

    Attributes:
        cells, crowds, remarks, doubts: As in :class:`mmcell.annotations.annotated_image.AnnotatedImage`, with whole
            paths in place of paths relative to the data root.
        mpp: Micrometres per pixel, if the file of the cells says it.
    """

    cells: dict[str, EncodedInstances]
    crowds: dict[str, EncodedInstances] = field(default_factory=dict)
    remarks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    doubts: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    mpp: float | None = None


ReadCells = Callable[[Source, ImageFile, LayoutOptions], SourceCells | None]


@dataclass(frozen=True)
class Layout:
    """A layout of files.

    Attributes:
        name: The value of ``--layout``.
        summary: What the files are, in one line for ``--help``.
        recognize: Takes the data root, which may be a file, and returns what it contains, as a part of a sentence:
            '60 images, each with a label map NAME_masks.tif'. None if it does not look like this layout. It only looks
            at names, and at the beginning of a few files.
        find_sources: Lists the images. Raises LayoutError if there is none.
        read_cells: Reads the cells of one source, whose image is open. Raises LayoutError, ImageReadError or FileError
            if the files cannot be used, and returns None if the image is not meant. It can be pickled (it is a function
            at the top of a module), because images are converted by several processes.
        reads: The names of the ``LayoutOptions`` that the layout reads; None for all.
        has_stains: Whether the images may be stained tissue, in which swapped colours can be seen.
    """

    name: str
    summary: str
    recognize: Callable[[Path], str | None]
    find_sources: Callable[[Path, LayoutOptions], Listing]
    read_cells: ReadCells
    reads: tuple[str, ...] | None
    has_stains: bool = True

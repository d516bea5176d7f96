"""Reads the images of any layout, and their cells, into one form."""

import os
from collections.abc import Container
from pathlib import Path

from mmcell.annotations.annotated_image import AnnotatedImage
from mmcell.files.folders import refuse_unusable
from mmcell.files.text_files import is_encodable
from mmcell.images.channel_order import file_looks_swapped
from mmcell.images.image_file import open_image
from mmcell.layouts.base import LayoutError, LayoutOptions, ReadCells, Source, SourceCells


def find_root(data_root: Path, sources: list[Source]) -> Path:
    """Returns the folder that file names of images are relative to: the data root, if all images lie in it.

    Otherwise it is the folder that contains all images, wherever they lie.
    """
    if data_root.is_dir() and all(source.image.is_relative_to(data_root) for source in sources):
        return data_root
    return Path(os.path.commonpath([source.image.absolute().parent for source in sources]))


def read_source(source: Source, read_cells: ReadCells, options: LayoutOptions, root: Path,
                color_samples: Container[Path] = (), mpp: float | None = None) -> AnnotatedImage | Path:
    """Reads an image and its cells; returns only the path of an image that the layout does not want.

    Args:
        source: The image, and where its cells come from.
        read_cells: The function of the layout that has found it.
        options: What the user says about the files.
        root: The folder that names of files become relative to.
        color_samples: The image files that are asked whether red and blue look swapped.
        mpp: Micrometres per pixel; None: what the file of the cells says, or the image file.

    Raises:
        FileError: A file cannot be read, is a broken link, or is a pointer of Git LFS.
        ImageReadError: A file is no image, or a mask has values that are not instance ids.
        LayoutError: The files do not follow the layout, or a name is not UTF-8.
    """
    refuse_other_encodings(source.image, root)
    if source.problem is not None:
        raise source.problem
    refuse_unusable(source.image)
    with open_image(source.image) as image:
        image.check_pixels()
        is_swapped = file_looks_swapped(image) if source.image in color_samples else None
        file_mpp = image.mpp
        read = SourceCells({}) if source.is_unlabelled else read_cells(source, image, options)
    if read is None:
        return source.image
    doubts = tuple((relative_name(path, root), name, kinds) for path, name, kinds in read.doubts)
    remarks = {kind: tuple(relative_name(name, root) for name in names) for kind, names in read.remarks.items()}
    return AnnotatedImage(
        relative_name(source.image, root), image.height, image.width, read.cells, read.crowds, source.part,
        source.image_id, mpp or read.mpp or file_mpp, remarks, doubts, is_swapped)


def relative_name(path: str | Path, root: Path) -> str:
    """Returns a path relative to a folder with forward slashes; other texts, and paths elsewhere, as they are."""
    path = Path(path) if isinstance(path, str) and path.startswith(str(root)) else path
    if not isinstance(path, Path):
        return path
    if path.is_relative_to(root):
        return path.relative_to(root).as_posix()
    absolute = path.absolute()
    return (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix()


def refuse_other_encodings(path: Path, root: Path) -> None:
    """Refuses a path whose names are not UTF-8, because annotation files, logs and tables could not hold it.

    Raises:
        LayoutError: A part of the path below ``root`` is not UTF-8.
    """
    for part in reversed([path, *path.parents]):
        if part.is_relative_to(root) and part != root and not is_encodable(part.name):
            raise LayoutError(f'{part}: the name is not UTF-8, as names from old archives and shares are: rename it, '
                              'for example with convmv -f latin1 -t utf8 --notest')

"""Finds the images to predict."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmcell.errors import MmcellError, escape
from mmcell.files.folders import describe_leftovers, leftover_kind, list_folder

IMAGE_SUFFIXES = {'.tif', '.tiff', '.btf', '.tf2', '.tf8', '.lsm', '.stk', '.svs', '.ndpi', '.scn', '.qptiff', '.png',
                  '.jpg', '.jpeg', '.bmp', '.webp', '.jp2', '.pgm', '.ppm'}


class ImageSelectionError(MmcellError):
    """An argument of the command line is neither an image, a folder with images, nor a pattern that matches any."""


def find_images(arguments: Sequence[str], skip: Callable[[Path], bool] = lambda path: False,
                report: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Finds the image files that the arguments of the command line name.

    Broken links and folders that are called like images are among them, so that they are not passed over in silence:
    :func:`mmcell.files.folders.file_problem` says what is wrong with them.

    Args:
        arguments: Each argument is a file, which may have any name; a folder, which stands for the files directly in it
            that have one of ``IMAGE_SUFFIXES``, sorted by name; or a pattern (``*``, ``?``, ``[…]``, and ``**`` for any
            number of folders), which stands for the files that match, sorted by name.
        skip: Called with each file from a folder or pattern; files for which it returns true are left out.
        report: Called with a line that says which hidden files and leftovers of other programs were passed over in
            folders and patterns, if there are any.

    Returns:
        The image files in the order of the arguments, each file only once.

    Raises:
        FileError: A folder cannot be listed.
        ImageSelectionError: An argument stands for no file.
    """
    images: dict[str, Path] = {}
    passed_over: dict[str, None] = {}
    for argument in arguments:
        if Path(argument).is_file() or (Path(argument).is_symlink() and not Path(argument).is_dir()):
            images.setdefault(os.path.realpath(argument), Path(argument))
            continue
        paths, leftovers = _list_images(argument)
        paths = [path for path in paths if not skip(path)]
        if not paths:
            raise ImageSelectionError(
                f'{escape(argument)}: no such image, no folder with images, and no pattern that matches images. Images '
                f'in folders have the suffixes {" ".join(sorted(IMAGE_SUFFIXES))}; hidden files, leftovers of other '
                'programs and outputs of earlier runs do not count')
        for path in paths:
            images.setdefault(os.path.realpath(path), path)
        passed_over.update(dict.fromkeys(map(str, leftovers)))
    if passed_over:
        report(describe_leftovers(passed_over))
    return list(images.values())


def _list_images(argument: str) -> tuple[list[Path], list[Path]]:
    """Returns the images that a folder or pattern stands for, and the leftovers that are passed over; both sorted."""
    if Path(argument).is_dir():
        paths, leftovers = list_folder(Path(argument))
        # Prediction keeps hidden files beside its outputs, which may be written to the folder of the images.
        return ([path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES],
                [path for path in leftovers if not re.fullmatch(r'\.(?!_).*\.(json|tiles|tmp)', path.name)])
    literal_parts = set(Path(argument).parts)
    paths, leftovers = [], []
    for path in sorted(set(_expand_pattern(Path(argument)))):
        is_leftover = any(map(leftover_kind, set(path.parts) - literal_parts))
        if is_leftover or not path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
            (leftovers if is_leftover else paths).append(path)
    return paths, leftovers


def _expand_pattern(pattern: Path) -> Iterator[Path]:
    """Yields the files and folders that match a pattern.

    ``glob`` would follow a link to a folder above the link again and again. Here, ``**`` stands for each folder only
    once, whatever links lead to it.
    """
    if '**' not in pattern.parts:
        # Path.glob does not accept absolute patterns.
        yield from map(Path, glob.glob(str(pattern)))  # noqa: PTH207
        return
    position = pattern.parts.index('**')
    rest = Path(*pattern.parts[position + 1:] or '*')
    visited = set()
    for start in glob.glob(str(Path(*pattern.parts[:position]))):  # noqa: PTH207
        for folder, subfolders, _ in os.walk(start, followlinks=True):
            target = os.path.realpath(folder)
            subfolders[:] = [] if target in visited else [name for name in subfolders if not name.startswith('.')]
            if target not in visited:
                visited.add(target)
                yield from _expand_pattern(Path(glob.escape(folder)) / rest)

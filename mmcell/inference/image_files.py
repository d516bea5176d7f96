"""Finds the images to predict, and names their outputs."""

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmcell.errors import MmcellError, escape
from mmcell.files.folders import describe_leftovers, leftover_kind, list_folder
from mmcell.files.names import name_key
from mmcell.images.image_file import open_image
from mmcell.images.limits import ImageReadError

IMAGE_SUFFIXES = {'.tif', '.tiff', '.btf', '.tf2', '.tf8', '.lsm', '.stk', '.svs', '.ndpi', '.qptiff', '.png', '.jpg',
                  '.jpeg', '.bmp', '.webp', '.jp2', '.pgm', '.ppm'}


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


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """Returns a name for the outputs of each image; names also differ where :func:`name_key` is what counts.

    A name is the name of the file without its suffix; for files called ``image``, as in the raw layout, it is the name
    of their folder. If several files of one folder would get the same name, the suffix is appended: ``cell_png``,
    ``cell_tif``. If files of several folders would get the same name, as many folders as necessary are put before it:
    ``a_cell``, ``b_cell``.
    """
    # Example: /x/a/cell.tif and /x/b/cell.tif have the parts [x, a, cell] and [x, b, cell]. With depths [1, 1] both are
    # called cell; names that occur twice get one part more, and with depths [2, 2] they are a_cell and b_cell.
    parts = _add_suffixes([_name_parts(path) for path in paths], paths)
    depths = [1] * len(paths)
    while True:
        names = ['_'.join(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        # Files whose parts are all equal count as one: more folders cannot make their names different.
        n_uses = Counter(name for name, _ in {(name_key(name), _keys(part))
                                              for name, part in zip(names, parts, strict=True)})
        new_depths = [min(depth + 1, len(part)) if n_uses[name_key(name)] > 1 else depth
                      for name, depth, part in zip(names, depths, parts, strict=True)]
        if new_depths == depths:
            return _number_equal_names(names)
        depths = new_depths


def _name_parts(path: Path) -> list[str]:
    """Splits a path into the parts of which a name may consist: folders, then the file without its suffix."""
    # A link has its own name and lies in its own folder, whatever its target is called.
    folders = [part for part in path.parent.resolve().parts if part != path.anchor and part.strip('/\\')]
    return folders if path.stem.lower() == 'image' and folders else [*folders, path.stem]


def _add_suffixes(parts: list[list[str]], paths: Sequence[Path]) -> list[list[str]]:
    """Appends the suffix of the file to the last part where several files have equal parts."""
    n_uses = Counter(map(_keys, parts))
    return [[*part[:-1], f'{part[-1]}_{path.suffix[1:]}'] if n_uses[_keys(part)] > 1 and path.suffix else part
            for part, path in zip(parts, paths, strict=True)]


def _keys(part: list[str]) -> tuple[str, ...]:
    return tuple(map(name_key, part))


def _number_equal_names(names: list[str]) -> list[str]:
    """Appends a number, from 2, to names that occurred before."""
    used, unique = set(), []
    for name in names:
        candidate, number = name, 2
        while name_key(candidate) in used:
            candidate, number = f'{name}_{number}', number + 1
        used.add(name_key(candidate))
        unique.append(candidate)
    return unique


def is_large_tiff(path: Path, more_than_px: int) -> bool:
    """Says whether a file is a TIFF (or slide) with more pixels at full resolution than a limit.

    Only the header is read. The answer is False for other formats and for damaged files.

    Args:
        path: File of any kind.
        more_than_px: The limit.
    """
    try:
        with open_image(path) as image:
            return image.reads_parts and image.height * image.width > more_than_px
    except (OSError, ImageReadError):  # the cause is reported when the image is read
        return False

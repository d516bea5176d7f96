"""Finds the images to predict, and names their outputs."""

import glob
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.images.limits import ImageReadError
from mmcell.images.stored import is_tiff, open_stored

IMAGE_SUFFIXES = {'.tif', '.tiff', '.btf', '.tf2', '.tf8', '.lsm', '.stk', '.svs', '.ndpi', '.qptiff', '.png', '.jpg',
                  '.jpeg', '.bmp', '.webp', '.jp2', '.pgm', '.ppm'}


class ImageSelectionError(MmcellError):
    """An argument of the command line is neither an image, a folder with images, nor a pattern that matches any."""


def find_images(arguments: Sequence[str], skip: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """Finds the image files that the arguments of the command line name.

    Args:
        arguments: Each argument is a file, which may have any name; a folder, which stands for the files directly in it
            that have one of ``IMAGE_SUFFIXES``, sorted by name; or a pattern (``*``, ``?``, ``[…]``, and ``**`` for any
            number of folders), which stands for the files that match, sorted by name.
        skip: Called with each file from a folder or pattern; files for which it returns true are left out.

    Returns:
        The image files in the order of the arguments, each file only once.

    Raises:
        ImageSelectionError: An argument stands for no file.
    """
    images: dict[Path, Path] = {}
    for argument in arguments:
        paths = _find_files(argument, skip)
        if not paths:
            raise ImageSelectionError(
                f'{argument}: no such image, no folder with images, and no pattern that matches images. Images in '
                f'folders have the suffixes {" ".join(sorted(IMAGE_SUFFIXES))}; outputs of earlier runs do not count')
        for path in paths:
            images.setdefault(path.resolve(), path)
    return list(images.values())


def _find_files(argument: str, skip: Callable[[Path], bool]) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        files = [file for file in path.iterdir()
                 if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.')]
    elif path.exists():
        return [path]
    else:
        # Path.glob does not accept absolute patterns.
        files = map(Path, glob.glob(argument, recursive=True))  # noqa: PTH207
    return sorted(file for file in files if file.is_file() and not skip(file))


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """Returns a name for the outputs of each image; names also differ on file systems that ignore upper and lower case.

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
        n_uses = Counter(name for name, _ in {(name.casefold(), _ignore_case(part))
                                              for name, part in zip(names, parts, strict=True)})
        new_depths = [min(depth + 1, len(part)) if n_uses[name.casefold()] > 1 else depth
                      for name, depth, part in zip(names, depths, parts, strict=True)]
        if new_depths == depths:
            return _number_equal_names(names)
        depths = new_depths


def _name_parts(path: Path) -> list[str]:
    """Splits a path into the parts of which a name may consist: folders, then the file without its suffix."""
    folders = [part for part in path.resolve().parent.parts if part != path.anchor and part.strip('/\\')]
    return folders if path.stem == 'image' and folders else [*folders, path.stem]


def _add_suffixes(parts: list[list[str]], paths: Sequence[Path]) -> list[list[str]]:
    """Appends the suffix of the file to the last part where several files have equal parts."""
    n_uses = Counter(map(_ignore_case, parts))
    return [[*part[:-1], f'{part[-1]}_{path.suffix[1:]}'] if n_uses[_ignore_case(part)] > 1 and path.suffix else part
            for part, path in zip(parts, paths, strict=True)]


def _ignore_case(part: list[str]) -> tuple[str, ...]:
    return tuple(folder.casefold() for folder in part)


def _number_equal_names(names: list[str]) -> list[str]:
    """Appends a number, from 2, to names that occurred before."""
    used, unique = set(), []
    for name in names:
        candidate, number = name, 2
        while candidate.casefold() in used:
            candidate, number = f'{name}_{number}', number + 1
        used.add(candidate.casefold())
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
        if not is_tiff(path):
            return False
        with open_stored(path) as stored:
            return stored.height * stored.width > more_than_px
    except (OSError, ImageReadError):  # the cause is reported when the image is read
        return False

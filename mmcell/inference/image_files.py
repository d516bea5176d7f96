"""Which images to predict, and what their outputs are called."""

import glob
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import tifffile

from mmcell.errors import MmcellError
from mmcell.images.pixels import is_tiff

# TIFFs of slide scanners, which hold other pictures beside the slide.
SLIDE_SUFFIXES = {'.svs', '.ndpi', '.qptiff'}
IMAGE_SUFFIXES = {'.tif', '.tiff', '.btf', '.tf2', '.tf8', '.lsm', '.stk', '.png', '.jpg', '.jpeg', '.bmp', '.webp',
                  '.jp2', '.pgm', '.ppm', *SLIDE_SUFFIXES}


class ImageSelectionError(MmcellError):
    """What was named on the command line is no image, folder or pattern with a match."""


def find_images(arguments: Sequence[str], is_none: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """The image files that files, folders and patterns name, each once, in the order named.

    Args:
        arguments: a file is taken whatever its name; a folder gives the files right in it that have one of
            ``IMAGE_SUFFIXES``, by name; a pattern (``*``, ``?``, ``[…]``, ``**`` for any folders) gives the files that
            match, by name.
        is_none: whether a file that a folder or pattern gives is no image to predict.

    Raises:
        ImageSelectionError: an argument gives no file.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        paths = _find(argument, is_none)
        if not paths:
            raise ImageSelectionError(f'{argument}: no such image, no folder with images, and no pattern that matches')
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _find(argument: str, is_none: Callable[[Path], bool]) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        found = [file for file in path.iterdir()
                 if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith('.')]
    elif path.exists():
        return [path]
    else:
        # Path.glob takes no absolute pattern.
        found = map(Path, glob.glob(argument, recursive=True))  # noqa: PTH207
    return sorted(file for file in found if file.is_file() and not is_none(file))


def name_outputs(paths: Sequence[Path]) -> list[str]:
    """A name for the outputs of each image, no two alike even where upper and lower case are one.

    The name of the file without its suffix; of files called ``image``, as in the raw layout, that of their folder.
    Where several files of one folder would have one name, the suffix comes after it: ``cell_png``, ``cell_tif``. Where
    files of several folders would, the folders above come before it, as many as it takes: ``a_cell``, ``b_cell``.
    """
    parts = _add_suffixes([_name_parts(path) for path in paths], paths)
    depths = [1] * len(paths)
    while True:
        names = ['_'.join(part[-depth:]) for part, depth in zip(parts, depths, strict=True)]
        # Equal parts stay equal whatever is added.
        taken = Counter(name for name, _ in {(name.casefold(), _key(part))
                                             for name, part in zip(names, parts, strict=True)})
        longer = [min(depth + 1, len(part)) if taken[name.casefold()] > 1 else depth
                  for name, depth, part in zip(names, depths, parts, strict=True)]
        if longer == depths:
            return _number_equal(names)
        depths = longer


def _name_parts(path: Path) -> list[str]:
    folders = [part for part in path.resolve().parent.parts if part != path.anchor and part.strip('/\\')]
    return folders if path.stem == 'image' and folders else [*folders, path.stem]


def _add_suffixes(parts: list[list[str]], paths: Sequence[Path]) -> list[list[str]]:
    taken = Counter(map(_key, parts))
    return [[*part[:-1], f'{part[-1]}_{path.suffix[1:]}'] if taken[_key(part)] > 1 and path.suffix else part
            for part, path in zip(parts, paths, strict=True)]


def _key(part: list[str]) -> tuple[str, ...]:
    return tuple(folder.casefold() for folder in part)


def _number_equal(names: list[str]) -> list[str]:
    """The names, with a number after those that are there already."""
    taken, unique = set(), []
    for name in names:
        candidate, number = name, 2
        while candidate.casefold() in taken:
            candidate, number = f'{name}_{number}', number + 1
        taken.add(candidate.casefold())
        unique.append(candidate)
    return unique


def is_large_tiff(path: Path, more_than_px: int) -> bool:
    """Whether the header of a TIFF, slides included, says that its full resolution has more than so many pixels.

    False for other files and damaged ones.
    """
    try:
        if not is_tiff(path):
            return False
        with tifffile.TiffFile(path) as tiff:
            return tiff.pages[0].imagelength * tiff.pages[0].imagewidth > more_than_px
    except Exception:  # of many kinds; whoever reads the image says what is wrong
        return False

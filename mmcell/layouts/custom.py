"""A layout of the user's own: a Python file with one function, which reads the cells of an image."""

import runpy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.annotations.mask_doubts import find_doubts
from mmcell.errors import quote
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import Layout, LayoutError, LayoutOptions, Listing, Source, SourceCells
from mmcell.layouts.file_pairs import list_files
from mmcell.masks.rle import EncodedInstances, encode_label_map

READ, FIND = 'read_cells', 'find_images'
IMAGE_SUFFIXES = ('.tif', '.tiff', '.png', '.jpg', '.jpeg', '.bmp', '.webp', '.svs', '.ndpi')


def load_layout(path: Path) -> Layout:
    """Returns the layout that a Python file of the user describes.

    The file is run. It has the function ``read_cells(image_path)``, which returns the cells of an image: for each class
    its name and a label map (H, W) of integers, or a list of label maps if cells of a class overlap; None for a file
    that is not an image with cells. It may also have ``find_images(data_root)``, which returns the image files; without
    it, all image files in the data root and in its subfolders are taken.

    Raises:
        LayoutError: There is no such file, or no function ``read_cells`` in it.
    """
    functions = _load_functions(path)
    return Layout(str(path), f'the function {READ} in {path}', lambda root: None,
                  partial(_find_sources, functions.get(FIND, _find_images)), partial(_read_cells, path), None)


def _load_functions(path: Path) -> dict[str, Callable]:
    if not path.is_file():
        raise LayoutError(f'there is no layout, and no Python file, {path}')
    functions = {name: value for name, value in runpy.run_path(str(path)).items() if callable(value)}
    if READ not in functions:
        raise LayoutError(f'{path}: has no function {READ}(image_path), which returns a label map for each class')
    return functions


def _find_images(root: Path) -> list[Path]:
    """Returns the image files in a folder and in its subfolders."""
    return [path for path in list_files(root)[0] if path.suffix.lower() in IMAGE_SUFFIXES]


def _find_sources(find: Callable[[Path], list[Path]], root: Path, _: LayoutOptions) -> Listing:
    """Lists the images for which the function of the user finds cells."""
    images = [Path(image) for image in find(root)]
    if not images:
        raise LayoutError(f'{root}: no image was found')
    return Listing([Source(image) for image in images])


def _read_cells(path: Path, source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells | None:
    """Calls the function of the user, and checks and encodes what it returns."""
    result = _load_functions(path)[READ](source.image)
    if result is None:
        return None
    if not isinstance(result, Mapping):
        raise LayoutError(f'{path}: {READ} must return a dict from names of classes to label maps, or None, but '
                          f'returned {quote(result)} for {source.image}')
    cells, doubts = {}, []
    for name, maps in result.items():
        maps = [maps] if isinstance(maps, np.ndarray) else list(maps)
        parts = [_encode(label_map, image, f'{path}: {READ} returned for class {quote(name)} of {source.image}')
                 for label_map in maps]
        rles = [rle for part in parts for rle in part.rles]
        if rles:
            cells[str(name)] = parts[0] if len(parts) == 1 else EncodedInstances.from_rles(rles)
            doubts += [(str(source.image), str(name), tuple(find_doubts(label_map, part, 0)))
                       for label_map, part in zip(maps, parts, strict=True) if len(part.ids)]
    return SourceCells(cells, doubts=tuple(doubts))


def _encode(label_map: object, image: ImageFile, where: str) -> EncodedInstances:
    expected = f'expected a label map {(image.height, image.width)} of integers from 0 on'
    if not isinstance(label_map, np.ndarray) or label_map.shape != (image.height, image.width):
        raise LayoutError(f'{where} {quote(label_map)}; {expected}')
    try:
        return encode_label_map(label_map)
    except ValueError as error:
        raise LayoutError(f'{where} an array that is no label map ({error}); {expected}') from error

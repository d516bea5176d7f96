"""Finds the regions of images that a user names: one file for one image, or a folder with a file per image."""

from collections.abc import Sequence
from pathlib import Path

from mmcell.cells.regions import Regions
from mmcell.errors import MmcellError
from mmcell.images.image_file import file_fingerprint
from mmcell.layouts.qupath import KIND, read_regions


def read_rois(path: Path, images: Sequence[Path]) -> dict[Path, Regions]:
    """Reads the regions of images.

    Args:
        path: GeoJSON of QuPath or another program, in px of the image, also compressed with gzip; or a folder with such
            files, each called like its image.
        images: The image files.

    Returns:
        The regions of each image by its resolved path.

    Raises:
        FileError: A file cannot be read.
        LayoutError: A file is not GeoJSON, is too large, or has no polygon.
        MmcellError: There is one file for several images, or an image has no file in the folder.
    """
    found = _find_all(path, images)
    return {image.resolve(): _read(file) for image, file in found.items()}


def _find_all(path: Path, images: Sequence[Path]) -> dict[Path, Path]:
    if not path.is_dir():
        if len(images) > 1:
            raise MmcellError(f'--roi {path}: is one file, but there are {len(images)} images: name a folder with a '
                              'file for each, NAME.geojson or NAME.geojson.gz')
        return dict.fromkeys(images, path)
    return {image: _find(path, image) for image in images}


def _find(folder: Path, image: Path) -> Path:
    for suffix in KIND.suffixes:
        if (folder / f'{image.stem}{suffix}').is_file():
            return folder / f'{image.stem}{suffix}'
    raise MmcellError(f'--roi {folder}: has no file {image.stem}.geojson or {image.stem}.geojson.gz for '
                      f'{image}')


def _read(path: Path) -> Regions:
    names, shapes = read_regions(path)
    return Regions.make(names, shapes, file_fingerprint(path, path.stat()))

"""Writes cells in the raw layout: ``train/<name>/image.tif`` with one label map per class, ``class1.tif`` …"""

import shutil
from pathlib import Path

import numpy as np
import tifffile

from mmcell.cells.cells import Cells
from mmcell.files.whole_files import written_whole
from mmcell.images.image_file import is_tiff, read_image
from mmcell.layouts.class_maps import IMAGE_FILE
from mmcell.writers.base import ImageInfo
from mmcell.writers.label_tiff import LabelMapFile


def write_class_maps(folder: Path, cells: Cells, numbers: np.ndarray, image: ImageInfo) -> None:
    """Writes one label map for each class that has a cell in an image: ``class<label + 1>.tif``.

    Args:
        folder: The folder of the image. It is made also if there is no cell.
        cells: The N cells of the image. See :class:`LabelMapFile` for overlaps between cells of one class.
        numbers: (N,) int64, the values of the cells in the maps.
        image: The image to which the cells belong.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.unique(cells.labels)
    with written_whole([folder / f'class{label + 1}.tif' for label in labels]) as temporary:
        for path, label in zip(temporary, labels, strict=True):
            label_map, is_of_class = LabelMapFile(path, image), cells.labels == label
            label_map.paint(cells.take(is_of_class), numbers[is_of_class])
            label_map.finish()


def copy_image(path: Path, folder: Path) -> None:
    """Writes a copy of an image as the ``image.tif`` of its folder in the raw layout.

    A TIFF is copied as it is. An image of another format is written as a TIFF with the pixels that
    :func:`mmcell.images.image_file.read_image` returns: RGB, 8 bit, upright.

    Raises:
        ImageReadError: The image cannot be read.
        OSError: The image is missing, or the copy cannot be written.
    """
    with written_whole([folder / IMAGE_FILE]) as (temporary,):
        if is_tiff(path):
            shutil.copyfile(path, temporary)
        else:
            tifffile.imwrite(temporary, read_image(path), photometric='rgb', compression='zlib')

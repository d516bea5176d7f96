"""The output formats of cells: their names, and the names of their files. Importing this is cheap."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class OutputFormat:
    """An output format; :mod:`mmcell.writers.writing` writes it.

    Attributes:
        description: What the files are, with ``{0}`` in the place of the name of the image.
        file_ends: The ends of the names of the files: a file is called like its image, followed by one of them. An end
            with ``{}`` stands for one file per class, with the number of the class in this place.
    """

    description: str
    file_ends: tuple[str, ...]

    def suffixes(self, n_classes: int) -> list[str]:
        """Returns the ends of the names of all files of an image."""
        return [end.format(number) for end in self.file_ends
                for number in (range(1, n_classes + 1) if '{}' in end else [1])]


# No suffix ends with another suffix, so that images with different names never have an output file in common.
FORMATS = {
    'labels': OutputFormat('{0}_labels.tif, a label map of all cells, and {0}_labels.csv, the class and score of each '
                           'cell', ('_labels.tif', '_labels.csv')),
    'class-labels': OutputFormat('{0}_class1.tif, {0}_class2.tif …, one label map per class', ('_class{}.tif',)),
    'label-pyramid': OutputFormat('{0}_labels.ome.tif, the label map of all cells as OME-TIFF with smaller copies, for '
                                  'slides', ('_labels.ome.tif',)),
    'geojson': OutputFormat('{0}.geojson, for QuPath', ('.geojson',)),
    'geojson-gz': OutputFormat('{0}.geojson.gz, the same, compressed, for QuPath 0.4 and later', ('.geojson.gz',)),
    'rois': OutputFormat('{0}_rois.zip, for ImageJ and Fiji', ('_rois.zip',)),
    'coco': OutputFormat('{0}_coco.json, annotations in the format of COCO', ('_coco.json',)),
    'csv': OutputFormat('{0}_cells.csv, measurements with one row per cell', ('_cells.csv',)),
    'overlay': OutputFormat('{0}_overlay.png, the cells drawn over the image', ('_overlay.png',)),
    'numbers': OutputFormat('{0}_numbers.png, the same, larger and with the number of each cell', ('_numbers.png',)),
}

# The formats that need the whole image in memory.
PICTURE_FORMATS = ('overlay', 'numbers')

# The formats whose cells can be annotations of QuPath, which can be edited there.
EDITABLE_FORMATS = ('geojson', 'geojson-gz')

# The tables over all images of a call, which are written with the format csv.
CALL_TABLES = ('cells.csv', 'images.csv', 'regions.csv', 'cells.parquet', 'images.parquet', 'regions.parquet')


def need_pixels(formats: Sequence[str]) -> bool:
    """Says whether one of these formats is drawn over the image."""
    return any(key in PICTURE_FORMATS for key in formats)


def output_paths(formats: Sequence[str], folder: Path, name: str, n_classes: int) -> list[Path]:
    """Returns the paths of the files of an image.

    Args:
        formats: Keys of ``FORMATS``.
        folder: Where the files are.
        name: The beginning of all file names.
        n_classes: The number of classes.
    """
    return [folder / f'{name}{suffix}' for key in formats for suffix in FORMATS[key].suffixes(n_classes)]

"""The class of each cell of a label map: from a table, from a second map, or from a list."""

import csv
import functools
import io
from collections import defaultdict
from pathlib import Path

import numpy as np

from mmcell.errors import list_some, quote
from mmcell.files.names import name_key
from mmcell.files.text_files import read_text
from mmcell.layouts.base import LayoutError
from mmcell.masks.rle import EncodedInstances

# The class of cells that have none beside cells that have one. The user decides about it, with --rename.
UNCLASSIFIED = 'unclassified'
WITHOUT_CLASS = 'cells without a class, called unclassified (--rename unclassified=NAME, or unclassified= to leave out)'
SEVERAL_CLASSES = ('cells with several classes in the map of classes, or with none on most of their pixels, which got '
                   'the class of most of their pixels that have one')
ROWS_WITHOUT_CELL = 'left out, rows of class tables whose cell is not in the label map'
ROWS_WITHOUT_IMAGE = 'left out, rows of the class table by images that do not exist'
_ID_COLUMNS = ('id', 'label', 'cell', 'cell_id', 'instance', 'instance_id', 'label_id', 'nucleus', 'object')
_CLASS_COLUMNS = ('class', 'type', 'category', 'class_name', 'cell_type', 'classification', 'celltype')
_IMAGE_COLUMNS = ('image', 'file', 'file_name', 'filename', 'image_name')


def class_name(value: object) -> str:
    """Returns the name of a class from a table: a number k becomes class<k>; no name, 0 and background become ''."""
    text = str(value).strip()
    if text.endswith('.0'):
        text = text[:-2]
    if text.isascii() and text.isdigit():
        return f'class{int(text)}' if int(text) else ''
    return '' if text.lower() in ('', 'nan', 'none', 'null', 'background') else text


def split_by_name(instances: EncodedInstances, names: list[str]) -> dict[str, EncodedInstances]:
    """Returns the cells of each class by its name; cells with the name '' are called unclassified."""
    names = np.array([name or UNCLASSIFIED for name in names], object)
    return {name: instances.take(names == name) for name in sorted(set(names.tolist()))}


def name_from_map(label_map: np.ndarray, class_map: np.ndarray,
                  instances: EncodedInstances) -> tuple[list[str], np.ndarray]:
    """Returns the name of the class of each cell, and whether its pixels leave it in doubt.

    The class is the number that most pixels of the cell have in the map of classes, 0 left out; of equally frequent
    numbers it is the smallest.

    Args:
        label_map: (H, W) int32.
        class_map: (H, W) int32, the number of the class of each pixel; 0 for none.
        instances: The N cells of the label map.

    Returns:
        N names, '' for a cell all of whose pixels have 0; and (N,) bool: the pixels of the cell have several classes,
        or a class on at most half of them.
    """
    is_known = (label_map > 0) & (class_map > 0)
    # A cell (its index) and a class together are one number, so that numbers are sorted and not pairs.
    pairs, n_px = np.unique(np.searchsorted(instances.ids, label_map[is_known]) << 32 | class_map[is_known],
                            return_counts=True)
    cells, classes = pairs >> 32, pairs & 0xFFFFFFFF
    # Sorted by falling number of pixels and then rising class, the first class of each cell counts.
    order = np.lexsort((classes, -n_px, cells))
    first = order[np.unique(cells[order], return_index=True)[1]]
    numbers = np.zeros(len(instances.ids), np.int64)
    numbers[cells[first]] = classes[first]
    n_classes = np.bincount(cells, minlength=len(numbers))
    n_known_px = np.bincount(cells, n_px, minlength=len(numbers))
    is_doubtful = (n_classes > 1) | ((n_classes == 1) & (2 * n_known_px <= instances.areas_px))
    return [class_name(number) for number in numbers.tolist()], is_doubtful


def check_table_of_images(path: Path, images: list[Path]) -> list[str]:
    """Checks that the rows of a table are about one image each.

    Args:
        path: The table of all images; see :func:`read_class_table`.
        images: The images that have cells.

    Returns:
        Names in the table that are those of no image.

    Raises:
        FileError, LayoutError: The table cannot be used: it does not say which of several images its rows are about,
            or names an image of which there are several.
    """
    rows = _read_rows(path)
    names = {name_key(name): name for _, _, name in rows if name is not None}
    if rows and not names and len(images) > 1:
        raise LayoutError(f'{path}: has no column image, so that it is not clear which of the {len(images)} images its '
                          'rows are about: add the column, or put a table NAME_classes.csv beside each label map')
    images_of = defaultdict(list)
    for image in images:
        for key in {name_key(image.name), name_key(image.stem)} & set(names):
            images_of[key].append(image)
    for key, twins in images_of.items():
        if len(twins) > 1:
            raise LayoutError(f'{path}: has rows about {quote(names[key])}, but {twins[0]} and {twins[1]} are both '
                              'called so: put a table NAME_classes.csv beside each label map')
    return [name for key, name in names.items() if key not in images_of]


def read_class_table(path: Path, image: Path) -> dict[int, str]:
    """Reads a table of classes.

    Args:
        path: A CSV file with a header, separated by commas, semicolons or tabs. It has a column with the id of the cell
            in the label map (``id``, ``label``, ``cell`` …) and one with its class (``class``, ``type`` …), and may
            have one with the image (``image``, ``file`` …) if it is about several images.
        image: The image. The third column has its name, with or without suffix; folders before it do not count.

    Returns:
        The name of the class by the id of the cell; '' for a cell without a class.

    Raises:
        FileError: The file cannot be read.
        LayoutError: Columns are missing, an id is not a whole number, or an id has two classes.
    """
    rows = _read_rows(path)
    if rows and rows[0][2] is not None:
        keys = {name_key(image.name), name_key(image.stem)}
        rows = [row for row in rows if name_key(row[2]) in keys]
    classes: dict[int, str] = {}
    for number, name, _ in rows:
        if classes.setdefault(number, name) != name:
            raise LayoutError(f'{path}: the cell {number} has two classes, {quote(classes[number])} and {quote(name)}')
    return classes


@functools.lru_cache(maxsize=4)
def _read_rows(path: Path) -> list[tuple[int, str, str | None]]:
    """Returns the id, the class and, if the table has such a column, the image of each row."""
    text = read_text(path, LayoutError)
    header = text.partition('\n')[0]
    delimiter = max(',;\t', key=header.count)
    reader = csv.reader(io.StringIO(text, newline=''), delimiter=delimiter)
    try:
        lines = [line for line in reader if any(map(str.strip, line))]
    except csv.Error as error:
        raise LayoutError(f'{path}: is not a CSV table: {error}') from error
    columns = [name.strip().lower().replace(' ', '_') for name in lines[0]] if lines else []
    id_column, class_column, image_column = (
        next((columns.index(name) for name in names if name in columns), None)
        for names in (_ID_COLUMNS, _CLASS_COLUMNS, _IMAGE_COLUMNS))
    if id_column is None or class_column is None:
        raise LayoutError(f'{path}: a table with the columns id and class is expected in its first line, but it has '
                          f'{list_some(columns) or "nothing"}')
    return [_read_row(path, number, line, id_column, class_column, image_column)
            for number, line in enumerate(lines[1:], start=2)]


def _read_row(path: Path, number: int, line: list[str], id_column: int, class_column: int,
              image_column: int | None) -> tuple[int, str, str | None]:
    needed = max(id_column, class_column, image_column or 0)
    text = line[id_column].strip().removesuffix('.0') if len(line) > needed else ''
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise LayoutError(f'{path}: row {number} is {quote(line)}; the id of a cell, a whole number, and its class are '
                          'expected')
    return int(text), class_name(line[class_column]), None if image_column is None else Path(
        line[image_column].strip().replace('\\', '/')).name

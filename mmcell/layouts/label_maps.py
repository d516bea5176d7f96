"""One label map per image: TIFF, PNG and .npy, Cellpose's _seg.npy, and HoVer-Net's .mat."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from mmcell.annotations.mask_doubts import find_doubts
from mmcell.errors import list_some
from mmcell.images.image_file import ImageFile
from mmcell.layouts.base import (
    ONLY_CLASS,
    PAIR_OPTIONS,
    Layout,
    LayoutError,
    LayoutOptions,
    Listing,
    Source,
    SourceCells,
)
from mmcell.layouts.class_tables import (
    ROWS_WITHOUT_CELL,
    ROWS_WITHOUT_IMAGE,
    SEVERAL_CLASSES,
    UNCLASSIFIED,
    WITHOUT_CLASS,
    check_table_of_images,
    class_name,
    name_from_map,
    read_class_table,
    split_by_name,
)
from mmcell.layouts.file_pairs import FileKind, describe_pairs, pair_files
from mmcell.layouts.label_files import read_label_file, read_mat
from mmcell.masks.rle import EncodedInstances, encode_label_map

_TABLES = ('_classes.csv', '_labels.csv', '_types.csv', '_masks.csv', '_seg.csv')
_MAP_SUFFIXES = ('.tif', '.tiff', '.png', '.npy')
_CLASS_MAPS = tuple(f'_{word}{suffix}' for word in ('class', 'classes', 'type', 'types') for suffix in _MAP_SUFFIXES)
_KIND = FileKind(_MAP_SUFFIXES,
                 ('_cp_masks', '_masks', '_mask', '_labels', '_labels.ome', '_label', '-labels', '-label', '_seg',
                  '_instances', '_instance', '_inst', '_nuclei', '_cells'), companions=(*_TABLES, *_CLASS_MAPS),
                 other_ends=('_seg.npy',))
_CELLPOSE = FileKind(('_seg.npy',), companions=_TABLES, other_ends=())
_HOVERNET = FileKind(('.mat',))


def read_label_map(source: Source, image: ImageFile, options: LayoutOptions) -> SourceCells:
    """Reads a label map, and the classes of its cells from a table or a map beside it, if there is one.

    Raises:
        FileError, ImageReadError: A file cannot be read.
        LayoutError: A file does not fit the image, or several files name the classes of the cells.
    """
    path, *companions = source.files
    if options.class_table is not None:
        companions = [options.class_table]
    elif len(companions) > 1:
        raise LayoutError(f'{path}: the classes of its cells are in several files, {list_some(companions)}: keep one '
                          'of them, or name a table with --class-table')
    label_map = read_label_file(path, image)
    instances = encode_label_map(label_map)
    names, remarks = [ONLY_CLASS] * len(instances.ids), {}
    if companions and companions[0].suffix.lower() in _MAP_SUFFIXES:
        names, is_doubtful = name_from_map(label_map, read_label_file(companions[0], image), instances)
        remarks = _remark_doubtful(instances, is_doubtful, path)
    elif companions:
        names, remarks = _names_from_table(companions[0], instances, image.path)
    return _to_cells(label_map, instances, names, remarks, path)


def _names_from_table(table: Path, instances: EncodedInstances,
                      image: Path) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Returns the name of the class of each cell, '' without one, and what is to be said about the table."""
    classes = read_class_table(table, image)
    known = set(instances.ids.tolist())
    extra = tuple(f'{table.name}: {number}' for number in classes if number not in known)
    return ([classes.get(number, '') for number in instances.ids.tolist()],
            {ROWS_WITHOUT_CELL: extra} if extra else {})


def _remark_doubtful(instances: EncodedInstances, is_doubtful: np.ndarray, path: Path) -> dict[str, tuple[str, ...]]:
    doubtful = tuple(f'{path.name}: {number}' for number in instances.ids[is_doubtful].tolist())
    return {SEVERAL_CLASSES: doubtful} if doubtful else {}


def _to_cells(label_map: np.ndarray, instances: EncodedInstances, names: list[str],
              remarks: dict[str, tuple[str, ...]], path: Path) -> SourceCells:
    cells = split_by_name(instances, names)
    if UNCLASSIFIED in cells:
        remarks[WITHOUT_CLASS] = tuple(f'{path.name}: {number}' for number in cells[UNCLASSIFIED].ids.tolist())
    if not cells:
        remarks['masks without any cell'] = (str(path),)
    # A label map is doubtful as a whole, whatever the classes of its cells are.
    doubts = ((str(path), next(iter(cells)), tuple(find_doubts(label_map, instances, 1))),) if cells else ()
    return SourceCells(cells, remarks=remarks, doubts=doubts)


def read_hovernet(source: Source, image: ImageFile, _: LayoutOptions) -> SourceCells:
    """Reads a .mat file: the label map ``inst_map``, and the classes in ``type_map`` or ``inst_type``.

    Raises:
        FileError, ImageReadError: The file cannot be read.
        LayoutError: It does not fit the image, or ``inst_type`` does not fit the cells.
    """
    path = source.files[0]
    label_map, class_map, types = read_mat(path, image)
    instances = encode_label_map(label_map)
    names, remarks = [ONLY_CLASS] * len(instances.ids), {}
    if class_map is not None:
        names, is_doubtful = name_from_map(label_map, class_map, instances)
        remarks = _remark_doubtful(instances, is_doubtful, path)
    elif types is not None:
        if len(types) != len(instances.ids):
            raise LayoutError(f'{path}: inst_type has {len(types)} classes, but inst_map has {len(instances.ids)} '
                              'cells: save a type_map, or remove inst_type if the classes do not matter')
        names = [class_name(number) for number in types.tolist()]
    return _to_cells(label_map, instances, names, remarks, path)


def _find_pairs(kind: FileKind, root: Path, options: LayoutOptions) -> Listing:
    listing = pair_files(root, options, kind)
    table = options.class_table
    if table is None:
        return listing
    unknown = check_table_of_images(table, [source.image for source in listing.sources if source.files])
    return replace(listing, other_files=[path for path in listing.other_files if path.resolve() != table.resolve()],
                   remarks={**listing.remarks, **({ROWS_WITHOUT_IMAGE: tuple(unknown)} if unknown else {})})


LABEL_MAPS = Layout('label-maps', 'one label map per image, NAME_masks.tif, masks/NAME.png …, of all classes together',
                    partial(describe_pairs, kind=_KIND, what='label maps'), partial(_find_pairs, _KIND), read_label_map,
                    (*PAIR_OPTIONS, 'class_table'))
CELLPOSE = Layout('cellpose', 'NAME_seg.npy of Cellpose beside the images',
                  partial(describe_pairs, kind=_CELLPOSE, what='files of Cellpose'), partial(_find_pairs, _CELLPOSE),
                  read_label_map, (*PAIR_OPTIONS, 'class_table'))
HOVERNET = Layout('hovernet', '.mat files with inst_map and type_map, as of HoVer-Net and CoNSeP',
                  partial(describe_pairs, kind=_HOVERNET, what='.mat files'), partial(pair_files, kind=_HOVERNET),
                  read_hovernet, PAIR_OPTIONS)

"""Tables over all images of a call: all cells in one, a row per image in another, and a row per region in a third."""

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from mmcell.cells.regions import SEPARATOR
from mmcell.errors import MmcellError
from mmcell.files.whole_files import written_whole
from mmcell.writers.base import TEXT
from mmcell.writers.formats import CALL_TABLES

_CELL_SUFFIX = '_cells.csv'
_TEXT_COLUMNS = {'image', 'class', 'region'}
_COUNTS = {'cell', 'cells', 'width_px', 'height_px'}
# The first columns of the tables, by which tables of earlier calls are known.
_FIRST_COLUMNS = {
    'cells': ('image', 'cell', 'class'),
    'images': ('image', 'width_px', 'height_px', 'mpp', 'area_mm2', 'cells', 'cells_per_mm2'),
    'regions': ('image', 'region', 'area_px', 'mpp', 'area_mm2', 'cells', 'cells_per_mm2')}
_SUFFIXES = '.csv', '.parquet'
# Metadata of Parquet files that mmcell writes.
_MARK = {b'mmcell.table': b'written by tools/predict.py'}
_HEADER_BYTES, _FOOTER_BYTES = 2 ** 16, 2 ** 20


def refuse_foreign_tables(folder: Path, has_regions: bool, with_parquet: bool) -> None:
    """Checks that :func:`write_call_tables` would overwrite nothing but tables of earlier calls.

    Args:
        folder: Where the tables are written.
        has_regions: Whether the images have regions.
        with_parquet: Whether the tables are also written as Parquet.

    Raises:
        MmcellError: Something else lies in the place of a table.
    """
    for path in _table_paths(folder, has_regions, with_parquet):
        if os.path.lexists(path) and not _is_own(path):
            raise MmcellError(f'{path}, which is not a table of an earlier call, would be overwritten: name another '
                              'folder with --out, or move that file away')


def write_call_tables(folder: Path, images: Sequence[tuple[str, dict]], class_names: Sequence[str],
                      with_parquet: bool = False) -> list[Path]:
    """Joins the tables of cells of some images, and counts the cells of each image and region.

    ``cells.csv`` has the rows of all tables. A column that only some of them have is empty for the other images.
    ``images.csv`` has one row per image: its name, ``width_px``, ``height_px``, ``mpp``, ``area_mm2``, the number of
    ``cells``, ``cells_per_mm2``, and for each class ``cells_of_<class>`` and ``share_of_<class>``, which is the part of
    the cells of the image. What needs a scale is empty for an image without one, and shares are for one without cells.
    ``regions.csv`` has the same for each region, with ``area_px`` in place of the sides; a cell counts in each region
    that contains it. The area and the density of an image with regions are those of its regions together.

    Tables of earlier calls that are not replaced are removed, because they would contradict the new ones: those of
    regions, and those in Parquet. What mmcell has not written stays.

    Args:
        folder: Where the tables of the images are, and where these are written.
        images: The name of the outputs of each image, and its facts: 'image' (name of the file), 'width_px',
            'height_px', 'mpp'; and, if the image has regions, 'regions', the area of each region in px by its name, and
            'regions_px', the area of all together.
        class_names: The names of the classes.
        with_parquet: Whether all are also written as Parquet. This needs the package pyarrow.

    Returns:
        The files that were written; there is no table of regions if no image has any.
    """
    has_regions = any('regions' in facts for _, facts in images)
    paths = _table_paths(folder, has_regions, with_parquet)
    with written_whole(paths) as temporary:
        tables = [path for path, final in zip(temporary, paths, strict=True) if final.suffix == '.csv']
        _write_csv(tables, folder, images, class_names)
        for table, parquet in zip(tables, temporary[len(tables):], strict=False):
            _to_parquet(table, parquet)
        for path in {folder / name for name in CALL_TABLES} - {*paths}:
            if _is_own(path):
                path.unlink()
    return paths


def _table_paths(folder: Path, has_regions: bool, with_parquet: bool) -> list[Path]:
    names = ['cells', 'images', *(['regions'] if has_regions else [])]
    return [folder / f'{name}{suffix}' for suffix in _SUFFIXES[:1 + with_parquet] for name in names]


def _is_own(path: Path) -> bool:
    """Returns whether a file is a table that an earlier call has written."""
    try:
        with open(path, 'rb') as file:
            if path.suffix == '.csv':
                text = file.read(_HEADER_BYTES).decode(errors='replace')
                first = _FIRST_COLUMNS[path.stem]
                return tuple(next(csv.reader(io.StringIO(text, newline='')), ())[:len(first)]) == first
            file.seek(-min(_FOOTER_BYTES, path.stat().st_size), io.SEEK_END)
            # The metadata stand as they are at the end of a file, where they are found without pyarrow.
            end = file.read()
            return end.endswith(b'PAR1') and all(key in end and value in end for key, value in _MARK.items())
    except (OSError, csv.Error):
        return False


def _write_csv(paths: Sequence[Path], folder: Path, images: Sequence[tuple[str, dict]],
               class_names: Sequence[str]) -> None:
    """Writes the tables of cells, of images and, if there are three paths, of regions."""
    sources = [folder / f'{name}{_CELL_SUFFIX}' for name, _ in images]
    columns = list(dict.fromkeys(column for source in sources for column in _header_of(source)))
    with ExitStack() as stack:
        cells, *summaries = (csv.writer(stack.enter_context(open(path, 'w', **TEXT))) for path in paths)
        cells.writerow(columns)
        for summary, kind in zip(summaries, ('images', 'regions'), strict=False):
            summary.writerow([*_FIRST_COLUMNS[kind], *(
                f'{value}_of_{name}' for name in class_names for value in ('cells', 'share'))])
        for source, (_, facts) in zip(sources, images, strict=True):
            counts: Counter[tuple[str, str]] = Counter()
            for row in _rows_of(source):
                cells.writerow([row.get(column, '') for column in columns])
                counts[row.get('region', ''), row['class']] += 1
            _summarize(facts, counts, class_names, summaries)


def _summarize(facts: dict, counts: Counter, class_names: Sequence[str], summaries: Sequence) -> None:
    """Writes the row of an image, and those of its regions.

    Args:
        facts: The facts of the image.
        counts: The number of its cells by the names of their regions, joined by ``SEPARATOR``, and their class.
        class_names: The names of the classes.
        summaries: The writers of the table of images and, if there are regions, of regions.
    """
    sides = facts['width_px'], facts['height_px']
    of_image: Counter[str] = Counter()
    of_regions: dict[str, Counter[str]] = {region: Counter() for region in facts.get('regions', ())}
    for (regions, name), count in counts.items():
        of_image[name] += count
        for region in regions.split(SEPARATOR) if of_regions else ():
            of_regions[region][name] += count
    area_px = facts.get('regions_px', sides[0] * sides[1])
    summaries[0].writerow([facts['image'], *sides, *_counted(of_image, area_px, facts['mpp'], class_names)])
    for region, of_region in of_regions.items():
        area_px = facts['regions'][region]
        summaries[1].writerow([facts['image'], region, f'{area_px:.8g}',
                               *_counted(of_region, area_px, facts['mpp'], class_names)])


def _counted(counts: Counter, area_px: float, mpp: float | None, class_names: Sequence[str]) -> list:
    n_cells = counts.total()
    shares = [value for name in class_names
              for value in (counts[name], '' if not n_cells else f'{counts[name] / n_cells:.6g}')]
    if mpp is None:
        return ['', '', n_cells, '', *shares]
    area_mm2 = area_px * mpp ** 2 / 1e6
    return [f'{mpp:.8g}', f'{area_mm2:.8g}', n_cells, f'{n_cells / area_mm2:.8g}' if area_mm2 else '', *shares]


def _to_parquet(table: Path, path: Path) -> None:
    """Writes a CSV table as Parquet, part by part."""
    from pyarrow import csv as arrow_csv
    from pyarrow import float64, int64, string
    from pyarrow.parquet import ParquetWriter
    types = {name: string() if name in _TEXT_COLUMNS else int64() if _is_count(name) else float64()
             for name in _header_of(table)}
    with (arrow_csv.open_csv(table, convert_options=arrow_csv.ConvertOptions(column_types=types)) as reader,
          ParquetWriter(path, reader.schema.with_metadata(_MARK)) as writer):
        for batch in reader:
            writer.write_batch(batch)


def _is_count(name: str) -> bool:
    return name in _COUNTS or name.startswith(('neighbours_', 'cells_of_'))


def _header_of(table: Path) -> list[str]:
    with open(table, **TEXT) as file:
        return next(csv.reader(file))


def _rows_of(table: Path) -> Iterator[dict]:
    with open(table, **TEXT) as file:
        yield from csv.DictReader(file)

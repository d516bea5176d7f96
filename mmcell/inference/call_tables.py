"""Tables over all images of a call: all cells in one, and one row per image in the other."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmcell.files.whole_files import written_whole
from mmcell.writers.base import TEXT
from mmcell.writers.formats import CALL_TABLES

_CELL_SUFFIX = '_cells.csv'
_TEXT_COLUMNS = {'image', 'class'}
_COUNTS = {'cell', 'cells', 'area_px', 'width_px', 'height_px'}


def write_call_tables(folder: Path, images: Sequence[tuple[str, dict]], class_names: Sequence[str],
                      with_parquet: bool = False) -> list[Path]:
    """Joins the tables of cells of some images, and counts the cells of each image.

    ``cells.csv`` has the rows of all tables. A column that only some of them have is empty for the other images.
    ``images.csv`` has one row per image: its name, ``width_px``, ``height_px``, ``mpp``, ``area_mm2``, the number of
    ``cells``, ``cells_per_mm2``, and for each class ``cells_of_<class>`` and ``share_of_<class>``, which is the part of
    the cells of the image. What needs a scale is empty for an image without one, and shares are for one without cells.

    Args:
        folder: Where the tables of the images are, and where these two are written.
        images: The name of the outputs of each image, and its facts: 'image' (name of the file), 'width_px',
            'height_px', 'mpp'.
        class_names: The names of the classes.
        with_parquet: Whether both are also written as Parquet. This needs the package pyarrow.

    Returns:
        The files that were written.
    """
    paths = [folder / name for name in CALL_TABLES if name.endswith('.csv')]
    tables = [folder / f'{name}{_CELL_SUFFIX}' for name, _ in images]
    columns = list(dict.fromkeys(column for table in tables for column in _header_of(table)))
    with (written_whole(paths) as (cells_file, images_file), open(cells_file, 'w', **TEXT) as file,
          open(images_file, 'w', **TEXT) as other):
        cells, summary = csv.DictWriter(file, columns, restval=''), csv.writer(other)
        cells.writeheader()
        summary.writerow(_summary_header(class_names))
        for table, (_, facts) in zip(tables, images, strict=True):
            counts: Counter[str] = Counter()
            for row in _rows_of(table):
                cells.writerow(row)
                counts[row['class']] += 1
            summary.writerow(_summarize(facts, counts, class_names))
    return [*paths, *map(_to_parquet, paths if with_parquet else ())]


def _to_parquet(table: Path) -> Path:
    """Writes a CSV table as Parquet beside it, part by part, and returns the path."""
    from pyarrow import csv as arrow_csv
    from pyarrow import float64, int64, string
    from pyarrow.parquet import ParquetWriter
    types = {name: string() if name in _TEXT_COLUMNS else int64() if _is_count(name) else float64()
             for name in _header_of(table)}
    path = table.with_suffix('.parquet')
    with (written_whole([path]) as (temporary,),
          arrow_csv.open_csv(table, convert_options=arrow_csv.ConvertOptions(column_types=types)) as reader,
          ParquetWriter(temporary, reader.schema) as writer):
        for batch in reader:
            writer.write_batch(batch)
    return path


def _is_count(name: str) -> bool:
    return name in _COUNTS or name.startswith(('neighbours_', 'cells_of_'))


def _header_of(table: Path) -> list[str]:
    with open(table, **TEXT) as file:
        return next(csv.reader(file))


def _rows_of(table: Path) -> Iterator[dict]:
    with open(table, **TEXT) as file:
        yield from csv.DictReader(file)


def _summary_header(class_names: Sequence[str]) -> list[str]:
    return ['image', 'width_px', 'height_px', 'mpp', 'area_mm2', 'cells', 'cells_per_mm2',
            *(f'{kind}_of_{name}' for name in class_names for kind in ('cells', 'share'))]


def _summarize(facts: dict, counts: Counter, class_names: Sequence[str]) -> list:
    n_cells, mpp = counts.total(), facts['mpp']
    area_mm2 = None if mpp is None else facts['width_px'] * facts['height_px'] * mpp ** 2 / 1e6
    shares = [value for name in class_names
              for value in (counts[name], '' if not n_cells else f'{counts[name] / n_cells:.6g}')]
    return [facts['image'], facts['width_px'], facts['height_px'], '' if mpp is None else f'{mpp:.8g}',
            '' if area_mm2 is None else f'{area_mm2:.8g}', n_cells,
            '' if area_mm2 is None else f'{n_cells / area_mm2:.8g}', *shares]

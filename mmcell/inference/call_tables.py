"""Tables over all images of a call: all cells in one, a row per image in another, and a row per region in a third."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from mmcell.files.whole_files import written_whole
from mmcell.writers.base import TEXT

_CELL_SUFFIX = '_cells.csv'
_TEXT_COLUMNS = {'image', 'class', 'region'}
_COUNTS = {'cell', 'cells', 'width_px', 'height_px'}


def write_call_tables(folder: Path, images: Sequence[tuple[str, dict]], class_names: Sequence[str],
                      with_parquet: bool = False) -> list[Path]:
    """Joins the tables of cells of some images, and counts the cells of each image and region.

    ``cells.csv`` has the rows of all tables. A column that only some of them have is empty for the other images.
    ``images.csv`` has one row per image: its name, ``width_px``, ``height_px``, ``mpp``, ``area_mm2``, the number of
    ``cells``, ``cells_per_mm2``, and for each class ``cells_of_<class>`` and ``share_of_<class>``, which is the part of
    the cells of the image. What needs a scale is empty for an image without one, and shares are for one without cells.
    ``regions.csv`` has the same for each region, with ``area_px`` in place of the sides. The area and the density of an
    image with regions are those of its regions.

    Args:
        folder: Where the tables of the images are, and where these are written.
        images: The name of the outputs of each image, and its facts: 'image' (name of the file), 'width_px',
            'height_px', 'mpp'; and 'regions', the area of each region in px by its name, if the image has regions.
        class_names: The names of the classes.
        with_parquet: Whether all are also written as Parquet. This needs the package pyarrow.

    Returns:
        The files that were written; there is no table of regions if no image has any.
    """
    has_regions = any('regions' in facts for _, facts in images)
    paths = [folder / f'{name}.csv' for name in ('cells', 'images', *(['regions'] if has_regions else []))]
    tables = [folder / f'{name}{_CELL_SUFFIX}' for name, _ in images]
    columns = list(dict.fromkeys(column for table in tables for column in _header_of(table)))
    with written_whole(paths) as temporary, ExitStack() as stack:
        cells, *summaries = (csv.writer(stack.enter_context(open(path, 'w', **TEXT))) for path in temporary)
        cells.writerow(columns)
        for summary, sides in zip(summaries, (['width_px', 'height_px'], ['region', 'area_px']), strict=False):
            summary.writerow(['image', *sides, 'mpp', 'area_mm2', 'cells', 'cells_per_mm2', *(
                f'{kind}_of_{name}' for name in class_names for kind in ('cells', 'share'))])
        for table, (_, facts) in zip(tables, images, strict=True):
            counts: Counter[tuple[str, str]] = Counter()
            for row in _rows_of(table):
                cells.writerow([row.get(column, '') for column in columns])
                counts[row.get('region', ''), row['class']] += 1
            _summarize(facts, counts, class_names, summaries)
    if not has_regions:  # those of an earlier call
        for suffix in ('csv', 'parquet'):
            (folder / f'regions.{suffix}').unlink(missing_ok=True)
    return [*paths, *map(_to_parquet, paths if with_parquet else ())]


def _summarize(facts: dict, counts: Counter, class_names: Sequence[str], summaries: Sequence) -> None:
    """Writes the row of an image, and those of its regions; ``counts`` are its cells by region and class."""
    sides = facts['width_px'], facts['height_px']
    regions = facts.get('regions')
    area_px = sides[0] * sides[1] if regions is None else sum(regions.values())
    of_image: Counter[str] = Counter()
    for (_, name), count in counts.items():
        of_image[name] += count
    summaries[0].writerow([facts['image'], *sides, *_counted(of_image, area_px, facts['mpp'], class_names)])
    for region, area in (regions or {}).items():
        of_region = Counter({name: counts[region, name] for name in class_names})
        summaries[1].writerow([facts['image'], region, f'{area:.8g}',
                               *_counted(of_region, area, facts['mpp'], class_names)])


def _counted(counts: Counter, area_px: float, mpp: float | None, class_names: Sequence[str]) -> list:
    n_cells = counts.total()
    shares = [value for name in class_names
              for value in (counts[name], '' if not n_cells else f'{counts[name] / n_cells:.6g}')]
    if mpp is None:
        return ['', '', n_cells, '', *shares]
    area_mm2 = area_px * mpp ** 2 / 1e6
    return [f'{mpp:.8g}', f'{area_mm2:.8g}', n_cells, f'{n_cells / area_mm2:.8g}' if area_mm2 else '', *shares]


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

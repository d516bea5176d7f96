"""What a report consists of, as ``page.html.j2`` reads it. All texts are plain: the template escapes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import Markup

from mmcell.evaluation.table_formats import TEXT_COLUMNS, ValueTable
from mmcell.reports.charts import Series


@dataclass(frozen=True)
class Tile:
    """One important value in large print.

    Attributes:
        name: The name of the value.
        value: Its number, as text.
        interval: The interval around it, as text; '' without an interval.
        meaning: What the value says, in one plain sentence.
    """

    name: str
    value: str
    interval: str
    meaning: str


@dataclass(frozen=True)
class Chart:
    """A chart.

    Attributes:
        svg: The chart as SVG.
        caption: What it shows, and how it is read.
        series: The curves or bars that its key names; empty for a chart without a key.
    """

    svg: Markup
    caption: str
    series: Sequence[Series] = ()


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        address: The picture itself as a ``data:`` address.
        caption: What it shows.
    """

    address: Markup
    caption: str


@dataclass(frozen=True)
class Table:
    """A table of R rows and C columns on the page.

    Attributes:
        content: The texts.
        texts: The headers of columns that hold text, which is aligned left and may be broken into lines.
        shares: Numbers from 0 to 1, which tint the cells: R rows of C entries, None for no tint; empty without tints.
        is_folded: Whether the table is hidden until somebody opens it.
    """

    content: ValueTable
    texts: Sequence[str] = TEXT_COLUMNS
    shares: Sequence[Sequence[float | None]] = ()
    is_folded: bool = False


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        key: Its name in the address of the page.
        title: Its title.
        text: Its paragraphs.
        tiles: The values in large print.
        charts: The charts.
        tables: The tables.
        notes: What is unusual, as a list of sentences.
        pictures: The pictures.
    """

    key: str
    title: str
    text: Sequence[str] = ()
    tiles: Sequence[Tile] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True)
class Report:
    """A report.

    Attributes:
        title: Its title.
        subtitle: A line below the title.
        overview: The sections before the gallery.
        details: The sections after it.
        gallery: The images, see :func:`mmcell.reports.gallery.gallery_of`; None without images.
        origin: Names and values that say where the report comes from.
        texts: Titles and long texts, which are hidden until somebody opens them.
        notes: Sentences for the top of the page.
    """

    title: str
    subtitle: str
    overview: Sequence[Section]
    details: Sequence[Section]
    gallery: dict | None
    origin: Sequence[tuple[str, str]] = ()
    texts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()


def tables_of_files(names: Sequence[str], tables: Sequence[Table]) -> list[Table]:
    """Returns the tables of N results files, one per file, as they stand below each other.

    If there are several files, each title begins with the name of its file, and only the first table is open.

    Args:
        names: The N names of the files.
        tables: Their N tables.
    """
    if len(names) == 1:
        return list(tables)
    return [replace(table, content=replace(table.content, title=f'{name}: {table.content.title}'),
                    is_folded=table.is_folded or number > 0)
            for number, (name, table) in enumerate(zip(names, tables, strict=True))]

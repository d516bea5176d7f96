"""An image with several sets of cells, for example true and predicted ones, in panels side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmcell.errors import MmcellError
from mmcell.masks.rle import areas_px
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import draw_instances
from mmcell.visualization.panels import LegendEntry, Panel, lay_out

# The colour of each verdict, from Okabe & Ito's colours, and the length of its dashes in px, so that verdicts can also
# be told apart without colours.
VERDICTS = {'hit': ((0, 158, 115), 0), 'wrong class': ((240, 228, 66), 14), 'missed': ((213, 94, 0), 7),
            'spurious': ((86, 180, 233), 3)}


@dataclass(frozen=True)
class CellSet:
    """N cells of an image that are drawn into one panel.

    Attributes:
        title: What the cells are, for the heading, which begins with their number: '12 true'.
        rles: N compressed COCO RLEs of the size of the image. Cells without a pixel are not drawn and not counted.
        labels: N labels, from 0.
        verdicts: N keys of ``VERDICTS``, or None to draw the cells in the colours of their classes.
        mistake: What a cell is that is no hit, 'missed' or 'spurious', for the heading of cells with verdicts.
    """

    title: str
    rles: list[dict]
    labels: Sequence[int]
    verdicts: Sequence[str] | None = None
    mistake: str = ''

    @classmethod
    def true(cls, rles: list[dict], labels: Sequence[int], verdicts: Sequence[str] | None = None) -> 'CellSet':
        """Returns a set of true cells; the arguments are attributes."""
        return cls('true', rles, labels, verdicts, 'missed')

    @classmethod
    def predicted(cls, rles: list[dict], labels: Sequence[int], score_threshold: float,
                  verdicts: Sequence[str] | None = None) -> 'CellSet':
        """Returns a set of predicted cells, all of which have at least a score; the other arguments are attributes."""
        return cls(f'predicted, score >= {score_threshold:g}', rles, labels, verdicts, 'spurious')


@dataclass(frozen=True)
class CellPanel:
    """N cells over an image, as they are drawn.

    Attributes:
        heading: The text above the image.
        rles: N compressed COCO RLEs of the size of the image, each with at least one pixel.
        labels: N labels, from 0.
        verdicts: N keys of ``VERDICTS``; None if cells have the colours of their classes.
        colors: N RGB colours, each value 0–255.
        dashes_px: The length of the dashes of N outlines in px of the picture; 0 for an outline without gaps.
        width_px: The width of outlines in px of the picture.
    """

    heading: str
    rles: list[dict]
    labels: list[int]
    verdicts: list[str] | None
    colors: list[tuple[int, int, int]]
    dashes_px: list[int]
    width_px: int


@dataclass(frozen=True)
class CellPicture:
    """An image with cells in panels side by side below a legend: what a picture shows, whatever draws it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        panels: At least one panel, from left to right.
        legend: The entries of the legend.
        class_names: The names of all classes, by label.
        scale: The whole number by which height and width of the image are multiplied.
        fill: The weight of the colour inside the outlines, from 0 to 1.
    """

    image: np.ndarray
    panels: list[CellPanel]
    legend: list[LegendEntry]
    class_names: Sequence[str]
    scale: int
    fill: float


def draw_cell_sets(image: np.ndarray, cell_sets: Sequence[CellSet], class_names: Sequence[str],
                   shown_labels: Sequence[int] | None = None, scale: int = 1, fill: float = .15) -> np.ndarray:
    """Draws each set of cells over the image, in panels side by side, below a legend.

    The arguments and errors are those of :func:`compose_cell_sets`.

    Returns:
        The picture, (height, width, 3) uint8 RGB.
    """
    return paint(compose_cell_sets(image, cell_sets, class_names, shown_labels, scale, fill))


def compose_cell_sets(image: np.ndarray, cell_sets: Sequence[CellSet], class_names: Sequence[str],
                      shown_labels: Sequence[int] | None = None, scale: int = 1, fill: float = .15) -> CellPicture:
    """Returns a picture of each set of cells over the image, in panels side by side, below a legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        cell_sets: At least one set. Either all of them have verdicts, or none.
        class_names: The names of all classes, by label.
        shown_labels: The labels of the classes that are drawn; None draws all classes.
        scale: The whole number by which height and width are multiplied.
        fill: The weight of the colour inside the outlines, from 0 to 1.

    Raises:
        MmcellError: The size of a mask differs from the size of the image.
    """
    for size in {tuple(rle['size']) for cells in cell_sets for rle in cells.rles} - {image.shape[:2]}:
        raise MmcellError(f'masks are {list(size)}, but the image is {list(image.shape[:2])} (height, width): give the '
                          'image that was annotated and predicted. In a pipeline, load annotations after the resize, '
                          'and predict with rescale=True')
    shown_labels = range(len(class_names)) if shown_labels is None else shown_labels
    panels = [_compose_panel(cells, class_colors(len(class_names)), set(shown_labels)) for cells in cell_sets]
    if any(cells.verdicts is not None for cells in cell_sets):
        legend = [LegendEntry(verdict, color, dash_px) for verdict, (color, dash_px) in VERDICTS.items()]
    else:
        legend = class_legend(class_names, shown_labels)
    return CellPicture(image, panels, legend, class_names, scale, fill)


def paint(picture: CellPicture) -> np.ndarray:
    """Returns the pixels of a picture, (height, width, 3) uint8 RGB."""
    return lay_out([Panel(panel.heading, draw_instances(picture.image, panel.rles, panel.colors, picture.scale,
                                                        picture.fill, panel.dashes_px, panel.width_px))
                    for panel in picture.panels], picture.legend)


def class_legend(class_names: Sequence[str], labels: Sequence[int] | None = None, counts: Sequence[int] | None = None,
                 colors: Sequence[tuple[int, int, int]] | None = None) -> list[LegendEntry]:
    """Returns one entry per class, with its colour.

    Args:
        class_names: The names of all classes, by label.
        labels: The labels of the classes that get an entry; None: all classes.
        counts: The number of cells of each class, by label, which then follows the name.
        colors: The RGB colours of all classes, by label; None: those of :func:`class_colors`.
    """
    colors = colors or class_colors(len(class_names))
    return [LegendEntry(class_names[label] + ('' if counts is None else f' {counts[label]:,}'), colors[label])
            for label in (range(len(class_names)) if labels is None else labels)]


def _compose_panel(cells: CellSet, colors: Sequence[tuple[int, int, int]], shown_labels: set[int]) -> CellPanel:
    is_drawn = [label in shown_labels and area_px > 0
                for label, area_px in zip(cells.labels, areas_px(cells.rles), strict=True)]
    drawn = [index for index, drawn in enumerate(is_drawn) if drawn]
    rles = [cells.rles[index] for index in drawn]
    labels = [cells.labels[index] for index in drawn]
    heading = f'{len(drawn)} {cells.title}'
    if cells.verdicts is None:
        return CellPanel(heading, rles, labels, None, [colors[label] for label in labels], [0] * len(drawn), 1)
    verdicts = [cells.verdicts[index] for index in drawn]
    n_hits, n_wrong = verdicts.count('hit'), verdicts.count('wrong class')
    heading += f': {n_hits} hit, {len(drawn) - n_hits} {cells.mistake}'
    heading += f' ({n_wrong} wrong class)' if n_wrong else ''
    styles = [VERDICTS[verdict] for verdict in verdicts]
    return CellPanel(heading, rles, labels, verdicts, [color for color, _ in styles],
                     [dash_px for _, dash_px in styles], 2)

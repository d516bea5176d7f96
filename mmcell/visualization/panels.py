"""Pictures side by side or in a grid, each below its heading, and a legend above all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP_PX = 8
BACKGROUND = (30, 30, 30)
TEXT_COLOR = (255, 255, 255)
# A column is at least as wide as this many times the height of the text, so that headings of small pictures are short.
_MIN_COLUMN_TEXTS = 12
_MIN_TEXT_PX, _TEXTS_PER_WIDTH = 13, 100


@dataclass(frozen=True)
class Panel:
    """A picture with its heading.

    Attributes:
        heading: The text above the picture; it is broken into lines where the picture is narrow.
        picture: (H, W, 3) uint8 RGB.
    """

    heading: str
    picture: np.ndarray


@dataclass(frozen=True)
class LegendEntry:
    """One line style or colour, and what it means.

    Attributes:
        text: The meaning.
        color: RGB, each value 0–255.
        dash_px: The length of the dashes that outlines of this kind have, in px; None shows a filled square.
    """

    text: str
    color: tuple[int, int, int]
    dash_px: int | None = None


@dataclass(frozen=True)
class PlacedText:
    """A line of text in a sheet.

    Attributes:
        left: The left end of the text in px.
        baseline: The y coordinate of the line on which the letters stand, in px.
        text: The text.
        size_px: The size of the font.
    """

    left: int
    baseline: int
    text: str
    size_px: int


@dataclass(frozen=True)
class PlacedBox:
    """A filled rectangle in a sheet; the right and the lower border do not belong to it.

    Attributes:
        box_xyxy: The borders in px.
        color: RGB, each value 0–255.
    """

    box_xyxy: tuple[int, int, int, int]
    color: tuple[int, int, int]


@dataclass(frozen=True)
class Sheet:
    """Where everything lies in a picture of panels below a legend, whatever draws it.

    Attributes:
        width_px: The width.
        height_px: The height.
        texts: Headings, and the texts of the legend, in white.
        boxes: The samples of colours and lines in the legend.
        corners_xy: The upper left corner of the picture of each panel, in px.
    """

    width_px: int
    height_px: int
    texts: list[PlacedText]
    boxes: list[PlacedBox]
    corners_xy: list[tuple[int, int]]


def lay_out(panels: Sequence[Panel], legend: Sequence[LegendEntry], n_columns: int | None = None) -> np.ndarray:
    """Draws panels in rows below a legend. The size of the text grows with the width of the result.

    Args:
        panels: At least one panel. The panels of a row stand on one line of headings; pictures may differ in size.
        legend: The entries of the legend, which is broken into lines; without entries there is no legend.
        n_columns: The number of panels per row; None puts all panels into one row.

    Returns:
        (height, width, 3) uint8 RGB. The first picture of the last row begins at its left edge.
    """
    sheet = arrange([panel.heading for panel in panels], [panel.picture.shape[1::-1] for panel in panels], legend,
                    n_columns)
    image = Image.new('RGB', (sheet.width_px, sheet.height_px), BACKGROUND)
    draw = ImageDraw.Draw(image)
    for placed in sheet.boxes:
        left, top, right, bottom = placed.box_xyxy
        draw.rectangle((left, top, right - 1, bottom - 1), placed.color)
    for placed in sheet.texts:
        draw.text((placed.left, placed.baseline), placed.text, TEXT_COLOR, _font(placed.size_px), anchor='ls')
    pixels = np.array(image)
    for panel, (left, top) in zip(panels, sheet.corners_xy, strict=True):
        height, width = panel.picture.shape[:2]
        pixels[top:top + height, left:left + width] = panel.picture
    return pixels


def write_in_places(picture: np.ndarray, texts: Sequence[str], places_xy: np.ndarray, size_px: int) -> np.ndarray:
    """Writes short texts into a picture, in white with a black border.

    Args:
        picture: (H, W, 3) uint8 RGB.
        texts: N texts.
        places_xy: (N, 2) the middle of each text, in px of the picture; texts that would be cut are moved inwards.
        size_px: The size of the font.

    Returns:
        The picture with the texts, (H, W, 3) uint8 RGB.
    """
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    style = dict(font=_font(size_px), anchor='mm', stroke_width=1)
    for text, (x, y) in zip(texts, places_xy.tolist(), strict=True):
        left, top, right, bottom = draw.textbbox((x, y), text, **style)
        x += max(-left, 0) - max(right - image.width, 0)
        y += max(-top, 0) - max(bottom - image.height, 0)
        draw.text((x, y), text, TEXT_COLOR, stroke_fill=(0, 0, 0), **style)
    return np.array(image)


def arrange(headings: Sequence[str], sizes_px: Sequence[tuple[int, int]], legend: Sequence[LegendEntry],
            n_columns: int | None = None) -> Sheet:
    """Returns where the pictures of panels, their headings and a legend lie.

    Args:
        headings: The headings of at least one panel.
        sizes_px: Width and height of the picture of each panel.
        legend, n_columns: As in :func:`lay_out`.
    """
    n_columns = min(n_columns or len(headings), len(headings))
    widths = [max(width for width, _ in sizes_px[column::n_columns]) for column in range(n_columns)]
    text_px = max(_MIN_TEXT_PX, round(sum(widths) / _TEXTS_PER_WIDTH))
    widths = [max(width, _MIN_COLUMN_TEXTS * text_px) for width in widths]
    total_width = sum(widths) + GAP_PX * (n_columns - 1)
    sheet = Sheet(total_width, 0, [], [], [])
    top = _place_legend(sheet, legend, text_px) if legend else 0
    for start in range(0, len(headings), n_columns):
        top = _place_row(sheet, headings[start:start + n_columns], sizes_px[start:start + n_columns], widths, top,
                         text_px)
    return replace(sheet, height_px=top)


def _place_row(sheet: Sheet, headings: Sequence[str], sizes_px: Sequence[tuple[int, int]], widths: Sequence[int],
               top: int, text_px: int) -> int:
    """Places the headings of a row and its pictures below ``top``; returns where the row ends."""
    lefts = np.cumsum([0, *(width + GAP_PX for width in widths)]).tolist()
    lines = [_wrap(heading, width - text_px, text_px) for heading, width in zip(headings, widths, strict=False)]
    for left, panel_lines in zip(lefts, lines, strict=False):
        for number, line in enumerate(panel_lines):
            _place_text(sheet, left + text_px // 2, top, number, line, text_px)
    top += _strip_height(max(map(len, lines)), text_px)
    sheet.corners_xy.extend((left, top) for left, _ in zip(lefts, headings, strict=False))
    return top + max(height for _, height in sizes_px)


def _place_legend(sheet: Sheet, legend: Sequence[LegendEntry], text_px: int) -> int:
    """Places a sample of each colour or line, followed by its text, at the top; returns where the legend ends."""
    sample_px, left, line = 2 * text_px, text_px // 2, 0
    for number, entry in enumerate(legend):
        text = _shorten(entry.text, sheet.width_px - sample_px - 2 * text_px, text_px)
        entry_px = sample_px + round(_font(text_px).getlength(text)) + text_px
        if number and left + entry_px > sheet.width_px:
            left, line = text_px // 2, line + 1
        top = line * _line_height(text_px) + text_px // 4
        right = left + sample_px - text_px // 2
        if entry.dash_px is None:
            sheet.boxes.append(PlacedBox((left, top + text_px // 6, right + 1, top + text_px + 1), entry.color))
        else:
            sheet.boxes.extend(_line_sample(entry, left, right, top + round(.6 * text_px)))
        _place_text(sheet, left + sample_px, 0, line, text, text_px)
        left += entry_px
    return _strip_height(line + 1, text_px)


def _line_sample(entry: LegendEntry, left: int, right: int, y: int) -> list[PlacedBox]:
    # At least two dashes are shown, however long the dashes of outlines are.
    dash_px = min(entry.dash_px, (right - left) // 3) or right - left
    return [PlacedBox((x, y - 1, min(x + dash_px, right), y + 2), entry.color)
            for x in range(left, right, 2 * dash_px)]


def _place_text(sheet: Sheet, left: int, top: int, line: int, text: str, text_px: int) -> None:
    """Places a text on one of the lines, which are counted from 0, of a strip that begins at ``top``."""
    ascent, _ = _font(text_px).getmetrics()
    sheet.texts.append(PlacedText(left, top + line * _line_height(text_px) + text_px // 4 + ascent, text, text_px))


def _line_height(text_px: int) -> int:
    return round(1.5 * text_px)


def _strip_height(n_lines: int, text_px: int) -> int:
    return n_lines * _line_height(text_px) + text_px // 4


def _wrap(text: str, width: int, text_px: int) -> list[str]:
    """Breaks a text into lines of at most ``width`` px. A word that is longer than a line is shortened."""
    lines = ['']
    for word in _printable(text).split():
        longer = f'{lines[-1]} {word}'.strip()
        if _font(text_px).getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_shorten(line, width, text_px) for line in lines]


def _shorten(text: str, width: int, text_px: int) -> str:
    """Returns the text, or its beginning and '…' if it is longer than ``width`` px."""
    text = _printable(text)
    if _font(text_px).getlength(text) <= width:
        return text
    while text and _font(text_px).getlength(f'{text}…') > width:
        text = text[:-1]
    return f'{text}…'


def _printable(text: str) -> str:
    """Returns a text on one line, in which bytes that are not text, as file names may have them, become '?'."""
    return ' '.join(text.encode('utf-8', 'replace').decode().split())


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont:
    # DejaVu Sans, which comes with matplotlib, has the letters of most alphabets; OpenCV's fonts have only ASCII.
    from matplotlib import get_data_path
    return ImageFont.truetype(Path(get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'), size_px)

"""Pictures side by side or in a grid, each below its heading, and a legend above all of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

GAP_PX = 8
BACKGROUND = (30, 30, 30)
_TEXT_COLOR = (255, 255, 255)
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


def lay_out(panels: Sequence[Panel], legend: Sequence[LegendEntry], n_columns: int | None = None) -> np.ndarray:
    """Lays out panels in rows below a legend. The size of the text grows with the width of the result.

    Args:
        panels: At least one panel. The panels of a row stand on one line of headings; pictures may differ in size.
        legend: The entries of the legend, which is broken into lines; without entries there is no legend.
        n_columns: The number of panels per row; None puts all panels into one row.

    Returns:
        (height, width, 3) uint8 RGB. The first picture of the last row begins at its left edge.
    """
    n_columns = min(n_columns or len(panels), len(panels))
    widths = [max(panel.picture.shape[1] for panel in panels[column::n_columns]) for column in range(n_columns)]
    text_px = max(_MIN_TEXT_PX, round(sum(widths) / _TEXTS_PER_WIDTH))
    widths = [max(width, _MIN_COLUMN_TEXTS * text_px) for width in widths]
    total_width = sum(widths) + GAP_PX * (n_columns - 1)
    strips = [_draw_legend(legend, total_width, text_px)] if legend else []
    for start in range(0, len(panels), n_columns):
        strips += _draw_row(panels[start:start + n_columns], widths, total_width, text_px)
    return np.concatenate(strips)


def _draw_row(panels: Sequence[Panel], widths: Sequence[int], total_width: int, text_px: int) -> list[np.ndarray]:
    """Returns the strip of the headings of a row, and the strip of its pictures."""
    lefts = np.cumsum([0, *(width + GAP_PX for width in widths)])
    lines = [_wrap(panel.heading, width - text_px, text_px) for panel, width in zip(panels, widths, strict=False)]
    strip, draw, line_px = _text_strip(max(map(len, lines)), total_width, text_px)
    height = max(panel.picture.shape[0] for panel in panels)
    row = np.full((height, total_width, 3), BACKGROUND, np.uint8)
    for panel, left, panel_lines in zip(panels, lefts.tolist(), lines, strict=False):
        for number, line in enumerate(panel_lines):
            draw.text((left + text_px // 2, number * line_px + text_px // 4), line, _TEXT_COLOR, _font(text_px))
        row[:panel.picture.shape[0], left:left + panel.picture.shape[1]] = panel.picture
    return [np.asarray(strip), row]


def _draw_legend(legend: Sequence[LegendEntry], width: int, text_px: int) -> np.ndarray:
    """Returns a strip with a sample of each colour or line, followed by its text."""
    sample_px, entries, left, line = 2 * text_px, [], text_px // 2, 0
    for entry in legend:
        text = _shorten(entry.text, width - sample_px - 2 * text_px, text_px)
        entry_px = sample_px + round(_font(text_px).getlength(text)) + text_px
        if entries and left + entry_px > width:
            left, line = text_px // 2, line + 1
        entries.append((entry, text, left, line))
        left += entry_px
    strip, draw, line_px = _text_strip(line + 1, width, text_px)
    for entry, text, left, line in entries:
        top = line * line_px + text_px // 4
        if entry.dash_px is None:
            draw.rectangle((left, top + text_px // 6, left + sample_px - text_px // 2, top + text_px), entry.color)
        else:
            _draw_line_sample(draw, entry, left, left + sample_px - text_px // 2, top + round(.6 * text_px))
        draw.text((left + sample_px, top), text, _TEXT_COLOR, _font(text_px))
    return np.asarray(strip)


def _draw_line_sample(draw: ImageDraw.ImageDraw, entry: LegendEntry, left: int, right: int, y: int) -> None:
    # At least two dashes are shown, however long the dashes of outlines are.
    dash_px = min(entry.dash_px, (right - left) // 3) or right - left
    for x in range(left, right, 2 * dash_px):
        draw.rectangle((x, y - 1, min(x + dash_px, right) - 1, y + 1), entry.color)


def _text_strip(n_lines: int, width: int, text_px: int) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    """Returns an empty strip for lines of text, a pen for it, and the height of a line in px."""
    line_px = round(1.5 * text_px)
    strip = Image.new('RGB', (width, n_lines * line_px + text_px // 4), BACKGROUND)
    return strip, ImageDraw.Draw(strip), line_px


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

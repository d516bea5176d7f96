"""Tables of texts, and how they are shown on a terminal, in Markdown and in LaTeX."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

# The columns with sentences, which may be broken into several lines on a terminal.
MEANING = 'meaning'
CHANGES = 'changes'
TEXT_COLUMNS = (MEANING, CHANGES)
_MIN_TEXT_WIDTH = 20
_LATEX = {'\\': r'\textbackslash{}', '~': r'\textasciitilde{}', '^': r'\textasciicircum{}', '<': r'\textless{}',
          '>': r'\textgreater{}', **{letter: f'\\{letter}' for letter in '&%$#_{}'}}


@dataclass(frozen=True)
class ValueTable:
    """A table of texts. The first column names the row; the others have numbers, but for ``MEANING`` and ``CHANGES``.

    Attributes:
        headers: The header of each column.
        rows: The cells of each row.
        title: The text above the table.
        caption: The text below the table, or None.
        section_end: The index of the row below which there is a gap, or None.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str
    caption: str | None = None
    section_end: int | None = None


def print_whole(console: Console, table: ValueTable) -> None:
    """Prints a table completely, wider than the terminal if necessary, where rich would cut values off."""
    shown = Table(title=table.title, caption=table.caption, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for index, header in enumerate(table.headers):
        is_value = index > 0 and header not in TEXT_COLUMNS
        shown.add_column(header, justify='right' if is_value else 'left', no_wrap=header not in TEXT_COLUMNS)
    for index, row in enumerate(table.rows):
        shown.add_row(*row, end_section=index == table.section_end)
    widths = [max(map(cell_len, column)) for column in zip(table.headers, *table.rows, strict=True)]
    # Besides its text, each column needs a space and a divider or an edge.
    needed = sum(2 + (min(width, _MIN_TEXT_WIDTH) if header in TEXT_COLUMNS else width)
                 for header, width in zip(table.headers, widths, strict=True))
    shown.width = needed if needed > console.width else None
    console.print(shown, crop=False)


def to_markdown(table: ValueTable) -> str:
    """Returns a table in GitHub's Markdown, with its title above and its caption below."""
    lines = [' | '.join(_markdown(cell) for cell in row) for row in (table.headers, *table.rows)]
    rule = ('---' if header in TEXT_COLUMNS else '---:' for header in table.headers[1:])
    lines.insert(1, ' | '.join(['---', *rule]))
    return '\n'.join([f'**{_markdown(table.title)}**', '', *(f'| {line} |' for line in lines),
                      *(['', _markdown(table.caption)] if table.caption else []), ''])


def _markdown(text: str) -> str:
    for letter in '\\|*_<>`[]':
        text = text.replace(letter, f'\\{letter}')
    return '; '.join(text.splitlines())


def to_latex(table: ValueTable) -> str:
    """Returns a LaTeX ``tabular`` with the rules of the package booktabs; title and caption stand above as comments."""
    columns = ''.join('l' if index == 0 or header in TEXT_COLUMNS else 'r'
                      for index, header in enumerate(table.headers))
    lines = [' & '.join(_latex(cell) for cell in row) + r' \\' for row in (table.headers, *table.rows)]
    if table.section_end is not None:
        lines.insert(table.section_end + 2, r'\midrule')
    comments = [f'% {line}' for text in (table.title, table.caption) if text for line in text.splitlines()]
    return '\n'.join([*comments, f'\\begin{{tabular}}{{{columns}}}', r'\toprule', lines[0], r'\midrule', *lines[1:],
                      r'\bottomrule', r'\end{tabular}', ''])


def _latex(text: str) -> str:
    return ''.join(_LATEX.get(letter, letter) for letter in text)

"""Puts a report into one HTML file that needs no other file and no network."""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from mmcell.files.whole_files import written_whole
from mmcell.reports.content import Report

_FOLDER = Path(__file__).parent


def write_page(path: str | Path, report: Report) -> None:
    """Writes a report to an HTML file, which appears when it is complete.

    Raises:
        OSError: The file cannot be written.
    """
    page = render_page(report)
    with written_whole([path]) as (temporary,):
        # A file name may hold bytes that are not text; they become visible codes.
        temporary.write_text(page, encoding='utf-8', errors='backslashreplace', newline='\n')


def render_page(report: Report) -> str:
    """Returns the HTML of a report."""
    # "<" is escaped so that no text in the data can end the script element.
    data = '' if report.gallery is None else json.dumps(report.gallery, separators=(',', ':')).replace('<', '\\u003c')
    return _template().render(report=report, gallery_json=Markup(data), css=Markup(_read('page.css')),
                              js=Markup(_read('page.js')))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding='utf-8')


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return environment.from_string(_read('page.html.j2'))

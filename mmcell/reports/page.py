"""Puts a report into one HTML file that needs no other file and no network."""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from mmcell.reports.content import Report

_FOLDER = Path(__file__).parent


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

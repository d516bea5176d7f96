"""Puts a report into one HTML file that needs no other file and no network."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

_FOLDER = Path(__file__).parent


def render_page(report: Mapping) -> str:
    """Returns the HTML of a report.

    Args:
        report: The content, as ``page.html.j2`` reads it: title, subtitle, sections, origin, texts, and gallery:
            the result of :func:`mmcell.reports.gallery.gallery_of`, or None.
    """
    gallery = report['gallery']
    # "<" is escaped so that no text in the data can end the script element.
    data = '' if gallery is None else json.dumps(gallery, separators=(',', ':')).replace('<', '\\u003c')
    return _template().render(report=report, gallery_json=Markup(data), css=Markup(_read('page.css')),
                              js=Markup(_read('page.js')))


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding='utf-8')


@cache
def _template() -> object:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=False)
    return environment.from_string(_read('page.html.j2'))

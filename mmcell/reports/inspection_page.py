"""The page of an inspection: alarms with pictures of their places, contents, sizes, advice and notes."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from markupsafe import Markup

from mmcell.errors import MmcellError
from mmcell.evaluation.table_formats import ValueTable
from mmcell.evaluation.tables import count
from mmcell.images.image_file import open_image
from mmcell.inspection.advice_record import Advice, as_options
from mmcell.inspection.content_tables import tabulate_contents
from mmcell.inspection.findings import Finding, Place
from mmcell.inspection.sets import InspectedSet
from mmcell.masks.rle import bboxes_xywh
from mmcell.reports.charts import RUN_COLORS, Axis, Series, draw_chart
from mmcell.reports.content import Chart, Picture, Report, Section, Table
from mmcell.reports.gallery import encode_picture, to_data_address
from mmcell.reports.page import write_page
from mmcell.visualization.colors import class_colors, to_hex
from mmcell.visualization.overlay import draw_instances

MAX_PICTURES, MAX_PLACES = 6, 100
# The sides of pictures in px, and how much of the image around a cell they show.
_SIDE_PX, _AROUND_PX = 360, 48
_PICTURE_BYTES = 60_000
_N_BINS = 30
WHERE = 'where'
TITLES = {'error': 'Error', 'warning': 'Warning', 'note': 'Note'}


def write_inspection_page(path: str | Path, title: str, command: str, sets: Sequence[InspectedSet],
                          findings: Sequence[Finding], advice: Sequence[Advice],
                          on_step: Callable[[str], None] = lambda step: None) -> None:
    """Writes the page of an inspection to one HTML file, which needs no other file and no network.

    Args:
        path: The file.
        title: The title of the page.
        command: The command line that the page comes from.
        sets: What was inspected.
        findings: What was found, the gravest first.
        advice: The advice about a config.
        on_step: A function that is called with the name of each step before the step begins.

    Raises:
        OSError: The file cannot be written.
    """
    alarms = [finding for finding in findings if finding.level != 'note']
    notes = [finding for finding in findings if finding.level == 'note']
    pictures = _Pictures(sets)
    overview = [_overview(sets, alarms)]
    for number, finding in enumerate(alarms, start=1):
        on_step(finding.kind)
        overview.append(_finding_section(finding, f'alarm-{number}', pictures))
    details = [Section('contents', 'Contents', charts=_charts(sets), tables=[Table(tabulate_contents(sets))]),
               *([_advice_section(advice)] if advice else []), _notes_section(notes)]
    write_page(path, Report(
        title, _subtitle(sets), overview, details, None,
        [('command', command), *((part.name, part.truth.source) for part in sets)]))


def _subtitle(sets: Sequence[InspectedSet]) -> str:
    return ' · '.join(f'{part.name}: {count(len(part.truth.image_ids), "image")}, '
                      f'{count(len(part.truth.rles), "cell")}' for part in sets)


def _overview(sets: Sequence[InspectedSet], alarms: Sequence[Finding]) -> Section:
    if not alarms:
        return Section('alarms', 'Alarms', ['Nothing was found that is wrong, or probably wrong. That is no proof: '
                                            'docs/studies/data_doctor.md says what is found how often.'])
    rows = [[TITLES[finding.level], finding.sentence] for finding in alarms]
    return Section('alarms', 'Alarms', [f'{count(len(alarms), "alarm")}, the gravest first. Errors make values wrong '
                                        'that are measured with these data; warnings are probably mistakes.'],
                   tables=[Table(ValueTable(['level', 'what was found'], rows, 'what was found'), ['what was found'])])


def _finding_section(finding: Finding, key: str, pictures: '_Pictures') -> Section:
    return Section(key, f'{TITLES[finding.level]}: {finding.kind}', [finding.sentence, *filter(None, [finding.advice])],
                   tables=_tabulate_places(finding, WHERE), pictures=pictures.of(finding.places))


def _tabulate_places(finding: Finding, title: str) -> list[Table]:
    """Returns a folded table of the first places of a finding, or nothing if it has none."""
    places = finding.places[:MAX_PLACES]
    if len(finding.places) > MAX_PLACES:
        title += f' ({MAX_PLACES} of {len(finding.places)} places)'
    return [Table(ValueTable([WHERE, 'cell', 'class', 'what is seen'], [
        [place.file_name, '' if place.cell_id is None else str(place.cell_id), place.class_name or '', place.detail]
        for place in places], title), [WHERE, 'class', 'what is seen'], is_folded=True)] if places else []


def _advice_section(advice: Sequence[Advice]) -> Section:
    changed = [entry for entry in advice if entry.settings or entry.flag]
    rows = [[entry.kind, entry.sentence, entry.flag or as_options(entry.settings) or (
        'in the config: --write-config' if entry.settings else 'fits')] for entry in advice]
    tables = [Table(ValueTable(['topic', 'why', 'type'], rows, 'settings'), ['why', 'type'])]
    tables += [Table(ValueTable(list(entry.table[0]), list(map(list, entry.table[1:])), entry.kind), (), is_folded=True)
               for entry in advice if len(entry.table) > 1]
    return Section('advice', 'Advice', [f'{count(len(changed), "setting")} of the config would fit these data better.'],
                   tables=tables)


def _notes_section(notes: Sequence[Finding]) -> Section:
    return Section('notes', 'Notes', ['Worth knowing, and no reason to worry.'] if notes else ['None.'],
                   tables=[table for note in notes if note.kind != 'summary'
                           for table in _tabulate_places(note, f'{note.kind}: {WHERE}')],
                   notes=[' '.join(filter(None, [note.sentence, note.advice])) for note in notes])


def _charts(sets: Sequence[InspectedSet]) -> list[Chart]:
    """Returns how large the cells of each class are, and how many cells images have."""
    diameters: dict[str, list[np.ndarray]] = {}
    for part in sets:
        for place, name in enumerate(part.truth.class_names):
            areas = part.truth.areas_px[(part.truth.class_index == place) & ~part.truth.is_crowd]
            diameters.setdefault(name, []).append(2 * np.sqrt(areas / np.pi))
    by_class = {name: np.concatenate(values) for name, values in diameters.items()}
    crowds = np.concatenate([np.bincount(part.truth.image_index, minlength=len(part.truth.image_ids)) for part in sets])
    colors = [to_hex(color) for color in class_colors(len(by_class))]
    return [chart for chart in (
        _histogram(list(by_class.items()), colors, 'diameter, px', 'cells', 'Sizes: the diameters of circles of the '
                   'same area as the cells. The last point counts all larger cells, too.'),
        _histogram([('images', crowds.astype(float))], RUN_COLORS[:1], 'cells in an image', 'images', 'Crowding.'),
    ) if chart]


def _histogram(values: Sequence[tuple[str, np.ndarray]], colors: Sequence[str], x_label: str, y_label: str,
               caption: str) -> Chart | None:
    everything = np.concatenate([each for _, each in values])
    if not len(everything):
        return None
    # The largest hundredth would squeeze all others together.
    high = max(float(np.percentile(everything, 99)), 1.)
    edges = np.linspace(0, high, _N_BINS + 1)
    # Bars of several classes would hide each other: their numbers are joined by lines.
    is_single = len(values) == 1
    positions = (edges[:-1] if is_single else (edges[:-1] + edges[1:]) / 2).tolist()
    series = [Series(name, color, positions, np.histogram(each.clip(0, high), edges)[0].tolist())
              for (name, each), color in zip(values, colors, strict=True)]
    most = max(max(each.y) for each in series)
    return Chart(draw_chart(series, Axis(x_label, 0, high), Axis(y_label, 0, max(most, 1)), caption,
                            edges[1] if is_single else 0), caption, () if is_single else series)


class _Pictures:
    """Draws the places that findings name.

    Args:
        sets: What was inspected.
    """

    def __init__(self, sets: Sequence[InspectedSet]) -> None:
        self.images = {(part.truth.source, name): (part, image)
                       for part in sets for image, name in enumerate(part.truth.file_names)}

    def of(self, places: Sequence[Place]) -> list[Picture]:
        """Returns pictures of the first places whose images can be read."""
        pictures = []
        for place in places[:MAX_PICTURES]:
            part, image = self.images.get((place.source, place.file_name), (None, 0))
            if part is not None and (pixels := _draw_place(part, image, place)) is not None:
                cell = '' if place.cell_id is None else f', cell {place.cell_id}'
                pictures.append(Picture(Markup(to_data_address(encode_picture(pixels, _PICTURE_BYTES))),
                                        f'{place.file_name}{cell}: {place.detail}'))
        return pictures


def _draw_place(part: InspectedSet, image: int, place: Place) -> np.ndarray | None:
    """Returns a picture of a cell with what lies around it, or of the whole image, with the true cells; or None."""
    truth, cells = part.truth, part.cells_of(image)
    height, width = truth.sizes[image].tolist()
    source = truth.image_source(image)
    x0, y0, x1, y1 = 0, 0, width, height
    own = cells[truth.annotation_ids[cells] == place.cell_id] if place.cell_id is not None else cells[:0]
    if len(own):
        x, y, w, h = bboxes_xywh([truth.rles[own[0]]])[0].tolist()
        x0, y0 = max(x - _AROUND_PX, 0), max(y - _AROUND_PX, 0)
        x1, y1 = min(x + w + _AROUND_PX, width), min(y + h + _AROUND_PX, height)
    try:
        with open_image(source.path, source.channel_order, source.percentiles) as file:
            if (file.height, file.width) != (height, width):
                return None
            pixels = file.read()
    except (MmcellError, OSError):
        return None
    colors = class_colors(len(truth.class_names))
    drawn = draw_instances(pixels, [truth.rles[cell] for cell in cells],
                           [colors[truth.class_index[cell]] for cell in cells], fill=0.)[y0:y1, x0:x1]
    scale = _SIDE_PX / max(drawn.shape[:2])
    size = [max(round(side * scale), 1) for side in drawn.shape[1::-1]]
    return cv2.resize(drawn, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)

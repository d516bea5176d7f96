"""Predicts one image file, from reading its pixels to writing the files of its cells."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np
from mmengine.dist import is_main_process

from mmcell.cells.cells import Cells, select_cells
from mmcell.cells.measurements import centroids_of
from mmcell.cells.regions import Regions
from mmcell.cells.separation import separate_cells
from mmcell.errors import MmcellError
from mmcell.images.channel_order import looks_swapped, other_order, read_samples
from mmcell.images.image_file import ImageFile
from mmcell.inference.prediction_plan import PredictionPlan
from mmcell.inference.predictor import DetectedCells, Predictor
from mmcell.inference.progress import Report
from mmcell.inference.tile_journal import remove_journal
from mmcell.writers.base import ImageInfo
from mmcell.writers.formats import output_paths
from mmcell.writers.output_records import read_record, recording, refuse_changed
from mmcell.writers.writing import writing_cells

# Images in which all values (0 to 255) are below this one are reported as dark. 12-bit data in a 16-bit file have
# values up to 16, while 8-bit images of stained or fluorescent cells have brighter pixels.
DARK_VALUE = 20
# How cells in regions are counted. It belongs to the records, so that tables of other rules are made again.
REGION_COUNTS = 'a cell in all regions that contain it, with neighbours outside'


@dataclass(frozen=True)
class Outcome:
    """What became of an image.

    Attributes:
        status: 'done': its outputs were written. 'skipped': an earlier run had written them from the same file with the
            same settings. 'failed': it could not be read, predicted or written. 'postponed': all processes must
            predict it together; only while :func:`mmcell.inference.many_images.predict_images` is at work.
        n_cells: Number of cells that this process wrote. If several processes predict an image together, only the first
            one writes cells, and the other ones report 0.
        notes: Remarks for the user. A remark has the same words for every image, so that equal ones can be combined.
        message: Why the image failed, with its path.
    """

    status: Literal['done', 'skipped', 'failed', 'postponed']
    n_cells: int = 0
    notes: tuple[str, ...] = ()
    message: str = ''


@dataclass(frozen=True)
class ImageJob:
    """How images are predicted, which cells are kept, and in which formats they are written.

    Attributes:
        predictor: The detector with its views and tiles.
        formats: Keys of ``mmcell.writers.formats.FORMATS``.
        folder: Where the outputs are written.
        channel_order: Channel order of the image files, 'rgb' or 'bgr'.
        percentiles: (low, high) in percent for the contrast stretch; None for no stretch.
        mpp: Micrometres per pixel of all images; None if each file states its own.
        rescales: Whether images of another scale than that of the model are enlarged or reduced for the prediction.
        neighbour_um: As in :class:`mmcell.writers.base.ImageInfo`.
        filters: Keyword arguments of :func:`select_cells`.
        regions: The regions of each image by its resolved path; only cells in them are kept. None: the whole images.
        skips_glass: Whether tiles without tissue are left out of images that are streamed.
        is_editable: As in :class:`mmcell.writers.base.ImageInfo`.
        allows_overlaps: Whether cells may overlap and lie in pieces, as they were predicted. Otherwise each pixel
            belongs to one cell (:mod:`mmcell.cells.separation`), which may be of a class that is not kept.
        settings: Everything else on which the outputs depend (for example the checkpoint), in JSON's types. Outputs of
            earlier runs are reused only if these settings and the attributes above are the same.
        options: The same by the names of options, as they were given, from which notes for users are made.
    """

    predictor: Predictor
    formats: tuple[str, ...]
    folder: Path
    channel_order: str
    percentiles: tuple[float, float] | None
    mpp: float | None = None
    rescales: bool = True
    neighbour_um: float = 20.
    filters: dict = field(default_factory=dict)
    regions: Mapping[Path, Regions] | None = None
    skips_glass: bool = False
    is_editable: bool = False
    allows_overlaps: bool = False
    settings: dict = field(default_factory=dict)
    options: dict = field(default_factory=dict)

    @property
    def min_score(self) -> float:
        """The lowest score of the cells that are kept."""
        return self.filters.get('min_score', 0.)

    def output_paths(self, name: str, formats: tuple[str, ...] | None = None) -> list[Path]:
        """Returns the files that are written for an image called ``name``, in some formats or in those of the job."""
        return output_paths(self.formats if formats is None else formats, self.folder, name,
                            len(self.predictor.class_names))

    def make_plan(self, image: ImageFile) -> PredictionPlan:
        """Returns how an image is predicted.

        Raises:
            MmcellError: The image cannot be predicted with these formats or with this model.
        """
        plan = self.predictor_for(image).plan((image.height, image.width), image.reads_parts, self.formats)
        if plan.refusal is not None:
            raise MmcellError(f'{image.path}: {plan.refusal}')
        return plan

    def _mpp_of(self, image: ImageFile) -> float | None:
        return image.mpp if self.mpp is None else self.mpp

    def predictor_for(self, image: ImageFile) -> Predictor:
        """Returns the predictor that brings an image to the scale of the model.

        Raises:
            MmcellError: The two scales differ by an impossible factor.
        """
        if not self.rescales:
            return self.predictor
        try:
            return self.predictor.at_scale(self._mpp_of(image))
        except ValueError as error:
            raise MmcellError(f'{image.path}: {error}: give the right scale with --mpp, or predict the images as they '
                              'are with --no-rescale') from error

    def is_done(self, image: ImageFile, name: str, plan: PredictionPlan) -> bool:
        """Says whether all outputs of an image exist, and were made from the present file with the present settings."""
        record = read_record(self.folder, name)
        written_formats = record.pop('formats', [])
        for key in ('facts', 'options', 'files'):
            record.pop(key, None)
        return (record == self._make_record(image) and set(plan.formats) <= set(written_formats)
                and all(path.exists() for path in self.output_paths(name, plan.formats)))

    def changed_options(self, name: str) -> list[str]:
        """Returns the options that were others when an earlier run wrote the outputs that are called ``name``.

        It is empty if there are no such outputs, or if versions of mmcell wrote them that did not record options.
        """
        before, now = read_record(self.folder, name).get('options'), self._recorded_options()
        return [] if not isinstance(before, dict) else [key for key in now if before.get(key) != now[key]]

    def run(self, image: ImageFile, name: str, plan: PredictionPlan, resume: bool = False,
            report: Report | None = None) -> Outcome:
        """Predicts an image and writes its outputs.

        If the plan says 'streamed', all processes must call this method together. An interrupted run then leaves the
        folder ``.NAME.tiles`` beside the outputs, from which it can be resumed.

        Args:
            image: The open image.
            name: Name of the outputs.
            plan: What :meth:`make_plan` returned.
            resume: Whether tiles that an interrupted run predicted with the same settings are reused.
            report: Called with the numbers of tiles that are done, of tiles that are to be done, and of cells that were
                found, while an image is streamed.

        Raises:
            ImageReadError: The image cannot be read. Errors of prediction and writing are passed on.
            MmcellError: An output was changed after it was written.
        """
        refuse_changed(self.folder, name, self.output_paths(name, plan.formats))
        journal = self.folder / f'.{name}.tiles'
        if plan.way == 'streamed':
            pixels, sample = None, read_samples(image)
            parts = self._stream(image, plan, journal, resume, report)
            if not is_main_process():
                return Outcome('done')
        else:
            pixels = sample = image.read()
            parts = iter([self.predictor_for(image).predict(pixels, plan, self.min_score)])
        n_cells, notes = self._write(parts, image, pixels, name, plan)
        remove_journal(journal)
        left_out = [f'too large for the format {key}, which was left out; the other formats are complete'
                    for key in self.formats if key not in plan.formats]
        return Outcome('done', n_cells, (*notes, *self._notes_on_image(image, sample, pixels is not None), *left_out))

    def _stream(self, image: ImageFile, plan: PredictionPlan, journal: Path, resume: bool,
                report: Report | None) -> Iterator[DetectedCells]:
        settings = {**self.settings, **self._roi_settings(image), **image.fingerprint,
                    'channel_order': self.channel_order, 'percentiles': self.percentiles,
                    'skips_glass': self.skips_glass}
        stream = self.predictor_for(image).stream(image, plan, journal, min_score=self.min_score, resume=resume,
                                                  settings=settings, report=report,
                                                  regions=self._regions_of(image), margin_px=self._margin_px(image),
                                                  skips_glass=self.skips_glass)
        # All processes take the first cells here, so that they have predicted their tiles before the first process
        # opens the output files. If it cannot open them, no other process waits for it.
        return chain([part for part in [next(stream, None)] if part is not None], stream)

    def _write(self, parts: Iterator[DetectedCells], image: ImageFile, pixels: np.ndarray | None, name: str,
               plan: PredictionPlan) -> tuple[int, list[str]]:
        """Writes the cells of all parts; returns their number, and a note if the model reached its limit."""
        info = ImageInfo(image.path, image.height, image.width, self.predictor.class_names,
                         self._mpp_of(image), pixels, self.channel_order, has_file=True,
                         neighbour_um=self.neighbour_um, regions=self._regions_of(image), is_editable=self.is_editable)
        facts = {'image': image.path.name, 'width_px': image.width, 'height_px': image.height, 'mpp': info.mpp}
        if info.regions is not None:
            size = image.height, image.width
            facts['regions'] = dict(zip(info.regions.names, info.regions.areas_px(*size), strict=True))
            facts['regions_px'] = info.regions.total_area_px(*size)
        n_cells, at_limit = 0, []
        record = {**self._make_record(image), 'formats': list(plan.formats), 'facts': facts,
                  'options': self._recorded_options()}
        with (recording(self.folder, name, record, self.output_paths(name, plan.formats)),
              writing_cells(plan.formats, self.folder, name, info) as write):
            for cells in self._select(parts, info, at_limit):
                write(cells)
                n_cells += len(cells)
        return n_cells, [self.predictor.limit.note()] if any(at_limit) else []

    def _regions_of(self, image: ImageFile) -> Regions | None:
        return None if self.regions is None else self.regions[image.path.resolve()]

    def _roi_settings(self, image: ImageFile) -> dict:
        regions = self._regions_of(image)
        return {'roi': None if regions is None else {**regions.fingerprint, 'counts': REGION_COUNTS}}

    def _margin_px(self, image: ImageFile) -> float:
        """Returns how far from its regions cells of an image may be neighbours of cells in them."""
        mpp = self._mpp_of(image)
        return 0. if mpp is None or 'csv' not in self.formats else self.neighbour_um / mpp

    def _select(self, parts: Iterator[DetectedCells], info: ImageInfo, at_limit: list[bool]) -> Iterator[Cells]:
        """Yields the cells that are written.

        Args:
            parts: What the detector has found.
            info: The image; cells that are in no region, but may be neighbours of cells that are, are added to it.
            at_limit: For each part, whether the model reached its limit is added.
        """
        def with_score() -> Iterator[tuple[Cells, int]]:
            for part in parts:
                at_limit.append(part.reached_limit(self.min_score))
                yield select_cells(part.cells, self.min_score), part.done_above_px
        separated = (cells for cells, _ in with_score()) if self.allows_overlaps else separate_cells(with_score())
        for cells in separated:
            selected = select_cells(cells, **self.filters)
            if info.regions is None:
                yield selected
                continue
            is_inside = np.zeros(len(selected), bool)
            is_inside[info.regions.of_cells(selected)[0]] = True
            info.unwritten_xy_px.append(centroids_of(selected.take(~is_inside)))
            yield selected.take(is_inside)

    def _make_record(self, image: ImageFile) -> dict:
        settings = {**self.settings, **self.predictor_for(image).tile_settings, 'channel_order': self.channel_order,
                    'percentiles': self.percentiles, 'mpp': self.mpp, 'neighbour_um': self.neighbour_um,
                    'filters': self.filters, 'skips_glass': self.skips_glass, 'is_editable': self.is_editable,
                    'allows_overlaps': self.allows_overlaps,
                    'class_names': self.predictor.class_names, **self._roi_settings(image),
                    'in_tiles': self.predictor.tile_px is not None}
        return {**image.fingerprint, 'settings': json.loads(json.dumps(settings))}

    def _recorded_options(self) -> dict:
        """Returns the options in JSON's types, with the precision, which may have been chosen automatically."""
        return json.loads(json.dumps({**self.options, '--amp': self.settings.get('precision')}))

    def _notes_on_image(self, image: ImageFile, sample: np.ndarray, is_whole: bool) -> Iterator[str]:
        """Yields remarks on an image, of which ``sample`` (h, w, 3) has some pixels, or all if ``is_whole``."""
        if image.orientation != 1:
            # Some programs show the image as it is stored.
            yield 'turned as the tag Orientation in the file says; cells are in the frame of the turned image'
        yield from self._notes_on_scale(image)
        if looks_swapped(sample):
            yield (f'nuclei look brown, as if the model were shown red and blue swapped, because the files are read as '
                   f'{self.channel_order}: try --channel-order {other_order(self.channel_order)}')
        if is_whole and 0 < sample.max() < DARK_VALUE:
            yield ('very dark, which is typical of 12-bit data in a 16-bit file: stretch the contrast with '
                   '--percentiles 1 99.8')

    def _notes_on_scale(self, image: ImageFile) -> Iterator[str]:
        mpp, model_mpp = self._mpp_of(image), self.predictor.mpp
        if not self.rescales or model_mpp is None:
            return
        if mpp is None:
            yield (f'does not state its scale, and was predicted as it is; the model was trained at {model_mpp:g} um '
                   'per pixel: if the image has another scale, give it with --mpp')
        elif self.predictor_for(image) is not self.predictor:
            yield (f'was brought from {mpp:g} um per pixel to the {model_mpp:g} of the model for the prediction; cells '
                   'are in px of the image (--no-rescale predicts it as it is)')

"""Predicts one image file, from reading its pixels to writing the files of its cells."""

import json
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.structures import InstanceData
from torch import nn

from mmcell.errors import MmcellError
from mmcell.images.channel_order import looks_swapped, other_order, read_samples
from mmcell.images.pixels import read_image, read_orientation
from mmcell.images.regions import Regions, open_regions
from mmcell.images.resolution import read_mpp
from mmcell.inference.cells import Cells
from mmcell.inference.detection_limit import LimitWatch
from mmcell.inference.detector import ImagePredictor
from mmcell.inference.filters import select_cells
from mmcell.inference.formats import output_paths
from mmcell.inference.huge_images import predict_huge_image, progress_of_tiles
from mmcell.inference.image_files import is_large_tiff
from mmcell.inference.image_records import describe_image, read_record, recording
from mmcell.inference.tile_journal import remove_journal
from mmcell.inference.writers import ImageInfo, writing_cells
from mmcell.models import MaskTTAModel, TiledDetector

# Larger images are predicted in tiles to save memory: only the first features of a ResNet take 64 bytes per pixel and
# view.
WHOLE_PX = 4_000_000
# Larger TIFFs are also read in tiles, and are never in memory as a whole.
LARGE_PX = 25_000_000
# Images in which all values (0 to 255) are below this one are reported as dark. 12-bit data in a 16-bit file have
# values up to 16, while 8-bit images of stained or fluorescent cells have brighter pixels.
DARK_VALUE = 20


@dataclass(frozen=True)
class ImageSummary:
    """What is reported to the user about an image whose files were written.

    Attributes:
        n_cells: Number of cells that this process wrote. If several processes predict an image together, only the first
            one writes cells, and the other ones report 0.
        notes: Remarks for the user. A remark has the same words for every image, so that equal ones can be combined.
    """

    n_cells: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageJob:
    """How images are read, which cells are kept, and in which formats they are written.

    Attributes:
        predict: Predictor for images that are small enough to be predicted as a whole.
        tiled: The same detector in tiles, for larger images.
        class_names: Names of the classes; a label is an index of this list.
        formats: Keys of ``mmcell.inference.formats.FORMATS``.
        folder: Where the outputs are written.
        channel_order: Channel order of the image files, 'rgb' or 'bgr'.
        percentiles: (low, high) in percent for the contrast stretch; None for no stretch.
        mpp: Micrometres per pixel of all images; None if each file states its own.
        filters: Keyword arguments of :func:`select_cells`.
        settings: Everything else on which the outputs depend (for example the checkpoint), in JSON's types. Outputs of
            earlier runs are reused only if these settings and the attributes above are the same.
    """

    predict: ImagePredictor
    tiled: TiledDetector
    class_names: list[str]
    formats: Sequence[str]
    folder: Path
    channel_order: str
    percentiles: tuple[float, float] | None
    mpp: float | None = None
    filters: dict = field(default_factory=dict)
    settings: dict = field(default_factory=dict)

    def is_done(self, path: Path, name: str, formats: Sequence[str] | None = None) -> bool:
        """Says whether all outputs of an image exist, and were made from the present file with the present settings.

        Args:
            path: The image file.
            name: Name of the outputs.
            formats: Formats that must exist; None for all formats of the job.

        Raises:
            OSError: The image file does not exist.
        """
        formats = self.formats if formats is None else formats
        record = read_record(self.folder, name)
        written_formats = record.pop('formats', [])
        return (record == self._make_record(path) and set(formats) <= set(written_formats)
                and all(output.exists() for output in output_paths(formats, self.folder, name, len(self.class_names))))

    def conflicting_image(self, path: Path, name: str) -> str | None:
        """Returns the image file from which the outputs called ``name`` were made, or None if it is ``path`` itself.

        Returns None also if there are no such outputs yet.
        """
        image = read_record(self.folder, name).get('image')
        return None if image == str(path.resolve()) else image

    def _make_record(self, path: Path) -> dict:
        settings = {**self.settings, **self.tiled.tile_settings, 'channel_order': self.channel_order,
                    'percentiles': self.percentiles, 'mpp': self.mpp, 'filters': self.filters,
                    'class_names': self.class_names, 'in_tiles': isinstance(self.predict.detector, TiledDetector)}
        return {**describe_image(path), 'settings': json.loads(json.dumps(settings))}

    def run(self, path: Path, name: str) -> ImageSummary:
        """Predicts an image and writes its outputs.

        Args:
            path: The image file.
            name: Name of the outputs.

        Raises:
            ImageReadError: The image cannot be read. Errors of prediction and writing are passed on.
        """
        record = self._make_record(path)
        pixels = read_image(path, self.channel_order, self.percentiles)
        height_px, width_px = pixels.shape[:2]
        predict = self.predict if height_px * width_px <= self.whole_px else ImagePredictor(self.tiled)
        image = ImageInfo(path, height_px, width_px, self.class_names, self._find_mpp(path), pixels,
                          self.channel_order)
        watch = LimitWatch(self.tiled, self.filters.get('min_score', 0.))
        with watch.watching(self.tiled):
            instances = predict(pixels)
        if not isinstance(predict.detector, TiledDetector):
            watch.count_if_full(instances)
        cells = select_cells(Cells.from_instances(instances, height_px, width_px), **self.filters)
        with (recording(self.folder, name, {**record, 'formats': list(self.formats)}),
              writing_cells(self.formats, self.folder, name, image) as write):
            write(cells)
        colors = self._note_on_colors(pixels)
        is_dark = 0 < pixels.max() < DARK_VALUE
        dark_note = ['very dark, which is typical of 12-bit data in a 16-bit file: stretch the contrast with '
                     '--percentiles 1 99.8']
        return ImageSummary(len(cells), (*watch.notes(), *_turned_note(path), *colors, *(dark_note if is_dark else [])))

    def run_large(self, path: Path, name: str, resume: bool = False) -> ImageSummary:
        """Predicts a large TIFF, which is read tile by tile, and writes its outputs.

        All processes must call this method together. The memory that is needed does not grow with the image. No overlay
        is drawn. An interrupted run leaves the folder ``.NAME.tiles`` beside the outputs, from which it can be resumed.

        Args:
            path: The image file.
            name: Name of the outputs.
            resume: Whether tiles that an interrupted run predicted with the same settings are reused.

        Raises:
            ImageReadError: The image cannot be read.
            MmcellError: The test pipeline changes images, or overlay is the only format. Other errors of prediction and
                writing are passed on.
        """
        if not self.large_formats:
            raise MmcellError(f'{path}: is too large for an overlay: name another format with --formats')
        if not self.predict.keeps_size:
            raise MmcellError(f'{path}: is too large to be predicted as a whole, and cannot be read in tiles either: '
                              'the test pipeline of the model changes images (resizes them, for example), and would '
                              'change each tile in another way. Use a model or --config whose test pipeline only loads '
                              'and packs images')
        # The detector expects the channel order in which its own loader returns images.
        order = self.channel_order if self.predict.is_rgb else {'rgb': 'bgr', 'bgr': 'rgb'}[self.channel_order]
        journal = self.folder / f'.{name}.tiles'
        watch = LimitWatch(self.tiled, self.filters.get('min_score', 0.))
        record = self._make_record(path)
        settings = {**self.settings, **describe_image(path), 'channel_order': order, 'percentiles': self.percentiles}
        with (open_regions(path, order, self.percentiles) as regions,
              progress_of_tiles(path.name) if is_main_process() else nullcontext() as report):
            colors = self._note_on_colors(read_samples(regions)[:, :, ::1 if self.predict.is_rgb else -1])
            stream = predict_huge_image(self.tiled, regions, journal, resume=resume, settings=settings, report=report,
                                        on_tile=watch.count_if_full)
            # All processes take the first cells here, so that they have predicted their tiles before the first process
            # opens the output files. If it cannot open them, no other process waits for it.
            stream = chain([cells for cells in [next(stream, None)] if cells is not None], stream)
            n_cells = self._write_stream(stream, path, name, regions, record) if is_main_process() else 0
        if is_main_process():
            remove_journal(journal)
        left_out = [f'too large for an {key}, which was left out; the other formats are complete'
                    for key in self.formats if key not in self.large_formats]
        return ImageSummary(n_cells, (*watch.notes(), *_turned_note(path), *colors, *left_out))

    def _write_stream(self, stream: Iterator[InstanceData], path: Path, name: str, regions: Regions,
                      record: dict) -> int:
        image = ImageInfo(path, regions.height, regions.width, self.class_names, self._find_mpp(path),
                          channel_order=self.channel_order)
        n_cells = 0
        with (recording(self.folder, name, {**record, 'formats': self.large_formats}),
              writing_cells(self.large_formats, self.folder, name, image) as write):
            for instances in stream:
                cells = select_cells(Cells.from_instances(instances, image.height_px, image.width_px), **self.filters)
                write(cells)
                n_cells += len(cells)
        return n_cells

    def _note_on_colors(self, pixels: np.ndarray) -> list[str]:
        """Returns a remark if red and blue look swapped in an image (H, W, 3) uint8, in the order it is read in."""
        if not looks_swapped(pixels):
            return []
        return [f'nuclei look brown, as if the model were shown red and blue swapped, because the files are read as '
                f'{self.channel_order}: try --channel-order {other_order(self.channel_order)}']

    @staticmethod
    def is_large(path: Path) -> bool:
        """Says whether a file is so large that :meth:`run_large` must be used."""
        return is_large_tiff(path, LARGE_PX)

    @property
    def whole_px(self) -> int:
        """Greatest number of pixels of images that are predicted as a whole; larger images are predicted in tiles.

        The limit is LARGE_PX if the test pipeline resizes images.
        """
        return WHOLE_PX // n_views(self.tiled) if self.predict.keeps_size else LARGE_PX

    @property
    def large_formats(self) -> list[str]:
        """The formats of the job that are possible for images that are not in memory as a whole."""
        return [key for key in self.formats if key != 'overlay']

    def _find_mpp(self, path: Path) -> float | None:
        return self.mpp if self.mpp is not None else read_mpp(path)


def _turned_note(path: Path) -> list[str]:
    """Returns a remark if an image was turned, because some programs show it as it is stored."""
    return (['turned as the tag Orientation in the file says; cells are in the frame of the turned image']
            if read_orientation(path) != 1 else [])


def n_views(detector: nn.Module) -> int:
    """Returns the number of views of an image or tile that a detector predicts; all their features are in memory."""
    inner = detector.detector if isinstance(detector, TiledDetector) else detector
    return len(inner.views) if isinstance(inner, MaskTTAModel) else 1

"""The prediction of one image file, from its pixels to the files of its cells."""

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
from mmcell.images.pixels import read_image
from mmcell.images.regions import Regions, open_regions
from mmcell.images.resolution import read_mpp
from mmcell.inference.cells import Cells
from mmcell.inference.detection_limit import LimitWatch
from mmcell.inference.detector import ImagePredictor
from mmcell.inference.filters import select_cells
from mmcell.inference.huge_images import predict_huge_image, progress_of_tiles
from mmcell.inference.image_files import SLIDE_SUFFIXES, is_large_tiff
from mmcell.inference.image_records import describe_image, read_record, recording
from mmcell.inference.tile_journal import remove_journal
from mmcell.inference.writers import ImageInfo, output_paths, writing_cells
from mmcell.models import MaskTTAModel, TiledDetector

# Larger images are predicted in tiles: the first features of a ResNet alone are 64 bytes a pixel of each view.
WHOLE_PX = 4_000_000
# Larger TIFFs are not even read whole.
LARGE_PX = 25_000_000
# Of 255. No stained or fluorescent image of eight bits is as dark all over; 12 bits in 16 are at most 16.
DARK_VALUE = 20


@dataclass(frozen=True)
class Done:
    """What became of an image.

    Attributes:
        n_cells: that were written; 0 in other processes than the one that wrote them.
        notes: what its user should know, in words that are the same for every image that they are about.
    """

    n_cells: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageJob:
    """How images are read, which cells are kept, and what is written of them.

    Attributes:
        predict: of images that are read whole.
        tiled: the same detector in tiles, for large images.
        class_names: of the labels.
        formats: keys of ``mmcell.inference.writers.FORMATS``.
        folder: of the files.
        channel_order: 'rgb' or 'bgr', of the image files.
        percentiles: (low, high) of the contrast stretch, None for none.
        mpp: micrometres a pixel of every image; None for what each file says.
        filters: arguments of :func:`select_cells`.
        settings: what decides about predictions beside the above, of JSON's types. What was done before is taken where
            all of these are the same.
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
        """Whether all files of an image are there, made from its file as it is now, with the settings of this job.

        Raises:
            OSError: the image is not there.
        """
        formats = self.formats if formats is None else formats
        record = read_record(self.folder, name)
        written = record.pop('formats', [])
        return (record == self._record_of(path) and set(formats) <= set(written)
                and all(output.exists() for output in output_paths(formats, self.folder, name, len(self.class_names))))

    def other_image(self, path: Path, name: str) -> str | None:
        """The image file from which the files called ``name`` were made, where it is another one than ``path``."""
        image = read_record(self.folder, name).get('image')
        return None if image == str(path.resolve()) else image

    def _record_of(self, path: Path) -> dict:
        settings = {**self.settings, **self.tiled.tile_settings, 'channel_order': self.channel_order,
                    'percentiles': self.percentiles, 'mpp': self.mpp, 'filters': self.filters,
                    'class_names': self.class_names, 'in_tiles': isinstance(self.predict.detector, TiledDetector)}
        return {**describe_image(path), 'settings': json.loads(json.dumps(settings))}

    def run(self, path: Path, name: str) -> Done:
        """Predicts an image and writes its files.

        Raises:
            ImageReadError: the image cannot be read; and whatever prediction and writing raise.
        """
        record = self._record_of(path)
        pixels = self._read_whole(path)
        height_px, width_px = pixels.shape[:2]
        predict = self.predict if height_px * width_px <= self.whole_px else ImagePredictor(self.tiled)
        image = ImageInfo(path, height_px, width_px, self.class_names, self._mpp_of(path), pixels)
        watch = LimitWatch(self.tiled, self.filters.get('min_score', 0.))
        with watch.watching(self.tiled):
            instances = predict(pixels)
        if not isinstance(predict.detector, TiledDetector):
            watch.count_if_full(instances)
        cells = select_cells(Cells.from_instances(instances, height_px, width_px), **self.filters)
        with (recording(self.folder, name, {**record, 'formats': list(self.formats)}),
              writing_cells(self.formats, self.folder, name, image) as write):
            write(cells)
        dark = ['very dark, as 12 bits in a file of 16 are: --percentiles 1 99.8 stretches the contrast']
        return Done(len(cells), (*watch.notes(), *(dark if 0 < pixels.max() < DARK_VALUE else [])))

    def run_large(self, path: Path, name: str, resume: bool = False) -> Done:
        """As :meth:`run` for a TIFF that is read tile by tile, by all processes together; memory does not grow with it.

        There is no picture of it. An interrupted run leaves ``.NAME.tiles`` in the folder, from which it can be
        resumed.

        Raises:
            MmcellError: the test pipeline resizes images, or no format is left; and as :meth:`run`.
        """
        if not self.large_formats:
            raise MmcellError(f'{path}: is read tile by tile, and has no overlay: name another format')
        if not self.predict.keeps_size:
            raise MmcellError(f'{path}: is too large to be predicted whole, and the test pipeline changes images: in '
                              'tiles they would look different. Use a config whose pipeline only loads and packs')
        # The detector takes the order of its own loader.
        order = self.channel_order if self.predict.is_rgb else {'rgb': 'bgr', 'bgr': 'rgb'}[self.channel_order]
        journal = self.folder / f'.{name}.tiles'
        watch = LimitWatch(self.tiled, self.filters.get('min_score', 0.))
        record = self._record_of(path)
        settings = {**self.settings, **describe_image(path), 'channel_order': order, 'percentiles': self.percentiles}
        with (open_regions(path, order, self.percentiles) as regions,
              progress_of_tiles(path.name) if is_main_process() else nullcontext() as report):
            stream = predict_huge_image(self.tiled, regions, journal, resume=resume, settings=settings, report=report,
                                        on_tile=watch.count_if_full)
            # All processes predict before the first one opens files, which may fail there alone.
            stream = chain([one for one in [next(stream, None)] if one is not None], stream)
            n_cells = self._write_stream(stream, path, name, regions, record) if is_main_process() else 0
        if is_main_process():
            remove_journal(journal)
        left_out = [f'too large for {key}: it is read tile by tile'
                    for key in self.formats if key not in self.large_formats]
        return Done(n_cells, (*watch.notes(), *left_out))

    def _write_stream(self, stream: Iterator[InstanceData], path: Path, name: str, regions: Regions,
                      record: dict) -> int:
        image = ImageInfo(path, regions.height, regions.width, self.class_names, self._mpp_of(path))
        n_cells = 0
        with (recording(self.folder, name, {**record, 'formats': self.large_formats}),
              writing_cells(self.large_formats, self.folder, name, image) as write):
            for instances in stream:
                cells = select_cells(Cells.from_instances(instances, image.height_px, image.width_px), **self.filters)
                write(cells)
                n_cells += len(cells)
        return n_cells

    @staticmethod
    def is_large(path: Path) -> bool:
        """Whether a file is for :meth:`run_large`."""
        return is_large_tiff(path, LARGE_PX)

    @property
    def whole_px(self) -> int:
        """Images of more pixels are predicted in tiles; where the test pipeline resizes images, LARGE_PX."""
        return WHOLE_PX // n_views(self.tiled) if self.predict.keeps_size else LARGE_PX

    @property
    def large_formats(self) -> list[str]:
        """The formats of images that are not held in memory."""
        return [key for key in self.formats if key != 'overlay']

    def _read_whole(self, path: Path) -> np.ndarray:
        if path.suffix.lower() not in SLIDE_SUFFIXES:
            return read_image(path, self.channel_order, self.percentiles)
        with open_regions(path, self.channel_order, self.percentiles) as regions:
            return regions.read(0, 0, regions.width, regions.height)

    def _mpp_of(self, path: Path) -> float | None:
        return self.mpp if self.mpp is not None else read_mpp(path)


def n_views(detector: nn.Module) -> int:
    """In how many views a detector looks at an image or a tile, all of whose features are held together."""
    inner = detector.detector if isinstance(detector, TiledDetector) else detector
    return len(inner.views) if isinstance(inner, MaskTTAModel) else 1

"""Images and label maps of a data set that are decoded once, and then shared by all processes that load samples."""

import logging
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.dist import get_world_size
from mmengine.logging import print_log

from mmcell.files.free_memory import find_free_memory
from mmcell.files.shared_arrays import CAN_SHARE, SharedArrays, bytes_of
from mmcell.masks.label_map_masks import LabelMapMasks

# The part of the free memory that the data sets of a process may take up unless a config says otherwise.
FREE_SHARE = 1 / 8
# Label maps are kept as uint16, whose greatest value this is; and the layers of cells as uint8.
_MAX_CELLS, _MAX_LAYER = 65_535, 255


@dataclass(frozen=True)
class _Entry:
    """An image that has a place.

    Attributes:
        place: The index of its pixels in the shared arrays. Its label map and the layers of its cells follow.
        path: The image file.
        version: Size and time of the last change of the file when the training began.
        size: Height and width in px.
        n_cells: The number of its cells.
    """

    place: int
    path: str
    version: tuple[int, int]
    size: tuple[int, int]
    n_cells: int

    @property
    def layouts(self) -> list[tuple[tuple[int, ...], type]]:
        """Shapes and types of image, first layer of the cells, and layer of each cell."""
        return [((*self.size, 3), np.uint8), (self.size, np.uint16), ((self.n_cells,), np.uint8)]


class DecodedImages:
    """Keeps images as ``LoadTiff`` returns them, and their cells as ``LoadCellAnnotations`` does, within a budget.

    Whether an image has a place is decided at once, in the order of the data set: places are given until the budget is
    used up. The places are filled by the first process that loads the image, and take up memory only then. Images
    without a place are decoded whenever they are loaded.

    What is loaded is the same with and without a place, bit for bit. A file that is changed during a training is
    decoded again from then on, with a warning. Annotations are held in memory in any case, so that changes of their
    file have no effect.

    See :class:`mmcell.files.shared_arrays.SharedArrays` for how processes share places.

    Args:
        entries: The entries of the data set, with img_id, img_path, height, width and instances.
        budget_bytes: The greatest number of bytes that places may take up.
        with_masks: Whether cells are kept, too.

    Attributes:
        n_images: The number of images in the data set.
        n_bytes: The bytes that all places take up.
    """

    def __init__(self, entries: Iterable[dict], budget_bytes: float, with_masks: bool) -> None:
        self.n_images, self.budget_bytes, self._entries = 0, budget_bytes, {}
        layouts, self.n_bytes = [], 0
        for self.n_images, info in enumerate(entries, 1):
            entry = _Entry(len(layouts), info['img_path'], _version_of(info['img_path']),
                           (info['height'], info['width']), len(info['instances']))
            own_layouts = entry.layouts if with_masks else entry.layouts[:1]
            n_bytes = sum(bytes_of(*layout) for layout in own_layouts)
            if self.n_bytes + n_bytes <= budget_bytes and entry.n_cells <= _MAX_CELLS:
                self._entries[info['img_id']] = entry
                layouts += own_layouts
                self.n_bytes += n_bytes
        self._arrays = SharedArrays(layouts)
        self._is_full, self._changed = False, set()

    def __len__(self) -> int:
        return len(self._entries)

    def describe(self) -> str:
        """Returns how many images fit, in words."""
        return (f'{len(self):,} of {self.n_images:,} images fit into the cache of decoded images and cells: '
                f'{_in_gib(self.n_bytes)} GiB of {_in_gib(self.budget_bytes)} GiB (dataset.cache_gib)')

    def image(self, sample: dict, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Returns the image of a sample, (H, W, 3) uint8; it is read if it is not kept.

        Args:
            sample: The entry of the data set.
            read: Reads the image.
        """
        entry = self._find_entry(sample)
        if entry is None or self._has_changed(entry):
            return read()
        image = self._arrays.read(entry.place)
        if image is None:
            image = read()
            # The file may have been changed while it was read.
            if image.shape[:2] == entry.size and not self._has_changed(entry):
                self._keep(entry.place, image)
        return image

    def masks(self, sample: dict, masks: Sequence[dict | list], to_rle: Callable[[dict | list], dict]) -> LabelMapMasks:
        """Returns the cells of a sample; they are decoded if they are not kept.

        Args:
            sample: The entry of the data set, with the size ``ori_shape`` of the image that was read.
            masks: The masks of the annotation file, in the order of the instances of the sample.
            to_rle: Converts one of these masks to RLE.

        Raises:
            ValueError: A mask cannot be decoded, or has another size than the image.
        """
        size = tuple(sample['ori_shape'])
        entry = self._find_entry(sample)
        if entry is None or (size, len(masks)) != (entry.size, entry.n_cells):
            return LabelMapMasks.from_rles([to_rle(mask) for mask in masks], *size)
        first, layer_indices = (self._arrays.read(entry.place + offset) for offset in (1, 2))
        if first is not None and layer_indices is not None:
            # Most cells lie in the first layer. The few cells of further layers are cheap to decode.
            others = [to_rle(masks[index]) for index in np.flatnonzero(layer_indices)]
            return LabelMapMasks.from_first_layer(first, layer_indices, others)
        decoded = LabelMapMasks.from_rles([to_rle(mask) for mask in masks], *size)
        if decoded.layer_indices.max(initial=0) <= _MAX_LAYER:
            layer = decoded.layers[0] if len(masks) else np.zeros(size, np.int32)
            self._keep(entry.place + 1, layer.astype(np.uint16))
            self._keep(entry.place + 2, decoded.layer_indices.astype(np.uint8))
        return decoded

    def _find_entry(self, sample: dict) -> _Entry | None:
        entry = self._entries.get(sample.get('img_id'))
        return entry if entry is not None and entry.path == sample.get('img_path') else None

    def _has_changed(self, entry: _Entry) -> bool:
        if _version_of(entry.path) == entry.version:
            return False
        if entry.path not in self._changed:
            self._changed.add(entry.path)
            print_log(f'{entry.path}: was changed since the training began; from now on it is read from disk each time',
                      logger='current', level=logging.WARNING)
        return True

    def _keep(self, place: int, array: np.ndarray) -> None:
        if self._is_full:
            return
        try:
            self._arrays.write(place, array)
        except OSError as error:
            self._is_full = True
            print_log(f'no more decoded images are kept in this process, because there is no space: {error.strerror} '
                      '(a smaller dataset.cache_gib avoids this)', logger='current', level=logging.WARNING)


# What the data sets of this process keep.
_living: weakref.WeakSet[DecodedImages] = weakref.WeakSet()


def plan_decoded_images(entries: Iterable[dict], cache_gib: float | None, with_masks: bool) -> DecodedImages | None:
    """Gives the images of a data set their places.

    A training may have several data sets, joined by ``ConcatDataset``. Without a budget of its own, a data set gets
    what the places of the data sets before it leave of the eighth.

    Args:
        entries: As for :class:`DecodedImages`.
        cache_gib: The budget in GiB for each process that trains; its workers share it. None: an eighth of the free
            memory, divided among the processes that train, which the data sets of a process share.
        with_masks: Whether cells are kept, too.

    Returns:
        The images; None if the budget is 0, or, with a message in the log, if the system does not say how much memory
        is free or cannot share it.
    """
    if cache_gib is None and (free_bytes := find_free_memory()) is not None:
        given_bytes = sum(decoded.n_bytes for decoded in _living)
        cache_gib = max(free_bytes * FREE_SHARE / get_world_size() - given_bytes, 0) / 2 ** 30
    if cache_gib == 0:
        return None
    decoded, problem = None, None
    if not CAN_SHARE:
        problem = 'this system cannot share memory in this way'
    elif cache_gib is None:
        problem = 'this system does not say how much memory is free: set dataset.cache_gib'
    else:
        try:
            decoded = DecodedImages(entries, cache_gib * 2 ** 30, with_masks)
            _living.add(decoded)
        except OSError as error:
            problem = f'their file cannot be created: {error}'
    if problem is not None:
        print_log(f'decoded images are not kept: {problem}', logger='current', level=logging.WARNING)
    return decoded


def _version_of(path: str) -> tuple[int, int]:
    """Returns size and time of the last change in ns; (-1, -1) of a file that cannot be found."""
    try:
        status = Path(path).stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _in_gib(n_bytes: float) -> str:
    return f'{n_bytes / 2 ** 30:.2g}'

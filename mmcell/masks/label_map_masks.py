"""Instance masks as label maps, with the methods of MMDetection's ``BitmapMasks``."""

from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Self

import cv2
import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes, get_box_type
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks
from mmdet.structures.mask.structures import get_offsets_hv

from mmcell.masks.layers import (
    check_layers,
    count_pixels,
    find_boxes,
    join_stacks,
    number_instances,
    place_in_layers,
    put_into_frame,
)
from mmcell.masks.rle import foreground_pixels_of_all
from mmcell.masks.roi_averages import roi_averages
from mmcell.masks.warps import resize_labels, warp_labels


class LabelMapMasks(BaseInstanceMasks):
    """N instance masks in L layers of label maps; time and memory go with the pixels of the layers, not with N.

    Overlapping instances lie in different layers, so that nothing is lost. Methods answer as those of
    ``BitmapMasks`` of uint8 do: bit for bit where these sample nearest neighbours. Where they interpolate, a pixel
    belongs to the instance that has at least half of the bilinear weights around it, which is what a rounded bitmap
    says, too, but for coordinates that OpenCV rounds and pixels that two instances share to equal parts. Bicubic,
    Lanczos and area interpolation are answered in this way as well.

    Methods return new masks, which may share layers; layers are not to be written to, nor is the array that they
    were made of. Indexing shares them always: a layer may hold ids of instances that were left out. Where all
    instances overlap one another each has a layer of its own, four times as large as a bitmap.

    Args:
        layers: (L, H, W) integers, 0 = background, ids positive and up to 2^31 - 1, with or without gaps.
        layer_indices: (N,) integers, the layer of each instance.
        ids: (N,) its id there. An instance may have no pixel; two entries may be the same instance.

    Raises:
        ValueError: shapes, types or values are not those above.
    """

    def __init__(self, layers: np.ndarray, layer_indices: np.ndarray, ids: np.ndarray) -> None:
        self._set(*check_layers(layers, layer_indices, ids))

    def _set(self, layers: np.ndarray, layer_indices: np.ndarray, ids: np.ndarray) -> None:
        # Without instances no layer is needed; the shape keeps the frame's size.
        self.layers = np.ascontiguousarray(layers if len(ids) else layers[:0])
        self.layer_indices = layer_indices
        self.ids = ids

    @classmethod
    def _make(cls, layers: np.ndarray, layer_indices: np.ndarray, ids: np.ndarray) -> Self:
        """Masks of arrays that are known to be valid."""
        masks = cls.__new__(cls)
        masks._set(layers, layer_indices, ids)
        return masks

    @classmethod
    def from_label_maps(cls, label_maps: Sequence[np.ndarray]) -> Self:
        """Masks with one layer for each (H, W) label map; instances by layer, then by ascending id.

        Raises:
            ValueError: no map, maps of several sizes, or not of integers from 0 to 2^31 - 1.
        """
        if len(label_maps) == 0 or len({label_map.shape for label_map in label_maps}) > 1:
            raise ValueError(f'label maps must be of one size, got {[label_map.shape for label_map in label_maps]}')
        ids = [np.unique(label_map[label_map != 0]) for label_map in label_maps]
        layer_indices = np.repeat(np.arange(len(ids)), [len(ids_of_map) for ids_of_map in ids])
        return cls(np.stack(label_maps), layer_indices, np.concatenate(ids))

    @classmethod
    def from_bitmaps(cls, bitmaps: np.ndarray | BitmapMasks) -> Self:
        """Masks of (N, H, W) bitmaps, what is not 0 is inside. Each goes to the first layer where it is free."""
        bitmaps = bitmaps.to_ndarray() if isinstance(bitmaps, BitmapMasks) else bitmaps
        positions = [np.flatnonzero(bitmap) for bitmap in bitmaps]
        areas = np.array([len(pixels) for pixels in positions], np.int64)
        layers, layer_indices = place_in_layers(
            np.concatenate([*positions, np.zeros(0, np.int64)]), areas, bitmaps.shape[1] * bitmaps.shape[2])
        return cls._make(layers.reshape(-1, *bitmaps.shape[1:]), layer_indices, np.arange(1, len(areas) + 1))

    @classmethod
    def from_rles(cls, rles: Sequence[dict], height: int, width: int) -> Self:
        """Masks of N COCO RLEs, compressed or not, decoded straight into layers.

        Raises:
            ValueError: an RLE is not valid (see :func:`mmcell.masks.rle.parse_rle`), or has another size.
        """
        positions, areas = foreground_pixels_of_all(rles)
        for rle in rles:
            if tuple(rle['size']) != (height, width):
                raise ValueError(f"RLE has the size {list(rle['size'])}, the image {[height, width]} (height, width)")
        layers, layer_indices = place_in_layers(positions, areas, height * width)
        # RLE goes down the columns.
        layers = layers.reshape(-1, width, height).transpose(0, 2, 1)
        return cls._make(layers, layer_indices, np.arange(1, len(rles) + 1))

    @classmethod
    def random(cls, num_masks: int = 3, height: int = 32, width: int = 32, dtype: type = np.uint8,
               rng: np.random.RandomState | None = None) -> Self:
        """The masks that ``BitmapMasks.random`` gives; ``dtype`` is that of bitmaps, for which there is no use."""
        return cls.from_bitmaps(BitmapMasks.random(num_masks, height, width, dtype, rng))

    @classmethod
    def cat(cls, masks: Sequence[Self]) -> Self:
        """Puts the instances of several masks of one size together.

        Masks that share their layers go on sharing them. Otherwise layers are merged where they do not overlap.

        Raises:
            ValueError: there are no masks, or they differ in size.
        """
        assert isinstance(masks, Sequence)
        if len(masks) == 0:
            raise ValueError('masks should not be an empty list.')
        assert all(isinstance(one, cls) for one in masks)
        sizes = {(one.height, one.width) for one in masks}
        if len(sizes) > 1:
            raise ValueError(f'masks must have one size (height, width), got {sorted(sizes)}')
        stacks = {id(one.layers): one.layers for one in masks if len(one)}
        layer_indices, ids = [one.layer_indices for one in masks], [one.ids for one in masks]
        if len(stacks) > 1:
            return cls._make(*join_stacks([one.layers for one in masks], layer_indices, ids))
        layers = next(iter(stacks.values()), masks[0].layers)
        return cls._make(layers, np.concatenate(layer_indices), np.concatenate(ids))

    @property
    def masks(self) -> NoReturn:
        """Not there: bitmaps would cost N times the pixels."""
        raise AttributeError(
            f'{type(self).__name__} has no .masks: code that reads or changes bitmaps inside must fail here, not go '
            'wrong silently. Use its methods, crops() for one instance after another, or to_ndarray() for all bitmaps '
            "(N, H, W). For code that cannot do without, load bitmaps: dict(type='LoadAnnotations', with_mask=True)")

    @property
    def height(self) -> int:
        """Height of the frame in px."""
        return self.layers.shape[1]

    @property
    def width(self) -> int:
        """Width of the frame in px."""
        return self.layers.shape[2]

    def __getitem__(self, index: int | slice | list | np.ndarray | torch.Tensor) -> Self:
        ids = np.atleast_1d(self.ids[index])
        if ids.ndim > 1:
            raise IndexError(f'masks have one dimension to index, got {index!r}')
        return self._make(self.layers, np.atleast_1d(self.layer_indices[index]), ids)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Bitmaps (H, W) uint8, one at a time."""
        return (self._paint(*crop) for crop in self.crops())

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_masks={len(self)}, height={self.height}, width={self.width})'

    def crops(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """For each instance its bitmap (h, w) bool inside its box, and the box's x1 and y1 in px."""
        numbered, numbers, boxes = self._numbered_with_boxes()
        for number in numbers:
            layer, x1, y1, x2, y2 = boxes[number - 1].tolist()
            yield numbered[layer, y1:y2, x1:x2] == number, x1, y1

    def _numbered_with_boxes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        numbered, numbers = number_instances(self.layers, self.layer_indices, self.ids)
        return numbered, numbers, find_boxes(numbered, numbers.max(initial=0))

    def _paint(self, crop: np.ndarray, x1: int, y1: int) -> np.ndarray:
        bitmap = np.zeros((self.height, self.width), np.uint8)
        bitmap[y1:y1 + crop.shape[0], x1:x1 + crop.shape[1]] = crop
        return bitmap

    @property
    def areas(self) -> np.ndarray:
        """Areas in px, (N,) uint64."""
        numbered, numbers = number_instances(self.layers, self.layer_indices, self.ids)
        return count_pixels(numbered, numbers.max(initial=0))[numbers - 1].astype(np.uint64)

    def to_ndarray(self) -> np.ndarray:
        """All bitmaps (N, H, W) uint8. They cost N times the pixels; often :meth:`crops` will do."""
        bitmaps = np.zeros((len(self), self.height, self.width), np.uint8)
        for bitmap, (crop, x1, y1) in zip(bitmaps, self.crops(), strict=True):
            bitmap[y1:y1 + crop.shape[0], x1:x1 + crop.shape[1]] = crop
        return bitmaps

    def to_tensor(self, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        """Bitmaps (N, H, W) of the dtype on the device."""
        return torch.tensor(self.to_ndarray(), dtype=dtype, device=device)

    def get_bboxes(self, dst_type: str | type = 'hbb') -> HorizontalBoxes:
        """Boxes xyxy float32 in px, the last row and column inside; zeros for an instance without pixels.

        Args:
            dst_type: a registered name ('hbox') or class of box. 'hbb' is the base class's default, which MMDetection
                has not registered; here it means the same.

        Raises:
            TypeError: not horizontal boxes: other types make theirs from bitmaps or polygons.
        """
        _, box_class = get_box_type('hbox' if dst_type == 'hbb' else dst_type)
        if not issubclass(box_class, HorizontalBoxes):
            raise TypeError(f"{type(self).__name__} gives boxes of the type 'hbox', got {dst_type!r}; make others "
                            'from BitmapMasks(masks.to_ndarray(), masks.height, masks.width)')
        _, numbers, boxes = self._numbered_with_boxes()
        return box_class(boxes[numbers - 1, 1:].astype(np.float32))

    def _map(self, function: Callable[[np.ndarray], np.ndarray], height: int, width: int) -> Self:
        """Applies a function (H, W) → (height, width) to each layer."""
        if not len(self):
            return self._empty(height, width)
        return self._make(np.stack([function(layer) for layer in self.layers]), self.layer_indices, self.ids)

    def _empty(self, height: int, width: int) -> Self:
        return self._make(np.zeros((0, height, width), np.int32), self.layer_indices, self.ids)

    def rescale(self, scale: float | tuple[int, int], interpolation: str = 'nearest') -> Self:
        """Resizes by a factor, or to the largest size inside ``scale`` (sides in any order), as mmcv.imrescale."""
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> Self:
        """Resizes to (height, width). OpenCV is used, whatever ``mmcv.use_backend`` says."""
        return self._map(lambda layer: resize_labels(layer, *out_shape, interpolation), *out_shape)

    def flip(self, flip_direction: str = 'horizontal') -> Self:
        """Mirrors left to right ('horizontal'), top to bottom ('vertical') or both ('diagonal')."""
        codes = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}
        assert flip_direction in codes, f'flip_direction must be one of {list(codes)}, got {flip_direction!r}'
        return self._map(lambda layer: cv2.flip(layer, codes[flip_direction]), self.height, self.width)

    def rot90(self, turns: int = 1) -> Self:
        """Rotates by quarter turns counter-clockwise, without sampling; ``BitmapMasks`` has no such method."""
        height, width = (self.width, self.height) if turns % 2 else (self.height, self.width)
        return self._map(lambda layer: np.rot90(layer, turns), height, width)

    def pad(self, out_shape: tuple[int, int], pad_val: float = 0) -> Self:
        """Pads at the right and at the bottom to (height, width).

        Raises:
            ValueError: ``pad_val`` is not 0 and there is something to pad: all instances would have those pixels.
        """
        if not len(self):
            return self._empty(*out_shape)
        assert out_shape[0] >= self.height and out_shape[1] >= self.width, (
            f'cannot pad (height, width) {(self.height, self.width)} to the smaller {tuple(out_shape)}')
        if pad_val and tuple(out_shape) != (self.height, self.width):
            raise ValueError(f'masks can be padded with background (0) alone, got pad_val={pad_val}: in a label map '
                             'a pixel cannot belong to all instances')
        return self.expand(*out_shape, 0, 0)

    def crop(self, bbox: np.ndarray) -> Self:
        """Cuts out the box [x1, y1, x2, y2] of integers, clipped to the frame; at least one pixel each way."""
        assert isinstance(bbox, np.ndarray) and bbox.ndim == 1
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        height, width = max(y2 - y1, 1), max(x2 - x1, 1)
        if not len(self):
            return self._empty(height, width)
        assert y1 < self.height and x1 < self.width, f'the box {bbox} is outside the frame'
        return self._make(self.layers[:, y1:y1 + height, x1:x1 + width], self.layer_indices, self.ids)

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> Self:
        """Puts the frame into a larger one of background."""
        layers = np.zeros((len(self.layers), expanded_h, expanded_w), np.int32)
        if len(self):
            layers[:, top:top + self.height, left:left + self.width] = self.layers
        return self._make(layers, self.layer_indices, self.ids)

    def translate(self, out_shape: tuple[int, int], offset: float | tuple[float, float], direction: str = 'horizontal',
                  border_value: int = 0, interpolation: str = 'bilinear') -> Self:
        """Shifts by ``offset`` px: right, down ('vertical'), or by (right, down) ('both').

        The frame is first cut or filled up at the right and at the bottom to ``out_shape`` (height, width).
        """
        assert direction in ('horizontal', 'vertical', 'both'), f'Invalid direction: {direction}'
        right, down = get_offsets_hv(offset, direction)
        framed = self.reframe(out_shape)
        return framed._warp(np.float32([[1, 0, right], [0, 1, down]]), out_shape, border_value, interpolation)

    def reframe(self, out_shape: tuple[int, int], top: int = 0, left: int = 0) -> Self:
        """Puts the frame into another one (height, width) at (left, top) px, and cuts what sticks out of that."""
        return self._make(put_into_frame(self.layers, out_shape, top, left), self.layer_indices, self.ids)

    def foreground(self) -> np.ndarray:
        """Where there is any instance, (H, W) bool."""
        return number_instances(self.layers, self.layer_indices, self.ids)[0].any(axis=0)

    def erase(self, region: np.ndarray) -> Self:
        """Takes the pixels of a region (H, W) bool away from all instances; some may have none left."""
        return self._map(lambda layer: np.where(region, 0, layer), self.height, self.width)

    def shear(self, out_shape: tuple[int, int], magnitude: float, direction: str = 'horizontal', border_value: int = 0,
              interpolation: str = 'bilinear') -> Self:
        """Shears by ``magnitude`` (px along the direction for each px across it)."""
        assert direction in ('horizontal', 'vertical'), f'Invalid direction: {direction}'
        matrix = [[1, magnitude, 0], [0, 1, 0]] if direction == 'horizontal' else [[1, 0, 0], [magnitude, 1, 0]]
        return self._warp(np.float32(matrix), out_shape, border_value, interpolation)

    def rotate(self, out_shape: tuple[int, int], angle: float, center: tuple[float, float] | None = None,
               scale: float = 1.0, border_value: int = 0, interpolation: str = 'bilinear') -> Self:
        """Rotates clockwise by ``angle`` degrees around ``center`` (x, y), the middle of the frame if None."""
        if center is None:
            center = ((self.width - 1) * .5, (self.height - 1) * .5)
        assert isinstance(center, tuple)
        return self._warp(cv2.getRotationMatrix2D(center, -angle, scale), out_shape, border_value, interpolation)

    def warp(self, matrix: np.ndarray, out_shape: tuple[int, int], interpolation: str = 'bilinear') -> Self:
        """Warps into a frame (height, width) by a matrix (2, 3) from input (x, y) px to output; see `warp_labels`."""
        return self._map(lambda layer: warp_labels(layer, matrix, out_shape, interpolation), *out_shape)

    def _warp(self, matrix: np.ndarray, out_shape: tuple[int, int], border_value: int, interpolation: str) -> Self:
        """See :func:`warp_labels`; the output has the size of the input."""
        if not len(self):
            return self._empty(*out_shape)
        assert tuple(out_shape) == (self.height, self.width), (
            f'out_shape must be the (height, width) {(self.height, self.width)} of the masks, got {out_shape}')
        if border_value != 0:
            raise ValueError(f'the border of masks can be background (0) alone, got border_value={border_value}: in a '
                             'label map a pixel cannot belong to all instances')
        return self.warp(matrix, out_shape, interpolation)

    def crop_and_resize(self, bboxes: np.ndarray | torch.Tensor, out_shape: tuple[int, int],
                        inds: np.ndarray | torch.Tensor, device: torch.device | str = 'cpu',
                        interpolation: str = 'bilinear', binarize: bool = True) -> BitmapMasks:
        """RoIAlign of an instance for each box; see :func:`mmcell.masks.roi_averages.roi_averages`.

        Args:
            bboxes: (K, 4) xyxy in px.
            out_shape: (height, width) of the output.
            inds: (K,) which instance each box looks at.
            device: where to compute. The layers are sent there, not N bitmaps.
            interpolation: not used, as in ``BitmapMasks``.
            binarize: False for the averages as they are.

        Returns:
            K small **BitmapMasks**: bool, 1 where the average is at least one half, or else the averages.
        """
        if not len(self) or not len(bboxes):
            return BitmapMasks([], *out_shape)
        inds = torch.as_tensor(inds).cpu().numpy()
        averages = roi_averages(
            torch.from_numpy(self.layers).to(device), torch.from_numpy(self.layer_indices[inds]).to(device),
            torch.from_numpy(self.ids[inds]).to(device), torch.as_tensor(bboxes).to(device), out_shape)
        targets = averages >= .5 if binarize else averages
        return BitmapMasks(targets.cpu().numpy(), *out_shape)

"""Instance masks that are stored as label maps and have the methods of MMDetection's ``BitmapMasks``."""

from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn, Self

import cv2
import mmcv
import numpy as np
import torch
from mmdet.structures.bbox import HorizontalBoxes, get_box_type
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks
from mmdet.structures.mask.structures import get_offsets_hv
from scipy import ndimage

from mmcell.masks.elastic import deform_labels
from mmcell.masks.layers import check_layers, join_stacks, number_instances, place_in_layers, put_into_frame
from mmcell.masks.rle import encode_label_map, encode_runs, foreground_pixels_of_all
from mmcell.masks.roi_averages import roi_averages
from mmcell.masks.warps import resize_labels, warp_labels
from mmcell.ragged import groups_of


class LabelMapMasks(BaseInstanceMasks):
    """N instance masks in L layers of label maps. Time and memory depend on the pixels of the layers, not on N.

    Overlapping instances lie in different layers, so that no instance loses a pixel. Methods give the same results as
    the methods of ``BitmapMasks`` with uint8 bitmaps. With nearest-neighbour sampling the results are equal bit for
    bit. With interpolation, a pixel belongs to the instance that has at least half of the bilinear weights around the
    sampled point. A rounded bitmap gives the same answer, except where OpenCV rounds coordinates and where two
    instances have exactly half each. Bicubic, Lanczos and area interpolation are treated like bilinear interpolation.

    Methods return new masks, which may share layers with the old ones. Therefore never write to layers, nor to the
    array that they were made from. Indexing always shares layers, so that a layer may contain ids of instances that
    were left out. If all instances overlap one another, each has its own layer, four times as large as a uint8 bitmap.

    Args:
        layers: (L, H, W) integers, 0 = background. Ids are from 1 to 2^31 - 1 and may have gaps.
        layer_indices: (N,) integers from 0 to L - 1, the layer of each instance.
        ids: (N,) integers from 1 to 2^31 - 1, the id of each instance in its layer. An instance may have no pixel, and
            two entries may name the same instance.

    Raises:
        ValueError: A shape, type or value is not one of those above.
    """

    def __init__(self, layers: np.ndarray, layer_indices: np.ndarray, ids: np.ndarray) -> None:
        self._assign(*check_layers(layers, layer_indices, ids))

    def _assign(self, layers: np.ndarray, layer_indices: np.ndarray, ids: np.ndarray) -> None:
        # Without instances no layer is needed. The shape (0, H, W) still holds the size of the frame.
        self.layers = np.ascontiguousarray(layers if len(ids) else layers[:0])
        self.layer_indices, self.ids = layer_indices, ids
        self._sent: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    @classmethod
    def _make(cls, layers: np.ndarray, layer_indices: np.ndarray, ids: np.ndarray) -> Self:
        """Makes masks from arrays that are known to be valid, without checking them."""
        masks = cls.__new__(cls)
        masks._assign(layers, layer_indices, ids)
        return masks

    @classmethod
    def from_label_maps(cls, label_maps: Sequence[np.ndarray]) -> Self:
        """Makes masks with one layer per label map. Instances are in the order of maps, then of ascending ids.

        Args:
            label_maps: Arrays (H, W) of integers from 0 to 2^31 - 1, all of one size.

        Raises:
            ValueError: There is no map, the maps differ in size, or their values are not those above.
        """
        if len(label_maps) == 0 or len({label_map.shape for label_map in label_maps}) > 1:
            raise ValueError('one or more label maps of one size are needed, got the shapes '
                             f'{[label_map.shape for label_map in label_maps]}')
        ids = [np.unique(label_map[label_map != 0]) for label_map in label_maps]
        layer_indices = groups_of([len(ids_of_map) for ids_of_map in ids])
        return cls(np.stack(label_maps), layer_indices, np.concatenate(ids))

    @classmethod
    def from_bitmaps(cls, bitmaps: np.ndarray | BitmapMasks) -> Self:
        """Makes masks from bitmaps (N, H, W). Pixels that are not 0 are inside.

        An instance that overlaps an earlier one goes to the first layer where its pixels are still background.
        """
        bitmaps = bitmaps.to_ndarray() if isinstance(bitmaps, BitmapMasks) else bitmaps
        positions = [np.flatnonzero(bitmap) for bitmap in bitmaps]
        areas = np.array([len(pixels) for pixels in positions], np.int64)
        layers, layer_indices = place_in_layers(
            np.concatenate([*positions, np.zeros(0, np.int64)]), areas, bitmaps.shape[1] * bitmaps.shape[2])
        return cls._make(layers.reshape(-1, *bitmaps.shape[1:]), layer_indices, np.arange(1, len(areas) + 1))

    @classmethod
    def from_rles(cls, rles: Sequence[dict], height: int, width: int) -> Self:
        """Makes masks from N COCO RLEs, compressed or not, which are decoded straight into layers.

        Args:
            rles: N RLEs of the size (height, width).
            height: Height of the frame in px.
            width: Width of the frame in px.

        Raises:
            ValueError: An RLE is not valid (see :func:`mmcell.masks.rle_counts.parse_rles`), or has another size.
        """
        positions, areas = foreground_pixels_of_all(rles)
        for rle in rles:
            if tuple(rle['size']) != (height, width):
                raise ValueError(f"an RLE has the size {list(rle['size'])}, but the image has the size "
                                 f'{[height, width]} (height, width)')
        layers, layer_indices = place_in_layers(positions, areas, height * width)
        # RLE positions count down the columns, so that a flat layer is a transposed label map.
        layers = layers.reshape(-1, width, height).transpose(0, 2, 1)
        return cls._make(layers, layer_indices, np.arange(1, len(rles) + 1))

    @classmethod
    def from_first_layer(cls, first_layer: np.ndarray, layer_indices: np.ndarray, other_rles: Sequence[dict]) -> Self:
        """Makes again the masks that :meth:`from_rles` has made, and decodes only those outside the first layer.

        Args:
            first_layer: (H, W) integers, the first layer of these masks, or zeros if there is no mask.
            layer_indices: (N,) integers, the layer of each mask.
            other_rles: RLEs of those masks whose layer is not 0, in their order.
        """
        height, width = first_layer.shape
        layers = np.zeros((layer_indices.max(initial=0) + 1, height, width), np.int32)
        layers[0] = first_layer
        # Masks with the layers [0, 1, 0] have the ids 1, 2, 3; the second one is painted into layers[1] with the id 2.
        others = np.flatnonzero(layer_indices)
        positions, areas = foreground_pixels_of_all(other_rles)
        x, y = np.divmod(positions, height)
        layers[np.repeat(layer_indices[others], areas), y, x] = np.repeat(others + 1, areas)
        return cls._make(layers, layer_indices.astype(np.int64), np.arange(1, len(layer_indices) + 1))

    @classmethod
    def cat(cls, masks: Sequence[Self]) -> Self:
        """Concatenates the instances of several masks of one size.

        If all masks share their layers, the result shares them too. Otherwise layers that do not overlap are merged.

        Raises:
            ValueError: There are no masks, or they differ in size.
        """
        assert isinstance(masks, Sequence)
        if len(masks) == 0:
            raise ValueError('masks must not be an empty list')
        assert all(isinstance(item, cls) for item in masks)
        sizes = {(item.height, item.width) for item in masks}
        if len(sizes) > 1:
            raise ValueError(f'masks must have one size (height, width), got {sorted(sizes)}')
        filled = [item for item in masks if len(item)] or masks[:1]
        stacks, layer_indices, ids = zip(*((item.layers, item.layer_indices, item.ids) for item in filled), strict=True)
        if all(stack is stacks[0] for stack in stacks):
            return cls._make(stacks[0], np.concatenate(layer_indices), np.concatenate(ids))
        return cls._make(*join_stacks(stacks, layer_indices, ids))

    @property
    def masks(self) -> NoReturn:
        """Always raises an AttributeError: there are no bitmaps, because they would cost N times the pixels.

        Raises:
            AttributeError: The attribute was read.
        """
        raise AttributeError(
            f'{type(self).__name__} has no .masks, because it holds no bitmaps. Use its methods, crops() for one '
            'instance after another, or to_ndarray() for all bitmaps (N, H, W). For code that needs .masks, load '
            "bitmaps instead: dict(type='LoadAnnotations', with_mask=True)")

    @property
    def height(self) -> int:
        """Height of the frame in px."""
        return self.layers.shape[1]

    @property
    def width(self) -> int:
        """Width of the frame in px."""
        return self.layers.shape[2]

    def __getitem__(self, index: object) -> Self:
        """Returns the masks of an index along the instances, with every index that ``BitmapMasks`` takes.

        Raises:
            IndexError: The index names no instance, or is an index of pixels.
        """
        while isinstance(index, tuple) and len(index) > 1 and (
                index[-1] is ... or (isinstance(index[-1], slice) and index[-1] == slice(None))):
            index = index[:-1]
        if isinstance(index, tuple) and any(part is ... for part in index[:-1]):
            raise IndexError(f'masks can be indexed along the instances only, got the index {index!r}')
        # An index can add dimensions: None and True add one, and False one without entries.
        return self._make(self.layers, self.layer_indices[index].reshape(-1), self.ids[index].reshape(-1))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yields the bitmap (H, W) uint8 of one instance after another."""
        for crop, x1, y1 in self.crops():
            bitmap = np.zeros((self.height, self.width), np.uint8)
            bitmap[y1:y1 + crop.shape[0], x1:x1 + crop.shape[1]] = crop
            yield bitmap

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_masks={len(self)}, height={self.height}, width={self.width})'

    def crops(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """Yields, for each instance, its bitmap (h, w) bool inside its box, and the x1 and y1 of the box in px."""
        numbered, numbers, boxes = self._numbered_with_boxes()
        for number in numbers:
            layer, x1, y1, x2, y2 = boxes[number - 1].tolist()
            yield numbered[layer, y1:y2, x1:x2] == number, x1, y1

    def _numbered_with_boxes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the results of :func:`number_instances`, and (M, 5) int64: layer and box xyxy of each number.

        x2 and y2 are one past the last pixel, and all five are 0 for an instance without pixels.
        """
        numbered, numbers = number_instances(self.layers, self.layer_indices, self.ids)
        boxes = np.zeros((numbers.max(initial=0), 5), np.int64)
        for box, slices in zip(boxes, ndimage.find_objects(numbered, len(boxes)) if len(boxes) else [], strict=True):
            if slices is not None:
                layer, y, x = slices
                box[:] = layer.start, x.start, y.start, x.stop, y.stop
        return numbered, numbers, boxes

    @property
    def areas(self) -> np.ndarray:
        """Areas of the instances in px, (N,) uint64."""
        numbered, numbers = number_instances(self.layers, self.layer_indices, self.ids)
        return np.bincount(numbered.ravel(), minlength=numbers.max(initial=0) + 1)[numbers].astype(np.uint64)

    def to_ndarray(self) -> np.ndarray:
        """Returns all bitmaps (N, H, W) uint8. They cost N times the pixels; often :meth:`crops` is enough."""
        bitmaps = np.zeros((len(self), self.height, self.width), np.uint8)
        for bitmap, (crop, x1, y1) in zip(bitmaps, self.crops(), strict=True):
            bitmap[y1:y1 + crop.shape[0], x1:x1 + crop.shape[1]] = crop
        return bitmaps

    def to_tensor(self, dtype: torch.dtype, device: torch.device | str) -> torch.Tensor:
        """Returns all bitmaps (N, H, W) as a tensor of the given dtype on the given device."""
        return torch.tensor(self.to_ndarray(), dtype=dtype, device=device)

    def to_rles(self) -> list[dict]:
        """Returns N compressed RLEs with counts as str. Each layer is encoded in one pass over its pixels."""
        rles = {}
        for index, layer in enumerate(self.layers):
            encoded = encode_label_map(layer)
            rles.update(zip(((index, i) for i in encoded.ids.tolist()), encoded.rles, strict=True))
        no_runs = np.zeros(0, np.int64)
        empty_rle = encode_runs(no_runs, no_runs, np.array([0]), self.height, self.width)[0]
        return [rles.get(key, empty_rle) for key in zip(self.layer_indices.tolist(), self.ids.tolist(), strict=True)]

    def get_bboxes(self, dst_type: str | type = 'hbb') -> HorizontalBoxes:
        """Returns the tight boxes (N, 4) float32 xyxy in px.

        x2 and y2 are one past the last column and row. All four are 0 for an instance without pixels.

        Args:
            dst_type: Registered name ('hbox') or class of the boxes. 'hbb' is the default of the base class, but
                MMDetection has not registered this name; here it means 'hbox'.

        Raises:
            TypeError: The boxes asked for are not horizontal. Other types are made from bitmaps or polygons.
        """
        _, box_class = get_box_type('hbox' if dst_type == 'hbb' else dst_type)
        if not issubclass(box_class, HorizontalBoxes):
            raise TypeError(f"{type(self).__name__} can give boxes of the type 'hbox' only, got {dst_type!r}; make "
                            'other boxes from BitmapMasks(masks.to_ndarray(), masks.height, masks.width)')
        _, numbers, boxes = self._numbered_with_boxes()
        return box_class(boxes[numbers - 1, 1:].astype(np.float32))

    def _map_layers(self, function: Callable[[np.ndarray], np.ndarray], height: int, width: int) -> Self:
        """Applies a function, which turns (H, W) int32 into (height, width) int32, to each layer."""
        if not len(self):
            return self.reframe((height, width))
        return self._make(np.stack([function(layer) for layer in self.layers]), self.layer_indices, self.ids)

    def rescale(self, scale: float | tuple[int, int], interpolation: str = 'nearest') -> Self:
        """Resizes and keeps the aspect ratio, like ``mmcv.imrescale``.

        Args:
            scale: A factor, or two lengths in px in any order. The longer side of the result is then at most the
                greater length, the shorter side at most the smaller length.
            interpolation: See :func:`resize_labels`.
        """
        width, height = mmcv.rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> Self:
        """Resizes to (height, width) px with OpenCV, whatever backend ``mmcv.use_backend`` has set."""
        return self._map_layers(lambda layer: resize_labels(layer, *out_shape, interpolation), *out_shape)

    def flip(self, flip_direction: str = 'horizontal') -> Self:
        """Swaps left and right ('horizontal'), top and bottom ('vertical'), or both ('diagonal')."""
        codes = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}
        assert flip_direction in codes, f'flip_direction must be one of {list(codes)}, got {flip_direction!r}'
        return self._map_layers(lambda layer: cv2.flip(layer, codes[flip_direction]), self.height, self.width)

    def rot90(self, turns: int = 1) -> Self:
        """Rotates by quarter turns counter-clockwise, without sampling; ``BitmapMasks`` has no such method."""
        height, width = (self.width, self.height) if turns % 2 else (self.height, self.width)
        return self._map_layers(lambda layer: np.rot90(layer, turns), height, width)

    def pad(self, out_shape: tuple[int, int], pad_val: float = 0) -> Self:
        """Pads with background at the right and at the bottom to (height, width) px.

        Raises:
            ValueError: ``pad_val`` is not 0 and there are pixels to pad. They would belong to all instances.
        """
        assert not len(self) or (out_shape[0] >= self.height and out_shape[1] >= self.width), (
            f'cannot pad (height, width) {(self.height, self.width)} to the smaller {tuple(out_shape)}')
        if pad_val and len(self) and tuple(out_shape) != (self.height, self.width):
            raise ValueError(f'masks can be padded with background (0) only, got pad_val={pad_val}: in a label map '
                             'a pixel cannot belong to all instances')
        return self.reframe(out_shape)

    def crop(self, bbox: np.ndarray) -> Self:
        """Cuts out the box (4,) xyxy of integers in px. It is clipped to the frame, but has at least 1 x 1 px."""
        assert isinstance(bbox, np.ndarray) and bbox.ndim == 1
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        assert not len(self) or (y1 < self.height and x1 < self.width), f'the box {bbox} is outside the frame'
        return self.reframe((max(y2 - y1, 1), max(x2 - x1, 1)), -int(y1), -int(x1))

    def expand(self, expanded_h: int, expanded_w: int, top: int, left: int) -> Self:
        """Puts the masks at (left, top) px into a larger frame (expanded_h, expanded_w) of background."""
        layers = np.zeros((len(self.layers), expanded_h, expanded_w), np.int32)
        if len(self):
            layers[:, top:top + self.height, left:left + self.width] = self.layers
        return self._make(layers, self.layer_indices, self.ids)

    def translate(self, out_shape: tuple[int, int], offset: float | tuple[float, float], direction: str = 'horizontal',
                  border_value: int = 0, interpolation: str = 'bilinear') -> Self:
        """Shifts the masks and fills up with background.

        Args:
            out_shape: (height, width) in px. The frame is first cut off or filled up to this size at the right and at
                the bottom.
            offset: Shift in px: to the right ('horizontal'), down ('vertical'), or (right, down) ('both').
            direction: 'horizontal', 'vertical' or 'both'.
            border_value: Must be 0, background.
            interpolation: See :func:`warp_labels`.

        Raises:
            ValueError: ``border_value`` is not 0, or the interpolation is unknown.
        """
        assert direction in ('horizontal', 'vertical', 'both'), f'Invalid direction: {direction}'
        right, down = get_offsets_hv(offset, direction)
        framed = self.reframe(out_shape)
        return framed._warp_in_frame(np.float32([[1, 0, right], [0, 1, down]]), out_shape, border_value, interpolation)

    def reframe(self, out_shape: tuple[int, int], top: int = 0, left: int = 0) -> Self:
        """Puts the masks at (left, top) px into a frame (height, width), and cuts off what lies outside of it."""
        return self._make(put_into_frame(self.layers, out_shape, top, left), self.layer_indices, self.ids)

    def foreground(self) -> np.ndarray:
        """Returns (H, W) bool, True where any instance lies."""
        return number_instances(self.layers, self.layer_indices, self.ids)[0].any(axis=0)

    def erase(self, region: np.ndarray) -> Self:
        """Removes the pixels of a region (H, W) bool from all instances; instances may be left without pixels."""
        return self._map_layers(lambda layer: np.where(region, 0, layer), self.height, self.width)

    def shear(self, out_shape: tuple[int, int], magnitude: float, direction: str = 'horizontal', border_value: int = 0,
              interpolation: str = 'bilinear') -> Self:
        """Shears by ``magnitude``: the shift along the direction in px per px across it. See :meth:`translate`.

        ``out_shape`` must be the (height, width) of the masks.
        """
        assert direction in ('horizontal', 'vertical'), f'Invalid direction: {direction}'
        matrix = [[1, magnitude, 0], [0, 1, 0]] if direction == 'horizontal' else [[1, 0, 0], [magnitude, 1, 0]]
        return self._warp_in_frame(np.float32(matrix), out_shape, border_value, interpolation)

    def rotate(self, out_shape: tuple[int, int], angle: float, center: tuple[float, float] | None = None,
               scale: float = 1.0, border_value: int = 0, interpolation: str = 'bilinear') -> Self:
        """Rotates clockwise and scales. See :meth:`shear` for the other arguments.

        Args:
            angle: Angle in degrees.
            center: (x, y) in px, the fixed point. The default is the middle of the frame.
            scale: Factor of the size.
        """
        if center is None:
            center = ((self.width - 1) * .5, (self.height - 1) * .5)
        assert isinstance(center, tuple)
        matrix = cv2.getRotationMatrix2D(center, -angle, scale)
        return self._warp_in_frame(matrix, out_shape, border_value, interpolation)

    def warp(self, matrix: np.ndarray, out_shape: tuple[int, int], interpolation: str = 'bilinear') -> Self:
        """Warps into a frame (height, width) by a matrix (2, 3) that maps input (x, y) px to output (x, y) px.

        See :func:`mmcell.masks.warps.warp_labels`.
        """
        return self._map_layers(lambda layer: warp_labels(layer, matrix, out_shape, interpolation), *out_shape)

    def deform(self, points: np.ndarray) -> Self:
        """Samples all instances at the points (H, W, 2) of :func:`mmcell.masks.elastic.field_points`."""
        return self._map_layers(lambda layer: deform_labels(layer, points), self.height, self.width)

    def _warp_in_frame(self, matrix: np.ndarray, out_shape: tuple[int, int], border_value: int,
                       interpolation: str) -> Self:
        """Checks the arguments as ``BitmapMasks`` has them, and warps into a frame of the same size."""
        if not len(self):
            return self.reframe(out_shape)
        assert tuple(out_shape) == (self.height, self.width), (
            f'out_shape must be the (height, width) {(self.height, self.width)} of the masks, got {out_shape}')
        if border_value != 0:
            raise ValueError(f'the border of masks can be background (0) only, got border_value={border_value}: in a '
                             'label map a pixel cannot belong to all instances')
        return self.warp(matrix, out_shape, interpolation)

    def crop_and_resize(self, bboxes: np.ndarray | torch.Tensor, out_shape: tuple[int, int],
                        inds: np.ndarray | torch.Tensor, device: torch.device | str = 'cpu',
                        interpolation: str = 'bilinear', binarize: bool = True) -> BitmapMasks:
        """Applies RoIAlign to one instance per box; see :func:`mmcell.masks.roi_averages.roi_averages`.

        Args:
            bboxes: (K, 4) xyxy in px.
            out_shape: (height, width) of the output in px.
            inds: (K,) integers, the index of the instance that each box is applied to.
            device: Where the averages are computed. The layers are sent there, not N bitmaps.
            interpolation: Not used, as in ``BitmapMasks``.
            binarize: Whether averages are compared with one half. If False, they are returned unchanged.

        Returns:
            K small **BitmapMasks**: bool, True where the average is at least one half, or the averages themselves.
        """
        if not len(self) or not len(bboxes):
            return BitmapMasks([], *out_shape)
        averages = self.average_in_boxes(
            torch.as_tensor(bboxes).to(device), torch.as_tensor(inds).to(device), out_shape)
        targets = averages >= .5 if binarize else averages
        return BitmapMasks(targets.cpu().numpy(), *out_shape)

    def average_in_boxes(self, bboxes_xyxy: torch.Tensor, inds: torch.Tensor,
                         out_shape: tuple[int, int]) -> torch.Tensor:
        """Applies RoIAlign like :meth:`crop_and_resize`, on the device of the boxes, where the result stays.

        Args:
            bboxes_xyxy: (K, 4) float in px. There must be an instance if there is a box.
            inds: (K,) int64 on the same device, the index of the instance that each box is applied to.
            out_shape: (height, width) of the output in px.

        Returns:
            (K, height, width) float from 0 to 1, the averages.
        """
        layers, layer_indices, ids = self._send_to(bboxes_xyxy.device)
        return roi_averages(layers, layer_indices[inds], ids[inds], bboxes_xyxy, out_shape)

    def _send_to(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns layers, layer indices and ids on a device. They are sent once, also if several stages need them."""
        if self._sent is None or self._sent[0].device != device:
            arrays = self.layers, self.layer_indices, self.ids
            self._sent = tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in arrays)
        return self._sent

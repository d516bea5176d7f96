"""Instances in layers of label maps: placing them, finding them again, moving and merging layers. Pure arrays.

A stack of layers is (L, H, W) int32, 0 = background; an instance is a layer and an id in it. Of the ids in a layer
some may not be asked for: they belong to instances that were left out, and count as background.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

# A table of so many entries is cheap whatever the map's size.
_SMALL_TABLE = 1 << 16
_MAX_ID = np.iinfo(np.int32).max


def check_layers(layers: np.ndarray, layer_indices: np.ndarray,
                 ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The arguments as (L, H, W) int32, (N,) int64 and (N,) int64.

    Raises:
        ValueError: shapes, types or values are not what they should be.
    """
    layers, layer_indices, ids = np.asarray(layers), np.asarray(layer_indices), np.asarray(ids)
    if layers.ndim != 3 or layers.dtype.kind not in 'iu':
        raise ValueError(f'layers must be (L, H, W) integers, got {layers.shape} {layers.dtype}')
    _check_range('layers', layers, 0, _MAX_ID)
    for name, values in (('layer_indices', layer_indices), ('ids', ids)):
        if values.ndim != 1 or (values.size and values.dtype.kind not in 'iu'):
            raise ValueError(f'{name} must be (N,) integers, got {values.shape} {values.dtype}')
    if len(layer_indices) != len(ids):
        raise ValueError(f'each instance has a layer and an id, got {len(layer_indices)} layers and {len(ids)} ids')
    _check_range('layer_indices', layer_indices, 0, len(layers) - 1)
    _check_range('ids', ids, 1, _MAX_ID)
    return layers.astype(np.int32, copy=False), layer_indices.astype(np.int64), ids.astype(np.int64)


def _check_range(name: str, values: np.ndarray, lowest: int, highest: int) -> None:
    if values.size and not (values.min() >= lowest and values.max() <= highest):
        raise ValueError(f'{name} must be from {lowest} to {highest}, got {values.min()} to {values.max()}')


def place_in_layers(positions: np.ndarray, areas: np.ndarray, n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Paints N instances, each into a layer where it overlaps no other.

    Args:
        positions: (sum of areas,) int64, the flat pixel positions of the instances one after another.
        areas: (N,) how many belong to each; 0 is allowed.
        n_pixels: pixels of a layer.

    Returns:
        Layers (L, n_pixels) int32, in which instance i has the id i + 1, and the layer (N,) int64 of each instance.
    """
    n_instances = len(areas)
    labels = np.repeat(np.arange(1, n_instances + 1, dtype=np.int32), areas)
    layer_indices = np.zeros(n_instances, np.int64)
    if n_instances == 0:
        return np.zeros((0, n_pixels), np.int32), layer_indices
    first = np.zeros(n_pixels, np.int32)
    # Of several values for one pixel numpy keeps the last: here the first instance.
    first[positions[::-1]] = labels[::-1]
    is_covered = np.zeros(n_instances + 1, bool)
    is_covered[labels[first[positions] != labels]] = True
    layers = [first]
    if is_covered.any():
        first[is_covered[first]] = 0
        begins = np.cumsum(areas) - areas
        for label in np.flatnonzero(is_covered):
            pixels = positions[begins[label - 1]:begins[label - 1] + areas[label - 1]]
            layer_indices[label - 1] = _paint_in_first_free(layers, pixels, label)
    return np.stack(layers), layer_indices


def _paint_in_first_free(layers: list[np.ndarray], pixels: np.ndarray, label: int) -> int:
    """Paints into the first layer that is background there, a new one if there is none; returns its index."""
    index = next((index for index, layer in enumerate(layers) if not layer[pixels].any()), len(layers))
    if index == len(layers):
        layers.append(np.zeros_like(layers[0]))
    layers[index][pixels] = label
    return index


def number_instances(layers: np.ndarray, layer_indices: np.ndarray,
                     ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers the instances asked for from 1, over all layers, without gaps.

    Args:
        layers: (L, H, W) int32.
        layer_indices: (N,) int64, the layer of each entry.
        ids: (N,) positive int64, its id in that layer. Several entries may be one instance.

    Returns:
        The numbered layers (L, H, W) int32, in which nothing else is left, and the number (N,) int64 of each entry.
        They are in the order of layers and ids.
    """
    keys, indices = np.unique(layer_indices << 32 | ids, return_inverse=True)
    layer_of_key, ids_of_key = keys >> 32, keys & 0xffffffff
    numbered = np.zeros(layers.shape, np.int32)
    for layer in np.unique(layer_of_key):
        in_layer = np.flatnonzero(layer_of_key == layer)
        numbered[layer] = _renumber(layers[layer], ids_of_key[in_layer], (in_layer + 1).astype(np.int32))
    return numbered, indices + 1


def _renumber(label_map: np.ndarray, ids: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(H, W) int32 with ``numbers`` in place of the ascending ``ids``, 0 in place of every other id."""
    top_id = int(label_map.max(initial=0))
    if top_id <= max(label_map.size, _SMALL_TABLE):
        table = np.zeros(top_id + 1, np.int32)
        table[ids[ids <= top_id]] = numbers[ids <= top_id]
        return table[label_map]
    nearest = np.minimum(np.searchsorted(ids, label_map), len(ids) - 1)
    return np.where(ids[nearest] == label_map, numbers[nearest], 0)


def count_pixels(numbered: np.ndarray, n_numbers: int) -> np.ndarray:
    """Areas in px (n_numbers,) int64 of the instances 1 … n_numbers of numbered layers."""
    return np.bincount(numbered.ravel(), minlength=n_numbers + 1)[1:]


def find_boxes(numbered: np.ndarray, n_numbers: int) -> np.ndarray:
    """Layer and box of the instances 1 … n_numbers of numbered layers, which is one pass over the pixels.

    Returns:
        (n_numbers, 5) int64: layer, x1, y1, x2, y2 in px, the last row and column inside (x2 - x1 is the width).
        All zero where an instance has no pixel.
    """
    boxes = np.zeros((n_numbers, 5), np.int64)
    found = ndimage.find_objects(numbered, n_numbers) if n_numbers else []
    for index, slices in enumerate(found):
        if slices is not None:
            layer, y, x = slices
            boxes[index] = layer.start, x.start, y.start, x.stop, y.stop
    return boxes


def put_into_frame(layers: np.ndarray, out_shape: tuple[int, int], top: int, left: int) -> np.ndarray:
    """Puts layers (L, H, W) into a frame (height, width) of background at (left, top), and cuts what sticks out.

    Returns:
        (L, height, width) int32. ``top`` and ``left`` may be negative, or so large that nothing is inside.
    """
    framed = np.zeros((len(layers), *out_shape), np.int32)
    (y, source_y), (x, source_x) = (
        _overlap(offset, size, frame_size)
        for offset, size, frame_size in zip((top, left), layers.shape[1:], out_shape, strict=True))
    framed[:, y, x] = layers[:, source_y, source_x]
    return framed


def _overlap(offset: int, size: int, frame_size: int) -> tuple[slice, slice]:
    """Along one axis: the part of the frame that is covered, and what of the source covers it."""
    start = min(max(offset, 0), frame_size)
    stop = max(min(offset + size, frame_size), start)
    first = max(start - offset, 0)
    return slice(start, stop), slice(first, first + stop - start)


def join_stacks(stacks: Sequence[np.ndarray], layer_indices: Sequence[np.ndarray],
                ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One stack for the instances of several, with layers put together where they do not overlap.

    Args:
        stacks: layers (L_k, H, W) int32 each; the same array may be there several times.
        layer_indices: (N_k,) int64 for each stack.
        ids: (N_k,) int64 for each stack.

    Returns:
        Layers (L, H, W) int32, and the layer (N,) and the id (N,) of all instances in order.
    """
    distinct = {id(stack): stack for stack in stacks}
    n_layers = [len(stack) for stack in distinct.values()]
    first_layer = dict(zip(distinct, np.cumsum(n_layers) - n_layers, strict=True))
    all_indices = np.concatenate(
        [indices + first_layer[id(stack)] for stack, indices in zip(stacks, layer_indices, strict=True)])
    numbered, numbers = number_instances(np.concatenate(list(distinct.values())), all_indices, np.concatenate(ids))
    merged: list[np.ndarray] = []
    destinations = np.array([_merge_into_first_free(merged, layer) for layer in numbered], np.int64)
    return np.stack(merged), destinations[all_indices], numbers


def _merge_into_first_free(merged: list[np.ndarray], layer: np.ndarray) -> int:
    is_inside = layer > 0
    for index, target in enumerate(merged):
        if not target[is_inside].any():
            target += layer
            return index
    merged.append(layer)
    return len(merged) - 1

"""Functions over arrays that place instances in layers of label maps, find them again, and move and merge layers.

A stack of layers is (L, H, W) int32, 0 = background. An instance is given by a layer and an id in this layer. A layer
may contain further ids that the caller did not name. They belong to instances that were left out, and count as
background.
"""

from collections.abc import Sequence

import numpy as np

from mmcell.ragged import begins_of, offsets_of

# A lookup table with this number of entries is cheap, however small the map is.
_SMALL_TABLE = 1 << 16
_MAX_ID = np.iinfo(np.int32).max


def check_layers(layers: np.ndarray, layer_indices: np.ndarray,
                 ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Checks the arguments of ``LabelMapMasks``, and returns them as int32, int64 and int64.

    Raises:
        ValueError: A shape, type or value is not one that ``LabelMapMasks`` takes.
    """
    layers, layer_indices, ids = np.asarray(layers), np.asarray(layer_indices), np.asarray(ids)
    if layers.ndim != 3 or layers.dtype.kind not in 'iu':
        raise ValueError(f'layers must be an array (L, H, W) of integers, got {layers.shape} {layers.dtype}')
    for name, values, lowest, highest in (('layers', layers, 0, _MAX_ID), ('ids', ids, 1, _MAX_ID),
                                          ('layer_indices', layer_indices, 0, len(layers) - 1)):
        if name != 'layers' and (values.ndim != 1 or (values.size and values.dtype.kind not in 'iu')):
            raise ValueError(f'{name} must be an array (N,) of integers, got {values.shape} {values.dtype}')
        if values.size and not (values.min() >= lowest and values.max() <= highest):
            raise ValueError(f'{name} must be from {lowest} to {highest}, got {values.min()} to {values.max()}')
    if len(layer_indices) != len(ids):
        raise ValueError('each instance needs a layer and an id: layer_indices and ids must have the same length, got '
                         f'{len(layer_indices)} and {len(ids)}')
    return layers.astype(np.int32, copy=False), layer_indices.astype(np.int64), ids.astype(np.int64)


def place_in_layers(positions: np.ndarray, areas: np.ndarray, n_pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Paints N instances into layers, so that no two instances of a layer overlap.

    Args:
        positions: (sum of areas,) int64, the flat pixel positions of one instance after another.
        areas: (N,) int64, the number of pixels per instance; 0 is allowed.
        n_pixels: The number of pixels of a layer.

    Returns:
        Layers (L, n_pixels) int32, in which instance i has the id i + 1, and (N,) int64, the layer of each instance.
    """
    n_instances = len(areas)
    labels = np.repeat(np.arange(1, n_instances + 1, dtype=np.int32), areas)
    layer_indices = np.zeros(n_instances, np.int64)
    if n_instances == 0:
        return np.zeros((0, n_pixels), np.int32), layer_indices
    # All instances are painted into the first layer, in reverse, so that a pixel keeps its first instance. Those that
    # lose a pixel are then taken out and painted again, one by one. Instances 1, 2, 3 with the pixels [0, 1, 2],
    # [2, 3], [4] give first = [1, 1, 1, 2, 3, 0]. Read at the positions, this is [1, 1, 1, 1, 2, 3]:
    # 2 has lost a pixel. Layers: [1, 1, 1, 0, 3, 0] and [0, 0, 2, 2, 0, 0].
    first = np.zeros(n_pixels, np.int32)
    first[positions[::-1]] = labels[::-1]
    is_covered = np.zeros(n_instances + 1, bool)
    is_covered[labels[first[positions] != labels]] = True
    layers = [first]
    if is_covered.any():
        first[is_covered[first]] = 0
        offsets = offsets_of(areas)
        for label in np.flatnonzero(is_covered):
            pixels = positions[offsets[label - 1]:offsets[label]]
            index = layer_indices[label - 1] = _first_free(layers, pixels)
            if index == len(layers):
                layers.append(np.zeros_like(first))
            layers[index][pixels] = label
    return np.stack(layers), layer_indices


def _first_free(layers: list[np.ndarray], pixels: np.ndarray) -> int:
    """Returns the index of the first layer in which all these pixels are background, or the number of layers."""
    return next((index for index, layer in enumerate(layers) if not layer[pixels].any()), len(layers))


def number_instances(layers: np.ndarray, layer_indices: np.ndarray,
                     ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives the named instances the numbers 1, 2, 3, … over all layers, in the order of layers, then ids.

    Args:
        layers, layer_indices, ids: As :func:`check_layers` returns them. Several entries may name the same instance.

    Returns:
        The layers (L, H, W) int32 with numbers in place of ids and 0 in place of ids that no entry names, and
        (N,) int64, the number of each entry.
    """
    # A key holds the layer in its upper and the id in its lower 32 bits, so that keys sort by layer, then by id.
    # The entries (layer, id) (0, 9), (1, 3), (0, 5), (0, 9) have the sorted keys (0, 5), (0, 9), (1, 3), which become
    # the numbers 1, 2, 3. The entries have the numbers [2, 3, 1, 2]. The layers [5, 0, 9, 7] and [0, 3, 3, 0] become
    # [1, 0, 2, 0] and [0, 3, 3, 0]: no entry names the id 7.
    keys, indices = np.unique(layer_indices << 32 | ids, return_inverse=True)
    layer_of_key, ids_of_key = keys >> 32, keys & 0xffffffff
    numbered = np.zeros(layers.shape, np.int32)
    for layer in np.unique(layer_of_key):
        in_layer = np.flatnonzero(layer_of_key == layer)
        numbered[layer] = _renumber(layers[layer], ids_of_key[in_layer], (in_layer + 1).astype(np.int32))
    return numbered, indices + 1


def _renumber(label_map: np.ndarray, ids: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Returns (H, W) int32 with ``numbers`` in place of the ascending ``ids``, and 0 in place of all other ids."""
    # Small ids are looked up in a table with one entry per id. For ids up to 2^31 - 1 this table would be too large:
    # they are searched for. With ids [5, 1000000] the pixels [0, 5, 7, 1000000] find the places [0, 0, 1, 1]. The ids
    # there, [5, 5, 1000000, 1000000], are equal to the pixels 5 and 1000000, and the other pixels become 0.
    top_id = int(label_map.max(initial=0))
    if top_id <= max(label_map.size, _SMALL_TABLE):
        table = np.zeros(top_id + 1, np.int32)
        table[ids[ids <= top_id]] = numbers[ids <= top_id]
        return table[label_map]
    nearest = np.minimum(np.searchsorted(ids, label_map), len(ids) - 1)
    return np.where(ids[nearest] == label_map, numbers[nearest], 0)


def put_into_frame(layers: np.ndarray, out_shape: tuple[int, int], top: int, left: int) -> np.ndarray:
    """Moves layers into another frame. What lies outside the new frame is cut off, what was outside is background.

    Args:
        layers: (L, H, W) int32.
        out_shape: (height, width) of the new frame in px.
        top: Row of the new frame where the layers begin. It may be negative, or so large that nothing is inside.
        left: Column of the new frame where the layers begin, with the same range as ``top``.

    Returns:
        (L, height, width) int32.
    """
    framed = np.zeros((len(layers), *out_shape), np.int32)
    # Slices end at the last row or column. Of 5 rows with top = -2 in a frame of 4, frame[0:3] becomes source[2:6].
    target, source = (
        tuple(slice(max(offset, 0), max(offset + size, 0)) for offset, size in zip(offsets, sizes, strict=True))
        for offsets, sizes in (((top, left), layers.shape[1:]), ((-top, -left), out_shape)))
    framed[:, *target] = layers[:, *source]
    return framed


def join_stacks(stacks: Sequence[np.ndarray], layer_indices: Sequence[np.ndarray],
                ids: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joins the instances of several stacks in one stack. Layers that do not overlap are merged.

    Args:
        stacks, layer_indices, ids: K times what :func:`check_layers` returns. The same stack may occur several times.

    Returns:
        Layers (L, H, W) int32, and the layers (N,) int64 and ids (N,) int64 of all instances in their order.
    """
    # The stacks [1, 1, 0, 0], [0, 0, 0, 4], the first one again, and [0, 6, 6, 0] have one layer each. Three are
    # distinct, hence all_indices = [0, 1, 0, 2] and numbers = [1, 2, 1, 3]. The first two layers do not overlap and
    # are merged, the last one overlaps them: merged = [1, 1, 0, 2] and [0, 3, 3, 0], destinations = [0, 0, 1].
    # The four instances lie in the layers [0, 0, 0, 1].
    distinct = {id(stack): stack for stack in stacks}
    first_layer = dict(zip(distinct, begins_of([len(stack) for stack in distinct.values()]), strict=True))
    all_indices = np.concatenate(
        [indices + first_layer[id(stack)] for stack, indices in zip(stacks, layer_indices, strict=True)])
    numbered, numbers = number_instances(np.concatenate(list(distinct.values())), all_indices, np.concatenate(ids))
    merged, destinations = [], np.zeros(len(numbered), np.int64)
    for source, layer in enumerate(numbered):
        index = destinations[source] = _first_free(merged, layer > 0)
        if index == len(merged):
            merged.append(layer)
        else:
            merged[index] += layer
    return np.stack(merged), destinations[all_indices], numbers

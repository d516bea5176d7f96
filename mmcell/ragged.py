"""Arrays whose elements belong to consecutive groups of different sizes: the moves on them, each under one name.

The runs of masks, the pixels of cells and the pairs of boxes are held as one flat array with the elements of group 0,
then those of group 1, and so on, and a second array ``sizes`` (N,) with the number of elements of each group. Groups
may be empty. The example in this module has the sizes [2, 0, 3]: group 0 has the elements 0 and 1, group 1 has none,
and group 2 has the elements 2 to 4.
"""

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components


def offsets_of(sizes: np.ndarray) -> np.ndarray:
    """Returns where groups begin, and where the last one ends, (N + 1,) int64: sizes [2, 0, 3] give [0, 2, 2, 5]."""
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def begins_of(sizes: np.ndarray) -> np.ndarray:
    """Returns the index of the first element of each group, (N,) int64: sizes [2, 0, 3] give [0, 2, 2]."""
    return offsets_of(sizes)[:-1]


def groups_of(sizes: np.ndarray) -> np.ndarray:
    """Returns the group of each element, int64: sizes [2, 0, 3] give [0, 0, 2, 2, 2]."""
    return np.repeat(np.arange(len(sizes)), sizes)


def index_in_group(sizes: np.ndarray) -> np.ndarray:
    """Returns the place of each element in its group, int64: sizes [2, 0, 3] give [0, 1, 0, 1, 2]."""
    offsets = offsets_of(sizes)
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)


def elements_of(sizes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Returns the indices of the elements of chosen groups, group after group.

    Args:
        sizes: (N,) int, the sizes of all groups.
        chosen: (K,) int, the chosen groups in any order; a group may occur several times.

    Returns:
        int64 indices. Sizes [2, 0, 3] and chosen [2, 0] give [2, 3, 4, 0, 1].
    """
    sizes_of_chosen = np.asarray(sizes)[chosen]
    return np.repeat(begins_of(sizes)[chosen], sizes_of_chosen) + index_in_group(sizes_of_chosen)


def sums_of_groups(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the sum of the values of each group, (N,); 0 for an empty group.

    Args:
        values: One integer per element. Sums of floats would lose digits, because they are differences of sums over all
            elements.
        sizes: (N,) int.
    """
    # The values [1, 2, 3, 4, 5] with the sizes [2, 0, 3] have the sums [0, 1, 3, 6, 10, 15] before each element and at
    # the end. At the offsets [0, 2, 2, 5] they are [0, 3, 3, 15], and the differences are [3, 0, 12].
    return np.diff(offsets_of(values)[offsets_of(sizes)])


def running_sums(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns the sum of the values of each group up to each element, (elements,) int64.

    Args:
        values: (elements,) int64. Sums beyond its range wrap around.
        sizes: (N,) int.
    """
    # The values [1, 2, 3, 4, 5] with the sizes [2, 0, 3] have groups that begin at [0, 2], with the sums [3, 12]. Where
    # a group begins, the sum of the group before is taken off: [1, 2, 0, 4, 5] has the sums [1, 3, 3, 7, 12].
    begins = begins_of(sizes)[np.asarray(sizes) > 0]
    if not len(begins):
        return values.copy()
    sums = np.add.reduceat(values, begins)
    steps = values.copy()
    steps[begins[1:]] -= sums[:-1]
    return np.cumsum(steps, out=steps)


def sums_of_pairs(first: np.ndarray, second: np.ndarray, values: np.ndarray,
                  shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Adds up the values (S,) of equal pairs of indices below ``shape``; returns the pairs, sorted, and their sums."""
    table = csr_array((values, (first, second)), shape=shape)
    table.sort_indices()
    # A table of two rows with two entries and one entry has indptr = [0, 2, 3]: the first indices are [0, 0, 1].
    return groups_of(np.diff(table.indptr)), table.indices.astype(np.int64), table.data


def reduce_groups(function: np.ufunc, values: np.ndarray, sizes: np.ndarray, empty: float = 0) -> np.ndarray:
    """Returns ``function.reduce`` of the values of each group, (N, …), in the dtype of the values.

    Args:
        function: ``np.minimum``, ``np.maximum``, ``np.add``, ``np.logical_or`` …
        values: (elements, …), one value or row per element.
        sizes: (N,) int.
        empty: The value of an empty group.
    """
    # ``reduceat`` reduces from each index up to the next one, and cannot reduce over nothing.
    has_elements = np.asarray(sizes) > 0
    reduced = np.full((len(sizes), *values.shape[1:]), empty, values.dtype)
    if has_elements.any():
        reduced[has_elements] = function.reduceat(values, begins_of(sizes)[has_elements], dtype=values.dtype)
    return reduced


def begins_of_runs(*keys: np.ndarray) -> np.ndarray:
    """Returns the indices, int64 and ascending, of the elements that differ from the one before in any of the keys.

    Args:
        keys: Arrays of equal length L. The keys [4, 4, 7, 7] and [1, 1, 1, 2] give [0, 2, 3].
    """
    differs = np.zeros(len(keys[0]), bool)
    differs[:1] = True
    for key in keys:
        differs[1:] |= key[1:] != key[:-1]
    return np.flatnonzero(differs)


def new_indices(is_kept: np.ndarray) -> np.ndarray:
    """Returns the new index of each element when only some are kept, int64; without meaning for the others.

    The flags [True, False, True] give [0, 0, 1]: element 2 becomes element 1.
    """
    return np.cumsum(is_kept) - 1


def split_by(groups: np.ndarray) -> list[np.ndarray]:
    """Returns the indices of the elements of each group, by ascending group: [7, 3, 7] gives [[1], [0, 2]]."""
    order = np.argsort(groups, kind='stable')
    return np.split(order, begins_of_runs(groups[order])[1:]) if len(order) else []


def split_by_load(loads: np.ndarray, max_load: int) -> Iterator[slice]:
    """Splits items into consecutive slices, each with a load below ``max_load`` plus the load of its first item.

    Args:
        loads: (N,) int, the load of each item, not negative: for example the number of elements of each group.
        max_load: The bound, positive.
    """
    # The loads [3, 4, 2, 9, 1] with max_load = 8: the cumulative loads [3, 7, 9, 18, 19] divided by 8 are
    # [0, 0, 1, 2, 2], which gives the slices 0:2, 2:3 and 3:5.
    begins = begins_of_runs(np.cumsum(loads) // max_load).tolist()
    yield from map(slice, begins, [*begins[1:], len(loads)])


def ranks_in_groups(groups: np.ndarray) -> np.ndarray:
    """Returns how many earlier elements are in the group of each element, int64.

    Args:
        groups: (L,) int, the group of each element, in any order. The groups [7, 3, 7, 7, 3] give [0, 0, 1, 2, 1].
    """
    # Sorted, the groups are [3, 3, 7, 7, 7]. They begin at [0, 0, 2, 2, 2], so that the ranks are [0, 1, 0, 1, 2].
    order = np.argsort(groups, kind='stable')
    in_order = groups[order]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order)) - np.searchsorted(in_order, in_order)
    return ranks


def label_components(first: np.ndarray, second: np.ndarray, n: int) -> np.ndarray:
    """Numbers the connected components of a graph: things that are linked directly or through others.

    Args:
        first: (P,) int, one end of each link.
        second: (P,) int, the other end.
        n: The number of things.

    Returns:
        (n,) int32, the number of the component of each thing. The links 0-2 and 2-3 of five things give
        [0, 1, 0, 0, 2].
    """
    graph = coo_array((np.ones(len(first), bool), (first, second)), shape=(n, n))
    return connected_components(graph, directed=False)[1]

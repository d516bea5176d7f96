"""The moves on arrays of consecutive groups, compared with loops over lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.ragged import (
    begins_of,
    begins_of_runs,
    elements_of,
    groups_of,
    index_in_group,
    label_components,
    new_indices,
    offsets_of,
    ranks_in_groups,
    reduce_groups,
    running_sums,
    split_by_load,
    sums_of_groups,
)

sizes_strategy = st.lists(st.integers(0, 4), max_size=6)


def split(values: np.ndarray, sizes: list[int]) -> list[list[int]]:
    """Returns the values of each group as a list."""
    rest, groups = list(values), []
    for size in sizes:
        groups.append(rest[:size])
        rest = rest[size:]
    return groups


@given(sizes_strategy)
def test_places_of_elements(sizes: list[int]) -> None:
    array = np.array(sizes, np.int64)
    groups = split(range(sum(sizes)), sizes)
    assert offsets_of(array).tolist() == [sum(sizes[:i]) for i in range(len(sizes) + 1)]
    assert begins_of(array).tolist() == [sum(sizes[:i]) for i in range(len(sizes))]
    assert groups_of(array).tolist() == [i for i, group in enumerate(groups) for _ in group]
    assert index_in_group(array).tolist() == [i for group in groups for i in range(len(group))]


@given(sizes_strategy.filter(bool), st.data())
def test_elements_of_chosen_groups(sizes: list[int], data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(sizes) - 1), max_size=6))
    groups = split(range(sum(sizes)), sizes)
    elements = elements_of(np.array(sizes), np.array(chosen, np.int64))
    assert elements.tolist() == [element for group in chosen for element in groups[group]]


@given(sizes_strategy, st.data())
def test_sums_and_reductions(sizes: list[int], data: st.DataObject) -> None:
    values = data.draw(st.lists(st.integers(-9, 9), min_size=sum(sizes), max_size=sum(sizes)))
    array, groups = np.array(values, np.int64), split(values, sizes)
    assert sums_of_groups(array, np.array(sizes, np.int64)).tolist() == list(map(sum, groups))
    assert running_sums(array, np.array(sizes, np.int64)).tolist() == [
        sum(group[:end]) for group in groups for end in range(1, len(group) + 1)]
    assert array.tolist() == values
    for function, reference in ((np.minimum, min), (np.maximum, max), (np.add, sum)):
        reduced = reduce_groups(function, array, np.array(sizes, np.int64), empty=7)
        assert reduced.tolist() == [reference(group) if group else 7 for group in groups]


def test_reductions_of_rows_keep_the_dtype() -> None:
    rows = np.array([[1, 9], [5, 2], [3, 3]], np.uint8)
    reduced = reduce_groups(np.maximum, rows, np.array([2, 0, 1]))
    assert reduced.tolist() == [[5, 9], [0, 0], [3, 3]]
    assert reduced.dtype == np.uint8


def test_sums_do_not_wrap() -> None:
    assert sums_of_groups(np.full(3, 200, np.uint8), np.array([3])).tolist() == [600]


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=8))
def test_begins_of_runs(pairs: list[tuple[int, int]]) -> None:
    first, second = (np.array([pair[i] for pair in pairs], np.int64) for i in (0, 1))
    expected = [i for i, pair in enumerate(pairs) if i == 0 or pair != pairs[i - 1]]
    assert begins_of_runs(first, second).tolist() == expected


@given(st.lists(st.integers(0, 4), max_size=12))
def test_ranks_in_groups(groups: list[int]) -> None:
    assert ranks_in_groups(np.array(groups, int)).tolist() == [groups[:i].count(group)
                                                               for i, group in enumerate(groups)]


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(1, 20))
def test_slices_hold_a_bounded_load(loads: list[int], max_load: int) -> None:
    slices = list(split_by_load(np.array(loads, np.int64), max_load))
    assert [index for part in slices for index in range(len(loads))[part]] == list(range(len(loads)))
    for part in slices:
        assert part.start < part.stop and sum(loads[part]) < max_load + loads[part.start]
    assert len(slices) <= sum(loads) // max_load + 1


def test_new_indices_count_the_kept_elements() -> None:
    is_kept = np.array([False, True, True, False, True])
    assert new_indices(is_kept)[is_kept].tolist() == [0, 1, 2]


@pytest.mark.parametrize(('links', 'n', 'expected'), [
    ([(0, 2), (2, 3)], 5, [0, 1, 0, 0, 2]),
    ([], 3, [0, 1, 2]),
    ([], 0, []),
    ([(1, 0), (1, 0)], 2, [0, 0]),
])
def test_components(links: list[tuple[int, int]], n: int, expected: list[int]) -> None:
    first, second = (np.array([link[i] for link in links], np.int64) for i in (0, 1))
    assert label_components(first, second, n).tolist() == expected

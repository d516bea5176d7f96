import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmcell.annotations import splits
from mmcell.annotations.splits import choose_folds, choose_validation_groups

CELLS = st.tuples(st.integers(2, 9), st.integers(1, 4)).flatmap(
    lambda shape: hnp.arrays(int, shape, elements=st.sampled_from([0, 0, 0, 1, 5, 30])))


def n_on_both_sides(in_val, cells):
    """The number of classes that have cells in validation and in training."""
    return ((cells[in_val].sum(axis=0) > 0) & (cells[~in_val].sum(axis=0) > 0)).sum()


def every_split(n_groups):
    """All splits of the groups with at least one group on each side, (G,) bool."""
    for number in range(1, 2 ** n_groups - 1):
        yield np.array([number >> i & 1 for i in range(n_groups)], bool)


@given(CELLS, st.sampled_from([.2, .5]), st.booleans())
def test_as_many_classes_as_possible_are_on_both_sides(cells, ratio, is_local_search):
    """Compares the exhaustive choice, and the local search for large data sets, with all splits."""
    limit, splits.MAX_EXHAUSTIVE_GROUPS = splits.MAX_EXHAUSTIVE_GROUPS, 0 if is_local_search else 16
    try:
        in_val = choose_validation_groups(np.ones(len(cells)), cells, ratio, seed=0)
    finally:
        splits.MAX_EXHAUSTIVE_GROUPS = limit
    assert 0 < in_val.sum() < len(cells)
    assert n_on_both_sides(in_val, cells) == max(n_on_both_sides(split, cells) for split in every_split(len(cells)))


def test_the_share_of_validation_is_close_to_the_ratio_for_images_and_every_class():
    rng = np.random.default_rng(0)
    cells = rng.poisson(rng.gamma(.4, 50, (200, 4)))
    in_val = choose_validation_groups(np.ones(200), cells, .2, seed=0)
    assert in_val.sum() == pytest.approx(40, abs=1)
    np.testing.assert_allclose(cells[in_val].sum(axis=0) / cells.sum(axis=0), .2, atol=.01)


def test_the_split_depends_only_on_the_seed():
    cells = np.random.default_rng(1).poisson(20, (60, 3))
    first, repeated, other = (choose_validation_groups(np.ones(60), cells, .2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, repeated)
    assert (first != other).any()


@pytest.mark.parametrize('n_images, ratio, expected', [(10, .2, 2), (1, .2, 0), (2, .2, 1), (3, .9, 2), (5, 0, 0)])
def test_number_of_validation_images(n_images, ratio, expected):
    assert choose_validation_groups(np.ones(n_images), np.ones((n_images, 1)), ratio, seed=1).sum() == expected


def test_without_any_cell_only_images_count():
    assert choose_validation_groups(np.ones(10), np.zeros((10, 2)), .3, seed=0).sum() == 3


def shares_of(folds, counts, n_folds):
    """The share (n_folds, columns) of each fold in the sums of the columns."""
    return np.stack([counts[folds == fold].sum(axis=0) for fold in range(n_folds)]) / counts.sum(axis=0)


def cost_of(folds, cells, n_folds):
    """What the search minimises: classes that are missing from a fold, then the squared deviations of all shares."""
    shares = shares_of(folds, np.column_stack([np.ones(len(cells)), cells])[:, np.r_[True, cells.sum(axis=0) > 0]],
                       n_folds)
    return (shares[:, 1:] == 0).sum(), ((shares - 1 / n_folds) ** 2).sum()


@given(CELLS, st.sampled_from([2, 3]))
def test_no_division_into_folds_is_better(cells, n_folds):
    if len(cells) < n_folds or len(cells) > 7:
        return
    folds = choose_folds(np.ones(len(cells)), cells, n_folds, seed=0)
    assert sorted(set(folds)) == list(range(n_folds))
    every = (np.array(division) for division in np.ndindex(*(n_folds,) * len(cells)) if len(set(division)) == n_folds)
    missing, deviations = min(cost_of(division, cells, n_folds) for division in every)
    found = cost_of(folds, cells, n_folds)
    assert found[0] == missing and found[1] == pytest.approx(deviations, abs=1e-9)


def test_the_shares_of_images_and_of_every_class_are_close_in_all_folds():
    rng = np.random.default_rng(0)
    n_images, cells = rng.integers(1, 9, 120), rng.poisson(rng.gamma(.4, 50, (120, 4)))
    shares = shares_of(choose_folds(n_images, cells, 5, seed=0), np.column_stack([n_images, cells]), 5)
    np.testing.assert_allclose(shares, .2, atol=.01)


def test_a_class_in_as_many_groups_as_folds_is_in_every_fold():
    cells = np.zeros((20, 2))
    cells[:, 0], cells[:5, 1] = np.random.default_rng(0).poisson(20, 20), [50, 1, 1, 2, 1]
    assert sorted(choose_folds(np.ones(20), cells, 5, seed=0)[:5]) == [0, 1, 2, 3, 4]


def test_folds_depend_only_on_the_seed():
    cells = np.random.default_rng(1).poisson(20, (60, 3))
    first, repeated, other = (choose_folds(np.ones(60), cells, 4, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, repeated)
    assert (first != other).any() and np.bincount(first).tolist() == [15] * 4


def test_folds_without_any_cell_have_the_same_number_of_images():
    assert np.bincount(choose_folds(np.ones(11), np.zeros((11, 2)), 3, seed=0)).tolist() in (
        [4, 4, 3], [4, 3, 4], [3, 4, 4])

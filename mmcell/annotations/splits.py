"""The split into training and validation, and into folds: groups of images stay together, rare classes are spread."""

import numpy as np

# Up to MAX_EXHAUSTIVE_GROUPS groups, every split is tried (2^16 = 65,536 at most). More groups need a seeded local
# search. The time of a search step grows with the square of the number of groups, so that the search starts from at
# most N_STARTS random splits, and from fewer if there are more than STARTS_TIMES_GROUPS / N_STARTS = 100 groups.
MAX_EXHAUSTIVE_GROUPS = 16
N_STARTS = 20
STARTS_TIMES_GROUPS = 2000


def choose_validation_groups(n_images: np.ndarray, n_cells: np.ndarray, val_ratio: float, seed: int) -> np.ndarray:
    """Chooses which groups of images are used for validation.

    Both sides, training and validation, get at least one group unless ``val_ratio`` is 0. The first aim is that as
    many classes as possible have cells on both sides, which is impossible for a class that occurs in one group only.
    The second aim is that the share of the images, and of the cells of each class, in validation is close to
    ``val_ratio``: the sum of the squared deviations is minimised. The seed decides between equally good splits.

    Args:
        n_images: (G,) The number of images of each of G groups.
        n_cells: (G, C) The number of cells of each of C classes in each group.
        val_ratio: The wanted share of validation, 0 to 1.
        seed: The seed of the random starts of the search and of the choice between equally good splits.

    Returns:
        (G,) bool, True for groups that are used for validation. All are False if there are fewer than two groups or
        ``val_ratio`` is 0.
    """
    n_groups = len(n_images)
    if n_groups < 2 or val_ratio == 0:
        return np.zeros(n_groups, bool)
    rng = np.random.default_rng(seed)
    # The groups are shuffled because argmin takes the first of several equally good splits.
    order = rng.permutation(n_groups)
    counts = np.column_stack([n_images, n_cells]).astype(float)[order]
    counts = counts[:, counts.sum(axis=0) > 0]
    search = _best_of_all if n_groups <= MAX_EXHAUSTIVE_GROUPS else _best_by_local_search
    chosen = np.zeros(n_groups, bool)
    chosen[order] = search(counts, val_ratio, rng)
    return chosen


def _costs(val_counts: np.ndarray, totals: np.ndarray, val_ratio: float) -> np.ndarray:
    """Returns the costs (S,) of S splits; the split with the least cost is the best.

    A class that is missing on one side costs more than all deviations together, and a side without images costs more
    than all missing classes together. ``val_counts`` (S, 1 + C) are the numbers of images, then of cells of each class,
    that each split has in validation; ``totals`` (1 + C,) are those of both sides.
    """
    # Example with 4 images, 15 cells of one class and val_ratio .25. With 2 images and 5 cells in validation, the
    # deviations cost (2/4 - .25)^2 + (5/15 - .25)^2 = .069. With 1 image and no cell they cost 0 + (0 - .25)^2 =
    # .0625, but the missing class adds 2 * 2 = 4, which is more than two squared deviations can be.
    missing = (val_counts < .5) | (val_counts > totals - .5)
    deviations = ((val_counts / totals - val_ratio) ** 2).sum(axis=1)
    n_columns = len(totals)
    return deviations + 2 * n_columns * (missing[:, 1:].sum(axis=1) + 2 * n_columns * missing[:, 0])


def _best_of_all(counts: np.ndarray, val_ratio: float, _: np.random.Generator) -> np.ndarray:
    """Returns the best of all splits, (G,) bool; ``counts`` (G, 1 + C) are images, then cells of each class."""
    # The binary digits of the numbers 0 to 2^G - 1 are all splits, lowest digit first: with three groups the rows are
    # [0 0 0], [1 0 0], [0 1 0], [1 1 0], [0 0 1] …
    n_groups = len(counts)
    splits = (np.arange(1 << n_groups)[:, None] >> np.arange(n_groups)) & 1
    return splits[np.argmin(_costs(splits @ counts, counts.sum(axis=0), val_ratio))].astype(bool)


def _best_by_local_search(counts: np.ndarray, val_ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the best split of several searches, (G,) bool; the arguments are those of :func:`_best_of_all`.

    Each search starts from a random split and takes steps that lower the cost, until no step does.
    """
    totals = counts.sum(axis=0)
    best, best_cost = None, np.inf
    for _ in range(np.clip(STARTS_TIMES_GROUPS // len(counts), 1, N_STARTS)):
        split = rng.random(len(counts)) < val_ratio
        cost = _costs((split @ counts)[None], totals, val_ratio)[0]
        while True:
            step, step_cost = _best_step(split, counts, totals, val_ratio)
            # Rounding errors must not count as progress, or the search might never end.
            if step_cost >= cost - 1e-12:
                break
            split[step] = ~split[step]
            cost = step_cost
        if cost < best_cost:
            best, best_cost = split, cost
    return best


def _best_step(split: np.ndarray, counts: np.ndarray, totals: np.ndarray,
               val_ratio: float) -> tuple[list[int], float]:
    """Returns the step that leads from a split (G,) bool to the split with the least cost, and this cost.

    The step is a list of group indices: one group that moves to the other side, or two groups that are exchanged.
    ``totals`` (1 + C,) are the sums of ``counts`` over all groups.
    """
    # With the counts [[1 10], [1 0], [2 5]] (images, cells of a class) and only group 0 in validation, the changes are
    # [-1 -10], [1 0] and [2 5]. Exchanging group 0 for group 2 adds the first and the last to [1 10]: [2 5].
    val_counts = split @ counts
    changes = np.where(split[:, None], -counts, counts)
    costs = _costs(val_counts + changes, totals, val_ratio)
    step, cost = [int(np.argmin(costs))], float(costs.min())
    in_training = np.flatnonzero(~split)
    for group in np.flatnonzero(split):
        exchanged = val_counts + changes[group] + changes[in_training]
        costs = _costs(exchanged, totals, val_ratio) if len(in_training) else [np.inf]
        if min(costs) < cost:
            step, cost = [int(group), int(in_training[np.argmin(costs)])], float(min(costs))
    return step, cost


def choose_folds(n_images: np.ndarray, n_cells: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Divides groups of images into folds for cross-validation.

    Each fold is seen as the validation side of a split: the aims are those of :func:`choose_validation_groups` for all
    folds together, with the share 1 / ``n_folds``. No fold is without images, and as few classes as possible are
    missing from a fold.

    Args:
        n_images, n_cells: As in :func:`choose_validation_groups`. There are at least ``n_folds`` groups.
        n_folds: The number of folds, at least 2.
        seed: The seed of the random starts of the search and of the numbers of the folds.

    Returns:
        (G,) int64, the fold of each group, from 0.
    """
    # scikit-learn's StratifiedGroupKFold, to which every cell and every image is a sample, leaves larger deviations
    # (200 synthetic patients in 5 folds: .072 in place of .005), because it never moves a group again.
    counts = np.column_stack([n_images, n_cells]).astype(float)
    counts = counts[:, counts.sum(axis=0) > 0]
    rng = np.random.default_rng(seed)
    best, best_cost = None, np.inf
    for _ in range(np.clip(STARTS_TIMES_GROUPS // len(counts), 1, N_STARTS)):
        folds = _improve_folds(rng.permutation(len(counts)) % n_folds, counts, n_folds)
        cost = _costs(_sum_by_fold(folds, counts, n_folds), counts.sum(axis=0), 1 / n_folds).sum()
        if cost < best_cost - 1e-12:
            best, best_cost = folds, cost
    return best


def _sum_by_fold(folds: np.ndarray, counts: np.ndarray, n_folds: int) -> np.ndarray:
    """Returns the sums (n_folds, 1 + C) of the counts (G, 1 + C) of groups."""
    return (folds == np.arange(n_folds)[:, None]) @ counts


def _improve_folds(folds: np.ndarray, counts: np.ndarray, n_folds: int) -> np.ndarray:
    """Moves groups to other folds, or exchanges two of them, as long as that lowers the cost; returns the folds (G,).

    ``counts`` (G, 1 + C) are images, then cells of each class. Exchanges are only looked for if no move helps, because
    there are G / n_folds times as many of them.
    """
    folds = folds.copy()
    while True:
        group, fold, saving = _best_move(folds, counts, n_folds)
        # Rounding errors must not count as progress, or the search might never end.
        if saving > 1e-12:
            folds[group] = fold
            continue
        first, second, saving = _best_exchange(folds, counts, n_folds)
        if saving <= 1e-12:
            return folds
        folds[[first, second]] = folds[[second, first]]


def _best_move(folds: np.ndarray, counts: np.ndarray, n_folds: int) -> tuple[int, int, float]:
    """Returns the group and the fold to move it to that lower the cost most, and by how much."""
    totals, by_fold = counts.sum(axis=0), _sum_by_fold(folds, counts, n_folds)
    costs = _costs(by_fold, totals, 1 / n_folds)
    # Rows are groups, columns the folds that they might be moved to.
    left = _costs(by_fold[folds] - counts, totals, 1 / n_folds)
    joined = _costs((by_fold + counts[:, None]).reshape(-1, len(totals)), totals, 1 / n_folds).reshape(-1, n_folds)
    savings = costs[folds][:, None] + costs - left[:, None] - joined
    savings[np.arange(len(folds)), folds] = 0
    group, fold = np.unravel_index(savings.argmax(), savings.shape)
    return int(group), int(fold), float(savings[group, fold])


def _best_exchange(folds: np.ndarray, counts: np.ndarray, n_folds: int) -> tuple[int, int, float]:
    """Returns the two groups of different folds whose exchange lowers the cost most, and by how much."""
    totals, by_fold = counts.sum(axis=0), _sum_by_fold(folds, counts, n_folds)
    costs = _costs(by_fold, totals, 1 / n_folds)
    best, best_saving = (0, 0), 0.
    for group, fold in enumerate(folds):
        others = np.flatnonzero(folds > fold)
        changes = counts[others] - counts[group]
        savings = (costs[fold] + costs[folds[others]] - _costs(by_fold[fold] + changes, totals, 1 / n_folds)
                   - _costs(by_fold[folds[others]] - changes, totals, 1 / n_folds))
        if savings.max(initial=0) > best_saving:
            best, best_saving = (group, int(others[savings.argmax()])), float(savings.max())
    return *best, best_saving

"""Splits of images into training and validation that keep groups together and rare classes on both sides."""

import numpy as np

# Up to so many groups every split is tried (65,536 of them); beyond, a seeded local search, from fewer starts where
# there are many groups: each step costs their number squared.
MAX_EXHAUSTIVE_GROUPS = 16
N_STARTS = 20
STARTS_TIMES_GROUPS = 2000


def choose_validation_groups(n_images: np.ndarray, n_cells: np.ndarray, val_ratio: float, seed: int) -> np.ndarray:
    """Chooses which groups of images are for validation.

    In this order: as many classes as possible have a cell on both sides (a class in one group alone cannot); then
    the parts of images and of each class's cells in validation are as near ``val_ratio`` as possible (least sum of
    squares). Both sides get at least one group. Ties are broken by the seed.

    Args:
        n_images: (G,) images of each group.
        n_cells: (G, C) cells of each class in each group.
        val_ratio: wanted part of validation, 0 to 1.
        seed: of the random starts and of ties.

    Returns:
        (G,) bool, True for validation; all False for fewer than two groups or a ratio of 0.
    """
    n_groups = len(n_images)
    if n_groups < 2 or val_ratio == 0:
        return np.zeros(n_groups, bool)
    rng = np.random.default_rng(seed)
    order = rng.permutation(n_groups)
    counts = np.column_stack([n_images, n_cells]).astype(float)[order]
    counts = counts[:, counts.sum(axis=0) > 0]
    search = _best_of_all if n_groups <= MAX_EXHAUSTIVE_GROUPS else _best_by_local_search
    chosen = np.zeros(n_groups, bool)
    chosen[order] = search(counts, val_ratio, rng)
    return chosen


def _costs(val_counts: np.ndarray, totals: np.ndarray, val_ratio: float) -> np.ndarray:
    """Cost (S,) of S splits from what they have in validation (S, 1 + C): images first, then cells of each class.

    A class that is missing on one side costs more than any deviation can; a side without images most of all.
    """
    missing = (val_counts < .5) | (val_counts > totals - .5)
    deviations = ((val_counts / totals - val_ratio) ** 2).sum(axis=1)
    n_columns = len(totals)
    return deviations + 2 * n_columns * (missing[:, 1:].sum(axis=1) + 2 * n_columns * missing[:, 0])


def _best_of_all(counts: np.ndarray, val_ratio: float, rng: np.random.Generator) -> np.ndarray:
    n_groups = len(counts)
    splits = (np.arange(1 << n_groups)[:, None] >> np.arange(n_groups)) & 1
    return splits[np.argmin(_costs(splits @ counts, counts.sum(axis=0), val_ratio))].astype(bool)


def _best_by_local_search(counts: np.ndarray, val_ratio: float, rng: np.random.Generator) -> np.ndarray:
    """The best of several descents from random splits; a step moves one group, or exchanges two."""
    totals = counts.sum(axis=0)
    best, best_cost = None, np.inf
    for _ in range(np.clip(STARTS_TIMES_GROUPS // len(counts), 1, N_STARTS)):
        split = rng.random(len(counts)) < val_ratio
        cost = _costs((split @ counts)[None], totals, val_ratio)[0]
        while True:
            step, step_cost = _best_step(split, counts, totals, val_ratio)
            if step_cost >= cost - 1e-12:
                break
            split[step] = ~split[step]
            cost = step_cost
        if cost < best_cost:
            best, best_cost = split, cost
    return best


def _best_step(split: np.ndarray, counts: np.ndarray, totals: np.ndarray,
               val_ratio: float) -> tuple[list[int], float]:
    """The groups to move (one, or one from each side) for the least cost, and that cost."""
    now = split @ counts
    signed = np.where(split[:, None], -counts, counts)
    costs = _costs(now + signed, totals, val_ratio)
    step, cost = [int(np.argmin(costs))], float(costs.min())
    outside = np.flatnonzero(~split)
    for inside in np.flatnonzero(split):
        costs = _costs(now + signed[inside] + signed[outside], totals, val_ratio) if len(outside) else [np.inf]
        if min(costs) < cost:
            step, cost = [int(inside), int(outside[np.argmin(costs)])], float(min(costs))
    return step, cost

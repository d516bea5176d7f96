"""Measures how well planted label errors are found with out-of-fold predictions.

Errors of known places are planted in the labels. For each kind of error, a line shows how many were planted and, over
several random plantings: the precision among as many suspects of the kind as were planted (R-precision), the average
precision of the ranking of the kind, the average precision of a ranking by raw scores, the recall and the precision of
the suspects that are reported, and the recall if an error counts as found under any kind. Suspects that point at errors
of the data set that nobody planted count as wrong, so that precision is a lower bound.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
from _measure import use_one_thread
from _planted_errors import TOGETHER, Planted, perturb_cells, plant_errors

from mmcell.annotations.ground_truth import GroundTruth, read_true_cells
from mmcell.evaluation.pairs import Pairs
from mmcell.inspection.label_errors import MIN_SUSPICION, LabelErrors, find_label_errors
from mmcell.inspection.label_suspects import KINDS, MISSING, SPURIOUS, WRONG_CLASS
from mmcell.predictions.cells import Predictions
from mmcell.predictions.result_files import read_predictions

EXAMPLE = """examples:
  python benchmarks/label_errors.py trainval.json --predictions out_of_fold.pkl
  python benchmarks/label_errors.py trainval.json    (predictions are made from the labels by random changes)
"""
HEADER = ('share', 'kind', 'planted', 'R-precision', 'AP', 'AP of raw scores', 'recall', 'precision',
          'recall, any kind')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('annotations', type=Path, help='annotation file, whose labels count as free of errors')
    parser.add_argument('--predictions', type=Path, metavar='DUMP', help='out-of-fold predictions of its images')
    parser.add_argument('--shares', type=float, nargs='+', default=[.02, .05, .1],
                        help='shares of the labels in which each kind is planted (default: .02 .05 .1)')
    parser.add_argument('--rounds', type=int, default=5, help='number of random plantings (default: 5)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    use_one_thread()
    clean = read_true_cells(args.annotations)
    predictions = (perturb_cells(clean, np.random.default_rng(0)) if args.predictions is None
                   else read_predictions(args.predictions, clean).predictions)
    start = time.perf_counter()
    errors = find_label_errors(clean, predictions)
    print(f'{os.cpu_count()} cores, one thread; {len(clean.image_ids)} images, {len(clean.rles)} labels, '
          f'{len(predictions)} predictions; labels as they are: F1 {errors.agreement:.3f}, '
          f'{time.perf_counter() - start:.2f} s, suspects: '
          + ', '.join(f'{int((errors.kinds == kind).sum())} {kind}' for kind in KINDS))
    print('| ' + ' | '.join(HEADER) + ' |\n' + '| --- ' * len(HEADER) + '|')
    for share in args.shares:
        for kinds in TOGETHER:
            print('\n'.join(measure(clean, predictions, kinds, share, args.rounds)), flush=True)


def measure(clean: GroundTruth, predictions: Predictions, kinds: tuple[str, ...], share: float,
            rounds: int) -> list[str]:
    """Returns one line per kind, with the means of several plantings."""
    values: dict[str, list] = {kind: [] for kind in kinds}
    for seed in range(rounds):
        planted = plant_errors(clean, kinds, share, np.random.default_rng(seed))
        errors = find_label_errors(planted.truth, predictions, min_suspicion=0)
        removed = find_removed(planted, errors)
        for kind in kinds:
            values[kind].append(values_of_kind(planted, errors, removed, kind))
    return [f'| {share:.0%} | {kind} | ' + ' | '.join(
        f'{value:.0f}' if place == 0 else '' if np.isnan(value) else f'{value:.2f}'
        for place, value in enumerate(np.mean(values[kind], axis=0))) + ' |' for kind in kinds]


def values_of_kind(planted: Planted, errors: LabelErrors, removed: dict[int, set[int]], kind: str) -> list[float]:
    """Returns the values of one line for one planting; ``removed`` is the result of :func:`find_removed`."""
    wanted = planted.ids[kind]
    names = [(removed.get(int(errors.predicted[index]), set()) if kind == MISSING else labelled_ids(errors, index))
             & wanted for index in range(len(errors))]
    is_of_kind, is_reported = errors.kinds == kind, errors.suspicions >= MIN_SUSPICION
    is_right = np.array([bool(matched) for matched in names], bool)
    ranking = is_right[is_of_kind]
    reported = is_of_kind & is_reported
    any_kind = set().union(*[names[index] for index in np.flatnonzero(is_reported)])
    of_kind = set().union(*[names[index] for index in np.flatnonzero(reported)])
    return [len(wanted), ranking[:len(wanted)].sum() / len(wanted), average_precision(ranking, len(wanted)),
            average_precision(rank_by_scores(planted, errors, removed, kind), len(wanted)), len(of_kind) / len(wanted),
            is_right[reported].sum() / max(reported.sum(), 1), len(any_kind) / len(wanted)]


def labelled_ids(errors: LabelErrors, index: int) -> set[int]:
    """Returns the annotation ids of the labels that a suspect points at."""
    return {int(errors.truth.annotation_ids[cell]) for cell in (errors.cells[index], errors.other_cells[index])
            if cell >= 0}


def find_removed(planted: Planted, errors: LabelErrors) -> dict[int, set[int]]:
    """Returns, by prediction, the ids of the removed labels with which it has an IoU above .5."""
    overlaps = Pairs(planted.clean, errors.predictions).overlaps
    is_removed = np.isin(planted.clean.annotation_ids, list(planted.ids.get(MISSING, ())))
    removed: dict[int, set[int]] = {}
    for pair in np.flatnonzero((overlaps.ious > .5) & is_removed[overlaps.true_index]).tolist():
        cell_id = int(planted.clean.annotation_ids[overlaps.true_index[pair]])
        removed.setdefault(int(overlaps.pred_index[pair]), set()).add(cell_id)
    return removed


def rank_by_scores(planted: Planted, errors: LabelErrors, removed: dict[int, set[int]],
                   kind: str) -> np.ndarray | None:
    """Returns whether labels or predictions are planted errors, ranked by raw scores as ObjectLab does; else None.

    Swapped: the best score of another class with an IoU above .5. Overlooked: the score of predictions that share no
    pixel with a label. Spurious: 1 - the best score with an IoU above .5.
    """
    pairs = Pairs(errors.truth, errors.predictions)
    overlaps, scores = pairs.overlaps, errors.predictions.scores
    if kind == MISSING:
        is_free = np.ones(len(scores), bool)
        is_free[overlaps.pred_index] = False
        order = np.flatnonzero(is_free)[np.argsort(-scores[is_free], kind='stable')]
        seen, ranking = set(), []
        for predicted in order.tolist():
            new = removed.get(predicted, set()) - seen
            seen |= new
            # A second prediction of a removed label is no mistake of the ranking, but no success either.
            if new or predicted not in removed:
                ranking.append(bool(new))
        return np.array(ranking, bool)
    if kind not in (WRONG_CLASS, SPURIOUS):
        return None
    is_used = overlaps.ious > .5
    if kind == WRONG_CLASS:
        is_used &= (errors.truth.class_index[overlaps.true_index]
                    != errors.predictions.class_index[overlaps.pred_index])
    best = np.zeros(len(errors.truth.rles))
    np.maximum.at(best, overlaps.true_index[is_used], scores[overlaps.pred_index[is_used]])
    order = np.argsort(-best if kind == WRONG_CLASS else best, kind='stable')
    return np.isin(errors.truth.annotation_ids[order], list(planted.ids[kind]))


def average_precision(is_right: np.ndarray | None, n_wanted: int) -> float:
    """Returns the mean, over the planted errors, of the precision up to each of them; NaN without a ranking."""
    if is_right is None:
        return float('nan')
    precision = np.cumsum(is_right) / np.arange(1, len(is_right) + 1)
    return float(precision[is_right].sum() / n_wanted)


if __name__ == '__main__':
    main()

"""Measures the predictions of a study: all variants and seeds on the same images and the same resamples."""

from collections.abc import Callable, Collection, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmcell.annotations.coco_json import read_annotations
from mmcell.annotations.folds import folds_of_images
from mmcell.annotations.ground_truth import GroundTruth, read_ground_truth, to_ground_truth
from mmcell.evaluation.bootstrap import resample_weights
from mmcell.evaluation.evaluation import EvaluatedFile, evaluate
from mmcell.evaluation.pairs import Pairs
from mmcell.files.early_checks import refuse_missing_annotations
from mmcell.predictions.cells import join_predictions
from mmcell.predictions.folds import gather_folds
from mmcell.predictions.result_files import describe_unusual, read_predictions
from mmcell.settings.data_sets import find_annotation_file, find_validation_file
from mmcell.settings.folds import apply_fold
from mmcell.studies.plan import StudyError, Variant
from mmcell.studies.results import Row, Scores, read_effort
from mmcell.studies.runs import Run


@dataclass(frozen=True)
class Measured:
    """What was measured of a study.

    Attributes:
        rows: One row per variant.
        files: The results of the first measured seed of each variant that has one, in the order of the variants. All
            are about the same images.
        n_images: The number of images that were measured.
    """

    rows: list[Row]
    files: list[EvaluatedFile]
    n_images: int


def measure(runs: Sequence[Run], variants: Sequence[Variant], folder: Path, score_threshold: float,
            n_resamples: int, on_step: Callable[[str], None] = lambda step: None) -> Measured:
    """Measures all predictions that are there.

    With folds, the predictions of all folds of a seed are measured together. While folds are missing, those are
    measured of which all variants have predictions, and only the seeds with the most of them, so that all values are
    about the same images. If all are there, the predictions are also gathered in one dump,
    in the folder ``<training>/seed<number>_out_of_fold``.

    Args:
        runs: The runs of the study but for final trainings, at least one.
        variants: Its variants but for final ones.
        folder: The folder of the study.
        score_threshold: The lowest score of the detections that count for PQ and F1.
        n_resamples: How often images are drawn at random for the intervals.
        on_step: A function that is called with the name of each step before the step begins.

    Raises:
        MmcellError: An annotation file or predictions cannot be read.
    """
    has_folds = runs[0].fold is not None
    path = _annotation_file_of(variants[0], has_folds)
    document = read_annotations(path, crowds_allowed=False)
    truth = to_ground_truth(document, path)
    fold_of = folds_of_images(document, path) if has_folds else dict.fromkeys(truth.image_ids)
    scores: dict[str, dict[int, Scores]] = {variant.name: {} for variant in variants}
    files: dict[str, EvaluatedFile] = {}
    seeds = dict.fromkeys(run.seed for run in runs)
    dumps_of_seed = {seed: _find_dumps(runs, variants, folder, seed) for seed in seeds}
    folds = [frozenset(dumps) for of_variants in dumps_of_seed.values() for dumps in of_variants.values()]
    most = max(folds, key=len, default=None)
    for seed, dumps_of_variant in dumps_of_seed.items():
        for name, dumps in dumps_of_variant.items():
            if dumps.keys() != most:
                continue
            on_step(f'{name}, seed {seed}')
            if has_folds and len(dumps) == len(set(fold_of.values())):
                _gather(dumps, path)
            file, scores[name][seed] = _measure(truth, dumps, fold_of, name, score_threshold, n_resamples)
            files.setdefault(name, file)
    rows = [Row(variant, scores[variant.name],
                sum((folder / run.predictions_of(variant)).exists() for run in runs if variant in run.tested),
                read_effort([folder / run.folder for run in runs if variant in run.tested])) for variant in variants]
    shown = [files[variant.name] for variant in variants if variant.name in files]
    return Measured(rows, shown, len(shown[0].pairs.truth.image_ids) if shown else len(truth.image_ids))


def refuse_unfit_data(variants: Sequence[Variant], n_folds: int | None) -> None:
    """Stops a study before its first training if its predictions could not be measured.

    Of final variants, only the annotation file of the training is looked for.

    Raises:
        FileNotFoundError: There is no annotation file of the validation images, or of all images.
        StudyError: A variant has no validation data, the variants are validated on different annotation files, or the
            file has another number of folds.
        MmcellError: The annotation file cannot be read.
    """
    for variant in variants:
        if variant.is_final:
            refuse_missing_annotations(find_annotation_file(variant.settings, 'train_dataloader'))
    paths = dict.fromkeys(_annotation_file_of(variant, n_folds is not None) for variant in variants
                          if not variant.is_final)
    if not paths:
        return
    if len(paths) > 1:
        raise StudyError(f'the configs are validated on different images and cannot be compared: {", ".join(paths)}')
    path = next(iter(paths))
    read_ground_truth(path)
    folds = set(folds_of_images(read_annotations(path), path).values()) if n_folds else set()
    if n_folds and folds != set(range(n_folds)):
        raise StudyError(f'--folds {n_folds}: {path} has {len(folds)} folds: give their number, or convert the images '
                         f'again with data_prep/to_coco.py … --folds {n_folds}')


def _annotation_file_of(variant: Variant, has_folds: bool) -> str:
    config = Config(deepcopy(variant.settings))
    if not config.get('val_dataloader'):
        raise StudyError(f'{variant.name} has no val_dataloader: a study measures predictions of the validation images')
    if has_folds:
        config.fold = 0
        apply_fold(config)
    path = find_validation_file(config)
    if path is None:
        raise StudyError(f'{variant.name}: a study measures predictions of one annotation file, but val_dataloader '
                         'names none or several')
    return str(path)


def _find_dumps(runs: Sequence[Run], variants: Sequence[Variant], folder: Path,
                seed: int) -> dict[str, dict[int | None, Path]]:
    """Returns by the name of each variant its dumps of a seed by fold: those folds that all variants have.

    Variants without predictions are left out, and do not count.
    """
    dumps = {}
    for variant in variants:
        own = {run.fold: folder / run.predictions_of(variant) for run in runs
               if run.seed == seed and variant in run.tested}
        dumps[variant.name] = {fold: path for fold, path in own.items() if path.exists()}
    dumps = {name: own for name, own in dumps.items() if own}
    common = set.intersection(*map(set, dumps.values())) if dumps else set()
    return {name: {fold: path for fold, path in own.items() if fold in common}
            for name, own in dumps.items() if common}


def out_of_fold_path(dump: Path) -> Path:
    """Returns where the predictions of all folds are gathered, of which a dump has one."""
    seed, _, _ = dump.parent.name.partition('_fold')
    return dump.parent.with_name(f'{seed}_out_of_fold') / dump.name


def _gather(dumps: dict[int | None, Path], annotations: str) -> None:
    out = out_of_fold_path(next(iter(dumps.values())))
    if not out.exists() or any(path.stat().st_mtime > out.stat().st_mtime for path in dumps.values()):
        out.parent.mkdir(exist_ok=True)
        gather_folds(list(dumps.values()), annotations, out)


def _measure(truth: GroundTruth, dumps: dict[int | None, Path], fold_of: dict[int, int | None], name: str,
             score_threshold: float, n_resamples: int) -> tuple[EvaluatedFile, Scores]:
    """Measures dumps of different folds together, and each of them."""
    def images_of(folds: Collection[int | None]) -> GroundTruth:
        return truth.of_images(np.array([fold_of[image_id] in folds for image_id in truth.image_ids]))

    own = images_of(dumps)
    results = [read_predictions(path, own) for path in dumps.values()]
    pairs = Pairs(own, join_predictions([result.predictions for result in results]))
    evaluation = evaluate(pairs, score_threshold, resample_weights(len(own.image_ids), n_resamples, seed=0))
    remarks = [*dict.fromkeys(remark for result in results for remark in result.assumed),
               *describe_unusual(pairs.predictions, own)]
    sources = {place: source for result in results for place, source in result.sources.items()}
    first = next(iter(dumps.values()))
    gathered = out_of_fold_path(first)
    file = EvaluatedFile(str(gathered if len(dumps) > 1 and gathered.exists() else first), name, pairs, sources,
                         remarks, evaluation)
    folds = [evaluation.values] if len(dumps) == 1 else [
        _measure(truth, {fold: path}, fold_of, name, score_threshold, 0)[0].evaluation.values
        for fold, path in dumps.items()]
    return file, Scores(evaluation.values, evaluation.resampled, folds)

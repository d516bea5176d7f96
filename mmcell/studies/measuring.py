"""Measures the predictions of a study: all variants and seeds on the same images and the same resamples."""

from collections.abc import Sequence
from pathlib import Path

from mmcell.annotations.ground_truth import read_ground_truth
from mmcell.evaluation.bootstrap import resample_weights
from mmcell.evaluation.evaluation import evaluate
from mmcell.evaluation.pairs import Pairs
from mmcell.predictions.result_files import read_predictions
from mmcell.studies.plan import Run, StudyError, Variant
from mmcell.studies.results import Row, Scores, read_effort


def measure(runs: Sequence[Run], variants: Sequence[Variant], folder: Path, score_threshold: float,
            n_resamples: int) -> tuple[list[Row], int]:
    """Measures all predictions that are there.

    Args:
        runs: The runs of the study.
        variants: Its variants.
        folder: The folder of the study.
        score_threshold: The lowest score of the detections that count for PQ and F1.
        n_resamples: How often images are drawn at random for the intervals.

    Returns:
        One row per variant, and the number of images.

    Raises:
        StudyError: The variants are validated on different annotation files.
        MmcellError: An annotation file or predictions cannot be read.
    """
    truth_file = _annotation_file(variants)
    truth = read_ground_truth(truth_file)
    weights = resample_weights(len(truth.image_ids), n_resamples, seed=0)
    rows = []
    for variant in variants:
        own = [run for run in runs if variant in run.tested]
        scores = {}
        for run in own:
            path = folder / run.predictions_of(variant)
            if path.exists():
                evaluation = evaluate(Pairs(truth, read_predictions(path, truth).predictions), score_threshold, weights)
                scores[run.seed] = Scores(evaluation.values, evaluation.resampled)
        rows.append(Row(variant, scores, read_effort([folder / run.folder for run in own])))
    return rows, len(truth.image_ids)


def _annotation_file(variants: Sequence[Variant]) -> str:
    files = dict.fromkeys(_find_annotation_file(variant.settings['val_dataloader']['dataset']) for variant in variants)
    if len(files) > 1:
        raise StudyError(f'the configs are validated on different images and cannot be compared: {", ".join(files)}')
    return next(iter(files))


def _find_annotation_file(dataset: dict) -> str:
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    return str(Path(dataset.get('data_root') or '', dataset['ann_file']))

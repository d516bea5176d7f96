"""The submissions of a study: a checked zip with the predicted cells of the test images, of limited size."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmcell.annotations.ground_truth import ImageSet
from mmcell.errors import list_some
from mmcell.files.early_checks import refuse_missing_annotations
from mmcell.files.whole_files import written_whole
from mmcell.predictions.cells import Predictions
from mmcell.predictions.packed_results import read_packed_results
from mmcell.predictions.result_files import read_predictions
from mmcell.predictions.submission import check_submission, read_test_set, write_submission
from mmcell.settings.data_sets import find_annotation_file
from mmcell.studies.plan import StudyError, Variant
from mmcell.studies.runs import PlannedTest

# A submission has fewer bytes than this. Cells with the lowest scores are left out if there are too many.
MAX_BYTES = 2_000_000


def refuse_missing_test_images(variants: Sequence[Variant]) -> None:
    """Stops a study before its first training if there would be no test images to predict.

    Raises:
        FileNotFoundError: The annotation file of the test images does not exist.
        StudyError: A variant names no annotation file of test images, or several.
    """
    for variant in variants:
        refuse_missing_annotations(test_images_of(variant))


def test_images_of(variant: Variant) -> Path:
    """Returns the annotation file of the test images.

    Raises:
        StudyError: The config names none, or several.
    """
    path = find_annotation_file(variant.settings, 'test_dataloader')
    if path is None:
        raise StudyError(f'{variant.name}: a submission needs one annotation file of test images, but test_dataloader '
                         'names none or several')
    return path


def make_submission(test: PlannedTest, folder: Path) -> str:
    """Makes the submission of a test from its dump, and checks it as ``tools/submit.py --check`` does.

    Args:
        test: A test of the test images.
        folder: The folder of the study.

    Returns:
        A sentence if cells were left out because of the size; '' otherwise.

    Raises:
        MmcellError: The dump cannot be read, or the submission would not be valid.
    """
    images = read_test_set(test_images_of(test.variant))
    predictions = read_predictions(folder / test.dump, images).predictions
    with written_whole([folder / test.submission]) as (temporary,):
        kept = _write_small(predictions, images, temporary, MAX_BYTES)
        errors = check_submission(read_packed_results(temporary), images).errors
        if errors:
            raise StudyError(f'the submission is not valid: {list_some(errors)}')
    n_left_out = len(predictions) - len(kept)
    return '' if not n_left_out else (f'{test.submission.name} lacks the {n_left_out:,} cells with scores below '
                                      f'{kept.scores.min(initial=1):.3g}, so that it has less than '
                                      f'{MAX_BYTES / 1e6:g} MB')


def _write_small(predictions: Predictions, images: ImageSet, path: Path, max_bytes: int) -> Predictions:
    """Writes a submission with fewer bytes than a limit; returns the cells that were kept for it."""
    kept = predictions
    while True:
        write_submission(kept, images, path)
        size = path.stat().st_size
        if size < max_bytes or not len(kept):
            return kept
        # About the number that fits, and at least one fewer than before.
        n_kept = min(int(.98 * max_bytes / size * len(kept)), len(kept) - 1)
        kept = predictions.take(np.sort(np.argsort(-predictions.scores, kind='stable')[:n_kept]))

"""Likely label errors as findings of an inspection."""

import numpy as np

from mmcell.inspection.findings import Finding
from mmcell.inspection.label_errors import LabelErrors
from mmcell.inspection.label_suspects import BADLY_LOCATED, KINDS, MERGED, MISSING, SPLIT, SPURIOUS, WRONG_CLASS

# An alarm needs at least this share of labels with errors of at least this suspicion: some hard cells of any data set
# look like errors to some model.
_STRONG, _ALARM_SHARE = .9, .01
MAX_PLACES = 50
_MEANINGS = {
    WRONG_CLASS: 'labels have another class than the predictions of their cell',
    MISSING: 'predictions have no label: cells may have been overlooked',
    SPURIOUS: 'labels are supported by no prediction, although labels like them are',
    BADLY_LOCATED: 'labels lie beside the predicted cell',
    MERGED: 'labels seem to cover several cells',
    SPLIT: 'cells seem to have several labels'}


def to_findings(errors: LabelErrors, max_places: int = MAX_PLACES) -> list[Finding]:
    """Returns one finding per kind of label error that occurs, after what limits the check.

    A kind is a warning if its errors with a suspicion of at least .9 are at least 1 % of the labels, else a note.

    Args:
        errors: The errors.
        max_places: The number of places that are named per kind, the most suspicious first.
    """
    findings, n_labels = list(errors.remarks), len(errors.truth.rles)
    for kind in KINDS:
        own = np.flatnonzero(errors.kinds == kind)
        if not len(own):
            continue
        n_strong = int((errors.suspicions[own] >= _STRONG).sum())
        level = 'warning' if n_strong >= max(_ALARM_SHARE * n_labels, 1) else 'note'
        findings.append(Finding(
            'likely-label-errors-' + kind.replace(' ', '-'), level,
            f'{len(own)} {_MEANINGS[kind]} ({n_labels} labels in {errors.truth.source}); {n_strong} of them have a '
            f'suspicion of at least {_STRONG}.',
            'Look at them in the order of their suspicion: --errors-out FOLDER writes a table and files for QuPath.',
            tuple(errors.place(error) for error in own[:max_places].tolist())))
    return findings

"""What a study has to run: which trainings, and which predictions of each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmcell.studies.plan import Variant, as_file_name

# The folder of the predictions of test images, in the work folder of a training.
TEST_IMAGES = 'test_images'


@dataclass(frozen=True)
class PlannedTest:
    """One call of ``tools/test.py``.

    Attributes:
        variant: The variant whose settings and flags the test has.
        split: The images that are predicted, 'val' or 'test'.
        folder: The work folder of the training, relative to the folder of the study.
        name: The name of the file with the predictions in that folder. Those of test images lie in a folder of their
            own, so that no variant can have a name that makes two of these files one.
        submission_name: The name of the submission zip that is made from them; None for validation images.
    """

    variant: Variant
    split: str
    folder: Path
    name: str
    submission_name: str | None = None

    @property
    def dump(self) -> Path:
        """The file with the predictions, relative to the folder of the study."""
        return self.folder / self.name

    @property
    def submission(self) -> Path | None:
        """The submission zip, relative to the folder of the study; None for validation images."""
        return self.folder / self.submission_name if self.submission_name else None

    @property
    def files(self) -> tuple[Path, ...]:
        """What the test writes."""
        return (self.dump,) if self.submission is None else (self.dump, self.submission)


@dataclass(frozen=True)
class Run:
    """One training of a study.

    Attributes:
        folder: The work folder, relative to the folder of the study.
        variant: The variant whose config is trained.
        tested: The variants that are tested with the checkpoint of this training; ``variant`` is the first of them.
        seed: The seed.
        fold: The number of the fold that is left out of the training, from 0; None without folds.
        with_submission: Whether the test images are predicted, too.
    """

    folder: Path
    variant: Variant
    tested: tuple[Variant, ...]
    seed: int
    fold: int | None
    with_submission: bool = False

    def predictions_of(self, variant: Variant) -> Path:
        """Returns the dump of the validation images of a variant, relative to the folder of the study."""
        return self.folder / f'{as_file_name(variant.name)}.pkl'

    @property
    def tests(self) -> list[PlannedTest]:
        """The tests: of the validation images, unless the training is final, and then of the test images."""
        tests = [] if self.variant.is_final else [
            PlannedTest(variant, 'val', self.folder, self.predictions_of(variant).name) for variant in self.tested]
        for variant in self.tested if self.with_submission else ():
            name = as_file_name(variant.name)
            own = '' if len(self.tested) == 1 else f'_{name}'
            tests.append(PlannedTest(variant, 'test', self.folder, f'{TEST_IMAGES}/{name}.pkl',
                                     f'submission{own}.zip'))
        return tests


def plan_runs(variants: Sequence[Variant], seeds: Sequence[int], n_folds: int | None = None,
              with_submission: bool = False) -> list[Run]:
    """Returns the trainings of a study, so that an unfinished study has every variant before any has a second seed.

    Final trainings come last for each seed.

    Args:
        variants: The variants. Those that differ only in settings of tests share one training.
        seeds: The seeds. A seed that is named twice counts once.
        n_folds: The number of folds; None for the split of the config. A final training has no folds.
        with_submission: Whether the test images are predicted, too.
    """
    groups: list[list[Variant]] = []
    for variant in variants:
        for group in groups:
            if variant.training_settings == group[0].training_settings:
                group.append(variant)
                break
        else:
            groups.append([variant])
    named = list(zip(_names_of_trainings(groups), groups, strict=True))
    final = [(name, group) for name, group in named if group[0].is_final]
    compared = [(name, group) for name, group in named if not group[0].is_final]
    folds = [None] if n_folds is None else range(n_folds)
    return [Run(Path(name, f'seed{seed}' if fold is None else f'seed{seed}_fold{fold}'), group[0], tuple(group), seed,
                fold, with_submission)
            for seed in dict.fromkeys(seeds)
            for fold, trainings in [*((fold, compared) for fold in folds), (None, final)]
            for name, group in trainings]


def _names_of_trainings(groups: Sequence[Sequence[Variant]]) -> list[str]:
    names = [_name_of_training(group) for group in groups]
    return [name if names.count(name) == 1 else as_file_name(group[0].name)
            for name, group in zip(names, groups, strict=True)]


def _name_of_training(group: Sequence[Variant]) -> str:
    """Returns the parts of the names that all variants of a training have."""
    parts = [part for part in group[0].name.split() if all(part in variant.name.split() for variant in group)]
    return as_file_name(' '.join(parts) or group[0].name)

"""Writes a report: one HTML file about results files, trainings, or both."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mmcell.evaluation.average_precision import SIZE_BINS_PX
from mmcell.evaluation.evaluation import EvaluatedFile
from mmcell.evaluation.table_formats import ValueTable
from mmcell.evaluation.tables import count
from mmcell.reports.content import Report, Section, Table
from mmcell.reports.curve_sections import Run, curve_section
from mmcell.reports.gallery import MAX_IMAGES
from mmcell.reports.image_gallery import make_gallery
from mmcell.reports.mistake_sections import confusion_section, error_section, reliability_section
from mmcell.reports.origin import describe_origin
from mmcell.reports.page import write_page
from mmcell.reports.settings_section import config_texts, read_configs, settings_section
from mmcell.reports.value_sections import (
    class_section,
    comparison_section,
    headline_section,
    image_section,
    precision_section,
    size_section,
)


def write_report(path: str | Path, title: str, command: str, *, files: Sequence[EvaluatedFile] = (),
                 runs: Sequence[Run] = (), tables: Sequence[ValueTable] = (), question: str = '',
                 base: str | Path | None = None, size_bins_px: Sequence[float] = SIZE_BINS_PX,
                 max_images: int = MAX_IMAGES, remarks: Sequence[str] = (),
                 on_step: Callable[[str], None] = lambda step: None) -> list[str]:
    """Writes a report to one HTML file, which needs no other file and no network, completely or not at all.

    Sections appear for what is given. A study calls it with its table, one run per variant with a work folder per seed,
    and the results file of one seed of each variant::

        write_report(folder / 'report.html', 'Backbones', command, tables=[table], question='Which backbone is best?',
                     runs=[Run('r50', (folder / 'r50/seed0', folder / 'r50/seed1')), …],
                     files=[EvaluatedFile('r50/seed0.pkl', 'r50', pairs, sources, remarks, evaluation), …],
                     remarks=['Values, images and mistakes are those of seed 0.'])

    Args:
        path: The file.
        title: The title of the page.
        command: The command line that the report comes from.
        files: What was measured, all on the same images: the first file is described, the others are compared with it,
            for which all of them must have values on the same resampled images.
        runs: The trainings, whose curves are drawn and whose checkpoints and configs are described.
        tables: Tables that stand first on the page, for example that of a study.
        question: What the tables answer.
        base: A config file with which the configs of the runs are compared, see
            :func:`mmcell.reports.settings_section.settings_section`.
        size_bins_px: The edges between the size bins that the files were measured with.
        max_images: How many images are shown at most, 0 for none.
        remarks: Notes for the top of the page, for example which results file was chosen.
        on_step: A function that is called with the name of each step before the step begins.

    Returns:
        Sentences about images that are missing in the page.

    Raises:
        MmcellError: A work folder has no log of a training, or ``base`` cannot be read.
        OSError: A file cannot be read or written.
    """
    configs = read_configs(runs)
    settings = settings_section(configs, base)
    gallery, missing = make_gallery(files, max_images, on_step) if files else (None, [])
    on_step('values and curves')
    write_page(path, Report(
        title, _subtitle(files, runs), [*_study_sections(question, tables), *_overview(files)],
        [*([curve_section(runs)] if runs else []), *_details(files, size_bins_px), *([settings] if settings else [])],
        gallery, describe_origin(command, files, runs), config_texts(configs), [*remarks, *missing]))
    return missing


def _study_sections(question: str, tables: Sequence[ValueTable]) -> list[Section]:
    if not tables:
        return []
    return [Section('study', 'Study', [question] if question else [], tables=list(map(Table, tables)))]


def _overview(files: Sequence[EvaluatedFile]) -> list[Section]:
    if not files:
        return []
    return [headline_section(files), *([comparison_section(files)] if len(files) > 1 else [])]


def _details(files: Sequence[EvaluatedFile], size_bins_px: Sequence[float]) -> list[Section]:
    if not files:
        return []
    return [precision_section(files), class_section(files), confusion_section(files), error_section(files),
            reliability_section(files), size_section(files, size_bins_px), image_section(files)]


def _subtitle(files: Sequence[EvaluatedFile], runs: Sequence[Run]) -> str:
    parts = [count(len(files), 'results file')] if files else []
    if files:
        truth = files[0].pairs.truth
        parts.append(f"{count(len(truth.rles), 'true cell')} in {count(len(truth.image_ids), 'image')}")
    parts += [count(len(runs), 'training run')] if runs else []
    return ' · '.join(parts)

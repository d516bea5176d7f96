"""Which settings of a config would fit a data set better, each with its reason in numbers."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from mmengine.config import Config

from mmcell.errors import MmcellError
from mmcell.inspection.advice_anchors import advise_anchors
from mmcell.inspection.advice_cells import SeenCells, gather_cells
from mmcell.inspection.advice_classes import advise_classes, advise_sampling
from mmcell.inspection.advice_images import advise_colors, advise_contrast
from mmcell.inspection.advice_limits import advise_limits
from mmcell.inspection.advice_places import find_pipelines, with_settings
from mmcell.inspection.advice_record import Advice
from mmcell.inspection.advice_scale import advise_crop, advise_masks, advise_scale, advise_tiles, find_crop
from mmcell.inspection.listed_images import without_unions
from mmcell.inspection.sets import InspectedSet


class AdviceError(MmcellError):
    """There is nothing that advice could be given about; the message says why."""


def advise(sets: Sequence[InspectedSet], config: Config) -> list[Advice]:
    """Returns advice about the settings of a config for a data set.

    Advice comes in the order in which settings depend on each other: later advice assumes that the settings of earlier
    advice are used, for example anchors the new scale of the input. To take over all of it, set the values in this
    order. The cells of training sets decide: of those whose names have neither "val" nor "test", or of all if there are
    none. Limits and tiles must hold for all images.

    Args:
        sets: The annotation files.
        config: The config, which is not changed.

    Raises:
        AdviceError: No set has a cell.
    """
    annotated = [part for part in without_unions(sets) if len(part.truth.rles)]
    training = [part for part in annotated if not {'val', 'test'} & set(re.split('[^a-z]+', part.name.lower()))]
    training = training or annotated
    if not training:
        raise AdviceError('there is no advice without cells: name an annotation file that has some')
    fitted: Mapping = config.to_dict()
    given = [*advise_colors(training), *advise_contrast(training, fitted)]
    fitted = _take_over(fitted, given)
    for advisor, needs_all in _ADVISORS:
        cells = gather_cells(annotated if needs_all else training, _pipeline_of_input(fitted))
        advice = list(advisor(cells, fitted))
        given += advice
        fitted = _take_over(fitted, advice)
    return given


def merge_settings(advice: Sequence[Advice]) -> dict[str, object]:
    """Returns the settings of all advice; of several values for one key, the last, which includes the others."""
    return {key: value for entry in advice for key, value in entry.settings.items()}


def _limits_with_crop(cells: SeenCells, config: Mapping) -> Iterator[Advice]:
    crop = find_crop(config)
    return advise_limits(cells, config, None if crop is None else crop[2])


# With each, whether it needs the cells of all sets, or only those of the training.
_ADVISORS: tuple[tuple[Callable[[SeenCells, Mapping], Iterator[Advice]], bool], ...] = (
    (advise_classes, True), (advise_scale, False), (advise_crop, False), (advise_anchors, False),
    (_limits_with_crop, True), (advise_tiles, True), (advise_masks, False), (advise_sampling, False),
)


def _take_over(config: Mapping, advice: Sequence[Advice]) -> Mapping:
    settings = merge_settings(advice)
    return with_settings(config, settings) if settings else config


def _pipeline_of_input(config: Mapping) -> list[dict]:
    """Returns the first pipeline of images that are tested, which has no random steps; empty if there is none."""
    return next(iter(find_pipelines(config, ['val_dataloader', 'test_dataloader']).values()), [])

"""Whether red and blue, and the contrast, of images are what a model expects."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mmcell.images.channel_order import other_order
from mmcell.inspection.advice_places import find_pipelines
from mmcell.inspection.advice_record import Advice
from mmcell.inspection.red_and_blue import find_swapped_colors
from mmcell.inspection.sets import InspectedSet

# Weights of ImageNet expect images whose brightness spreads over most of 0 to 255. That of 61 images of H&E (the
# challenge's and CoNSeP) spreads over 97 to 215; images of fluorescence may be far darker.
_MIN_CONTRAST = 64.
_PERCENTILES = 1., 99.8


def advise_colors(sets: Sequence[InspectedSet]) -> Iterator[Advice]:
    """Advises to read images in the other order of channels, where red and blue look swapped."""
    for part in sets:
        for finding in find_swapped_colors([part]):
            if finding.kind == 'bgr':
                yield Advice('colors', finding.sentence,
                             flag=f'--channel-order {other_order(part.truth.channel_order)}')


def advise_contrast(sets: Sequence[InspectedSet], config: Mapping) -> Iterator[Advice]:
    """Advises to stretch the contrast while images are loaded, if half of them have very little."""
    contrasts = [measures.stain.contrast for part in sets for measures in part.images if measures is not None]
    median = float(np.median(contrasts)) if contrasts else np.inf
    if median >= _MIN_CONTRAST:
        return
    pipelines = find_pipelines(config)
    if any(step.get('percentiles') for pipeline in pipelines.values() for step in pipeline):
        return
    settings: dict[str, object] = {
        key: [{**step, 'percentiles': _PERCENTILES} if step['type'] == 'LoadTiff' else step for step in pipeline]
        for key, pipeline in pipelines.items()}
    yield Advice('contrast', f'Half of the images have a brightness that spreads over {median:.0f} of 255 at most, but '
                 'pretrained weights expect most of the range: stretch the contrast of each channel while loading.',
                 settings, f'--percentiles {_PERCENTILES[0]:g} {_PERCENTILES[1]:g}')

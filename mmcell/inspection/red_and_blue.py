"""Finds images in which red and blue are swapped."""

from collections.abc import Iterator, Sequence

from mmcell.images.channel_order import MIN_HUE, other_order
from mmcell.inspection.findings import Finding
from mmcell.inspection.sets import InspectedSet

# One image among many of the other order needs a clearer hue than an image whose order all images share: the colours of
# pigment and blood may look swapped. 0 of 90 images with an answer looked wrong at .1 in docs/studies/red_and_blue.md.
MIN_SINGLE_HUE = .15


def find_swapped_colors(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports sets, or single images, in which red and blue look swapped, read as the annotation file says.

    The criterion is :func:`mmcell.images.channel_order.nuclear_hue`: below -.1 for a set in which most images look
    swapped, below -.15 for single images of other sets. Images that are not in the colours of H&E do not count.
    """
    return [finding for part in sets for finding in _inspect(part)]


def _inspect(part: InspectedSet) -> Iterator[Finding]:
    hues = {place: measures.stain.hue for place, measures in enumerate(part.images) if measures is not None}
    swapped = [place for place, hue in hues.items() if hue <= -MIN_HUE]
    right = [place for place, hue in hues.items() if hue >= MIN_HUE]
    order = part.truth.channel_order
    if len(swapped) > len(right):
        yield Finding(
            'bgr', 'error', f'Red and blue look swapped in {len(swapped)} of {len(swapped) + len(right)} images of '
            f'{part.name} whose colours tell it, when they are read as {order}, as the annotation file says.',
            f'Convert the data again with data_prep/to_coco.py … --channel-order {other_order(order)}, or set '
            f'"channel_order": "{other_order(order)}" in the "info" of the annotation file.',
            _as_places(part, hues, swapped))
        exceptions, verb = [place for place in right if hues[place] >= MIN_SINGLE_HUE], 'do not look swapped'
    else:
        exceptions, verb = [place for place in swapped if hues[place] <= -MIN_SINGLE_HUE], 'look swapped'
    if exceptions:
        yield Finding(
            'mixed-channel-orders', 'warning', f'In {len(exceptions)} images of {part.name}, red and blue {verb}, '
            'unlike in most other images of the set.',
            'One annotation file has one channel order: save these images with red first, or put them into a file of '
            'their own.', _as_places(part, hues, exceptions))


def _as_places(part: InspectedSet, hues: dict[int, float], places: list[int]) -> tuple:
    return tuple(part.place(place, detail=f'hue {hues[place]:+.2f} (nuclei absorb more '
                            f'{"red" if hues[place] > 0 else "blue"})')
                 for place in sorted(places, key=lambda place: -abs(hues[place])))

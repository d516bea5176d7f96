"""Finds images whose scales differ, so that equal cells have different sizes."""

from collections import Counter
from collections.abc import Sequence

from mmcell.images.scale import same_scale
from mmcell.inspection.findings import Finding
from mmcell.inspection.sets import InspectedSet


def find_scales(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports the scales that the annotation files state, if they differ or some images have none."""
    stated = [(part, image, part.truth.mpps[image]) for part in sets for image in range(len(part.images))]
    known = [entry for entry in stated if entry[2] is not None]
    if not known:
        return []
    lowest, highest = min(entry[2] for entry in known), max(entry[2] for entry in known)
    usual = Counter(mpp for *_, mpp in known).most_common(1)[0][0]
    if not same_scale(lowest, highest):
        others = sorted((entry for entry in known if not same_scale(entry[2], usual)),
                        key=lambda entry: -max(entry[2] / usual, usual / entry[2]))
        return [Finding('mixed-scales', 'warning',
                        f'Images have from {lowest:g} to {highest:g} um per pixel, so that equal cells have different '
                        f'sizes; most have {usual:g}, and {len(others)} of {len(stated)} another scale.',
                        f"Bring all to one scale: dict(type='ResizeToScale', mpp={usual:g}) after LoadCellAnnotations "
                        'in each pipeline.',
                        tuple(part.place(image, detail=f'{mpp:g} um per pixel') for part, image, mpp in others))]
    if len(known) < len(stated):
        return [Finding('unknown-scales', 'note',
                        f'{len(stated) - len(known)} of {len(stated)} images do not state their scale; the others have '
                        f'{usual:g} um per pixel.',
                        'If all have the same, convert them with --mpp.',
                        tuple(part.place(image) for part, image, mpp in stated if mpp is None))]
    return []

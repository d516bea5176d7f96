"""Finds images that cannot be used: missing, damaged, or of another size than their annotations."""

from collections.abc import Sequence

from mmcell.errors import escape
from mmcell.inspection.findings import Finding
from mmcell.inspection.sets import InspectedSet


def find_image_problems(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports the images of each set that could not be measured."""
    return [Finding('unusable-images', 'error',
                    f'{len(part.problems)} of {len(part.images)} images of {part.name} cannot be used. They are left '
                    'out of all other findings.',
                    'Restore the files, or write the annotation file again without them. For images of another size, '
                    'use the files that were annotated.',
                    tuple(part.place(image, detail=escape(problem)) for image, problem in part.problems.items()))
            for part in sets if part.problems]

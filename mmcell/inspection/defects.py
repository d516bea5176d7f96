"""All detectors of defects, one after the other."""

from collections.abc import Callable, Sequence

from mmcell.inspection.contents import find_content
from mmcell.inspection.copies import find_copies
from mmcell.inspection.findings import LEVELS, Finding
from mmcell.inspection.image_problems import find_image_problems
from mmcell.inspection.listed_images import without_unions
from mmcell.inspection.merged_cells import find_merged_cells
from mmcell.inspection.missing_labels import find_missing_labels
from mmcell.inspection.outliers import find_outliers
from mmcell.inspection.red_and_blue import find_swapped_colors
from mmcell.inspection.scales import find_scales
from mmcell.inspection.sets import InspectedSet
from mmcell.inspection.shifted_masks import find_shifted_masks
from mmcell.inspection.swapped_classes import find_swapped_classes

DETECTORS: tuple[Callable[[Sequence[InspectedSet]], list[Finding]], ...] = (
    find_image_problems, find_copies, find_scales, find_swapped_colors, find_shifted_masks, find_swapped_classes,
    find_merged_cells, find_missing_labels, find_outliers, find_content,
)


def find_defects(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Returns what all detectors find in annotation files that belong together, the gravest first.

    A file such as ``trainval.json`` is left out if other files list all of its images.
    """
    sets = without_unions(sets)
    findings = [finding for detector in DETECTORS for finding in detector(sets)]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))

"""All detectors of defects, one after the other."""

from collections.abc import Callable, Sequence

from mmcell.inspection.findings import LEVELS, Finding
from mmcell.inspection.image_problems import find_image_problems
from mmcell.inspection.sets import InspectedSet

DETECTORS: tuple[Callable[[Sequence[InspectedSet]], list[Finding]], ...] = (
    find_image_problems,
)


def find_defects(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Returns what all detectors find in annotation files that belong together, the gravest first."""
    findings = [finding for detector in DETECTORS for finding in detector(sets)]
    return sorted(findings, key=lambda finding: LEVELS.index(finding.level))

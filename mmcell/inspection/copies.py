"""Finds images that stand in two splits, and copies and overlaps of images."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, islice

from mmcell.evaluation.tables import count
from mmcell.inspection.alignment import MIN_CORRELATION, correlate_overlap, correlate_whole, similar_pairs
from mmcell.inspection.findings import Finding, Place
from mmcell.inspection.listed_images import ListedImage, list_images
from mmcell.inspection.outliers import MIN_CONTRAST
from mmcell.inspection.sets import InspectedSet

# Comparing the key points of two images takes 1 to 5 ms. Of larger sets, pairs in different splits come first.
MAX_OVERLAP_PAIRS = 20_000
# Names of one slide or patient: all but a last number.
_LAST_NUMBER = re.compile(r'^(.*\d.*?)[ _.-]+\d+$')
_SPLIT_AGAIN = ('Split the data again so that they are on one side: data_prep/to_coco.py … --group-by, or remove one '
                'of each pair.')


def find_copies(sets: Sequence[InspectedSet]) -> list[Finding]:
    """Reports files in two splits; images with equal pixels; and copies and overlaps of images.

    The criterion for a copy: reduced to 32 x 32 px, the images have a correlation of .8 in one of eight ways to lay
    them down; reduced to a quarter, their details have a correlation of .7. For an overlap: six key points or more
    agree on one position, and the details in the common part, of 96 x 96 px or more, have a correlation of .7. Both
    are errors between splits and warnings within one. ``trainval.json``, which contains the training and validation
    images by design, is not compared with these.
    """
    images = list_images(sets)
    pairs, n_skipped = _find_pairs(images)
    findings = [*_report_shared_files(images), *_report_pairs(pairs), *_report_groups(images)]
    if n_skipped:
        findings.append(Finding('overlaps-not-searched', 'note', f'{n_skipped} pairs of images were not searched for '
                                f'overlaps, because it would take long; copies of whole images were. '
                                f'{MAX_OVERLAP_PAIRS} pairs were searched, first those in different splits.'))
    return findings


def _report_shared_files(images: Sequence[ListedImage]) -> Iterator[Finding]:
    shared = [image for image in images if image.also_in]
    if shared:
        yield Finding('same-image-in-two-splits', 'error', f'{count(len(shared), "image file")} '
                      f'{"is" if len(shared) == 1 else "are"} listed by more than one of the annotation files.',
                      _SPLIT_AGAIN,
                      tuple(image.place(detail=f"in {', '.join([image.part.name, *image.also_in])}")
                            for image in shared))


def _find_pairs(images: Sequence[ListedImage]) -> tuple[list[tuple[ListedImage, ListedImage, str]], int]:
    """Returns the pairs of images that have tissue in common, what they have in common, and how many were not searched.
    """
    prints = [image.measures.prints for image in images]
    texts, overlaps = {}, {}
    # Empty images are equal, too, but show nothing that could be learned.
    for first, second in _equal_pairs([image.measures.pixel_hash if image.measures.stain.contrast >= MIN_CONTRAST
                                       else str(index) for index, image in enumerate(images)]):
        texts[first, second] = 'all pixels are equal'
    for pair in similar_pairs(prints):
        if pair not in texts:
            correlation, turn = correlate_whole(*(prints[index] for index in pair))
            if correlation >= MIN_CORRELATION:
                texts[pair] = f'a copy{f", {turn}" if turn else ""}, correlation {correlation:.2f}'
    n_pairs = len(images) * (len(images) - 1) // 2 - len(texts)
    for pair in islice((pair for pair in _ordered_pairs(images) if pair not in texts), MAX_OVERLAP_PAIRS):
        correlation, share, turn = correlate_overlap(*(prints[index] for index in pair))
        if correlation >= MIN_CORRELATION:
            overlaps[pair] = (f'{share:.0%} of the smaller image in common{f", {turn}" if turn else ""}, '
                              f'correlation {correlation:.2f}')
    return ([(images[first], images[second], text) for (first, second), text in {**texts, **overlaps}.items()],
            max(n_pairs - MAX_OVERLAP_PAIRS, 0))


def _ordered_pairs(images: Sequence[ListedImage]) -> Iterator[tuple[int, int]]:
    """Yields all pairs of images, first those in different splits. A list of them would be large for many images."""
    for is_together in (False, True):
        yield from ((first, second) for first, second in combinations(range(len(images)), 2)
                    if images[first].shares_a_split_with(images[second]) == is_together)


def _equal_pairs(hashes: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yields the first of equal hashes with each of the others, so that many equal images give few pairs."""
    first_of: dict[str, int] = {}
    for index, key in enumerate(hashes):
        if first_of.setdefault(key, index) != index:
            yield first_of[key], index


def _report_pairs(pairs: Sequence[tuple[ListedImage, ListedImage, str]]) -> Iterator[Finding]:
    across = [pair for pair in pairs if not pair[0].shares_a_split_with(pair[1])]
    within = [pair for pair in pairs if pair[0].shares_a_split_with(pair[1])]
    if across:
        yield Finding('copies-in-two-splits', 'error', f'{len(across)} pairs of images in different annotation files '
                      'show the same tissue, so that a model is measured on what it has learned.', _SPLIT_AGAIN,
                      tuple(_place_of_pair(*pair) for pair in across))
    if within:
        yield Finding('copies', 'warning', f'{len(within)} pairs of images in one annotation file show the same '
                      'tissue. A split or folds could separate them.',
                      'Remove one of each pair, or keep them together with data_prep/to_coco.py … --group-by.',
                      tuple(_place_of_pair(*pair) for pair in within))


def _place_of_pair(first: ListedImage, second: ListedImage, text: str) -> Place:
    return first.place(detail=f'{text}: {second.part.truth.file_names[second.index]} in {second.part.name}')


def _report_groups(images: Sequence[ListedImage]) -> Iterator[Finding]:
    """Notes names that differ only in a last number, and stand in different splits: perhaps parts of one slide.

    Names that say nothing, because most images have the same beginning, do not count.
    """
    groups = defaultdict(list)
    for image in images:
        groups[_group_of(image)].append(image)
    groups.pop(None, None)
    divided = {name: members for name, members in groups.items() if len(members) <= max(len(images) / 2, 2) and any(
        not first.shares_a_split_with(second) for first, second in combinations(members, 2))}
    if divided:
        name, members = next(iter(divided.items()))
        yield Finding('groups-in-two-splits', 'note', f'{len(divided)} groups of images, whose names differ only in a '
                      f'last number, stand in more than one annotation file, for example {name} with {len(members)} '
                      'images. If they come from one patient or slide, validation looks better than it is.',
                      r"Keep them together: data_prep/to_coco.py … --group-by '^(.*)[_-]\d+$'",
                      tuple(image.place(detail=f'group {name}, in {image.part.name}')
                            for name, members in divided.items() for image in members))


def _group_of(image: ListedImage) -> str | None:
    """Returns the name of an image, or of its folder if it is called image.tif, without its last number."""
    folder, _, name = image.part.truth.file_names[image.index].rpartition('/')
    stem = name.rpartition('.')[0]
    match = _LAST_NUMBER.match(folder.rpartition('/')[2] if stem == 'image' else stem)
    return match and match[1]

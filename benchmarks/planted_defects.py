"""Plants defects one by one in images of annotation files, and counts which of them the inspection finds.

Each defect is planted in one image at a time, and all images are inspected with it. A row counts in how many images the
defect was found at the right place (as an error or warning of its kind), and how many other places the same detectors
warned of that they do not warn of without the defect. A last line says which alarms there are after a tenth of the
labels was removed from all images. How far the thresholds depend on the images that are inspected here, the study says.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from _planting import COPIES, PLANTINGS, Scene

from mmcell.annotations.ground_truth import GroundTruth, ImageSource
from mmcell.commands.shell import make_parser, run_command
from mmcell.files.parallel import map_with_progress
from mmcell.images.image_file import read_image
from mmcell.inspection.copies import find_copies
from mmcell.inspection.defects import DETECTORS, find_defects
from mmcell.inspection.findings import Place
from mmcell.inspection.measuring import ImageMeasures, measure_pixels
from mmcell.inspection.sets import InspectedSet, inspect_sets

EXAMPLE = """example:
  python benchmarks/planted_defects.py annotations/train.json annotations/val.json --images 12 --half odd
"""
# Which detector looks for which kind, so that the others need not be called each time.
DETECTOR_OF = {'shifted-masks': 'find_shifted_masks', 'turned-masks': 'find_shifted_masks',
               'swapped-classes': 'find_swapped_classes', 'merged-cells': 'find_merged_cells',
               'missing-labels': 'find_missing_labels', 'cells-listed-twice': 'find_content',
               'mixed-channel-orders': 'find_swapped_colors'}


THINNED = 'a tenth of the labels removed'


@dataclass(frozen=True)
class Task:
    """A defect that is planted in one image.

    Attributes:
        defect: A key of ``PLANTINGS`` or ``COPIES``.
        place: The place of the image.
        seed: The seed of all random choices.
        source: The image file.
        rles: Its masks.
        classes: The classes of the masks.
    """

    defect: str
    place: int
    seed: int
    source: ImageSource
    rles: list[dict]
    classes: np.ndarray


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, EXAMPLE, 'the table was printed')
    parser.add_argument('ann_files', nargs='+', type=Path, metavar='JSON',
                        help='annotation files without known defects; defects are planted in images of the first')
    parser.add_argument('--images', type=int, default=12, metavar='N', help='images per defect and seed (default: 12)')
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='seeds per defect (default: 1)')
    parser.add_argument('--half', choices=('even', 'odd', 'all'), default='all',
                        help='plant only in images with even or odd places in the first file (default: all)')
    parser.add_argument('--only', nargs='+', default=[], metavar='WORD', help='only defects whose name has this word')
    parser.add_argument('--jobs', type=int, default=2, metavar='N', help='processes (default: 2)')
    return parser.parse_args()


def main() -> int:
    return run_command(parse_args, carry_out)


def carry_out(args: argparse.Namespace) -> None:
    sets = inspect_sets(args.ann_files, args.jobs)
    alarms = [finding for finding in find_defects(sets) if finding.level != 'note']
    print(f'{len(alarms)} alarms without a planted defect'
          + ''.join(f'\n- {finding.kind}: {finding.sentence}' for finding in alarms))
    known = {(finding.kind, place.file_name) for finding in alarms for place in finding.places}
    print('| defect | planted | found | listed first | other places |\n| --- | --- | --- | --- | --- |')
    for defect in [*PLANTINGS, *COPIES]:
        if not args.only or any(word in defect for word in args.only):
            tasks = make_tasks(sets[0], defect, args)
            planted, _ = map_with_progress(plant, tasks, args.jobs, defect, skip_bad=False)
            done = [(task, *result) for task, result in zip(tasks, planted, strict=True) if result]
            report(sets, known, defect, done)
    if not args.only or any(word in THINNED for word in args.only):
        report_thinned(sets, args)


def report_thinned(sets: Sequence[InspectedSet], args: argparse.Namespace) -> None:
    """Removes a tenth of the labels from every image of every file, and prints the alarms about missing labels."""
    thinned = []
    for part in sets:
        every = argparse.Namespace(images=len(part.images), seeds=1, half='all')
        tasks = make_tasks(part, THINNED, every)
        planted, _ = map_with_progress(plant, tasks, args.jobs, f'{THINNED}: {part.name}', skip_bad=False)
        for task, result in sorted(zip(tasks, planted, strict=True), key=lambda entry: entry[0].place):
            if result:
                part = replace_image(part, task.place, *result)
        thinned.append(part)
    find = {detector.__name__: detector for detector in DETECTORS}[DETECTOR_OF['missing-labels']]
    print(f'{THINNED} from all images:' + ''.join(
        f'\n- {finding.kind}, {finding.level}: {finding.sentence}' for finding in find(thinned)))


def make_tasks(part: InspectedSet, defect: str, args: argparse.Namespace) -> list[Task]:
    """Chooses the images at random; images in which the defect cannot be planted are left out later."""
    truth, tasks = part.truth, []
    for seed in range(args.seeds):
        rng = np.random.default_rng([seed, *defect.encode()])
        places = [place for place in rng.permutation(len(part.images)).tolist()
                  if part.images[place] is not None and args.half in ('all', ('even', 'odd')[place % 2])]
        for place in places[:args.images]:
            cells = part.cells_of(place)
            tasks.append(Task(defect, place, seed, truth.image_source(place), [truth.rles[cell] for cell in cells],
                              truth.class_index[cells]))
    return tasks


def plant(task: Task) -> tuple[Scene, ImageMeasures] | None:
    """Plants the defect, and measures the image again; None if the image is not fit for it."""
    image = read_image(task.source.path, task.source.channel_order)
    function = COPIES.get(task.defect) or PLANTINGS[task.defect][0]
    scene = function(Scene(image, task.rles, task.classes), np.random.default_rng([task.seed, task.place]))
    if scene is None:
        return None
    return (replace(scene, image=np.zeros((*scene.image.shape[:2], 0), np.uint8)),
            measure_pixels(scene.image, scene.rles, np.zeros(len(scene.rles), bool)))


def report(sets: Sequence[InspectedSet], known: set[tuple[str, str]], defect: str,
           planted: Sequence[tuple[Task, Scene, ImageMeasures]]) -> None:
    """Prints one row of the table; two for merged cells, which may touch or not."""
    for note in sorted({scene.note for _, scene, _ in planted}):
        rows = [judge(sets, known, *entry) for entry in planted if entry[1].note == note]
        found, listed, others = (sum(values) for values in zip(*rows, strict=True))
        print(f'| {defect}{f", {note}" if note else ""} | {len(rows)} | {found} | {listed} | {others} |', flush=True)


def judge(sets: Sequence[InspectedSet], known: set[tuple[str, str]], task: Task, scene: Scene,
          measures: ImageMeasures) -> tuple[bool, bool, int]:
    """Returns whether the defect was found, whether it is among the first ten places of any finding, and how many other
    places were warned of that are not ``known`` without the defect.
    """
    if task.defect in COPIES:
        changed = [*sets[:-1], add_image(sets[-1], measures)] if len(sets) > 1 else [add_image(sets[0], measures)]
        detect, kinds = find_copies, ('copies-in-two-splits', 'copies')
    else:
        changed = [replace_image(sets[0], task.place, scene, measures), *sets[1:]]
        kinds = (PLANTINGS[task.defect][1],)
        detect = {detector.__name__: detector for detector in DETECTORS}[DETECTOR_OF[kinds[0]]]
    is_there, after = make_test(changed[0].truth, task), detect(changed)
    found = any(is_there(place) for finding in after if finding.kind in kinds and finding.level != 'note'
                for place in finding.places)
    listed = any(is_there(place) for finding in after for place in finding.places[:10])
    others = [place for finding in after if finding.level != 'note' for place in finding.places
              if not is_there(place) and (finding.kind, place.file_name) not in known]
    return found, listed, len(others)


def make_test(truth: GroundTruth, task: Task) -> Callable[[Place], bool]:
    """Returns a function that says whether a place is that of the defect: the image, or its merged (last) cell."""
    name, merged = truth.file_names[task.place], None
    if task.defect == 'two cells merged':
        merged = int(truth.annotation_ids[np.searchsorted(truth.image_index, task.place, 'right') - 1])

    def is_there(place: Place) -> bool:
        return place.file_name == name and (merged is None or place.cell_id == merged)
    return is_there


def replace_image(part: InspectedSet, place: int, scene: Scene, measures: ImageMeasures) -> InspectedSet:
    """Returns the set with other cells, with new ids, and other measures of one image."""
    truth, cells = part.truth, part.cells_of(place)
    begin, end = (cells[0], cells[-1] + 1) if len(cells) else (np.searchsorted(truth.image_index, place),) * 2

    def put(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        return np.concatenate([old[:begin], new, old[end:]])
    n_cells, boxes = len(scene.rles), scene.runs.extents_xyxy
    next_id = int(truth.annotation_ids.max(initial=0)) + 1
    changed = replace(
        truth, image_index=put(truth.image_index, np.full(n_cells, place)),
        class_index=put(truth.class_index, scene.classes), rles=[*truth.rles[:begin], *scene.rles, *truth.rles[end:]],
        areas_px=put(truth.areas_px, scene.runs.areas_px.astype(float)),
        boxes_xywh=put(truth.boxes_xywh, np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(float)),
        is_crowd=put(truth.is_crowd, np.zeros(n_cells, bool)),
        annotation_ids=put(truth.annotation_ids, np.arange(next_id, next_id + n_cells)))
    return replace(part, truth=changed, images=[*part.images[:place], measures, *part.images[place + 1:]])


def add_image(part: InspectedSet, measures: ImageMeasures) -> InspectedSet:
    """Returns the set with another image, which has no cells."""
    truth = part.truth
    changed = replace(truth, image_ids=[*truth.image_ids, max(truth.image_ids) + 1],
                      file_names=[*truth.file_names, 'the copy.tif'],
                      sizes=np.append(truth.sizes, [np.multiply(measures.prints.thumbnail.shape, 4)], axis=0))
    return replace(part, truth=changed, images=[*part.images, measures])


if __name__ == '__main__':
    sys.exit(main())

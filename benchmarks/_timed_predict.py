"""Runs tools/predict.py in this process, and writes what reading, network, seams and writing took.

    python benchmarks/_timed_predict.py times.json CHECKPOINT IMAGE --out FOLDER …

Reading goes on in a thread of its own beside the others, so that the sum can be more than the whole time.
"""

import json
import runpy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO / 'tools'))

seconds = dict.fromkeys(('reading', 'network', 'seams', 'writing'), 0.)


@contextmanager
def timed(part: str) -> Iterator[None]:
    """Adds the time of a block to a part."""
    begun = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] += time.perf_counter() - begun


def timing(part: str, function: Callable) -> Callable:
    """Returns a function that does the same, and whose time is added to a part."""
    def call(*args: Any, **options: Any) -> Any:
        with timed(part):
            return function(*args, **options)
    return call


class Waiting:
    """Yields the items of an iterator, and adds up the time in which it waited for them, in seconds."""

    def __init__(self, items: Iterator) -> None:
        self.items, self.waited = items, 0.

    def __iter__(self) -> Iterator:
        while True:
            begun = time.perf_counter()
            item = next(self.items, None)
            self.waited += time.perf_counter() - begun
            if item is None:
                return
            yield item


def time_parts() -> None:
    """Puts functions that take the time in the place of those that predict a streamed image."""
    from mmcell.inference import huge_images, image_jobs, predictor
    predict_huge_image, writing_cells = predictor.predict_huge_image, image_jobs.writing_cells

    def predict(model: Any, size: tuple, read: Callable, *args: Any, **options: Any) -> Iterator:
        model.predict_crops = timing('network', model.predict_crops)
        return predict_huge_image(model, size, timing('reading', read), *args, **options)

    @contextmanager
    def write(*args: Any) -> Iterator[Callable]:
        context = writing_cells(*args)
        with timed('writing'):
            write_cells = context.__enter__()
        yield timing('writing', write_cells)
        with timed('writing'):
            context.__exit__(None, None, None)

    predictor.predict_huge_image, image_jobs.writing_cells = predict, write
    huge_images.SeamStitcher.add = timing('seams', huge_images.SeamStitcher.add)
    separate = image_jobs.separate_cells

    def separated(parts: Iterator, *args: Any) -> Iterator:
        # The cells are predicted while they are asked for here: that time is not the time of the separation.
        predicted = Waiting(parts)
        own = Waiting(separate(iter(predicted), *args))
        yield from own
        seconds['seams'] += own.waited - predicted.waited

    image_jobs.separate_cells = separated


def main() -> None:
    out = Path(sys.argv.pop(1))
    command = REPO / 'tools' / 'predict.py'
    sys.argv[0] = str(command)
    time_parts()
    begun, status = time.perf_counter(), 0
    try:
        runpy.run_path(str(command), run_name='__main__')
    except SystemExit as end:
        status = end.code
    out.write_text(json.dumps({**{key: round(value, 1) for key, value in seconds.items()},
                               'all': round(time.perf_counter() - begun, 1)}))
    sys.exit(status)


if __name__ == '__main__':
    main()

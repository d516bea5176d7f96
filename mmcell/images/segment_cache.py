"""Decoded tiles or strips of a TIFF page that are kept, because neighbouring rectangles touch the same ones."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

# A segment of None is missing in the file.
Segment = np.ndarray | None
# Bytes that are kept without a plan, and with one. The second number suffices for the strips of RGB images that are
# 150,000 px wide, when they are read in tiles of 1024 px.
LATEST_BYTES, PLANNED_BYTES = 128 * 2**20, 512 * 2**20


class SegmentCache:
    """Keeps segments by their index within a number of bytes, but always at least one.

    If it is known which rectangles will be read (:meth:`expect`), a segment is kept until the last of them that touches
    it was read, and each segment is decoded once. When the bytes are used up, further segments are not kept: if rows of
    rectangles go through the same strips again and again, this is better than to replace the oldest segment, which is
    the next one to be needed. The plan ends with the first other rectangle.

    Without a plan, the segments that were used last are kept.
    """

    def __init__(self) -> None:
        self._segments: OrderedDict[int, Segment] = OrderedDict()
        self._n_bytes = 0
        self._plan: list[tuple[int, ...]] = []
        self._step, self._last_steps = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        return len(self._segments)

    def __contains__(self, index: int) -> bool:
        return index in self._segments

    def expect(self, spans: Sequence[Sequence[int]], grid: tuple[int, int]) -> None:
        """Sets the plan.

        Args:
            spans: The tiles or strips that each rectangle touches, in the order in which they will be read: first and
                last column and row, (x0, y0, x1, y1), where x1 and y1 are one past the last.
            grid: The number of rows and columns of tiles or strips.
        """
        self._plan, self._step = [tuple(map(int, span)) for span in spans], -1
        last_steps = np.full(grid, -1)
        # In a row of three tiles, the spans (0, 0, 2, 1) and (1, 0, 3, 1) give [0, 1, 1]: after step 0, the first is
        # not needed any more.
        for step, (x0, y0, x1, y1) in enumerate(self._plan):
            last_steps[y0:y1, x0:x1] = step
        self._last_steps = last_steps.ravel()

    def begin(self, span: Sequence[int]) -> None:
        """Notes that the segments of a rectangle will be asked for now; its span is as in :meth:`expect`."""
        self._step += 1
        if self._step >= len(self._plan) or self._plan[self._step] != tuple(map(int, span)):
            self._plan = []
        if self._plan:
            for index in [index for index in self._segments if not self._is_needed(index)]:
                self._drop(index)

    def get(self, index: int) -> Segment:
        """Returns a segment that is kept."""
        self._segments.move_to_end(index)
        return self._segments[index]

    def put(self, index: int, segment: Segment) -> None:
        """Keeps a segment that was decoded for the present rectangle, if it is worth it."""
        n_bytes = 0 if segment is None else segment.nbytes
        if self._plan:
            is_kept = self._step < self._last_steps[index % len(self._last_steps)]
            if not is_kept or (self._segments and self._n_bytes + n_bytes > PLANNED_BYTES):
                return
        self._segments[index] = segment
        self._n_bytes += n_bytes
        while not self._plan and self._n_bytes > LATEST_BYTES and len(self._segments) > 1:
            self._drop(next(iter(self._segments)))

    def _is_needed(self, index: int) -> bool:
        # The planes of an image have the same segments one after the other.
        return self._step <= self._last_steps[index % len(self._last_steps)]

    def _drop(self, index: int) -> None:
        segment = self._segments.pop(index)
        self._n_bytes -= 0 if segment is None else segment.nbytes

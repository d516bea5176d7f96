"""What the writers of all formats have in common."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmcell.inference.cells import Cells


@dataclass(frozen=True)
class ImageInfo:
    """An image whose cells are written.

    Attributes:
        path: of its file.
        height_px, width_px: its size.
        class_names: of the labels.
        mpp: micrometres a pixel, None where it is not known.
        pixels: (H, W, 3) uint8 RGB; None for an image too large to hold, of which there is no picture.
    """

    path: Path
    height_px: int
    width_px: int
    class_names: list[str]
    mpp: float | None = None
    pixels: np.ndarray | None = None


class CellWriter(ABC):
    """Writes the cells of one image to files, part after part, so that memory does not grow with the image.

    A context manager; files are complete when it ends without an exception. Cells are numbered from 1 in the order
    in which they come, alike in all formats.

    Args:
        paths: the files, as many as :meth:`file_names` gives; folders exist.
        image: the image that the cells are of.
    """

    def __init__(self, paths: list[Path], image: ImageInfo) -> None:
        self.paths = paths
        self.image = image

    @staticmethod
    @abstractmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """The names of the files that are written for an image called ``name``."""

    def open(self) -> None:
        """Opens the files and writes what comes before the first cell."""

    @abstractmethod
    def write(self, cells: Cells, first_number: int) -> None:
        """Writes some of the image's cells; the first has the number ``first_number``, the others follow."""

    def finish(self) -> None:
        """Writes what comes after the last cell."""

    def close(self) -> None:
        """Closes what is open, whatever happened."""

    def __enter__(self) -> 'CellWriter':
        self.open()
        return self

    def __exit__(self, kind: type | None, *unused: object) -> None:
        try:
            if kind is None:
                self.finish()
        finally:
            self.close()

"""Pictures."""

import cv2

from mmcell.errors import MmcellError
from mmcell.inference.cells import Cells
from mmcell.inference.writers.base import CellWriter
from mmcell.visualization.colors import class_colors
from mmcell.visualization.overlay import add_legend, draw_instances

# Smaller images are drawn at twice their size, so that outlines leave cells visible.
_MAX_ENLARGED_PX = 16_000_000


class OverlayWriter(CellWriter):
    """NAME_overlay.png: the image as the model saw it, cells outlined in the colours of their classes, a legend on top.

    Args: as :class:`CellWriter`.

    Raises:
        MmcellError: on opening, where the image is too large to hold.
    """

    @staticmethod
    def file_names(name: str, class_names: list[str]) -> list[str]:
        """NAME_overlay.png."""
        return [f'{name}_overlay.png']

    def open(self) -> None:
        """Begins without a cell."""
        if self.image.pixels is None:
            raise MmcellError(f'{self.image.path} is too large for a picture: leave out --formats overlay')
        self.rles: list[dict] = []
        self.labels: list[int] = []

    def write(self, cells: Cells, first_number: int) -> None:
        """Keeps the cells."""
        self.rles += cells.rles
        self.labels += cells.labels.tolist()

    def finish(self) -> None:
        """Draws all."""
        names = self.image.class_names
        colors = class_colors(len(names))
        scale = 2 if self.image.height_px * self.image.width_px <= _MAX_ENLARGED_PX else 1
        picture = draw_instances(self.image.pixels, self.rles, [colors[label] for label in self.labels], scale)
        picture = add_legend(picture, f'{len(self.rles)} cells', names, colors)
        _, encoded = cv2.imencode('.png', picture[:, :, ::-1])
        self.paths[0].write_bytes(encoded.tobytes())

"""Writing of pictures, completely or not at all."""

from pathlib import Path

import cv2
import numpy as np

from mmcell.files.whole_files import written_whole


def write_png(picture: np.ndarray, path: str | Path) -> None:
    """Writes a picture as PNG; if the process is killed, the old file or none is there.

    Args:
        picture: (H, W, 3) uint8 RGB.
        path: The file; missing folders are made.

    Raises:
        OSError: The file cannot be written.
    """
    with written_whole([path]) as (temporary,):
        temporary.write_bytes(encode_png(picture))


def encode_png(picture: np.ndarray) -> bytes:
    """Returns the content of a PNG file.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    # Unlike cv2.imwrite, this needs no name that OpenCV can open, and no check of a returned flag.
    return cv2.imencode('.png', picture[:, :, ::-1])[1].tobytes()

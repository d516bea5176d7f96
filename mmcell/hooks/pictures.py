"""The hook that draws predictions during validation and testing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.registry import HOOKS
from mmdet.structures import DetDataSample
from mmengine.runner import Runner

from mmcell.images.pixels import read_image
from mmcell.visualization.overlay import picture_name


@HOOKS.register_module()
class CellVisualizationHook(DetVisualizationHook):
    """``DetVisualizationHook`` that shows each image as the model saw it, and writes one PNG per image.

    The stock hook reads image files in its own way, with other colours for 16-bit files, for files that hold blue
    first and for stretched contrast. It names pictures only after the image file, although in the raw layout all
    images are called image.tif. With several processes, it draws only the images of the first process.

    The arguments are those of ``DetVisualizationHook``. ``test_out_dir`` is relative to the folder of the run inside
    the work folder, unless it is absolute.
    """

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                       outputs: Sequence[DetDataSample]) -> None:
        """Draws the first image of the batch in every ``interval``-th step."""
        step = runner.iter + batch_idx
        if self.draw and step % self.interval == 0:
            self._add(outputs[0], 'val_img', step, None)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                        outputs: Sequence[DetDataSample]) -> None:
        """Draws every image of the batch."""
        if not self.draw:
            return
        for sample in outputs:
            self._test_index += 1
            out_file = None
            if self.test_out_dir is not None:
                folder = Path(runner.work_dir, runner.timestamp, self.test_out_dir)
                out_file = folder / picture_name(sample.img_id, sample.img_path)
            self._add(sample, 'test_img', self._test_index, out_file)

    def _add(self, sample: DetDataSample, name: str, step: int, out_file: Path | None) -> None:
        self._visualizer.add_datasample(
            picture_name(sample.img_id, sample.img_path) if self.show else name, read_seen_image(sample),
            data_sample=sample.cpu(), show=self.show, wait_time=self.wait_time, pred_score_thr=self.score_thr,
            out_file=None if out_file is None else str(out_file), step=step)


def read_seen_image(sample: DetDataSample) -> np.ndarray:
    """Reads the image of a sample as ``LoadTiff`` read it for the model, (H, W, 3) uint8 RGB, before any resize."""
    return read_image(sample.img_path, sample.get('channel_order', 'rgb'), sample.get('percentiles'))

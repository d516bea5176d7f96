"""Starts trackers of experiments with a training, and gives them the steps of validations."""

from pathlib import Path

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcell.checkpoints.records import content_of
from mmcell.visualization.trackers import TrackedTraining
from mmcell.visualization.visualizer import CellVisualizer


@HOOKS.register_module()
class TrackerHook(Hook):
    """Starts the trackers in ``visualizer.vis_backends`` with a training, or continues them if it is resumed.

    Trackers have one run per training, however often it is resumed, and no run for a test. Values of validations get
    the step after which they were measured, as losses do; MMEngine itself gives them the number of the epoch.
    """

    def __init__(self) -> None:
        self.run: str | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Reads when a resumed training first started: the folder of its first run has this time as its name."""
        if runner._resume:
            self.run = content_of(checkpoint).get('run')

    def before_train(self, runner: Runner) -> None:
        """Starts the trackers."""
        if isinstance(runner.visualizer, CellVisualizer):
            folder = Path(runner.work_dir, self.run or runner.timestamp, 'vis_data')
            runner.visualizer.start_trackers(TrackedTraining(folder, runner.iter))

    def before_val_epoch(self, runner: Runner) -> None:
        """Notes the step of a validation inside a training."""
        if isinstance(runner.visualizer, CellVisualizer) and runner.visualizer.are_trackers_started:
            runner.visualizer.step = runner.iter

"""Models, registered with MMDetection; imported before any model is built."""

from mmcell.weights import explain_failed_downloads

explain_failed_downloads()

"""What mmcell mends in MMEngine, MMCV, MMDetection and torch, and how its classes get into their registries."""

"""Measures predictions against true cells: COCO average precision, panoptic quality, AJI, Dice, F1, kinds of error.

Every name says what was counted: AP50 counts every detection, AP50@100 at most 100 of a class in an image; _pooled adds
up over all images before it divides, _image_mean is the mean over images. Scores of segmentation are of the detections
with at least --score-thr, painted into a label map from the lowest score to the highest. Intervals are 95 % percentile
intervals from a bootstrap over images.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from _errors import plain_errors

if TYPE_CHECKING:
    from rich.console import Console

EXAMPLE = """example:
  python tools/evaluate.py results.pkl annotations/val.json --out metrics.json
  python tools/evaluate.py submission.zip annotations/val.json --score-thr .3
  python tools/evaluate.py results.pkl annotations/val.json --sweep
  python tools/evaluate.py new.pkl annotations/val.json --compare old.pkl
"""

"""The first result of an analyst: the model that mmcell brings, on the images that are in the repository."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import tifffile
from support.commands import REPO, run

# The nuclei that the annotators of the data set have drawn in each image. The model has not seen them in its training.
ANNOTATED = {'fluorescence': 33, 'crowded': 90, 'tissue': 29}


def test_make_try_finds_the_nuclei_of_the_example_images(tmp_path):
    command = re.search(r'predict\.py (nuclei .*) --out work_dirs/try (.*)', (REPO / 'Makefile').read_text())
    model, images = command[1].split()
    output = run('tools/predict.py', model, REPO / images, '--out', tmp_path, *command[2].split())
    with open(tmp_path / 'images.csv', newline='', encoding='utf-8') as file:
        found = {Path(row['image']).stem: int(row['cells']) for row in csv.DictReader(file)}
    assert f'{sum(found.values())} cells in 3 images written' in output
    assert found.keys() == ANNOTATED.keys()
    for name, annotated in ANNOTATED.items():
        assert .75 * annotated <= found[name] <= 1.25 * annotated, name
        label_map = tifffile.imread(tmp_path / f'{name}_labels.tif')
        assert len(np.unique(label_map)) == found[name] + 1
        assert len(json.loads((tmp_path / f'{name}.geojson').read_text())['features']) == found[name]
        assert (tmp_path / f'{name}_overlay.png').stat().st_size > 1000
    assert {path.name for path in tmp_path.iterdir() if path.name[0] != '.'} >= {'tissue_rois.zip', 'cells.csv'}

"""Imports the frameworks and everything that registers classes, before any test file is imported (see conftest.py).

``LOADED`` holds the names of the modules that this has loaded. To find them out, a process of its own would need longer
than all other tests of imports.
"""

import sys
from importlib import import_module

for name in ('mmcell', 'mmdet.apis', 'mmdet.engine', 'mmcell.hooks', 'mmcell.datasets', 'mmcell.models',
             'mmcell.evaluation.registered', 'mmcell.visualization.visualizer'):
    import_module(name)
LOADED = frozenset(sys.modules)

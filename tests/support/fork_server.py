"""A server whose forks run commands. One command needs eight seconds to import MMDetection, and its forks none."""

import multiprocessing

SERVER = multiprocessing.get_context('forkserver')
FRAMEWORK = ['mmdet.apis', 'mmengine.runner', 'mmcell.models', 'mmcell.datasets', 'mmcell.hooks',
             'mmcell.evaluation.registered', 'mmcell.visualization.visualizer']

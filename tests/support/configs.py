"""The project's configs, by name. Files that users add to configs/ are not among them, and no test reads those."""

import ast

from mmengine.config import Config
from mmengine.registry import init_default_scope
from support.paths import REPO

FOLDER = REPO / 'configs'
BASES = [
    '_base_/cascade-mask-rcnn_r50_cells',
    '_base_/cells',
    '_base_/enlarged_images',
    '_base_/mask-rcnn_convnext_torchvision',
    '_base_/mask-rcnn_r50_cells',
    '_base_/mask-rcnn_r50_torchvision',
    '_base_/runtime',
    '_base_/schedule_30e',
    '_base_/schedule_30k',
    '_base_/schedule_3k',
    '_base_/schedule_60e_warmup',
    '_base_/voc',
]
EXPERIMENTS = [
    'cell/cascade-mask-rcnn_convnextv2-base',
    'cell/cascade-mask-rcnn_r50',
    'cell/cascade-mask-rcnn_r50_light',
    'cell/mask-rcnn_convnext-base',
    'cell/mask-rcnn_convnext-small',
    'cell/mask-rcnn_convnext',
    'cell/mask-rcnn_convnext_tv',
    'cell/mask-rcnn_convnext_tv_300-detections',
    'cell/mask-rcnn_convnextv2-base',
    'cell/mask-rcnn_r101',
    'cell/mask-rcnn_r101_default-anchors',
    'cell/mask-rcnn_r101_small-anchors',
    'cell/mask-rcnn_r18',
    'cell/mask-rcnn_r18_demo',
    'cell/mask-rcnn_r18_small-anchors',
    'cell/mask-rcnn_r50',
    'cell/mask-rcnn_r50_class-balanced',
    'cell/mask-rcnn_r50_consep',
    'cell/mask-rcnn_r50_fpn-bn',
    'cell/mask-rcnn_r50_fpn-bn_cbam-per-stage',
    'cell/mask-rcnn_r50_fpn-bn_cbam',
    'cell/mask-rcnn_r50_fpn-bn_color',
    'cell/mask-rcnn_r50_fpn-bn_half-anchors',
    'cell/mask-rcnn_r50_light',
    'cell/mask-rcnn_r50_light_consep',
    'cell/mask-rcnn_r50_light_consep_enlarged',
    'cell/mask-rcnn_r50_light_consep_rare-paste',
    'cell/mask-rcnn_r50_light_nuclei',
    'cell/mask-rcnn_r50_mask-nms',
    'cell/mask-rcnn_r50_one-gpu',
    'cell/mask-rcnn_r50_rare-paste',
    'cell/mask-rcnn_r50_small-anchors',
    'cell/mask-rcnn_r50_stain',
    'cell/mask-rcnn_r50_tv-v1',
    'cell/mask-rcnn_r50_tv-v1_150-detections',
    'cell/mask-rcnn_r50_tv-v1_200-detections',
    'cell/mask-rcnn_r50_tv-v1_250-detections',
    'cell/mask-rcnn_r50_tv-v1_300-detections',
    'cell/mask-rcnn_r50_tv-v1_50-detections',
    'cell/mask-rcnn_r50_tv-v1_better',
    'cell/mask-rcnn_r50_tv-v2',
    'cell/mask-rcnn_r50_tv-v2_1000-detections',
    'cell/mask-rcnn_r50_tv-v2_30e',
    'cell/mask-rcnn_r50_tv-v2_constant-lr',
    'cell/mask-rcnn_x101-32x8d',
    'voc/mask-rcnn_r50',
    'voc/mask-rcnn_r50_bias-decay',
    'voc/mask-rcnn_r50_no-weight-decay',
    'voc/mask-rcnn_x101-32x8d',
    'voc/yolact_r50',
]


def path_of(name):
    """Returns the file of a config: 'cell/mask-rcnn_r50' is configs/cell/mask-rcnn_r50.py."""
    return FOLDER / f'{name}.py'


def load(name):
    """Reads a config and makes its scope the default scope."""
    cfg = Config.fromfile(path_of(name))
    init_default_scope(cfg.default_scope)
    return cfg


def depth_of(path):
    """Returns the number of levels of inheritance inside this project, counting the file itself."""
    bases = next((ast.literal_eval(node.value) for node in ast.parse(path.read_text()).body
                  if isinstance(node, ast.Assign) and node.targets[0].id == '_base_'), [])
    own = [(path.parent / base).resolve() for base in bases if '::' not in base]
    return 1 + max((depth_of(base) for base in own), default=0)

"""Every private name of the framework that mmcell uses exists, with the parameters that mmcell expects.

A new release of MMEngine, MMDetection, MMCV or torch that renames or changes one of them fails here, by its name.
"""

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap

import pytest
import torch
import torchvision  # noqa: F401  loads the kernels into torch.ops
from support.paths import REPO

import mmcell

# Functions that mmcell calls, overrides or replaces: where they are, and the names of their parameters.
FUNCTIONS = {
    'mmdet.apis.det_inferencer:DetInferencer._get_transform_idx': 'self pipeline_cfg name',
    'mmdet.apis.det_inferencer:DetInferencer._init_pipeline': 'self cfg',
    'mmdet.datasets.transforms:CopyPaste._copy_paste': 'self dst_results src_results',
    'mmdet.datasets.transforms:LoadAnnotations._load_masks': 'self results',
    'mmdet.datasets.transforms:LoadAnnotations._process_masks': 'self results',
    'mmdet.datasets.transforms:Mosaic._mosaic_combine': 'self loc center_position_xy img_shape_wh',
    'mmdet.datasets.transforms:RandomAffine._get_random_homography_matrix': 'self height width',
    'mmdet.datasets.transforms:RandomAffine._get_translation_matrix': 'x y',
    'mmdet.datasets.transforms:RandomCrop._get_crop_size': 'self image_size',
    'mmdet.datasets.transforms:RandomCrop._rand_offset': 'self margin',
    'mmdet.datasets.transforms:RandomErasing._get_patches': 'self img_shape',
    'mmdet.datasets.transforms:RandomErasing._transform_bboxes': 'self results patches',
    'mmdet.datasets.transforms:RandomErasing._transform_masks': 'self results patches',
    'mmdet.models.roi_heads.bbox_heads:BBoxHead._predict_by_feat_single':
        'self roi cls_score bbox_pred img_meta rescale rcnn_test_cfg',
    'mmdet.models.roi_heads.mask_heads:FCNMaskHead._predict_by_feat_single':
        'self mask_preds bboxes labels img_meta rcnn_test_cfg rescale activate_map',
    'mmdet.models.roi_heads:CascadeRoIHead._mask_forward': 'self stage x rois',
    'mmdet.models.roi_heads:StandardRoIHead._mask_forward': 'self x rois pos_inds bbox_feats',
    'mmengine.dataset:InfiniteSampler._infinite_indices': 'self',
    'mmengine.hooks:CheckpointHook._save_best_checkpoint': 'self runner metrics',
    'mmengine.hooks:CheckpointHook._save_checkpoint_with_step': 'self runner step meta',
    'mmengine.hooks:Hook._after_iter': 'self runner batch_idx data_batch outputs mode',
    'mmengine.hooks:Hook._before_iter': 'self runner batch_idx data_batch mode',
    'mmengine.runner.loops:_parse_losses': 'losses stage',
    'mmengine.runner.checkpoint:_safe_torch_load': 'file map_location weights_only',
    'mmengine.runner.checkpoint:load_from_http': 'filename map_location model_dir progress',
    'multiprocessing.queues:Queue._on_queue_feeder_error': 'e obj',
    'pickle:_Unpickler.pop_mark': 'self',
    'torch.cpu:_is_amx_tile_supported': '',
    'torch.cpu:_is_avx512_bf16_supported': '',
    'torch._utils:_rebuild_tensor_v2': 'storage storage_offset size stride requires_grad backward_hooks metadata',
    'torch.nn.modules.utils:_pair': 'x',
    'torch.utils._python_dispatch:TorchDispatchMode.__torch_dispatch__': 'self func types args kwargs',
    'torch.utils._pytree:tree_map_only': 'type_or_types_or_pred func tree is_leaf',
    'torch.nn:Module._register_load_state_dict_pre_hook': 'self hook with_module',
    'torch.storage:_load_from_bytes': 'b',
}
# Attributes that mmcell reads or sets: the class that has them, or whose methods assign them to self.
ATTRIBUTES = [
    'mmdet.engine.hooks:DetVisualizationHook._test_index',
    'mmdet.engine.hooks:DetVisualizationHook._visualizer',
    'mmdet.datasets:ConcatDataset._metainfo',
    'mmdet.datasets:MultiImageMixDataset._metainfo',
    'mmengine.dataset:BaseDataset._fully_initialized',
    'mmengine.dataset:BaseDataset._metainfo',
    'mmengine.dataset:RepeatDataset._metainfo',
    'mmengine.hooks:CheckpointHook._default_greater_keys',
    'mmengine.hooks:EarlyStoppingHook._default_greater_keys',
    'mmengine.optim:AmpOptimWrapper._scale_update_param',
    'mmengine.registry:Registry._imported',
    'mmengine.registry:Registry._locations',
    'mmengine.runner:Runner._resume',
    'mmengine.runner:Runner._test_loop',
    'mmengine.runner:Runner._train_loop',
    'mmengine.runner:Runner._val_loop',
    'mmengine.visualization:Visualizer._dataset_meta',
    'mmengine.visualization:Visualizer._vis_backends',
    'torch.storage:TypedStorage._untyped_storage',
    'torch.utils.data:DataLoader._iterator',
]
# torchvision's kernels without a public function.
KERNELS = {
    '_roi_align_backward': 'grad rois spatial_scale pooled_height pooled_width batch_size channels height width '
                           'sampling_ratio aligned',
    '_deform_conv2d_backward': 'grad input weight offset mask bias stride_h stride_w pad_h pad_w dilation_h dilation_w '
                               'groups offset_groups use_mask',
}
# Python's own machinery for abstract classes, and class registries that metaclasses make.
MACHINERY = {'_abc_impl', '_backward_cls', '_is_protocol', '_instance_dict'}


def parameters_in_source(path):
    """Returns the names of a function's parameters from its source file, because mmcell replaces some functions."""
    module_name, _, name = path.partition(':')
    node = ast.parse(inspect.getsource(importlib.import_module(module_name)))
    if '.' in name:
        cls = importlib.import_module(module_name)
        for part in name.split('.')[:-1]:
            cls = getattr(cls, part)
        node = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    function = next((child for child in ast.walk(node)
                     if isinstance(child, ast.FunctionDef) and child.name == name.split('.')[-1]), None)
    if function is None:  # an alias, as ``_pair = _ntuple(2)``
        return list(inspect.signature(getattr(importlib.import_module(module_name), name)).parameters)
    arguments = function.args
    return [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


@pytest.mark.parametrize('path', FUNCTIONS)
def test_functions_have_the_expected_parameters(path):
    assert parameters_in_source(path) == FUNCTIONS[path].split()


@pytest.mark.parametrize('path', ATTRIBUTES)
def test_attributes_are_there(path):
    module, _, name = path.partition(':')
    class_name, attribute = name.split('.')
    cls = getattr(importlib.import_module(module), class_name)
    assert attribute in vars(cls) or re.search(rf'self\.{attribute}\b.*=', inspect.getsource(cls))


@pytest.mark.parametrize('name', KERNELS)
def test_kernels_have_the_expected_arguments(name):
    schema = getattr(torch.ops.torchvision, name).default._schema
    assert [argument.name for argument in schema.arguments] == KERNELS[name].split()


def known_names():
    names = [path.partition(':')[2].split('.') for path in (*FUNCTIONS, *ATTRIBUTES)]
    return {name for parts in names for name in parts if is_private(name) or name == parts[-1]} | set(KERNELS)


def is_private(name):
    return name.startswith('_') and not name.startswith('__')


def is_foreign(cls):
    return cls.__module__.split('.')[0] in {'mmengine', 'mmdet', 'mmcv', 'mmpretrain', 'torch', 'torchvision'}


def own_modules():
    return [importlib.import_module(info.name) for info in pkgutil.walk_packages(mmcell.__path__, 'mmcell.')]


def test_no_overridden_private_method_is_missing_in_the_lists():
    overridden = {name for module in own_modules() for cls in vars(module).values()
                  if inspect.isclass(cls) and cls.__module__ == module.__name__
                  for name in vars(cls) if is_private(name)
                  and any(is_foreign(base) and name in vars(base) for base in cls.__mro__[1:])}
    assert '_predict_by_feat_single' in overridden
    assert overridden - MACHINERY <= known_names()


def test_no_private_name_that_the_code_uses_is_missing_in_the_lists():
    """Finds private attributes that the code uses, and that neither mmcell nor the commands define."""
    folders = [REPO / folder for folder in ('mmcell', 'tools', 'data_prep')]
    trees = [ast.parse(path.read_text(encoding='utf-8')) for folder in folders for path in folder.rglob('*.py')]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    defined |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name) and node.value.id == 'self'}
    reached = {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_private(node.attr)}
    reached |= {alias.name for node in nodes if isinstance(node, ast.ImportFrom)
                and (node.module or '').split('.')[0] in {'mmengine', 'mmdet', 'mmcv', 'mmpretrain', 'torch'}
                for alias in node.names if is_private(alias.name)}
    # tools/_options.py imports MMEngine's DictAction under another name; mmcv._ext is the module itself; os._exit is
    # documented.
    assert reached - defined - {'_ext', '_utils', '_exit'} <= known_names()
    assert '_resume' in reached - defined


def test_the_design_document_lists_them():
    text = (REPO / 'docs' / 'design.md').read_text(encoding='utf-8')
    assert [name for name in sorted(known_names()) if f'`{name}`' not in text] == []

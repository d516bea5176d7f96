"""Settings of a config that nothing reads, as far as that can be known from the constructors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches

from mmcell.masks.suppression import MaskNMS
from mmcell.settings.names import MAX_SUGGESTIONS, argument_names, find_class, iterate_dicts, takes_any_argument

# Dicts with a ``type`` whose other settings MMCV and MMEngine hand on in ways of their own.
_LOOSE = {'norm_cfg', 'act_cfg', 'conv_cfg', 'init_cfg', 'roi_layer', 'nms', 'dcn', 'plugins', 'paramwise_cfg',
          'override', 'env_cfg', 'custom_imports', 'metainfo'}
# Settings that are taken out of a dict before its class is built.
_TAKEN_OUT = {'type', '_scope_', 'priority', 'convert_to_iter_based', 'constructor', 'paramwise_cfg', 'optimizer'}
# What two-stage detectors look up in dicts without a type, found in the source of mmdet 3.5 (anchor_head.py,
# rpn_head.py, roi_heads/, mask_heads/); mask_nms is mmcell's.
_PROPOSALS = {'nms_pre', 'max_per_img', 'nms', 'min_bbox_size', 'nms_post', 'score_thr'}
_TWO_STAGE = {
    ('test_cfg', 'rpn'): _PROPOSALS,
    ('train_cfg', 'rpn_proposal'): _PROPOSALS,
    ('test_cfg', 'rcnn'): {'score_thr', 'nms', 'max_per_img', 'mask_thr_binary', 'subdivision_steps',
                           'subdivision_num_points', 'scale_factor', 'async_sleep_interval'},
    ('test_cfg', 'rcnn', 'mask_nms'): {field.name for field in fields(MaskNMS)},
    ('train_cfg', 'rpn'): {'assigner', 'sampler', 'allowed_border', 'pos_weight', 'debug'},
    ('train_cfg', 'rcnn'): {'assigner', 'sampler', 'mask_size', 'mask_thr_binary', 'pos_weight', 'debug',
                            'dynamic_rcnn', 'isr', 'carl', 'num_points', 'oversample_ratio',
                            'importance_sample_ratio'},
    ('test_cfg',): {'rpn', 'rcnn'},
    ('train_cfg',): {'rpn', 'rpn_proposal', 'rcnn'},
}
# The path of a dict, the name of a setting in it that nothing reads, and the names that are read.
_Unread = tuple[tuple[str, ...], str, list[str]]


def describe_unread_settings(config: Mapping) -> list[str]:
    """Returns one sentence per setting that the class it is given to does not take.

    Looked at are the settings of every registered class whose constructor lists its arguments, and ``train_cfg`` and
    ``test_cfg`` of two-stage detectors. MMEngine refuses most of the former when it builds the class, with a traceback;
    it never notices the latter.

    Args:
        config: The resolved config, as nested dicts and lists.
    """
    return [f'{".".join([*path, name])} is read by nothing' + _suggest(path, name, known)
            for place, settings in iterate_dicts(config, left_out=_LOOSE)
            for path, name, known in _find_unread(settings, place)]


def _suggest(path: Sequence[str], name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, MAX_SUGGESTIONS, cutoff=.6)
    return f': did you mean {" or ".join(".".join([*path, other]) for other in near)}?' if near else ''


def _find_unread(settings: Mapping, path: tuple[str, ...]) -> Iterator[_Unread]:
    built = find_class(settings['type']) if 'type' in settings else None
    if not isinstance(built, type):
        return
    if not takes_any_argument(built):
        known = [*argument_names(built), *_TAKEN_OUT]
        yield from ((path, name, known) for name in map(str, settings) if name not in known)
    if {'train_cfg', 'test_cfg'} & settings.keys():
        from mmdet.models.detectors import TwoStageDetector
        if issubclass(built, TwoStageDetector):
            yield from _find_unread_of_two_stage(settings, path)


def _find_unread_of_two_stage(model: Mapping, path: tuple[str, ...]) -> Iterator[_Unread]:
    for keys, known in _TWO_STAGE.items():
        if keys == ('test_cfg', 'rcnn'):
            known = known | _settings_of_heads(model)
        part: object = model
        for key in keys:
            part = part.get(key) if isinstance(part, Mapping) else None
        # Cascade R-CNN has a list with one dict per stage.
        stages = [((*path, *keys, str(i)), stage) for i, stage in enumerate(part)] if isinstance(
            part, list | tuple) else [((*path, *keys), part)]
        for where, stage in stages:
            if isinstance(stage, Mapping):
                yield from ((where, name, sorted(known)) for name in map(str, stage) if name not in known)


def _settings_of_heads(model: Mapping) -> set[str]:
    """Returns the settings in ``test_cfg.rcnn`` that only some heads read: those of mmcell name them."""
    roi_head = model.get('roi_head')
    names: set[str] = set()
    for key in ('bbox_head', 'mask_head') if isinstance(roi_head, Mapping) else ():
        head = roi_head.get(key)
        if isinstance(head, list | tuple) and head:
            head = head[-1]  # of Cascade's heads, the last one makes the detections
        if isinstance(head, Mapping):
            names |= getattr(find_class(head.get('type')), 'test_settings', set())
    return names

"""Which layout a folder is taken for, and what a message says about a folder that none of them fits."""

import json
from dataclasses import fields

import numpy as np
import pytest
import tifffile
from support.commands import convert
from to_coco import EXAMPLE

from mmcell.layouts.base import LayoutError, LayoutOptions
from mmcell.layouts.choose import NAMES, get_layout, recognize_layout, refuse_unread_options


def test_every_layout_has_its_name_and_a_summary():
    for name in NAMES:
        layout = get_layout(name)
        assert layout.name == name and layout.summary


def test_class_maps_are_recognized_and_other_files_are_mentioned(raw_root):
    root, _ = raw_root
    layout, text = recognize_layout(root)
    assert layout.name == 'class-maps' and text.startswith('2 folders train/NAME with an image.tif')
    (root / 'export.json').write_text(json.dumps({'images': [], 'annotations': [], 'categories': []}))
    layout, text = recognize_layout(root)
    assert layout.name == 'class-maps' and text.endswith('it also has COCO files: export.json (--layout coco)')


def test_files_of_an_earlier_conversion_are_not_taken_for_data(raw_root):
    root, _ = raw_root
    info = {'description': 'cells, converted by mmcell', 'file_set': {'id': '1', 'files': ['train.json']}}
    (root / 'train.json').write_text(json.dumps({'info': info, 'images': [], 'annotations': [], 'categories': []}))
    assert 'COCO' not in recognize_layout(root)[1]


def test_several_layouts_are_a_question(tmp_path):
    for folder in ('JPEGImages', 'SegmentationObject', 'SegmentationClass'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'export.json').write_text('{"images": []}')
    with pytest.raises(LayoutError, match='not clear .* --layout voc for JPEGImages/.*; --layout coco for .*export'):
        recognize_layout(tmp_path)


def test_an_unknown_folder_is_described_with_all_layouts(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 5), np.uint8))
    with pytest.raises(LayoutError, match='no image folders in .*train') as error:
        recognize_layout(tmp_path)
    (note,) = error.value.__notes__
    assert all(f'  {name}: ' in note for name in NAMES) and '--layout NAME' in note


def test_an_unknown_name_is_refused():
    with pytest.raises(LayoutError, match='there is no layout cocoa: expected one of auto, class-maps'):
        get_layout('cocoa')


def test_the_help_of_the_command_lists_every_layout():
    listed = [line.split()[0] for line in EXAMPLE.splitlines() if line.startswith('  ') and not line.startswith('   ')]
    assert set(NAMES) <= set(listed)


@pytest.mark.parametrize('name', NAMES)
def test_options_that_a_layout_does_not_read_are_refused(name, tmp_path):
    given = {'images': tmp_path, 'masks': tmp_path, 'mask_suffix': '_x', 'class_table': tmp_path,
             'lists': {'train': tmp_path}, 'test_ids': tmp_path, 'drop_crowds': True}
    assert set(given) == {field.name for field in fields(LayoutOptions)}
    layout = get_layout(name)
    for option, value in given.items():
        if option in layout.reads:
            refuse_unread_options(layout, LayoutOptions(**{option: value}))
        else:
            flag = f'--{option.replace("_", "-")}'
            with pytest.raises(LayoutError, match=f'{flag} is not read with the layout {name}, only with .*: leave it'):
                refuse_unread_options(layout, LayoutOptions(**{option: value}))


def test_the_command_refuses_an_option_that_would_be_ignored(raw_root, tmp_path):
    root, _ = raw_root
    for layout in ([], ['--layout', 'class-maps']):
        run = convert(root, *layout, '--masks', root, '--out', tmp_path / 'ann')
        assert run.returncode == 1 and '--masks is not read with the layout class-maps' in run.stderr
    ids = tmp_path / 'ids.json'
    ids.write_text('[]')
    run = convert(root, '--layout', 'label-maps', '--test-ids', ids, '--out', tmp_path / 'ann')
    assert run.returncode == 1
    assert '--test-ids is not read with the layout label-maps, only with class-maps' in run.stderr

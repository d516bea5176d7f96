"""Imports run one way: from a room to the rooms below it."""

import pytest
from support.import_graph import assign_floors, find_imports, find_rooms
from support.paths import REPO

# From the top. A room may import from the rooms in later lines, but not from the other rooms in its own line.
FLOORS = [
    ['benchmarks', 'data_prep', 'tools'],
    ['mmcell/hooks', 'mmcell/inference', 'mmcell/reports', 'mmcell/studies'],
    ['mmcell/inspection'],
    ['mmcell/checkpoints', 'mmcell/datasets', 'mmcell/evaluation', 'mmcell/writers'],
    ['mmcell/layouts', 'mmcell/models', 'mmcell/predictions', 'mmcell/visualization'],
    ['mmcell/annotations', 'mmcell/tiles'],
    ['mmcell/boxes', 'mmcell/cells', 'mmcell/classes', 'mmcell/commands', 'mmcell/files', 'mmcell/framework',
     'mmcell/images', 'mmcell/settings'],
    ['mmcell/masks'],
    ['mmcell/errors.py', 'mmcell/ragged.py'],
]
FLOOR = {room: -number for number, rooms in enumerate(FLOORS) for room in rooms}


def test_every_room_has_its_floor():
    assert set(FLOOR) == find_rooms(REPO)


def test_imports_run_down():
    upward = [f'{room} imports {imported}' for room, imported in sorted(find_imports(REPO))
              if FLOOR[imported] >= FLOOR[room]]
    assert upward == []


def test_floors_are_found_and_circles_are_named():
    assert assign_floors({'a', 'b', 'c'}, {('a', 'b'), ('b', 'c'), ('a', 'c')}) == {'c': 1, 'b': 2, 'a': 3}
    with pytest.raises(ValueError, match=r"circle: \['a', 'b'\]"):
        assign_floors({'a', 'b', 'c'}, {('a', 'b'), ('b', 'a'), ('b', 'c')})


def test_imports_of_every_form_are_seen(tmp_path):
    (tmp_path / 'mmcell' / 'masks').mkdir(parents=True)
    (tmp_path / 'mmcell' / 'images').mkdir()
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'mmcell' / '__init__.py').write_text('from mmcell.images import anything')
    (tmp_path / 'mmcell' / 'errors.py').write_text('')
    (tmp_path / 'mmcell' / 'masks' / 'rle.py').write_text('import mmcell.errors\nfrom mmcell.masks import x')
    (tmp_path / 'mmcell' / 'images' / 'pixels.py').write_text('def read():\n    from mmcell import masks, errors')
    (tmp_path / 'tools' / '_options.py').write_text('')
    (tmp_path / 'tools' / 'train.py').write_text('from _options import x\nfrom mmcell.images.image_file import y\n')
    assert find_imports(tmp_path) == {('mmcell/masks', 'mmcell/errors.py'), ('mmcell/images', 'mmcell/masks'),
                                      ('mmcell/images', 'mmcell/errors.py'), ('tools', 'mmcell/images')}

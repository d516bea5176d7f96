"""Names of the outputs of images: from which files they come, and that no two are the same."""

from pathlib import Path

import pytest

from mmcell.files.output_names import name_outputs


def test_a_linked_image_of_the_raw_layout_is_called_like_its_own_folder(tmp_path):
    (tmp_path / 'annex' / 'Xk').mkdir(parents=True)
    (tmp_path / 'annex' / 'Xk' / 'SHA256-4d7a.tif').touch()
    (tmp_path / 'patient7').mkdir()
    for name in ('image.tif', 'Image.TIFF'):
        (tmp_path / 'patient7' / name).symlink_to(tmp_path / 'annex' / 'Xk' / 'SHA256-4d7a.tif')
        assert name_outputs([tmp_path / 'patient7' / name]) == ['patient7']


@pytest.mark.parametrize('paths, names', [
    (['/x/a.tif', '/x/b.tif'], ['a', 'b']),
    (['/x/\xe4.tif', '/x/a\u0308.tif'], ['\xe4_tif', 'a\u0308_tif_2']),
    (['/x/train/one/image.tif', '/x/train/two/image.tif'], ['one', 'two']),
    (['/x/train/one/image.tif', '/x/val/one/image.tif'], ['train_one', 'val_one']),
    (['/x/a/cell.tif', '/x/b/cell.tif', '/x/b/other.tif'], ['a_cell', 'b_cell', 'other']),
    (['/a/s/cell.tif', '/b/s/cell.tif', '/b/t/cell.tif'], ['a_s_cell', 'b_s_cell', 't_cell']),
    (['/x/cell.tif', '/x/cell.png'], ['cell_tif', 'cell_png']),
    (['/x/s/cell.tif', '/x/s/cell.png', '/x/t/cell.png'], ['cell_tif', 'cell_png', 'cell']),
    (['/x/s/cell.tif', '/x/s/cell.png', '/x/t/cell.png', '/x/t/cell.tif'],
     ['s_cell_tif', 's_cell_png', 't_cell_png', 't_cell_tif']),
    (['/x/one/image.tif', '/x/one/image.png', '/x/two/image.tif'], ['one_tif', 'one_png', 'two']),
    (['/x/s/cell.tif', '/x/s/cell.TIF', '/x/s/other', '/x/s/OTHER'], ['cell_tif', 'cell_TIF_2', 'other', 'OTHER_2']),
    (['/x/Cell.tif', '/y/cell.tif'], ['x_Cell', 'y_cell']),
    (['/x/a/cell.tif', '/x/b/cell.tif', '/y/a_cell.tif'], ['x_a_cell', 'b_cell', 'y_a_cell']),
    (['/cell', '/CELL'], ['cell', 'CELL_2']),
    (['/x/a.b.tif'], ['a.b']),
])
def test_names_of_outputs(paths, names):
    assert name_outputs([Path(path) for path in paths]) == names
    assert len({name.casefold() for name in names}) == len(names)

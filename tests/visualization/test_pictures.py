import os

import cv2
import numpy as np
import pytest

from mmcell.visualization.overlay import picture_name, write_png


def test_a_picture_is_written_in_rgb_under_any_name(tmp_path):
    picture = np.zeros((4, 5, 3), np.uint8)
    picture[..., 0] = 200
    for name in ('new/a.png', 'zelle_\udce4.png', '细胞 😀.png'):
        write_png(picture, tmp_path / name)
        decoded = cv2.imdecode(np.fromfile(tmp_path / name, np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(decoded[..., ::-1], picture)


def test_a_picture_that_cannot_be_renamed_leaves_the_old_one(tmp_path, monkeypatch):
    write_png(np.zeros((4, 5, 3), np.uint8), tmp_path / 'a.png')
    before = (tmp_path / 'a.png').read_bytes()

    def refuse(source, target):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'replace', refuse)
    with pytest.raises(OSError, match='No space left'):
        write_png(np.ones((4, 5, 3), np.uint8), tmp_path / 'a.png')
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [('a.png', before)]


@pytest.mark.parametrize('path, name', [
    ('train/abc/image.tif', '0007_abc.png'), ('train/abc/Image.TIFF', '0007_abc.png'), ('x.tif', '0007_x.png'),
    (f'{"细" * 80}.tif', f'0007_{"细" * 66}.png')])
def test_names_of_pictures(path, name):
    assert picture_name(7, path) == name

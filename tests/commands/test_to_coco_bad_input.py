"""The messages of the converter about input that it cannot use."""

import io
import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from support.commands import convert
from support.paths import REPO

from mmcell.annotations.raw_layout import read_train_image
from mmcell.images.pixels import ImageReadError


def remove_image(root):
    (root / 'train' / 'b' / 'image.tif').unlink()
    return 'image.tif'


def wrong_size(root):
    tifffile.imwrite(root / 'train' / 'b' / 'class1.tif', np.ones((36, 45)))
    return 'class1.tif: the mask is 45 x 36 px, but its image is 44 x 36'


def truncated_mask(root):
    path = root / 'train' / 'b' / 'class1.tif'
    path.write_bytes(path.read_bytes()[:100])
    return 'class1.tif'


def fractional_ids(root):
    tifffile.imwrite(root / 'train' / 'b' / 'class1.tif', np.full((36, 44), .5))
    return 'whole numbers'


def class_zero(root):
    tifffile.imwrite(root / 'train' / 'b' / 'class0.tif', np.ones((36, 44)))
    return 'numbered from 1'


def missing_test_image(root):
    (root / 'test_release' / 't.tif').unlink()
    return 't.tif'


def wrong_size_of_test_image(root):
    tifffile.imwrite(root / 'test_release' / 't.tif', np.zeros((31, 20, 4), np.uint8), photometric='rgb')
    return '20 x 31 px, but 20 x 30 px in the id list'


def missing_id_list(root):
    (root / 'test_image_name_to_ids.json').unlink()
    return '--test-ids'


def repeated_test_id(root):
    entry = '{"file_name": "%s.tif", "id": 5, "height": 30, "width": 20}'
    (root / 'test_image_name_to_ids.json').write_text(f"[{entry % 't'}, {entry % 'u'}]")
    return 'id 5 occurs more than once'


def no_train_folder(root):
    (root / 'train').rename(root / 'other')
    return 'no image folders'


def replace_mask(pixels, expected, **options):
    def damage(root):
        path = root / 'train' / 'b' / 'class1.tif'
        path.unlink()
        tifffile.imwrite(path, pixels, **options)
        return expected
    return damage


def not_a_tiff(root):
    (root / 'train' / 'b' / 'class1.tif').write_text('0 0 1')
    return 'class1.tif: is not an image that can be read'


def unknown_codec(root):
    path = root / 'train' / 'b' / 'class1.tif'
    tifffile.imwrite(path, np.ones((36, 44), np.uint8), compression='deflate')
    content = path.read_bytes()
    # The value of tag 259 is the compression: 8 is Adobe deflate, and 60000 is not assigned.
    tag = content.index(struct.pack('<HHI', 259, 3, 1))
    path.write_bytes(content[:tag + 8] + struct.pack('<H', 60000) + content[tag + 10:])
    return 'class1.tif: is compressed with 6000'


def absurd_size(root):
    path = root / 'train' / 'b' / 'class1.tif'
    tifffile.imwrite(path, np.ones((36, 44), np.uint8))
    content = path.read_bytes()
    for tag in (256, 257):
        entry = content.index(struct.pack('<HH', tag, 3)) if struct.pack('<HH', tag, 3) in content else \
            content.index(struct.pack('<HH', tag, 4))
        content = content[:entry] + struct.pack('<HHII', tag, 4, 1, 2_000_000) + content[entry + 12:]
    path.write_bytes(content)
    return 'class1.tif: would unfold from'


def second_file_of_a_class(root):
    tifffile.imwrite(root / 'train' / 'b' / 'class01.tif', np.ones((36, 44)))
    return 'class 1 has a second file'


def folder_in_place_of_a_mask(root):
    (root / 'train' / 'b' / 'class1.tif').unlink()
    (root / 'train' / 'b' / 'class1.tif').mkdir()
    return 'class1.tif'


def misspelt_mask(root):
    tifffile.imwrite(root / 'train' / 'b' / 'classs2.tif', np.ones((36, 44)))
    return 'classs2.tif: is neither'


BAD_IMAGES = {
    'misspelt_mask': misspelt_mask,
    'remove_image': remove_image, 'wrong_size': wrong_size, 'truncated_mask': truncated_mask,
    'not_a_tiff': not_a_tiff, 'unknown_codec': unknown_codec, 'absurd_size': absurd_size,
    'fractional_ids': fractional_ids, 'class_zero': class_zero, 'second_file': second_file_of_a_class,
    'folder_as_mask': folder_in_place_of_a_mask,
    'negative': replace_mask(np.full((36, 44), -1.), 'ids from -1'),
    'not_a_number': replace_mask(np.full((36, 44), np.nan), 'whole numbers'),
    'infinite': replace_mask(np.full((36, 44), np.inf), 'whole numbers'),
    'too_large': replace_mask(np.full((36, 44), 2. ** 31), '2147483647 are expected'),
    'several_pages': replace_mask(np.ones((3, 36, 44), np.uint8), 'holds 3 images', photometric='minisblack'),
    'several_channels': replace_mask(np.ones((36, 44, 3), np.uint8), '3 channels', photometric='rgb'),
}
BAD_TESTS = {'missing_test_image': missing_test_image, 'wrong_size_of_test_image': wrong_size_of_test_image}
BAD_LAYOUTS = {'missing_id_list': missing_id_list, 'repeated_test_id': repeated_test_id,
               'no_train_folder': no_train_folder}


@pytest.mark.parametrize('damage', (BAD_IMAGES | BAD_TESTS | BAD_LAYOUTS).values(),
                         ids=(BAD_IMAGES | BAD_TESTS | BAD_LAYOUTS).keys())
def test_a_message_names_bad_input_and_nothing_is_written(raw_root, tmp_path, damage):
    root, _ = raw_root
    expected = damage(root)
    out = tmp_path / 'ann'
    out.mkdir()
    (out / 'train.json').write_text('old')
    run = convert(root, '--out', out)
    assert run.returncode == 1
    assert expected in run.stderr
    assert {path.name: path.read_text() for path in out.iterdir()} == {'train.json': 'old'}


@pytest.mark.parametrize('jobs', [1, 2])
def test_bad_images_can_be_skipped_and_the_exit_status_says_so(raw_root, tmp_path, jobs):
    root, _ = raw_root
    expected = [wrong_size(root), missing_test_image(root)]
    shutil.copytree(root / 'train' / 'a', root / 'train' / 'c')
    run = convert(root, '--out', tmp_path / 'ann', '--skip-bad', '--jobs', jobs)
    assert run.returncode == 3
    skipped = [line for line in run.stderr.splitlines() if line.startswith('skipped: ')]
    assert [part in line for part, line in zip(expected, skipped, strict=True)] == [True, True]
    document = json.loads((tmp_path / 'ann' / 'trainval.json').read_text())
    assert [image['file_name'] for image in document['images']] == ['train/a/image.tif', 'train/c/image.tif']
    assert not (tmp_path / 'ann' / 'test.json').exists()


def test_an_image_without_masks_is_kept_as_an_empty_one(raw_root, tmp_path):
    root, _ = raw_root
    (root / 'train' / 'b' / 'class1.tif').unlink()
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0 and 'images without any cell, kept: 1' in run.stdout
    assert len(json.loads((tmp_path / 'ann' / 'trainval.json').read_text())['images']) == 2


def test_a_full_disk_leaves_the_old_files(raw_root, tmp_path):
    """A limit on the size of files imitates a full disk: both fail while the content is being written."""
    root, _ = raw_root
    out = tmp_path / 'ann'
    out.mkdir()
    (out / 'train.json').write_text('old')
    command = [sys.executable, str(REPO / 'data_prep' / 'to_coco.py'), '--jobs', '1', str(root), '--out', str(out)]
    run = subprocess.run(['bash', '-c', 'trap "" XFSZ; ulimit -f 0; exec "$@"', 'bash', *command],
                         capture_output=True, text=True, check=False)
    assert run.returncode == 1 and 'nothing was written' in run.stderr
    assert {path.name: path.read_text() for path in out.iterdir()} == {'train.json': 'old'}


def test_a_message_names_a_file_without_read_permission(raw_root, monkeypatch):
    """The missing permission is simulated, because the superuser, who may run the tests, can read every file."""
    root, _ = raw_root
    real_open = io.open

    def refuse(path, *args, **kwargs):
        if str(path).endswith('class1.tif'):
            raise PermissionError(13, 'Permission denied', str(path))
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(ImageReadError, match=r'b/class1.tif.*Permission denied'):
        read_train_image(root / 'train' / 'b', root)


def test_several_processes_write_the_same_files_and_stop_at_the_first_error(raw_root, tmp_path):
    root, _ = raw_root
    assert convert(root, '--out', tmp_path / 'one').returncode == 0
    assert convert(root, '--out', tmp_path / 'two', '--jobs', 2).returncode == 0
    assert (tmp_path / 'one' / 'trainval.json').read_bytes() == (tmp_path / 'two' / 'trainval.json').read_bytes()
    expected = wrong_size(root)
    run = convert(root, '--out', tmp_path / 'three', '--jobs', 2)
    assert run.returncode == 1 and expected in run.stderr
    assert not (tmp_path / 'three').exists()

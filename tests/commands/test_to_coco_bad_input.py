"""The messages of the converter about input that it cannot use."""

import io
import json
import re
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from support.commands import convert
from support.paths import REPO

from mmcell.images.limits import ImageReadError
from mmcell.layouts.class_maps import read_train_image

# A file of an earlier conversion.
OLD = '{"info": {"file_set": {"id": "1", "files": ["train.json"]}}}'


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
    (out / 'train.json').write_text(OLD)
    run = convert(root, '--out', out)
    assert run.returncode == 1
    assert expected in run.stderr
    assert {path.name: path.read_text() for path in out.iterdir()} == {'train.json': OLD}


def add_good_images(root):
    """Adds a copy of the training image a, and a second test image."""
    shutil.copytree(root / 'train' / 'a', root / 'train' / 'c')
    shutil.copy(root / 'test_release' / 't.tif', root / 'test_release' / 'u.tif')
    entry = '{"file_name": "%s.tif", "id": %d, "height": 30, "width": 20}'
    (root / 'test_image_name_to_ids.json').write_text(f"[{entry % ('t', 5)}, {entry % ('u', 6)}]")


def skipped_lines(run):
    return [line for line in run.stderr.splitlines() if line.startswith('skipped: ')]


@pytest.mark.parametrize('jobs', [1, 2])
def test_bad_images_can_be_skipped_and_the_exit_status_says_so(raw_root, tmp_path, jobs):
    root, _ = raw_root
    add_good_images(root)
    expected = [wrong_size(root), missing_test_image(root)]
    run = convert(root, '--out', tmp_path / 'ann', '--skip-bad', '--jobs', jobs)
    assert run.returncode == 3
    assert [part in line for part, line in zip(expected, skipped_lines(run), strict=True)] == [True, True]
    assert run.stderr.splitlines()[-1] == 'skipped 1 of 3 training images and 1 of 2 test images'
    documents = {name: json.loads((tmp_path / 'ann' / f'{name}.json').read_text()) for name in ('trainval', 'test')}
    assert [image['file_name'] for image in documents['trainval']['images']] == [
        'train/a/image.tif', 'train/c/image.tif']
    assert [image['id'] for image in documents['test']['images']] == [6]


def all_training_images(root):
    for name in 'ab':
        (root / 'train' / name / 'class1.tif').write_bytes(b'II*\0junk')
    return 'none of the 2 training images can be used. The first: .*a/class1.tif'


def all_but_one_training_image(root):
    wrong_size(root)
    return 'only 1 of 2 training images can be used, so that none is left for validation.*--val-ratio 0'


def all_test_images(root):
    missing_test_image(root)
    return 'none of the 1 test images can be used. The first: .*t.tif'


@pytest.mark.parametrize('damage', [all_training_images, all_but_one_training_image, all_test_images])
def test_a_part_without_an_image_is_an_error_after_the_reasons(raw_root, tmp_path, damage):
    root, _ = raw_root
    expected = damage(root)
    run = convert(root, '--out', tmp_path / 'ann', '--skip-bad')
    assert run.returncode == 1 and not (tmp_path / 'ann').exists()
    assert skipped_lines(run) and re.search(f'error: {expected}', run.stderr)
    assert run.stderr.splitlines()[-1] == 'nothing was written'


def test_without_validation_one_good_training_image_is_enough(raw_root, tmp_path):
    root, _ = raw_root
    wrong_size(root)
    assert convert(root, '--out', tmp_path / 'ann', '--skip-bad', '--val-ratio', '0').returncode == 3


def test_names_with_control_characters_are_printed_in_one_line(raw_root, tmp_path):
    root, _ = raw_root
    (root / 'train' / 'b').rename(root / 'train' / 'b\n\x1b[31m\u202egpj')
    (root / 'train' / 'b\n\x1b[31m\u202egpj' / 'notes\r.txt').touch()
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0, run.stderr
    assert r'1 (train/b\n\x1b[31m\u202egpj/notes\r.txt)' in run.stdout
    (root / 'train' / 'b\n\x1b[31m\u202egpj' / 'image.tif').unlink()
    run = convert(root, '--out', tmp_path / 'ann')
    assert r'train/b\n\x1b[31m\u202egpj: has no image.tif (it has class1.tif, notes\r.txt)' in run.stderr
    assert '\x1b' not in run.stderr


def test_a_name_that_is_not_utf_8_is_skipped_like_other_bad_images(raw_root, tmp_path):
    root, _ = raw_root
    add_good_images(root)
    (root / 'train' / 'b').rename(root / 'train' / 'b\udce4')
    run = convert(root, '--out', tmp_path / 'ann', '--skip-bad')
    assert run.returncode == 3 and r'b\udce4: the name is not UTF-8' in skipped_lines(run)[0]


def test_leftovers_are_passed_over_and_counted_in_one_line(raw_root, tmp_path):
    root, _ = raw_root
    assert convert(root, '--out', tmp_path / 'before').returncode == 0
    for path in ('train/__MACOSX/._a', 'train/b/._class1.tif', 'train/b/._image.tif', 'train/b/Thumbs.db',
                 'train/.ipynb_checkpoints/x', 'test_release/.DS_Store', 'test_release/@eaDir/t.tif'):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b'\0\5\x16\7')
    run = convert(root, '--out', tmp_path / 'after')
    assert run.returncode == 0, run.stderr
    (line,) = [line for line in run.stdout.splitlines() if line.startswith('passed over')]
    for part in ('4 of macOS', '1 of Windows (train/b/Thumbs.db)', '1 of Jupyter',
                 '1 of a network drive (test_release/@eaDir)'):
        assert part in line
    for name in ('train', 'val', 'trainval', 'test'):
        assert (tmp_path / 'before' / f'{name}.json').read_bytes() == (tmp_path / 'after' / f'{name}.json').read_bytes()


def test_files_beside_the_image_folders_are_named(raw_root, tmp_path):
    root, _ = raw_root
    tifffile.imwrite(root / 'train' / 'stray.tif', np.zeros((4, 4), np.uint8))
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 0 and 'beside the image folders in train/: 1 (stray.tif)' in run.stdout


def test_a_broken_link_in_place_of_the_test_images_is_named(raw_root, tmp_path):
    root, _ = raw_root
    (root / 'test_release').rename(root / 'elsewhere')
    (root / 'test_release').symlink_to('/annex/gone')
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and 'test_release: is a broken link to /annex/gone' in run.stderr


def test_two_entries_for_one_test_image_are_refused(raw_root, tmp_path):
    root, _ = raw_root
    entry = '{"file_name": "%s.tif", "id": %d, "height": 30, "width": 20}'
    (root / 'test_image_name_to_ids.json').write_text(f"[{entry % ('t', 5)}, {entry % ('T', 6)}]")
    run = convert(root, '--out', tmp_path / 'ann')
    assert run.returncode == 1 and '2 entries stand for the same file t.tif' in run.stderr


@pytest.mark.parametrize('names, words', [
    (['a'], 'has 1 names, but there are masks up to class2.tif'), (['a', 'a'], 'differ from each other'),
    (['a', ''], "got ''"), (['a', ' b'], "got ' b'"), (['a', 'b\n'], r"got 'b\\n'"),
    (['a', 'b\udce4'], r"got 'b\\udce4'")])
def test_wrong_class_names_are_refused(raw_root, tmp_path, names, words):
    run = convert(raw_root[0], '--out', tmp_path / 'ann', '--class-names', *names)
    assert run.returncode == 1 and re.search(words, run.stderr)


def test_a_class_without_any_cell_is_told(raw_root, tmp_path):
    root, _ = raw_root
    (root / 'train' / 'a' / 'class2.tif').rename(root / 'train' / 'a' / 'class3.tif')
    run = convert(root, '--out', tmp_path / 'ann', '--class-names', 'a', '[b]', 'c', 'd')
    assert run.returncode == 0 and '[b]' in run.stdout  # not taken for markup
    assert 'warning: no image has a cell of [b], d,' in run.stderr


def test_binary_masks_give_a_warning_and_good_masks_none(raw_root, tmp_path):
    root, _ = raw_root
    assert 'warning' not in convert(root, '--out', tmp_path / 'ann').stderr
    mask = np.zeros((40, 50), np.uint8)
    mask[5:10, 5:10] = mask[20:25, 30:36] = 255
    tifffile.imwrite(root / 'train' / 'a' / 'class1.tif', mask)
    run = convert(root, '--out', tmp_path / 'ann')
    (line,) = [line for line in run.stderr.splitlines() if line.startswith('warning')]
    assert run.returncode == 0 and 'look binary' in line and 'train/a/class1.tif' in line


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
    (out / 'train.json').write_text(OLD)
    command = [sys.executable, str(REPO / 'data_prep' / 'to_coco.py'), '--jobs', '1', str(root), '--out', str(out)]
    run = subprocess.run(['bash', '-c', 'trap "" XFSZ; ulimit -f 0; exec "$@"', 'bash', *command],
                         capture_output=True, text=True, check=False)
    assert run.returncode == 1 and 'nothing was written' in run.stderr
    assert {path.name: path.read_text() for path in out.iterdir()} == {'train.json': OLD}


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

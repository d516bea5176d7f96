"""Names, links and lists in the raw layout; ``tests/commands/test_to_coco_bad_input.py`` is about the command."""

import json
import os
import shutil
import unicodedata

import numpy as np
import pytest
import tifffile
from support.opened_files import recording_opens

from mmcell.annotations.id_list import read_test_ids
from mmcell.errors import MmcellError
from mmcell.files.folders import FileError
from mmcell.layouts.base import LayoutError, LayoutOptions
from mmcell.layouts.class_maps import (
    LAYOUT,
    class_files,
    find_sources,
    find_test_source,
    find_train_folders,
    read_train_image,
)
from mmcell.layouts.reading import read_source

LFS_POINTER = 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n'


@pytest.fixture
def root(raw_root):
    return raw_root[0]


def check_test_image(entry, root, color_samples=()):
    """Reads a test image as a conversion does; returns its name as it is in the annotation file."""
    source = find_test_source(entry, root / 'test_release')
    return read_source(source, LAYOUT.read_cells, LayoutOptions(), root, color_samples).file_name


def test_each_file_is_opened_once(root, rng):
    folder = root / 'train' / 'b'
    # Smaller files are also looked at as possible pointers of Git LFS.
    tifffile.imwrite(folder / 'image.tif', rng.integers(0, 256, (36, 44, 3), np.uint8), photometric='rgb')
    entry, = read_test_ids(root / 'test_image_name_to_ids.json')
    with recording_opens() as n_opens:
        read_train_image(folder, root, color_samples=[folder / 'image.tif'])
        check_test_image(entry, root, color_samples=[root / 'test_release' / entry.file_name])
    files = [folder / 'image.tif', folder / 'class1.tif', root / 'test_release' / entry.file_name]
    assert n_opens == {file.resolve(): 1 for file in files}


def rename(root, *names):
    (root / 'train' / 'b' / names[0]).rename(root / 'train' / 'b' / names[1])


def n_cells_of_b(root):
    image = read_train_image(root / 'train' / 'b', root)
    return {int(name[5:]): len(instances.ids) for name, instances in image.cells.items()}, image.file_name


@pytest.mark.parametrize('name', ['image.TIF', 'Image.tif', 'image.tiff', 'IMAGE.TIFF'])
def test_the_image_may_have_upper_case_letters_and_either_suffix(root, name):
    rename(root, 'image.tif', name)
    assert n_cells_of_b(root) == ({1: 1}, f'train/b/{name}')


@pytest.mark.parametrize('name, number', [('class10.tif', 10), ('CLASS2.TIFF', 2), ('class007.tif', 7)])
def test_the_number_of_a_class_is_the_whole_number_in_the_name(root, name, number):
    shutil.copy(root / 'train' / 'b' / 'class1.tif', root / 'train' / 'b' / name)
    assert n_cells_of_b(root)[0] == {1: 1, number: 1}


@pytest.mark.parametrize('name, words', [
    ('class0.tif', 'numbered from 1'), ('class-1.tif', 'is neither'), ('class1 (1).tif', 'is neither'),
    ('class1 - Copy.TIF', 'is neither'), ('Kopie von class1.tif', 'is neither'), ('class١.tif', 'is neither'),
    ('class1.TIF', 'class 1 has a second file'), ('class01.tif', 'class 1 has a second file'),
    ('class2.png', 'is neither'), ('class2.jpg', 'is neither'), ('class20240131.tif', 'numbered from 1 to 1000'),
    ('image.TIF', 'second image'), ('image.png', 'is neither')])
def test_files_that_may_be_masks_or_images_are_not_left_out(root, name, words):
    shutil.copy(root / 'train' / 'b' / 'class1.tif', root / 'train' / 'b' / name)
    with pytest.raises(LayoutError, match=words):
        n_cells_of_b(root)


@pytest.mark.parametrize('name', ['._class1.tif', '._image.tif', '.#class1.tif', 'class1.tif.bak', 'class1.tif~',
                                  'Thumbs.db', '.ipynb_checkpoints'])
def test_leftovers_in_an_image_folder_are_passed_over_and_listed(root, name):
    (root / 'train' / 'b' / name).write_bytes(b'\0\5\x16\7')
    listing = find_sources(root, LayoutOptions())
    assert listing.leftovers == [root / 'train' / 'b' / name] and listing.remarks == {}
    assert n_cells_of_b(root)[0] == {1: 1}


def replace_by(write):
    def damage(path):
        path.unlink()
        write(path)
    return damage


UNUSABLE = {
    'broken link': (replace_by(lambda path: path.symlink_to('/annex/gone')), 'broken link to /annex/gone'),
    'circle': (replace_by(lambda path: path.symlink_to(path.name)), 'broken link'),
    'pointer': (replace_by(lambda path: path.write_text(LFS_POINTER)), 'git lfs pull'),
    'empty': (replace_by(lambda path: path.touch()), 'is empty'),
    'folder': (replace_by(lambda path: path.mkdir()), 'is a folder'),
    'pipe': (replace_by(os.mkfifo), 'is a pipe'),
}


@pytest.mark.parametrize('damage, words', UNUSABLE.values(), ids=UNUSABLE)
@pytest.mark.parametrize('name', ['train/b/image.tif', 'train/b/class1.tif', 'test_release/t.tif',
                                  'test_image_name_to_ids.json'])
def test_files_that_cannot_be_used_are_named(root, name, damage, words):
    damage(root / name)
    with pytest.raises(FileError, match=f'{name}: .*{words}'):
        read_train_image(root / 'train' / 'b', root)
        for image in read_test_ids(root / 'test_image_name_to_ids.json'):
            check_test_image(image, root)


def test_a_good_link_is_read(root):
    (root / 'train' / 'b' / 'image.tif').rename(root / 'annex')
    (root / 'train' / 'b' / 'image.tif').symlink_to(root / 'annex')
    assert n_cells_of_b(root)[0] == {1: 1}


def test_hidden_folders_and_files_are_no_image_folders_but_broken_links_are(root):
    for name in ('.a', '__MACOSX', '@eaDir', '.ipynb_checkpoints'):
        shutil.copytree(root / 'train' / 'a', root / 'train' / name)
    (root / 'train' / 'c.tif').touch()
    (root / 'train' / 'gone').symlink_to('/annex/gone')
    folders = find_train_folders(root)
    assert [folder.name for folder in folders] == ['a', 'b', 'gone']
    with pytest.raises(FileError, match='gone: is a broken link'):
        read_train_image(folders[2], root)


def test_an_image_folder_that_is_there_twice_is_refused(root):
    (root / 'train' / 'c').symlink_to(root / 'train' / 'a')
    with pytest.raises(LayoutError, match='train/c and a are the same folder'):
        find_train_folders(root)


def test_a_name_that_is_not_utf_8_is_refused_by_name(root):
    (root / 'train' / 'b').rename(root / 'train' / 'zelle_\udce4')
    folder = find_train_folders(root)[1]
    with pytest.raises(LayoutError, match=r'zelle_\\udce4: the name is not UTF-8'):
        read_train_image(folder, root)


@pytest.mark.parametrize('given, hint', [
    ('train', 'Give the folder that contains train/: {root}'),
    ('train/a', 'Give the folder that contains train/: {root}'),
    ('test_release', 'Give the folder that contains train/: {root}'),
    ('..', 'Give the folder that contains train/: '),
    ('none', 'none does not exist'),
    ('test_image_name_to_ids.json', 'is a file: unpack it')])
def test_a_message_says_which_folder_was_meant(root, given, hint):
    with pytest.raises(LayoutError, match='no image folders') as error:
        find_train_folders(root / given)
    assert hint.format(root=root) in str(error.value)


def test_a_train_folder_with_capital_letters_or_a_broken_link_is_named(root):
    (root / 'train').rename(root / 'Train')
    with pytest.raises(LayoutError, match='Rename Train to train'):
        find_train_folders(root)
    (root / 'train').symlink_to('/annex/gone')
    with pytest.raises(FileError, match='train: is a broken link'):
        find_train_folders(root)


def test_a_mask_with_rows_and_columns_exchanged_is_called_so(root):
    path = root / 'train' / 'b' / 'class1.tif'
    tifffile.imwrite(path, tifffile.imread(path).T)
    with pytest.raises(LayoutError, match='44 x 36 px.*exchanged'):
        n_cells_of_b(root)


ENTRY = {'file_name': 't.tif', 'id': 5, 'height': 30, 'width': 20}


def write_ids(root, *entries, encoding='utf-8'):
    path = root / 'test_image_name_to_ids.json'
    path.write_bytes(json.dumps(entries, ensure_ascii=False).encode(encoding))
    return path


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32'])
def test_the_id_list_may_have_any_encoding_of_unicode(root, encoding):
    (image,) = read_test_ids(write_ids(root, {**ENTRY, 'file_name': 'zelle_ä.tif'}, encoding=encoding))
    assert (image.file_name, image.image_id, image.height, image.width) == ('zelle_ä.tif', 5, 30, 20)


@pytest.mark.parametrize('change, words', [
    ({'id': '5'}, "entry 2 has the id '5'"), ({'id': 5.0}, 'the id 5.0'), ({'id': True}, 'the id True'),
    ({'id': None}, 'the id None'), ({'id': -1}, 'the id -1'), ({'id': 2**64}, 'the id 1844'),
    ({'id': float('nan')}, 'the id nan'), ({'height': 0}, 'the height 0'), ({'width': [20]}, r'the width \[20\]'),
    ({'file_name': 7}, 'file_name 7'), ({'file_name': ''}, "file_name ''"), ({'file_name': None}, 'file_name None'),
    ({'file_name': '../t.tif'}, 'without folders'), ({'file_name': '/etc/passwd'}, 'without folders'),
    ({'file_name': 'test_release\\t.tif'}, 'without folders'), ({'file_name': '..'}, 'without folders'),
    ({'file_name': 'a\0b'}, 'without folders'), ({'id': 4}, 'id 4 occurs more than once'),
    ({'file_name': 's.tif'}, "file_name 's.tif' occurs more than once")])
def test_wrong_entries_of_the_id_list_are_named(root, change, words):
    path = write_ids(root, {**ENTRY, 'file_name': 's.tif', 'id': 4}, {**ENTRY, **change})
    with pytest.raises(LayoutError, match=words) as error:
        read_test_ids(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('content, words', [
    (b'{"images": ' + b'[1, ' * 90 + b'1' + b']' * 90 + b'}', 'is not a JSON list'), (b'"x"', 'is not a JSON list'),
    (b'[5]', 'entry 1 is 5; file_name, id, height, width expected'),
    (b'[{"file_name": "a", "id": 1, "height": 2}]', 'width expected'),
    (b'[{"file_name": "' + b'\xe4' * 9000 + b'"}]', 'wrong at byte 16')])
def test_a_file_that_is_no_id_list_is_described_shortly(root, content, words):
    path = root / 'test_image_name_to_ids.json'
    path.write_bytes(content)
    with pytest.raises(MmcellError, match=words) as error:
        read_test_ids(path)
    assert len(str(error.value)) < 500 + len(str(path)) and '\n' not in str(error.value)


@pytest.mark.parametrize('in_list, on_disk', [
    ('t.tif', 'T.TIF'), ('zelle_\xe4.tif', unicodedata.normalize('NFD', 'zelle_\xe4.tif')),
    (unicodedata.normalize('NFD', 'zelle_\xe4.tif'), 'Zelle_\xe4.tif')])
def test_a_test_image_is_found_by_another_form_of_its_name(root, in_list, on_disk):
    (root / 'test_release' / 't.tif').rename(root / 'test_release' / on_disk)
    (image,) = read_test_ids(write_ids(root, {**ENTRY, 'file_name': in_list}))
    assert check_test_image(image, root) == f'test_release/{on_disk}'


@pytest.mark.parametrize('names, in_list, words', [
    (['t.tif'], 't', 'files with similar names: t.tif'), (['T.tif', 't.TIF'], 't.tif', 'T.tif, t.TIF'),
    (['t.tif'], 'quite_different.png', 'does not exist$')])
def test_a_missing_test_image_is_named_with_similar_files(root, names, in_list, words):
    (root / 'test_release' / 't.tif').rename(root / 'image')
    for name in names:
        shutil.copy(root / 'image', root / 'test_release' / name)
    (image,) = read_test_ids(write_ids(root, {**ENTRY, 'file_name': in_list}))
    with pytest.raises(LayoutError, match=words):
        check_test_image(image, root)


def test_exchanged_height_and_width_are_called_so(root):
    (image,) = read_test_ids(write_ids(root, {**ENTRY, 'height': 20, 'width': 30}))
    with pytest.raises(LayoutError, match='height and width are exchanged'):
        check_test_image(image, root)


def test_class_files_ignore_hidden_twins(tmp_path):
    for name in ('class2.tif', 'class10.tif', '._class2.tif', 'notes.txt'):
        tifffile.imwrite(tmp_path / name, np.zeros((2, 2), np.uint8))
    assert {number: path.name for number, path in class_files(tmp_path).items()} == {2: 'class2.tif', 10: 'class10.tif'}

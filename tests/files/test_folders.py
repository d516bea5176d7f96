import os
import socket

import pytest

from mmcell.files.folders import FileError, describe_leftovers, file_problem, leftover_kind, list_folder

LFS_POINTER = ('version https://git-lfs.github.com/spec/v1\n'
               'oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n')


@pytest.mark.parametrize('name, kind', [
    ('._scan.tif', 'macOS'), ('__macosx', 'macOS'), ('.DS_Store', 'macOS'), ('Icon\r', 'macOS'),
    ('THUMBS.DB', 'Windows'), ('desktop.ini', 'Windows'), ('~$table.xlsx', 'Windows'), ('$RECYCLE.BIN', 'Windows'),
    ('@eaDir', 'network'), ('lost+found', 'network'), ('.nfs000001', 'network'),
    ('.ipynb_checkpoints', 'Jupyter'), ('.#scan.tif', 'editor'), ('scan.tif~', 'editor'), ('class1.tif.bak', 'editor'),
    ('class1.tif.part', 'not complete'), ('.scan.tif.812.tmp', 'not complete'), ('.gitattributes', 'hidden')])
def test_leftovers_of_other_programs_are_recognised(name, kind):
    assert kind in leftover_kind(name)


@pytest.mark.parametrize('name', ['class1.tif', 'class1 (1).tif', 'a.b.tif', '#1.tif', '~x.tif', '@home', 'tmp',
                                  'Thumbs.tif', 'part', 'x.TIF', '细胞'])
def test_names_that_users_give_are_not_leftovers(name):
    assert leftover_kind(name) is None


def test_a_folder_is_listed_without_leftovers_and_with_broken_links(tmp_path):
    for name in ('b.tif', '._b.tif', 'Thumbs.db'):
        (tmp_path / name).write_text('x')
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'a.tif').symlink_to('/nowhere')
    paths, leftovers = list_folder(tmp_path)
    assert [path.name for path in paths] == ['a.tif', 'b.tif', 'folder']
    assert [path.name for path in leftovers] == ['._b.tif', 'Thumbs.db']


@pytest.mark.parametrize('make, words', [
    (lambda path: None, 'cannot be listed: No such file'),
    (lambda path: path.symlink_to('/annex/objects/gone'), 'broken link to /annex/objects/gone'),
    (lambda path: path.write_text('x'), 'cannot be listed: Not a directory')])
def test_a_folder_that_cannot_be_listed_is_named(tmp_path, make, words):
    make(tmp_path / 'folder')
    with pytest.raises(FileError, match=f'folder: .*{words}'):
        list_folder(tmp_path / 'folder')


def test_the_line_about_leftovers_has_their_number_and_kind():
    line = describe_leftovers(['s/._a.tif', 's/._b.tif', 'Thumbs.db'])
    assert line.count('\n') == 0
    assert '2 of macOS (s/._a.tif, s/._b.tif); 1 of Windows (Thumbs.db)' in line
    assert describe_leftovers([]) == ''
    many = describe_leftovers([f'._{i}.tif' for i in range(1000)])
    assert '1000 of macOS' in many and 'and 994 more' in many and len(many) < 300


def make_socket(path):
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.close()


@pytest.mark.parametrize('make, words', [
    (lambda path: None, 'does not exist'),
    (lambda path: path.mkdir(), 'is a folder'),
    (lambda path: path.touch(), 'empty'),
    (lambda path: path.symlink_to('/annex/objects/x\ny'), r'broken link to /annex/objects/x\\ny: .*datalad get'),
    (lambda path: path.symlink_to(path), 'broken link'),
    (lambda path: path.write_text(LFS_POINTER), 'run git lfs pull'),
    (lambda path: path.write_text('/annex/objects/SHA256E-s12345--4d7a.tif\n'), 'git annex get'),
    (lambda path: os.mkfifo(path), 'is a pipe'),
    (make_socket, 'is a pipe, socket')])
def test_a_file_that_cannot_be_used_is_explained_in_one_line(tmp_path, monkeypatch, make, words):
    monkeypatch.chdir(tmp_path)  # names of sockets are at most 107 bytes long
    make((tmp_path / 'a.tif').relative_to(tmp_path) if make is make_socket else tmp_path / 'a.tif')
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(file_problem(tmp_path / 'a.tif'))


def test_missing_permission_is_named(tmp_path, monkeypatch):
    """The missing permission is simulated, because the superuser, who may run the tests, can read every file."""
    (tmp_path / 'a.tif').write_text('x' * 2000)
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    assert 'permission' in file_problem(tmp_path / 'a.tif')


def test_usable_files_and_links_have_no_problem(tmp_path):
    (tmp_path / 'small').write_text('x')
    (tmp_path / 'large').write_bytes(bytes(5000))
    (tmp_path / 'link').symlink_to('small')
    assert [file_problem(tmp_path / name) for name in ('small', 'large', 'link')] == [None] * 3

import os
from pathlib import Path

import pytest

from mmcell.inference.image_files import ImageSelectionError, find_images


@pytest.fixture
def folder(tmp_path):
    for name in ('b.tif', 'a.PNG', 'notes.txt', '.hidden.tif', 'deep/c.tif', 'deep/er/d.tif', 'scan.svs'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize('arguments, names', [
    (['.'], ['a.PNG', 'b.tif', 'scan.svs']),
    (['b.tif', 'a.PNG'], ['b.tif', 'a.PNG']),
    (['notes.txt'], ['notes.txt']),
    (['*.tif'], ['b.tif']),
    (['**/*.tif'], ['b.tif', 'deep/c.tif', 'deep/er/d.tif']),
    (['deep', 'deep/*.tif', 'deep/../b.tif', '.'], ['deep/c.tif', 'deep/../b.tif', 'a.PNG', 'scan.svs']),
])
def test_files_folders_and_patterns_give_images(folder, arguments, names):
    assert find_images([f'{folder}/{argument}' for argument in arguments]) == [folder / name for name in names]


def test_an_existing_file_with_brackets_in_its_name_is_not_a_pattern(tmp_path):
    (tmp_path / 'x[1].tif').touch()
    assert find_images([f'{tmp_path}/x[1].tif']) == [tmp_path / 'x[1].tif']


@pytest.mark.parametrize('argument', ['none.tif', '*.jpg', 'deep/er/empty'])
def test_an_argument_without_images_is_refused(folder, argument):
    (folder / 'deep' / 'er' / 'empty').mkdir()
    with pytest.raises(ImageSelectionError, match='no such image'):
        find_images([str(folder), f'{folder}/{argument}'])


@pytest.fixture
def folder_with_leftovers(tmp_path):
    folder = tmp_path / 'images'
    for name in ('a.TIF', '._a.tif', '.hidden.png', 'b.tif~', 'Thumbs.db', '__MACOSX/._a.tif', '@eaDir/a.tif/t.jpg',
                 'deep/c.tif', '.a.json', '.a.tiles/tiles-0.jsonl', '.a_labels.tif.77.tmp'):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / 'broken.tif').symlink_to('/annex/gone')
    (folder / 'circle.tif').symlink_to('circle.tif')
    (folder / 'folder.tif').mkdir()
    return folder


@pytest.mark.parametrize('argument, names, parts', [
    ('', ['a.TIF', 'broken.tif', 'circle.tif', 'folder.tif'],
     ['2 of macOS', '1 of Windows', '1 of a network drive', '1 hidden', '1 of an editor']),
    ('*', ['a.TIF', 'broken.tif', 'circle.tif', 'folder.tif'], ['1 of macOS', '1 of Windows', '1 of a network drive']),
    ('**/*.tif', ['broken.tif', 'circle.tif', 'deep/c.tif', 'folder.tif'], ['1 of a network drive']),
])
def test_leftovers_are_passed_over_with_one_line(folder_with_leftovers, argument, names, parts):
    lines = []
    images = find_images([f'{folder_with_leftovers}/{argument}'], report=lines.append)
    assert [path.relative_to(folder_with_leftovers).as_posix() for path in images] == names
    assert len(lines) == 1 and all(part in lines[0] for part in parts)
    assert '.json' not in lines[0] and '.tiles' not in lines[0]


def test_a_folder_without_leftovers_gives_no_line(folder):
    lines = []
    (folder / '.hidden.tif').unlink()
    find_images([str(folder)], report=lines.append)
    assert lines == []


def test_broken_links_and_pipes_are_images_when_they_are_named(folder_with_leftovers):
    os.mkfifo(folder_with_leftovers / 'pipe.tif')
    for name in ('broken.tif', 'circle.tif', 'pipe.tif', '._a.tif'):
        argument = 'p*' if name == 'pipe.tif' else name
        assert find_images([f'{folder_with_leftovers}/{argument}']) == [folder_with_leftovers / name]


def test_links_that_lead_back_are_followed_once(tmp_path):
    for name in ('a.tif', 'deep/b.tif', 'elsewhere/c.tif'):
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'in' / name).touch()
    (tmp_path / 'in' / 'elsewhere').rename(tmp_path / 'elsewhere')
    # With two of these links, a search that follows them anew each time would visit 2^40 folders.
    for name in ('loop', 'again'):
        (tmp_path / 'in' / 'deep' / name).symlink_to(tmp_path / 'in')
    (tmp_path / 'in' / 'outside').symlink_to(tmp_path / 'elsewhere')
    names = [path.relative_to(tmp_path).as_posix() for path in find_images([f'{tmp_path}/in/**/*.tif'])]
    assert names == ['in/a.tif', 'in/deep/b.tif', 'in/outside/c.tif']


@pytest.mark.parametrize('pattern, names', [
    ('**', ['b.tif', 'a.PNG', 'deep/c.tif', 'deep/er/d.tif', 'scan.svs', 'notes.txt']), ('**/er/*', ['deep/er/d.tif']),
    ('deep/**/?.tif', ['deep/c.tif', 'deep/er/d.tif']), ('*/**/d*', ['deep/er/d.tif']),
    ('**/**/c.tif', ['deep/c.tif'])])
def test_two_stars_stand_for_any_number_of_folders(folder, monkeypatch, pattern, names):
    monkeypatch.chdir(folder)
    assert set(find_images([pattern])) == set(map(Path, names))
    assert set(find_images([f'{folder}/{pattern}'])) == {folder / name for name in names}


def test_a_name_with_control_characters_is_escaped_in_the_message(tmp_path):
    with pytest.raises(ImageSelectionError, match=r'no\\nsuch\\x1b\[31m: no such image'):
        find_images([f'{tmp_path}/no\nsuch\x1b[31m'])

import os
import subprocess
import sys

import pytest

from mmcell.files.whole_files import remove_leftovers, written_whole


def test_all_appear_together(tmp_path):
    paths = [tmp_path / 'new' / 'a.txt', tmp_path / 'b.txt']
    with written_whole(paths) as temporary:
        for path in temporary:
            path.write_text('content')
        assert not any(path.exists() for path in paths)
        assert all(path.parent == target.parent for path, target in zip(temporary, paths, strict=True))
    assert [path.read_text() for path in paths] == ['content', 'content']
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a.txt', 'b.txt', 'new']


def test_a_block_that_fails_changes_nothing(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(KeyError), written_whole([path]) as (temporary,):
        temporary.write_text('half')
        raise KeyError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_one_kind_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, '-c', ''])
    gone.wait()
    kept = ['a.pth', 'note.tmp', f'.b.json.{gone.pid}.tmp', f'.c.pth.{os.getpid()}.tmp']
    for name in (f'.a.pth.{gone.pid}.tmp', *kept):
        (tmp_path / name).write_text('')
    (tmp_path / f'.x[1].pth.{gone.pid}.tmp').write_text('')
    remove_leftovers(tmp_path, 'x[1].pth'.__eq__)
    assert not (tmp_path / f'.x[1].pth.{gone.pid}.tmp').exists()
    remove_leftovers(tmp_path, lambda name: name.endswith('.pth'))
    assert {path.name for path in tmp_path.iterdir()} == set(kept)

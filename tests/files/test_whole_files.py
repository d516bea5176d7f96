import os
import signal
import subprocess
import sys

import pytest

from mmcell.files.whole_files import remove_leftovers, written_whole


def test_all_files_appear_together_at_the_end_of_the_block(tmp_path):
    paths = [tmp_path / 'new' / 'a.txt', tmp_path / 'b.txt']
    with written_whole(paths) as temporary:
        for path in temporary:
            path.write_text('content')
        assert not any(path.exists() for path in paths)
        assert all(path.parent == target.parent for path, target in zip(temporary, paths, strict=True))
    assert [path.read_text() for path in paths] == ['content', 'content']
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['a.txt', 'b.txt', 'new']


def test_a_block_that_fails_leaves_the_old_file_and_no_temporary_one(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    with pytest.raises(KeyError), written_whole([path]) as (temporary,):
        temporary.write_text('half')
        raise KeyError
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_are_removed_if_their_name_matches_and_their_process_has_ended(tmp_path):
    ended = subprocess.Popen([sys.executable, '-c', ''])
    ended.wait()
    kept = ['a.pth', 'note.tmp', f'.b.json.{ended.pid}.tmp', f'.c.pth.{os.getpid()}.tmp']
    for name in (f'.a.pth.{ended.pid}.tmp', *kept):
        (tmp_path / name).write_text('')
    (tmp_path / f'.x[1].pth.{ended.pid}.tmp').write_text('')
    remove_leftovers(tmp_path, 'x[1].pth'.__eq__)
    assert not (tmp_path / f'.x[1].pth.{ended.pid}.tmp').exists()
    remove_leftovers(tmp_path, lambda name: name.endswith('.pth'))
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_a_process_that_is_killed_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    code = ('import os, signal, sys\nfrom mmcell.files.whole_files import written_whole\n'
            'with written_whole([sys.argv[1]]) as (temporary,):\n'
            '    temporary.write_text("half")\n    os.kill(os.getpid(), signal.SIGKILL)\n')
    killed = subprocess.run([sys.executable, '-c', code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL and path.read_text() == 'old'
    assert len(list(tmp_path.iterdir())) == 2  # the second file is the temporary one
    # What lies beside it under the name of another file, or of a process that still runs, is not touched.
    kept = {f'.b.txt.{7 * 10 ** 8}.tmp', f'.a.txt.{os.getppid()}.tmp', '.a.txt.tmp'}
    for name in kept:
        (tmp_path / name).touch()
    with written_whole([path]) as (temporary,):
        temporary.write_text('new')
    assert {other.name for other in tmp_path.iterdir()} == {'a.txt', *kept}

"""The folder of small files that is carried from one machine to another."""

import zipfile

import pytest
import torch

from mmcell.files.parts import find_written, join_parts
from mmcell.studies.execution import is_done
from mmcell.studies.facts import TRAINED
from mmcell.studies.plan import Experiment, make_variants
from mmcell.studies.runs import plan_runs
from mmcell.studies.sharing import share_results, share_weights, weights_path


@pytest.fixture
def done(tmp_path):
    """A run that is done, in the folder of a study."""
    (tmp_path / 'net.py').write_text('model = dict(depth=50)\n')
    run, = plan_runs(make_variants([Experiment(str(tmp_path / 'net.py'))]), [0])
    folder = tmp_path / 'study' / run.folder
    folder.mkdir(parents=True)
    for name, text in ((TRAINED, '{}'), ('net.pkl', 'predictions'), ('study.log', 'log'), ('.lock', '')):
        (folder / name).write_text(text)
    (folder / '20260101_000000').mkdir()
    (folder / '20260101_000000' / 'scalars.json').write_text('{}')
    torch.save({'state_dict': {'a.weight': torch.full((64, 64), 1.)}, 'meta': {}}, folder / 'best_AP50_epoch_2.pth')
    torch.save({'state_dict': {'a.weight': torch.full((64, 64), 2.)}, 'meta': {}}, folder / 'epoch_3.pth')
    (tmp_path / 'study' / 'table.md').write_text('table')
    return run


def test_a_study_continues_from_the_carried_results(done, tmp_path):
    folder = tmp_path / 'study'
    share_results(folder, 10_000)
    first, = share_results(folder, 10_000)  # the zip does not hold itself
    with zipfile.ZipFile(first) as archive:
        assert sorted(archive.namelist()) == ['net/seed0/20260101_000000/scalars.json', 'net/seed0/net.pkl',
                                              'net/seed0/study.log', 'net/seed0/trained.json', 'table.md']
        archive.extractall(tmp_path / 'elsewhere')
    assert is_done(done, tmp_path / 'elsewhere')


def test_results_that_are_too_large_are_written_in_parts(done, tmp_path):
    folder = tmp_path / 'study'
    share_results(folder, 10_000)
    parts = share_results(folder, 300)
    assert len(parts) > 1 and all(part.stat().st_size <= 300 for part in parts)
    whole, content = join_parts(parts[0])
    whole.write_bytes(content)
    assert zipfile.ZipFile(whole).testzip() is None
    assert [path.name for path in share_results(folder, 10_000) if path != whole] == ['results.zip']


def test_the_best_weights_are_shared_once(done, tmp_path):
    folder = tmp_path / 'study'
    share_weights(done, folder, 5_000)
    parts = find_written(weights_path(done, folder))
    assert len(parts) > 1 and all(part.stat().st_size <= 5_000 for part in parts)
    whole, content = join_parts(parts[0])
    whole.write_bytes(content)
    weights = torch.load(whole)['state_dict']['a.weight']
    assert weights.dtype == torch.float16 and weights[0, 0] == 1.
    before = parts[0].stat().st_mtime_ns
    share_weights(done, folder, 5_000)
    assert parts[0].stat().st_mtime_ns == before
    parts[1].unlink()
    share_weights(done, folder, 5_000)
    assert parts[1].exists() and join_parts(parts[0])[1] == content

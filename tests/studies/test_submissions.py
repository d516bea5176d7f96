"""Submissions of a study."""

import json

import numpy as np
import pytest
from support.synthetic_data import discs

from mmcell.annotations.coco_json import categories
from mmcell.masks.rle import encode_label_map
from mmcell.predictions.dump_file import save_results
from mmcell.predictions.packed_results import read_packed_results
from mmcell.predictions.submission import check_submission, read_test_set
from mmcell.studies import submissions
from mmcell.studies.plan import Experiment, StudyError, make_variants
from mmcell.studies.runs import plan_runs

SIZE = (60, 60)
CELLS = encode_label_map(discs(SIZE, [(k, 5 + 10 * (k // 6), 5 + 10 * (k % 6), 3) for k in range(1, 36)]))


@pytest.fixture
def test(tmp_path):
    """A test of two test images whose predictions are there."""
    path = tmp_path / 'test.json'
    path.write_text(json.dumps(dict(images=[dict(id=i, file_name=f'{i}.tif', height=60, width=60) for i in (1, 2)],
                                    categories=categories(['a', 'b']), annotations=[])))
    (tmp_path / 'net.py').write_text(f'test_dataloader = dict(dataset=dict(ann_file={str(path)!r}))\n')
    run, = plan_runs(make_variants([Experiment(str(tmp_path / 'net.py'))]), [0], with_submission=True)
    planned = run.tests[-1]
    boxes = CELLS.bboxes_xywh.astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    rng = np.random.default_rng(0)
    (tmp_path / planned.dump).parent.mkdir(parents=True)
    save_results([dict(img_id=i, ori_shape=SIZE, classes=['a', 'b'], pred_instances=dict(
        bboxes=boxes, scores=rng.permutation(35).astype(np.float32) / 35, masks=CELLS.rles,
        labels=np.arange(35) % 2)) for i in (1, 2)], tmp_path / planned.dump)
    return planned


def scores_in(test, folder):
    records = read_packed_results(folder / test.submission)
    assert not check_submission(records, read_test_set(folder / 'test.json')).errors
    return sorted(record['score'] for record in records)


def test_a_submission_has_all_cells_if_it_is_small(test, tmp_path):
    assert test.submission.name == 'submission.zip'
    assert submissions.make_submission(test, tmp_path) == ''
    assert len(scores_in(test, tmp_path)) == 70


def test_a_submission_that_is_too_large_lacks_the_lowest_scores(test, tmp_path, monkeypatch):
    submissions.make_submission(test, tmp_path)
    whole, limit = scores_in(test, tmp_path), (tmp_path / test.submission).stat().st_size * 2 // 3
    monkeypatch.setattr(submissions, 'MAX_BYTES', limit)
    sentence = submissions.make_submission(test, tmp_path)
    assert (tmp_path / test.submission).stat().st_size < limit
    kept = scores_in(test, tmp_path)
    assert 20 < len(kept) < 70 and kept == whole[-len(kept):]
    assert sentence.startswith(f'submission.zip lacks the {70 - len(kept)} cells with scores below ')


def test_missing_test_images_are_noticed_before_the_first_training(test, tmp_path):
    submissions.refuse_missing_test_images([test.variant])
    (tmp_path / 'test.json').unlink()
    with pytest.raises(FileNotFoundError, match='no annotation file .*test.json'):
        submissions.refuse_missing_test_images([test.variant])
    (tmp_path / 'none.py').write_text('model = dict(depth=50)\n')
    with pytest.raises(StudyError, match='a submission needs one annotation file of test images'):
        submissions.refuse_missing_test_images(make_variants([Experiment(str(tmp_path / 'none.py'))]))

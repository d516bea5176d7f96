import json

import browse as command
import numpy as np
import pytest
from support.commands import call
from support.synthetic_data import write_folds

from mmcell.images.image_file import read_image
from mmcell.visualization.colors import class_colors

CONFIG = """
default_scope = 'mmdet'
pipeline = [dict(type='LoadTiff'), dict(type='LoadCellAnnotations'), dict(type='RandomFlip', prob=.5),
            dict(type='PackCellInputs')]
train_dataloader = dict(dataset=dict(type='CellDataset', ann_file='ann/train.json', pipeline=pipeline))
val_dataloader = dict(dataset=dict(type='CellDataset', ann_file='ann/train.json', test_mode=True,
                                   pipeline=[dict(type='LoadTiff'), dict(type='PackCellInputs')]))
test_dataloader = None
model = dict(type='TiledDetector', detector=dict(type='MaskRCNN', data_preprocessor=dict(
    type='DetDataPreprocessor', mean=[1., 2., 3.], std=[4., 5., 6.])))
"""


@pytest.fixture
def run(annotation_file, tmp_path, monkeypatch):
    """Runs the command in a folder with ann/train.json and config.py; returns status, output and error output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'config.py').write_text(CONFIG)

    def run_command(*args):
        ended = call('tools/browse.py', *args)
        return ended.returncode, ended.stdout, ended.stderr
    return run_command


def pictures(folder):
    return {path.name: read_image(path) for path in sorted(folder.iterdir())}


def colors_in(picture):
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_an_annotation_file_is_enough(run, tmp_path):
    status, out, _ = run('ann/train.json', '--out', 'new/pictures')
    assert status == 0 and '2 of 2 images, 4 cells drawn: big 3, small 1' in out
    drawn = pictures(tmp_path / 'new' / 'pictures')
    assert list(drawn) == ['0001_a.png', '0002_b.png', 'contact_sheet.png']
    # The image is enlarged twice, and its background has the colour of the file.
    assert (drawn['0001_a.png'][-1, 0] == [200, 100, 50]).all()
    for name, picture in drawn.items():
        assert class_colors(2)[0] in colors_in(picture), name
    np.testing.assert_array_equal(drawn['0002_b.png'][-72:, :88][0, 0], [200, 100, 50])
    run('ann/train.json', '--out', 'swapped', '--channel-order', 'bgr')
    assert (pictures(tmp_path / 'swapped')['0001_a.png'][-1, 0] == [50, 100, 200]).all()
    # The file itself may say so.
    document = json.loads((tmp_path / 'ann' / 'train.json').read_text())
    document['info']['channel_order'] = 'bgr'
    (tmp_path / 'ann' / 'bgr.json').write_text(json.dumps(document))
    run('ann/bgr.json', '--out', 'bgr')
    assert (pictures(tmp_path / 'bgr')['0001_a.png'][-1, 0] == [50, 100, 200]).all()


def test_the_default_folder_is_named_after_the_source(run, tmp_path):
    assert run('config.py', '--n', 1)[0] == 0
    assert (tmp_path / 'work_dirs' / 'browse' / 'config' / '0001_a.png').exists()


def test_draws_stand_side_by_side(run, tmp_path):
    status, out, _ = run('config.py', '--augmented', '--draws', 3, '--out', 'x', '--scale', 4)
    assert status == 0 and 'wrote 2 pictures and 1 contact sheet to x' in out
    picture = pictures(tmp_path / 'x')['0001_a.png']
    panels = [picture[-160:, left:left + 200] for left in (0, 208, 416)]
    assert picture.shape[1] == 616
    # At least one of the draws is flipped.
    assert len({panel.tobytes() for panel in panels}) == 2
    run('config.py', '--augmented', '--draws', 3, '--out', 'again', '--scale', 4)
    again = pictures(tmp_path / 'again')
    assert all((picture == again[name]).all() for name, picture in pictures(tmp_path / 'x').items())


FLIP = "dict(type='RandomFlip', prob=1., direction='horizontal')"


@pytest.mark.parametrize('source', ['ann/train.json', 'config.py'])
def test_what_transforms_do_stands_beside_the_original(run, tmp_path, source):
    paint = "{'type': 'CellErasing', 'n_patches': 1, 'ratio': 1., 'img_border_value': 9}"
    status, out, _ = run(source, '--transforms', FLIP, '--draws', 2, '--out', 'x', '--scale', 4)
    # Two images with four cells, three times each.
    assert status == 0 and '2 of 2 images, 12 cells drawn: big 9, small 3' in out
    picture = pictures(tmp_path / 'x')['0001_a.png']
    original, *draws = [picture[-160:, left:left + 200] for left in (0, 208, 416)]
    # The cells, drawn with their boxes, lie at the mirrored places. Outlines are not symmetric to the pixel.
    assert all(is_tinted(draw)[:, ::-1][is_tinted(original)].mean() > .9 for draw in draws)
    assert not is_tinted(draws[0])[is_tinted(original)].mean() > .9
    status, out, _ = run(source, '--transforms', FLIP, paint, '--draws', 1, '--out', 'y')
    assert status == 0 and '4 cells drawn' in out
    assert [9, 9, 9] in pictures(tmp_path / 'y')['0001_a.png'][-1, -100:].tolist()


def test_transforms_are_drawn_each_by_itself(run, tmp_path):
    paint = "dict(type='CellErasing', n_patches=1, ratio=1., img_border_value=9)"
    status, out, _ = run('ann/train.json', '--each', '--transforms', FLIP, paint, '--draws', 2, '--out', 'x', '--n', 1)
    # Three cells in the original and in two mirrored images; the painted images have none.
    assert status == 0 and '1 of 2 images, 9 cells drawn' in out
    picture = pictures(tmp_path / 'x')['0001_a.png'][-80:]
    width = (picture.shape[1] + 8) // 5
    original, flipped, painted, flipped_again, painted_again = (
        picture[:, place * width:place * width + 100] for place in range(5))
    assert is_tinted(flipped)[:, ::-1][is_tinted(original)].mean() > .8
    np.testing.assert_array_equal(flipped, flipped_again)
    for panel in (painted, painted_again):
        assert (panel == 9).all(axis=-1).any() and not (flipped == 9).all(axis=-1).any()
    assert run('ann/train.json', '--each')[0] == 2


def is_tinted(picture):
    return (picture != [200, 100, 50]).any(axis=-1)


def test_many_images_fill_several_sheets(run, tmp_path, monkeypatch):
    monkeypatch.setattr(command, 'IMAGES_PER_SHEET', 1)
    assert '2 contact sheets' in run('ann/train.json', '--out', 'x', '--n', 0)[1]
    assert {'contact_sheet_01.png', 'contact_sheet_02.png'} <= set(pictures(tmp_path / 'x'))


def test_images_of_one_name_do_not_overwrite_each_other(run, tmp_path):
    (tmp_path / 'twice.py').write_text(CONFIG + """
train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[train_dataloader['dataset']] * 2))
""")
    run('twice.py', '--out', 'x')
    assert {'0001_a.png', '0001_a_2.png', '0002_b.png', '0002_b_2.png'} < set(pictures(tmp_path / 'x'))


@pytest.mark.parametrize('args, message', [
    (['ann/other.json'], 'no annotation file ann/other.json'),
    (['other.py'], 'other.py'),
    (['config.py', '--split', 'test'], 'has no test_dataloader: choose another --split'),
    (['config.py', '--cfg-options', 'train_dataloader.dataset.annfile=x.json'], 'did you mean'),
    (['config.py', '--augmented', '--cfg-options', 'model.detector=None'], 'has no data_preprocessor'),
    (['ann/train.json', '--transforms', "dict(type='NoSuch')"], "type='NoSuch', but there is no class of this name"),
    (['ann/train.json', '--transforms', "dict(type='RandomRotate90', prob=3)"], 'prob must be in [0, 1], got 3'),
    (['ann/train.json', '--transforms', "dict(type='PackCellInputs')"], 'leave out those that pack samples'),
    (['ann/train.json', '--transforms', "dict(type='FilterAnnotations', min_gt_bbox_wh=(999, 999))"],
     'the transforms give no sample'),
])
def test_what_cannot_be_drawn_is_said_in_one_line(run, args, message):
    status, _, errors = run(*args)
    line = errors.splitlines()[-1]
    assert status == 1 and line.startswith('error: ') and message in line and errors.count('error: ') == 1


@pytest.mark.parametrize('args', [['ann/train.json', '--augmented'], ['ann/train.json', '--split', 'val'],
                                  ['config.py', '--images', 'x'], ['config.py', '--draws', '0'],
                                  ['config.py', '--augmented', '--transforms', FLIP],
                                  ['config.py', '--transforms', "__import__('os').getcwd()"]])
def test_arguments_that_make_no_sense(run, args):
    assert run(*args)[0] == 2


def test_the_pipeline_of_validation_images_loads_no_cells(run):
    status, out, _ = run('config.py', '--augmented', '--split', 'val', '--out', 'x')
    assert status == 0 and 'note: the pipeline loads no cells; that of --split train does' in out
    assert '4 cells drawn' in run('config.py', '--split', 'val', '--out', 'y')[1]


def test_a_fold_is_drawn(run, tmp_path, annotation_file):
    write_folds(annotation_file, [1, 0])
    settings = ['fold=0', 'train_dataloader.dataset.ann_file=ann/train.json',
                'val_dataloader.dataset.ann_file=ann/val.json']
    for split, name in (('train', '0001_a.png'), ('val', '0002_b.png')):
        status, out, errors = run('config.py', '--split', split, '--out', split, '--cfg-options', *settings)
        assert status == 0, errors
        assert '1 of 1 images' in out and name in pictures(tmp_path / split)

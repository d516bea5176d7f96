import json
import sys

import overlay as command
import pytest
import torch
from mmengine.fileio import dump

from mmcell.images.image_file import read_image
from mmcell.visualization.cell_panels import VERDICTS
from mmcell.visualization.colors import class_colors
from mmcell.visualization.panels import GAP_PX

HIT, WRONG, MISSED, SPURIOUS = (VERDICTS[name][0] for name in ('hit', 'wrong class', 'missed', 'spurious'))


@pytest.fixture
def run(annotation_file, raw_root, tmp_path, monkeypatch, capsys):
    """Runs the command on a dump of both images; returns status, error output and the pictures by their names.

    In image a, one of the three cells is predicted as another class, and one is missed. Nothing is predicted in image
    b, which has one cell.
    """
    monkeypatch.chdir(tmp_path)
    document = json.loads(annotation_file.read_text())
    wrong, hit, _ = [cell for cell in document['annotations'] if cell['image_id'] == 1]
    masks = {1: [wrong['segmentation'], hit['segmentation']], 2: []}
    dump([dict(img_id=image_id, img_path=str(raw_root[0] / document['images'][image_id - 1]['file_name']),
               pred_instances=dict(bboxes=torch.zeros(len(rles), 4), scores=torch.full((len(rles),), .9),
                                   labels=torch.tensor([1, 0][:len(rles)]), masks=rles))
          for image_id, rles in masks.items()], 'results.pkl')

    def run_command(*args, annotations=annotation_file):
        monkeypatch.setattr(sys, 'argv', ['overlay.py', 'results.pkl', '--annotations', str(annotations), '--out', 'o',
                                          *map(str, args)])
        status = command.main()
        drawn = {path.name: read_image(path) for path in sorted(tmp_path.glob('o/*.png'))}
        return status, capsys.readouterr().err, drawn
    return run_command


def change(path, **changes):
    """Writes a changed annotation file beside another, and returns its path."""
    document = json.loads(path.read_text())
    new = path.with_name('changed.json')
    new.write_text(json.dumps({**document, **changes}))
    return new


def panels(picture, height, width):
    """The left and the right picture, which are enlarged twice, of a picture with two panels."""
    second = picture.shape[1] // 2 + GAP_PX // 2
    return [picture[-2 * height:, left:left + 2 * width] for left in (0, second)]


def colors_in(picture):
    return set(map(tuple, picture.reshape(-1, 3).tolist()))


def test_true_cells_are_beside_the_predicted_ones(run):
    status, _, drawn = run()
    assert status == 0 and list(drawn) == ['0001_a.png', '0002_b.png']
    big, small = class_colors(2)
    true, predicted = panels(drawn['0001_a.png'], 40, 50)
    assert {big, small} <= colors_in(true) and {big, small} <= colors_in(predicted)
    true, predicted = panels(drawn['0002_b.png'], 36, 44)
    assert big in colors_in(true) and colors_in(predicted) == {(200, 100, 50)}


def test_files_for_papers_show_the_same_cells(run, tmp_path):
    assert run('--matches', '--formats', 'svg', 'pdf', 'svg')[0] == 0
    assert sorted(path.name for path in tmp_path.glob('o/*')) == [
        '0001_a.pdf', '0001_a.svg', '0002_b.pdf', '0002_b.svg']
    svg = (tmp_path / 'o' / '0001_a.svg').read_text()
    # Of three true cells, one is hit, one has the wrong class and one is missed; two are predicted.
    assert svg.count('<path ') == 5 and svg.count('inkscape:label="wrong class"') == 2
    assert (tmp_path / 'o' / '0001_a.pdf').read_bytes().startswith(b'%PDF')


def test_one_class_has_the_same_colour_alone_and_its_panels_are_always_there(run):
    drawn = run('--classes', 'small')[2]
    big, small = class_colors(2)
    true, predicted = panels(drawn['0001_a.png'], 40, 50)
    assert small in colors_in(true) and big not in colors_in(drawn['0001_a.png'])
    # Image b has no cell of this class, but its true cells are known.
    true, predicted = panels(drawn['0002_b.png'], 36, 44)
    assert colors_in(true) == colors_in(predicted) == {(200, 100, 50)}


def test_matches(run):
    drawn = run('--matches')[2]
    true, predicted = (colors_in(panel) for panel in panels(drawn['0001_a.png'], 40, 50))
    assert {HIT, WRONG, MISSED} <= true and SPURIOUS not in true
    assert {HIT, WRONG} <= predicted and not {MISSED, SPURIOUS} & predicted
    true, predicted = (colors_in(panel) for panel in panels(drawn['0002_b.png'], 36, 44))
    assert MISSED in true and HIT not in true and predicted == {(200, 100, 50)}


def test_images_whose_cells_are_not_known_have_one_panel(run, annotation_file):
    without_truth = change(annotation_file, annotations=[])
    status, _, drawn = run(annotations=without_truth)
    assert status == 0 and drawn['0001_a.png'].shape[1] < 2 * 2 * 50
    status, err, _ = run('--matches', annotations=without_truth)
    assert status == 1 and err.startswith('error: --matches compares with true cells, but ') and 'has none' in err


def test_true_cells_may_be_polygons(run, annotation_file):
    document = json.loads(annotation_file.read_text())
    polygon = {**document['annotations'][0], 'segmentation': [[5, 5, 15, 5, 15, 15, 5, 15]]}
    drawn = run(annotations=change(annotation_file, annotations=[polygon]))[2]
    true, _ = panels(drawn['0001_a.png'], 40, 50)
    assert true[2 * 5, 2 * 10].tolist() == list(class_colors(2)[0])


def test_files_that_do_not_fit_end_in_one_line(run, annotation_file):
    document = json.loads(annotation_file.read_text())
    for args, annotations, message in [
            (['--classes', 'tiny'], annotation_file, "--classes: ['tiny'] unknown; "),
            ([], 'nowhere.json', 'no annotation file nowhere.json'),
            ([], change(annotation_file, images=document['images'][:1], annotations=document['annotations'][:1]),
             'results.pkl: image 2: unknown image_id 2: ')]:
        status, err, _ = run(*args, annotations=annotations)
        assert status == 1 and err.startswith('error: ') and message in err and err.count('\n') == 1

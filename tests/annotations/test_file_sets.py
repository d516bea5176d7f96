import json
import os
import signal
import time
from itertools import permutations

import pytest

from mmcell.annotations.coco_json import AnnotationError, read_annotations, write_documents
from mmcell.annotations.file_sets import as_file_set

NAMES = ['train.json', 'val.json', 'trainval.json', 'test.json']


def make_documents(folder, n_images, names=NAMES):
    images = [{'id': i, 'file_name': f'{i}.tif', 'height': 4, 'width': 4} for i in range(1, n_images + 1)]
    return {folder / name: {'info': {'data_root': 'raw'}, 'categories': [{'id': 1, 'name': 'cell'}],
                            'images': images[index:], 'annotations': []} for index, name in enumerate(names)}


def as_set(folder, n_images):
    return as_file_set(make_documents(folder, n_images))


def is_refused(path):
    try:
        read_annotations(path)
    except AnnotationError as error:
        assert 'to_coco.py' in str(error) and '\n' not in str(error)
        return True
    return False


def set_id_of(path):
    return json.loads(path.read_text())['info']['file_set']['id']


def test_the_files_of_a_conversion_are_read(tmp_path):
    write_documents(as_set(tmp_path, 6))
    assert [len(read_annotations(tmp_path / name)['images']) for name in NAMES] == [6, 5, 4, 3]
    assert len({set_id_of(tmp_path / name) for name in NAMES}) == 1
    assert json.loads((tmp_path / 'val.json').read_text())['info']['file_set']['files'] == NAMES


def test_the_same_data_give_the_same_bytes_and_other_data_another_id(tmp_path):
    for folder, n_images in (('a', 6), ('b', 6), ('c', 7)):
        write_documents(as_set(tmp_path / folder, n_images))
    for name in NAMES:
        assert (tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes()
        assert set_id_of(tmp_path / 'a' / name) != set_id_of(tmp_path / 'c' / name)


@pytest.mark.parametrize('n_renamed', range(len(NAMES) + 1))
def test_a_conversion_that_is_killed_never_mixes_old_and_new_files(tmp_path, n_renamed):
    """A child process kills itself before the rename number ``n_renamed``, or after all of them."""
    write_documents(as_set(tmp_path, 6))
    old_id = set_id_of(tmp_path / 'val.json')
    child = os.fork()
    if child == 0:
        replace, n_left = os.replace, [n_renamed]

        def replace_or_die(source, target):
            if not n_left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            n_left[0] -= 1
            replace(source, target)

        os.replace = replace_or_die
        write_documents(as_set(tmp_path, 9))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == (signal.SIGKILL if n_renamed < len(NAMES) else 0)
    is_new = [set_id_of(tmp_path / name) != old_id for name in NAMES]
    assert is_new == [index < n_renamed for index in range(len(NAMES))]
    for first, second in permutations(NAMES, 2):
        same_age = is_new[NAMES.index(first)] == is_new[NAMES.index(second)]
        assert same_age or is_refused(tmp_path / first) or is_refused(tmp_path / second)
    # A reader of only one file must not take it for a file of a complete conversion either.
    is_mixed = 0 < n_renamed < len(NAMES)
    assert [is_refused(tmp_path / name) for name in NAMES] == [is_mixed] * len(NAMES)
    # Converting again mends the folder, and removes what the killed process left there. This process has just looked.
    time.sleep(.1)
    write_documents(as_set(tmp_path, 9))
    assert not any(is_refused(tmp_path / name) for name in NAMES)
    assert {path.name for path in tmp_path.iterdir()} == set(NAMES)


def test_a_file_without_a_set_beside_files_with_one_is_refused_with_the_way_out(tmp_path):
    write_documents(as_set(tmp_path, 6))
    document = json.loads((tmp_path / 'val.json').read_text())
    (tmp_path / 'val.json').write_text(json.dumps({**document, 'info': {}}))
    with pytest.raises(AnnotationError, match=r'train\.json: val\.json beside it .* rename one'):
        read_annotations(tmp_path / 'train.json')
    # The way out: under another name it may be combined with train.json.
    (tmp_path / 'val.json').rename(tmp_path / 'my_val.json')
    assert not is_refused(tmp_path / 'train.json') and not is_refused(tmp_path / 'my_val.json')


def test_edited_removed_and_renamed_files_of_one_conversion_are_read(tmp_path):
    write_documents(as_set(tmp_path, 6))
    document = json.loads((tmp_path / 'val.json').read_text())
    # Saved by another program: with indents, info at the end, and longer than the part that is read first.
    edited = {'images': document['images'][:1], **document, 'info': {'notes': 'x' * 20_000, **document['info']}}
    edited['info'] = edited.pop('info')
    (tmp_path / 'val.json').write_text(json.dumps(edited, indent=2))
    (tmp_path / 'test.json').unlink()
    (tmp_path / 'trainval.json').rename(tmp_path / 'all.json')
    assert not any(is_refused(tmp_path / name) for name in ('train.json', 'val.json', 'all.json'))


def test_a_renamed_copy_of_an_older_conversion_is_read(tmp_path):
    write_documents(as_set(tmp_path, 6))
    (tmp_path / 'val.json').rename(tmp_path / 'fixed_val.json')
    write_documents(as_set(tmp_path, 9))
    assert not is_refused(tmp_path / 'fixed_val.json') and not is_refused(tmp_path / 'train.json')


def test_a_link_to_a_file_is_compared_with_the_files_beside_its_target(tmp_path):
    write_documents(as_set(tmp_path / 'ann', 6))
    (tmp_path / 'link.json').symlink_to(tmp_path / 'ann' / 'train.json')
    assert not is_refused(tmp_path / 'link.json')
    (tmp_path / 'ann' / 'val.json').write_text('{}')
    assert is_refused(tmp_path / 'link.json')


@pytest.mark.parametrize('content', [
    '', '{"info": {', '[]', 'null', '{"info": 5}', '{"info":{"file_set":[]}}', '{' * 9999])
def test_a_damaged_file_beside_a_good_one_counts_as_another_conversion(tmp_path, content):
    write_documents(as_set(tmp_path, 6))
    (tmp_path / 'val.json').write_text(content)
    assert is_refused(tmp_path / 'train.json')


@pytest.mark.parametrize('files', [None, 5, [5], ['../other.json'], ['/etc/passwd'], [''], ['a\0b']])
def test_a_set_that_is_not_well_formed_is_not_one(tmp_path, files):
    document = next(iter(make_documents(tmp_path, 1).values()))
    document['info']['file_set'] = {'id': 'x', 'files': files}
    (tmp_path / 'train.json').write_text(json.dumps(document))
    assert not is_refused(tmp_path / 'train.json')


def test_nothing_is_renamed_if_a_folder_lies_in_the_place_of_a_file(tmp_path):
    write_documents(as_set(tmp_path, 6))
    (tmp_path / 'test.json').unlink()
    (tmp_path / 'test.json').mkdir()
    before = (tmp_path / 'train.json').read_bytes()
    with pytest.raises(IsADirectoryError, match='test.json'):
        write_documents(as_set(tmp_path, 9))
    assert (tmp_path / 'train.json').read_bytes() == before


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    documents = make_documents(tmp_path, 2)
    documents[tmp_path / 'val.json']['images'][0]['file_name'] = 'zelle_\udce4/image.tif'
    with pytest.raises(AnnotationError, match=r'json: .*zelle_\\udce4/image.tif.* is not Unicode'):
        write_documents(documents)
    assert list(tmp_path.iterdir()) == []

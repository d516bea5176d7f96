import numpy as np
import pytest
from _demo_cells import KINDS, make_scene, write_train_folder
from scipy import ndimage
from support.commands import call

from mmcell.images.image_file import read_image, read_label_map
from mmcell.layouts import class_maps


def scene(seed=0, side=160, density=16.):
    return make_scene(np.random.default_rng(seed), side, density)


def test_the_same_seed_gives_the_same_scene():
    (image, maps), (again, maps_again) = scene(3), scene(3)
    np.testing.assert_array_equal(image, again)
    assert maps.keys() == maps_again.keys()


def test_cells_touch_but_do_not_overlap_and_ids_have_gaps():
    _, maps = scene()
    occupied = sum((label_map > 0).astype(int) for label_map in maps.values())
    assert occupied.max() == 1
    ids = np.unique(np.concatenate([np.unique(label_map) for label_map in maps.values()]))[1:]
    assert len(ids) < ids.max()
    all_cells = sum(maps.values())
    dilated = ndimage.grey_dilation(all_cells, size=3)
    # A pixel of a cell takes another cell's larger number only if the two cells touch.
    assert ((dilated != all_cells) & (all_cells > 0) & (dilated > 0)).any()


def test_rare_classes_are_rare_and_may_be_absent():
    counts = np.zeros(len(KINDS) + 1, int)
    n_absent = 0
    for seed in range(12):
        _, maps = scene(seed, side=96)
        n_absent += sum(number not in maps for number in range(1, len(KINDS) + 1))
        for number, label_map in maps.items():
            counts[number] += len(np.unique(label_map)) - 1
    assert counts[1:].min() > 0
    assert counts[3:].max() * 3 < counts[1:3].min()
    assert n_absent > 0


def test_the_files_are_in_the_raw_layout(tmp_path):
    import tifffile
    image, maps = scene()
    folder = tmp_path / 'train' / 'a'
    (folder).mkdir(parents=True)
    (folder / 'class9.tif').write_bytes(b'mask of an earlier run')
    write_train_folder(folder, image, maps, 'bgr')
    with tifffile.TiffFile(folder / 'image.tif') as tiff:
        assert tiff.pages[0].compression.name == 'LZW' and tiff.pages[0].shape[2] == 4
    np.testing.assert_array_equal(read_image(folder / 'image.tif', 'bgr'), image)
    files = class_maps.class_files(folder)
    assert files.keys() == maps.keys()
    for number, path in files.items():
        assert tifffile.imread(path).dtype == np.float64
        np.testing.assert_array_equal(read_label_map(path), maps[number])


@pytest.mark.parametrize('name', ['train/patient_1/image.tif', 'test_release/a.tif', 'test_image_name_to_ids.json'])
def test_other_data_are_neither_mixed_with_it_nor_overwritten(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('[{"file_name": "a.tif"}]')
    ended = call('data_prep/make_demo_data.py', tmp_path, '--images', 1, '--test-images', 1, '--size', 48)
    assert ended.returncode == 1 and 'is no demo data' in ended.stderr
    assert [path.name for path in tmp_path.rglob('*') if path.is_file()] == [name.split('/')[-1]]
    (tmp_path / name).unlink()
    if name.startswith('train/'):
        (tmp_path / name).parent.rmdir()
    for _ in range(2):
        assert call('data_prep/make_demo_data.py', tmp_path, '--images', 1, '--test-images', 1, '--size',
                    48).returncode == 0


def test_it_looks_like_haematoxylin_and_eosin():
    image, maps = scene()
    nuclei, tissue = (image[mask].mean(axis=0) for mask in (maps[2] > 0, sum(maps.values()) == 0))
    # Tissue is pink: red is strongest, then blue, then green. Nuclei are darker and bluer than tissue.
    assert tissue[0] > tissue[2] > tissue[1]
    assert nuclei.mean() < tissue.mean() - 40
    assert nuclei[2] - nuclei[0] > tissue[2] - tissue[0]

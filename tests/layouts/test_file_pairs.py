"""Which files belong together, by their names only; the files are empty."""

import unicodedata

import pytest

from mmcell.layouts.base import LayoutError, LayoutOptions
from mmcell.layouts.file_pairs import FileKind, describe_pairs, pair_files
from mmcell.layouts.label_maps import CELLPOSE, LABEL_MAPS
from mmcell.writers.formats import FORMATS

MAPS = FileKind(('.tif', '.png', '.npy'), ('_cp_masks', '_masks', '_label'), companions=('_classes.csv', '_type.png'))
XML = FileKind(('.xml',))


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def pair(root, kind=MAPS, **options):
    return pair_files(root, LayoutOptions(**options), kind)


def relative(root, paths):
    return [path.relative_to(root).as_posix() for path in paths]


def pairs(root, kind=MAPS, **options):
    """Returns the names of the files of each image, and checks that nothing is wrong with the image."""
    sources = pair(root, kind, **options).sources
    assert [source.problem for source in sources] == [None] * len(sources)
    return {source.image.relative_to(root).as_posix(): relative(root, source.files) for source in sources}


@pytest.mark.parametrize('image, mask', [
    ('000_img.png', '000_masks.png'), ('a_IMAGE.tif', 'a_label.npy'), ('train_images/a.png', 'train_masks/a.png'),
    ('Tissue Images/a.tif', 'label masks/a.tif'), ('images/train/a.png', 'masks/train/a.png'),
    ('1/2/3/4/5/6/7/8/a.tif', '1/2/3/4/5/6/7/8/a_masks.tif'), ('raw/a.tif', 'ground_truth/a_label.tif'),
    (unicodedata.normalize('NFC', 'é.png'), unicodedata.normalize('NFD', 'é_masks.png')),
    ('day 1/images/a.png', 'day 1/masks/a.png'), ('a_masks.png', 'a_masks_masks.png'), ('a.jpg', 'A_Label.TIF')])
def test_files_of_cells_are_found(tmp_path, image, mask):
    make(tmp_path, image, mask)
    assert pairs(tmp_path) == {image: [mask]}


@pytest.mark.parametrize('files, expected', [
    # Of two images that fit, the one with the longer name is meant.
    (['a.png', 'a_cp.png', 'a_cp_masks.png', 'a_masks.png'],
     {'a.png': ['a_masks.png'], 'a_cp.png': ['a_cp_masks.png']}),
    (['images/a.png', 'images/a_label.png', 'masks/a.png', 'masks/a_label.png'],
     {'images/a.png': ['masks/a.png'], 'images/a_label.png': ['masks/a_label.png']}),
    (['a.png', 'a_img.png', 'a_masks.tif', 'a_img_masks.tif'],
     {'a.png': ['a_masks.tif'], 'a_img.png': ['a_img_masks.tif']}),
    (['a.png', 'a.tif', 'a.png_masks.tif', 'a.tif_masks.tif'],
     {'a.png': ['a.png_masks.tif'], 'a.tif': ['a.tif_masks.tif']}),
    (['1/a.png', '2/a.png', '1/a_masks.tif', '2/masks/a.tif'],
     {'1/a.png': ['1/a_masks.tif'], '2/a.png': ['2/masks/a.tif']})])
def test_similar_names_do_not_meet(tmp_path, files, expected):
    make(tmp_path, *files)
    assert pairs(tmp_path) == expected


@pytest.mark.parametrize('files, words', [
    (['a.tif', 'a_masks.tif', 'a_label.png'], 'several files of cells, a_label.png and a_masks.tif'),
    (['a.png', 'a.tif', 'a_masks.tif'], 'a.tif has the same name'),
    (['images/a.png', 'raw/a.png', 'masks/a.png'], 'raw/a.png has the same name'),
    (['a.ome.tif', 'a.png', 'a_masks.tif'], 'a.png has the same name')])
def test_every_image_that_is_not_clear_has_a_problem(tmp_path, files, words):
    make(tmp_path, *files)
    problems = [source.problem for source in pair(tmp_path).sources]
    assert None not in problems and len(problems) == sum('mask' not in name and 'label' not in name for name in files)
    assert words in str(problems[0]) and isinstance(problems[0], LayoutError)


def test_a_mask_of_a_named_folder_is_not_given_to_one_of_several_images(tmp_path):
    make(tmp_path, 'in/1/a.png', 'in/2/a.png', 'out/a_masks.tif')
    sources = pair(tmp_path, images=tmp_path / 'in', masks=tmp_path / 'out').sources
    assert len(sources) == 2 and all('has the same name' in str(source.problem) for source in sources)


def test_outputs_of_predictions_and_of_cellpose_are_no_images(tmp_path):
    made = [f'a{suffix}' for form in FORMATS.values() for suffix in form.suffixes(2)]
    made += ['a_cp_masks.png', 'a_flows.tif', 'a_cp_flows.tif', 'a_cp_cellprob.tif', 'a_outlines.png', 'a_mask.jpg']
    make(tmp_path, 'test/a.png', 'test/b.png', 'x.png', 'x.xml', *(f'test/{name}' for name in made))
    listing = pair(tmp_path, XML)
    assert relative(tmp_path, [source.image for source in listing.sources]) == ['test/a.png', 'test/b.png', 'x.png']
    assert sorted(path.name for path in listing.other_files) == sorted(made)
    # An image with such a name that has cells stays an image.
    make(tmp_path, 'test/a_mask.xml')
    assert pairs(tmp_path, XML)['test/a_mask.jpg'] == ['test/a_mask.xml']


def test_outputs_in_another_folder_are_no_images(tmp_path):
    make(tmp_path, 'test/a.png', 'test/predicted/a_class1.tif', 'test/predicted/a_overlay.png', 'x.png', 'x.xml')
    assert list(pairs(tmp_path, XML)) == ['test/a.png', 'x.png']


def test_a_folder_of_cellpose_with_all_that_it_writes(tmp_path):
    make(tmp_path, 'a.tif', 'a_seg.npy', 'a_cp_masks.png', 'test/b.tif', 'test/b_seg.npy', 'test/b_cp_masks.png')
    listing = CELLPOSE.find_sources(tmp_path, LayoutOptions())
    assert [source.image.name for source in listing.sources] == ['a.tif', 'b.tif']
    assert [path.name for path in listing.other_files] == ['a_cp_masks.png', 'b_cp_masks.png']


@pytest.mark.parametrize('companion', ['a_classes.csv', 'a_masks_classes.csv', 'A_Classes.CSV', 'a_type.png',
                                       'a_masks_type.png', 'masks/a_classes.csv'])
def test_companions_have_the_name_of_the_image_or_of_its_mask(tmp_path, companion):
    make(tmp_path, 'a.png', 'a_masks.tif', companion)
    assert pairs(tmp_path) == {'a.png': ['a_masks.tif', companion]}
    listing = pair(tmp_path)
    assert not (listing.other_files or listing.masks_without_image or listing.images_without_masks)


def test_an_image_that_is_called_like_a_companion_stays_an_image(tmp_path):
    make(tmp_path, 'images/a.png', 'images/a_type.png', 'masks/a.png', 'masks/a_type.png')
    assert pairs(tmp_path) == {'images/a.png': ['masks/a.png'], 'images/a_type.png': ['masks/a_type.png']}


@pytest.mark.parametrize('folders, parts', [
    (('train', 'test'), [None, 'test']), (('train', 'val'), ['train', 'val']),
    (('Training', 'Valid'), ['train', 'val']), (('train_images', 'val_images'), ['train', 'val']),
    (('day 1', 'day 2'), [None, None])])
def test_parts(tmp_path, folders, parts):
    for folder in folders:
        make(tmp_path, f'{folder}/a.png', f'{folder}/a_masks.png')
    listing = pair(tmp_path)
    assert {source.image.parent.name: source.part for source in listing.sources} == dict(
        zip(folders, parts, strict=True))


def test_every_file_is_in_one_of_the_lists(tmp_path):
    names = ['a.png', 'a_masks.png', 'b.png', 'c_masks.tif', 'notes.txt', 'd/table.csv', '.DS_Store', 'd/x.tif~',
             'masks/e.npy']
    make(tmp_path, *names)
    (tmp_path / 'link.png').symlink_to(tmp_path / 'nowhere')
    listing = pair(tmp_path)
    lists = {'images': [source.image for source in listing.sources], 'without': listing.images_without_masks,
             'masks': [path for source in listing.sources for path in source.files],
             'orphans': listing.masks_without_image, 'others': listing.other_files, 'leftovers': listing.leftovers}
    assert {key: sorted(relative(tmp_path, paths)) for key, paths in lists.items()} == {
        'images': ['a.png'], 'without': ['b.png', 'link.png'], 'masks': ['a_masks.png'],
        'orphans': ['c_masks.tif', 'masks/e.npy'], 'others': ['d/table.csv', 'notes.txt'],
        'leftovers': ['.DS_Store', 'd/x.tif~']}


def test_folders_without_end_are_refused(tmp_path):
    make(tmp_path, '/'.join(['d'] * 60) + '/a.png')
    with pytest.raises(LayoutError, match='more than 50 folders'):
        pair(tmp_path)
    assert describe_pairs(tmp_path, MAPS, 'label maps') is None


def test_a_folder_without_pairs_says_what_was_looked_for(tmp_path):
    make(tmp_path, 'a.png', 'b_masks.png')
    with pytest.raises(LayoutError, match=r'NAME_masks.tif.*1 images and 1 possible files of cells.*--mask-suffix'):
        pair(tmp_path)
    assert LABEL_MAPS.recognize(tmp_path) is None

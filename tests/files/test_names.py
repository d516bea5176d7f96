import unicodedata

import pytest

from mmcell.files.names import name_key, shorten_name


@pytest.mark.parametrize('name, twin', [
    ('Cell.TIF', 'cell.tif'), ('zelle_\xe4.tif', unicodedata.normalize('NFD', 'Zelle_\xc4.tif')), ('\udce4', '\udce4')])
def test_names_that_some_file_systems_confuse_have_equal_keys(name, twin):
    assert name_key(name) == name_key(twin)


def test_different_names_have_different_keys():
    assert len(set(map(name_key, ['a', '\xe4', 'ae', 'a.', 'a ']))) == 5


def test_names_are_cut_between_characters():
    assert shorten_name('abc') == 'abc'
    assert shorten_name('细' * 100) == '细' * 66
    assert shorten_name('a\udce4') == 'a\udce4'
    assert shorten_name('\udce4' + 'b' * 300) == 'b' * 200

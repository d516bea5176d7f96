import numpy as np
import pytest

from mmcell.images.colors import to_label_map
from mmcell.images.limits import ImageReadError


def as_samples(*values, dtype):
    return np.array(values, dtype).reshape(1, -1, 1)


@pytest.mark.parametrize('dtype, largest', [
    ('?', 1), ('u1', 255), ('u2', 65535), ('>u2', 65535), ('u4', 2**31 - 1), ('u8', 2**31 - 1), ('i1', 127),
    ('i4', 2**31 - 1), ('i8', 2**31 - 1), ('f2', 2048), ('f4', 2**24), ('f8', 2**31 - 1), ('g', 2**31 - 1)])
def test_whole_numbers_of_any_type_are_ids(dtype, largest):
    label_map = to_label_map(as_samples(0, 1, largest, dtype=dtype))
    assert label_map.dtype == np.int32 and label_map.tolist() == [[0, 1, largest]]


@pytest.mark.parametrize('samples, words', [
    (as_samples(0, 2**31, dtype='u4'), 'from 0 to 2147483648; ids from 0 to 2147483647'),
    (as_samples(0, 2**63, dtype='u8'), 'from 0 to 9223372036854775808'),
    (as_samples(-1, 4, dtype='i2'), 'from -1 to 4.*write 0 for background'),
    (as_samples(0, .5, dtype='f8'), 'not whole numbers'),
    (as_samples(0, np.nan, dtype='f4'), 'not whole numbers'),
    (as_samples(0, -np.inf, dtype='f4'), 'not whole numbers'),
    (as_samples(0, 2050, dtype='f2'), 'float16 is exact only up to 2048.*uint32'),
    (as_samples(0, 2**24 + 2, dtype='f4'), 'float32 is exact only up to 16777216'),
    (as_samples(0, 1e300, dtype='f8'), 'ids from 0 to 1'),
    (as_samples(0, 1j, dtype='c8'), 'complex values'),
    (np.zeros((4, 4, 3), np.uint8), '3 channels.*not as colours'),
    (np.zeros((4, 4, 2), np.uint8), '2 channels'),
])
def test_other_values_are_refused_with_the_way_out(samples, words):
    with pytest.raises(ImageReadError, match=words):
        to_label_map(samples)


def test_a_map_without_pixels_has_no_ids():
    assert to_label_map(np.zeros((0, 5, 1), np.float32)).shape == (0, 5)

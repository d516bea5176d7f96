import imagecodecs
import numpy as np
import pytest
import tifffile
from support.image_files import change_tag, read_everywhere

from mmcell.images import lzw
from mmcell.images.limits import ImageReadError
from mmcell.images.lzw import check_lzw


@pytest.mark.parametrize('n_values', [2, 16, 256])
@pytest.mark.parametrize('n_bytes', [0, 1, 300, 3000, 60_000])
def test_streams_of_an_encoder_are_accepted(rng, n_values, n_bytes):
    for repeats in (1, 9):
        values = np.repeat(rng.integers(0, n_values, n_bytes, np.uint8), repeats)[:n_bytes]
        check_lzw(imagecodecs.lzw_encode(values.tobytes()))


def pack(*codes):
    """Returns codes of 9 bits as a stream."""
    bits = ''.join(f'{code:09b}' for code in codes)
    return int(bits.ljust(-(-len(bits) // 8) * 8, '0'), 2).to_bytes(-(-len(bits) // 8), 'big')


@pytest.mark.parametrize('codes', [(256, 65, 258, 257), (256, 65, 66, 258, 260, 257), (256, 256, 0), (65, 257, 511)])
def test_codes_that_are_in_the_table(codes):
    check_lzw(pack(*codes))


@pytest.mark.parametrize('codes', [(256, 272), (256, 258, 65), (256, 65, 259), (256, 65, 66, 256, 258), (300,)])
def test_codes_that_are_not_in_the_table_are_refused(codes):
    with pytest.raises(ImageReadError, match='LZW codes have no meaning'):
        check_lzw(pack(*codes))


def test_an_empty_stream_and_one_that_is_cut_short_are_left_to_the_decoder():
    check_lzw(b'')
    check_lzw(pack(256, 65, 66)[:2])


def test_a_table_that_is_never_emptied_is_refused():
    with pytest.raises(ImageReadError, match='LZW codes have no meaning'):
        check_lzw(b'\0' * 6000)


def is_sound(stream):
    """Reads a stream code by code."""
    bits, place = ''.join(f'{byte:08b}' for byte in stream), 0
    while (width := 9 + (place >= 254) + (place >= 766) + (place >= 1790)) <= len(bits):
        code, bits = int(bits[:width], 2), bits[width:]
        if code == 257:
            return True
        if code != 256 and (place >= 3838 or code > (257 + place if place else 255)):
            return False
        place = 0 if code == 256 else place + 1
    return True


@pytest.mark.parametrize('kind', ['damaged', 'many tables', 'tables that just need wider codes'])
def test_the_same_streams_are_refused_as_when_they_are_read_code_by_code(rng, kind):
    outcomes = []
    for _ in range(150):
        if kind == 'damaged':
            values = rng.integers(0, rng.choice([2, 256]), rng.choice([50, 900, 5000]), np.uint8)
            stream = bytearray(imagecodecs.lzw_encode(values.tobytes()))
            stream[rng.integers(len(stream))] = rng.integers(256)
        elif kind == 'many tables':
            stream = pack(*rng.choice([256, 256, 7, 65, 250, 258], 600, p=[.3, .2, .2, .2, .099, .001]).tolist())
        else:
            stream = b''.join([pack(256, *rng.integers(0, 256, rng.choice([253, 254, 255])).tolist())] * 2)
        sound = is_sound(stream)
        outcomes.append(sound)
        if sound:
            check_lzw(bytes(stream))
        else:
            with pytest.raises(ImageReadError, match='LZW codes have no meaning'):
                check_lzw(bytes(stream))
    assert {True, False} == set(outcomes)


def test_clear_codes_that_follow_each_other_are_passed_over_together(monkeypatch):
    calls = []
    read_codes = lzw._read_codes
    monkeypatch.setattr(lzw, '_read_codes', lambda *arguments: calls.append(1) or read_codes(*arguments))
    check_lzw(pack(*[256, 7] * 10_000))
    assert len(calls) < 200


@pytest.mark.parametrize('fill_order', [1, 2])
def test_tiffs_with_such_codes_are_refused(tmp_path, rng, fill_order):
    values = rng.integers(0, 9, (40, 60), np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', values, compression='lzw', extratags=[(65000, 'H', 1, fill_order, True)])
    change_tag(tmp_path / 'a.tif', 65000, new_code=266)
    content = bytearray((tmp_path / 'a.tif').read_bytes())
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        begin, n_bytes = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    stream = bytes(content[begin:begin + n_bytes])
    for damaged in (False, True):
        stream = pack(256, 272) + stream[3:] if damaged else stream
        content[begin:begin + n_bytes] = imagecodecs.bitorder_encode(stream) if fill_order == 2 else stream
        (tmp_path / 'a.tif').write_bytes(content)
        if not damaged:
            np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif')[..., 0], values)
            continue
        with pytest.raises(ImageReadError, match='LZW codes have no meaning'):
            read_everywhere(tmp_path / 'a.tif')

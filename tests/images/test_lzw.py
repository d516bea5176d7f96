import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image
from support.image_files import change_tag, read_everywhere

from mmcell.images import lzw
from mmcell.images.image_file import read_image
from mmcell.images.limits import ImageReadError
from mmcell.images.lzw import decode_lzw
from mmcell.images.tiff_pages import PageReader

_MEANINGLESS = 'LZW codes have no meaning'


@pytest.mark.parametrize('n_values', [1, 2, 16, 256])
@pytest.mark.parametrize('n_bytes', [1, 300, 3000, 60_000])
@pytest.mark.parametrize('repeats', [1, 9, 700])
def test_streams_of_an_encoder_are_decoded(rng, n_values, n_bytes, repeats):
    values = np.repeat(rng.integers(0, n_values, n_bytes, np.uint8), repeats)[:n_bytes].tobytes()
    stream = imagecodecs.lzw_encode(values)
    assert decode_lzw(stream, n_bytes) == decode_lzw(stream, n_bytes + 9) == values
    assert decode_lzw(stream, n_bytes // 2) == values[:n_bytes // 2]


def pack(*codes, widths=9, order='big'):
    """Returns codes as a stream."""
    bits = [f'{code:0{width}b}' for code, width in zip(codes, np.broadcast_to(widths, len(codes)), strict=True)]
    if order == 'little':
        bits = [''.join(bits)[::-1] for bits in bits]
    bits = ''.join(bits)
    content = bits.ljust(-(-len(bits) // 8) * 8, '0')
    return bytes(int(content[i:i + 8][::1 if order == 'big' else -1], 2) for i in range(0, len(content), 8))


def encode(values, end=()):
    """Returns a stream of one table with the codes of bytes, and further codes at its end."""
    return pack(256, *values, *end, widths=[9, *(width_at(place) for place in range(len(values) + len(end)))])


def width_at(place):
    return 9 + (place >= 254) + (place >= 766) + (place >= 1790)


@pytest.mark.parametrize('codes, values', [
    ((256, 65, 258, 257), b'AAA'), ((256, 65, 66, 258, 260, 257), b'ABABABA'), ((256, 256, 0), b'\0'),
    ((256, 65, 257, 511), b'A'), ((256, 65, 66, 256, 67, 258), b'ABCCC')])
def test_codes_that_are_in_the_table(codes, values):
    assert decode_lzw(pack(*codes), 20) == values


@pytest.mark.parametrize('codes', [
    (256, 272), (256, 258, 65), (256, 65, 259), (256, 65, 66, 256, 258), (300,), (65, 257)])
def test_codes_that_are_not_in_the_table_are_refused(codes):
    with pytest.raises(ImageReadError, match=_MEANINGLESS):
        decode_lzw(pack(*codes), 20)


@pytest.mark.parametrize('n_bytes', [*range(1, 40), *range(250, 300), *range(760, 790), 1791, 2000])
def test_a_stream_without_an_end_code_is_decoded_to_its_last_byte(rng, n_bytes):
    values = rng.integers(0, 256, n_bytes, np.uint8).tolist()
    assert decode_lzw(encode(values), n_bytes) == bytes(values)


@pytest.mark.parametrize('end', [(256, 300), (511, 511), (256, 256, 258), (256, 7, 511), (257, 511)])
@pytest.mark.parametrize('n_values', [1, 9, 253, 254, 255, 700])
def test_what_follows_the_last_byte_is_not_looked_at(end, n_values):
    values = [i % 200 for i in range(n_values)]
    assert decode_lzw(encode(values, end), n_values) == bytes(values)
    assert decode_lzw(encode(values) + b'\xff' * 30, n_values) == bytes(values)


def test_an_empty_stream_and_one_that_is_cut_short_give_what_they_have():
    assert decode_lzw(b'', 9) == b''
    assert decode_lzw(pack(256, 65, 66)[:3], 9) == b'A'


def test_a_table_that_is_never_emptied_is_refused():
    with pytest.raises(ImageReadError, match=_MEANINGLESS):
        decode_lzw(b'\x80' + b'\0' * 6000, 10 ** 6)


def test_a_stream_that_begins_with_the_lowest_bit_is_refused():
    # imagecodecs would follow it: the codes behind the Clear code are not those that were checked.
    stream = pack(256, 2, 8, 4, 65, 256, 300, 65, order='little')
    assert stream[0] == 0 and stream[1] & 1
    with pytest.raises(ImageReadError, match='before 1988'):
        decode_lzw(stream, 20)


def decode_code_by_code(stream, n_bytes):
    """Returns the bytes of a stream; None if a code has no meaning."""
    bits, position, strings, decoded = ''.join(f'{byte:08b}' for byte in stream), 0, [], b''
    while len(decoded) < n_bytes and position + (width := width_at(len(strings))) <= len(bits):
        code = int(bits[position:position + width], 2)
        if not position and code != 256:
            return None
        position += width
        if code == 257:
            break
        if code == 256:
            strings = []
            continue
        if len(strings) >= 3838 or code >= 258 + len(strings) or (code > 255 and not strings):
            return None
        # Each string is that of a code and the first byte of the next one, which is added when it is known.
        if strings:
            first = bytes([code]) if code < 256 else strings[code - 258][:1]
            strings[-1] += first
        string = bytes([code]) if code < 256 else strings[code - 258]
        decoded += string
        strings.append(string)
    return decoded[:n_bytes]


@pytest.mark.parametrize('kind', ['damaged', 'many tables', 'tables that just need wider codes'])
def test_streams_are_decoded_or_refused_as_if_they_were_read_code_by_code(rng, kind):
    outcomes = []
    for _ in range(150):
        n_bytes = int(rng.choice([50, 900, 5000]))
        if kind == 'damaged':
            values = rng.integers(0, rng.choice([2, 256]), n_bytes, np.uint8)
            stream = bytearray(imagecodecs.lzw_encode(values.tobytes()))
            stream[rng.integers(1, len(stream))] = rng.integers(256)
        elif kind == 'many tables':
            stream = pack(256, *rng.choice([256, 256, 7, 65, 250, 258], 600, p=[.3, .2, .2, .2, .099, .001]).tolist())
        else:
            stream = b''.join([pack(256, *rng.integers(0, 256, rng.choice([253, 254, 255])).tolist())] * 2)
        expected = decode_code_by_code(stream, n_bytes)
        outcomes.append(expected is None)
        if expected is not None:
            assert decode_lzw(bytes(stream), n_bytes) == expected
        else:
            with pytest.raises(ImageReadError, match=_MEANINGLESS):
                decode_lzw(bytes(stream), n_bytes)
    assert {True, False} == set(outcomes)


def test_clear_codes_that_follow_each_other_are_passed_over_together(monkeypatch):
    calls = []
    read_codes = lzw._read_codes
    monkeypatch.setattr(lzw, '_read_codes', lambda *arguments: calls.append(1) or read_codes(*arguments))
    assert decode_lzw(pack(*[256, 7] * 10_000), 20_000) == b'\7' * 10_000
    assert len(calls) < 200


def write_tiff(path, strips, **tags):
    """Writes a TIFF file of one channel from encoded strips."""
    begins = 8 + np.cumsum([0, *map(len, strips)])
    entries = [(256, 3, [tags['width']]), (257, 3, [tags['height']]), (258, 3, [tags['n_bits']]), (259, 3, [5]),
               (262, 3, [1]), (273, 4, begins[:-1]), (277, 3, [1]), (278, 3, [tags['n_rows']]),
               (279, 4, [*map(len, strips)])]
    place, directory, values = int(begins[-1]), [len(entries).to_bytes(2, 'little')], []
    beyond = place + 2 + 12 * len(entries) + 4
    for code, dtype, content in entries:
        encoded = np.asarray(content, '<u2' if dtype == 3 else '<u4').tobytes()
        if len(encoded) > 4:
            values.append(encoded)
            encoded, beyond = beyond.to_bytes(4, 'little'), beyond + len(encoded)
        directory.append(np.asarray([code, dtype], '<u2').tobytes() + len(content).to_bytes(4, 'little')
                         + encoded.ljust(4, b'\0'))
    path.write_bytes(b'II*\0' + place.to_bytes(4, 'little') + b''.join([*strips, *directory, bytes(4), *values]))


@pytest.mark.parametrize('n_columns', [1, 60, 260, 275, 770, 3800])
@pytest.mark.parametrize('kind', ['no End code', 'other bytes behind the End code', 'other bytes for an End code'])
def test_unusual_streams_are_read_as_libtiff_reads_them(tmp_path, rng, n_columns, kind):
    values = rng.integers(0, 256, n_columns, np.uint8)
    stream = encode(values.tolist(), (257,) if kind == 'other bytes behind the End code' else ())
    stream += b'' if kind == 'no End code' else b'\xff' * 40
    write_tiff(tmp_path / 'a.tif', [stream], width=n_columns, height=1, n_bits=8, n_rows=1)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / 'a.tif')), values[None])
    np.testing.assert_array_equal(read_image(tmp_path / 'a.tif')[0, :, 0], values)


@pytest.mark.parametrize('n_bits', [1, 2, 4, 8])
def test_packed_samples_in_strips_without_an_end_code(tmp_path, rng, n_bits):
    values = rng.integers(0, 2 ** n_bits, (45, 77), np.uint8)
    bits = np.unpackbits(values[..., None], axis=-1)[..., 8 - n_bits:].reshape(45, -1)
    packed = np.packbits(bits, axis=1)
    strips = [encode(packed[y:y + 13].ravel().tolist()) + b'\xff\xff' for y in range(0, 45, 13)]
    write_tiff(tmp_path / 'a.tif', strips, width=77, height=45, n_bits=n_bits, n_rows=13)
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        np.testing.assert_array_equal(PageReader(file.pages[0]).read(0, 0, 77, 45)[..., 0], values)


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
        with pytest.raises(ImageReadError, match=_MEANINGLESS):
            read_everywhere(tmp_path / 'a.tif')

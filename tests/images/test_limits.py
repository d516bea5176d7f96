"""Damaged and hostile files are refused within bounded time and memory; what the message says raises the limit."""

import struct
import tracemalloc
import zlib
from time import process_time

import cv2
import numpy as np
import pytest
import tifffile
from support.image_files import change_tag, read_everywhere

from mmcell.images.image_file import open_image, read_image, read_label_map
from mmcell.images.limits import LIMITS, ImageReadError


@pytest.fixture
def image(rng):
    return cv2.GaussianBlur(rng.integers(0, 256, (96, 112, 3)).astype(np.uint8), (0, 0), 2)


@pytest.fixture
def bounded():
    """Checks after a test that it took little processor time and memory."""
    tracemalloc.start()
    begin = process_time()
    yield
    duration, peak = process_time() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert duration < 2
    assert peak < 100 * 2**20


def ifd(entries, next_offset):
    """Returns an image header of a little-endian TIFF from (code, type, count, value)."""
    return (struct.pack('<H', len(entries)) + b''.join(struct.pack('<HHII', *entry) for entry in entries)
            + struct.pack('<I', next_offset))


def entries_of(width=4, height=4, offset=8, n_bytes=16, **more):
    entries = {256: (4, 1, width), 257: (4, 1, height), 258: (3, 1, 8), 262: (3, 1, 1), 273: (4, 1, offset),
               277: (3, 1, 1), 278: (4, 1, height), 279: (4, 1, n_bytes)}
    entries.update({int(code[1:]): entry for code, entry in more.items()})
    return [(code, *entry) for code, entry in sorted(entries.items())]


def tiff(*headers, data=bytes(16), after=b''):
    return b'II*\0' + struct.pack('<I', 8 + len(data)) + data + b''.join(headers) + after


FIRST = 8 + 16
SIZE = len(ifd(entries_of(), 0))
HOSTILE = {
    'a list that ends in its beginning': (tiff(ifd(entries_of(), FIRST)), 'runs in a circle'),
    'a list that ends in its middle': (tiff(*(ifd(entries_of(), FIRST + SIZE * i) for i in (1, 2, 3, 4, 2))),
                                       'runs in a circle'),
    'an image below itself': (tiff(ifd(entries_of(t330=(4, 1, FIRST)), 0)), 'runs in a circle'),
    '5,000 images': (tiff(*(ifd(entries_of(), FIRST + SIZE * (i + 1)) for i in range(5000))),
                     'lists too many images; the limit is 100'),
    '5,000 images below one': (tiff(ifd(entries_of(t330=(4, 5000, FIRST + SIZE + 12)), 0),
                                    after=np.arange(9, 5009, dtype='<u4').tobytes()), 'TIFF|cut short|damaged'),
    'a header outside the file': (tiff(ifd(entries_of(), 10**9)), 'header of image 2 lies outside the file'),
    'too many tags': (tiff(struct.pack('<H', 60_000)), '60,000 tags'),
    'a position outside the file': (tiff(ifd(entries_of(offset=10**6), 0)), 'outside the file'),
    'a size outside the file': (tiff(ifd(entries_of(n_bytes=10**6, t259=(3, 1, 5)), 0)), 'strip 1 of 1 lies outside'),
    'a position in the header': (tiff(ifd(entries_of(offset=2), 0)), 'outside the file'),
    'no position': (tiff(ifd([e for e in entries_of() if e[0] not in (273, 279)], 0)), 'where its pixels are'),
    'a width without a type': (tiff(ifd(entries_of(t256=(99, 1, 4)), 0)), 'ImageWidth of image 1 is not a number'),
    'a width twice': (tiff(ifd(sorted([*entries_of(), (256, 4, 1, 5)]), 0)), 'ImageWidth of image 1 occurs twice'),
    'several widths': (tiff(ifd(entries_of(t256=(3, 2, 4)), 0)), 'ImageWidth of image 1 is not a number'),
    'bits outside the file': (tiff(ifd(entries_of(t258=(3, 9, 10**9)), 0)), 'BitsPerSample of image 1 lies outside'),
    'no height': (tiff(ifd(entries_of(height=0), 0)), 'is 4 x 0 px'),
    'a gigapixel without content': (tiff(ifd(entries_of(40_000, 40_000, 0, 0, t259=(3, 1, 5)), 0)), 'would unfold'),
    'terapixels': (tiff(ifd(entries_of(2**31, 2**31), 0)), 'would unfold'),
    'a pixel per strip': (tiff(ifd(entries_of(10**4, 10**4, t278=(4, 1, 1)), 0)), 'unfold|10000 strips'),
    'tiles of no size': (tiff(ifd(entries_of(t322=(3, 1, 0), t323=(3, 1, 0), t324=(4, 1, 8), t325=(4, 1, 16)), 0)),
                         'damaged|TIFF'),
    'all strips missing': (tiff(ifd(entries_of(offset=0, n_bytes=0, t259=(3, 1, 5)), 0)), 'all its strips are missing'),
    'only a beginning': (b'II*\0', 'only the beginning'),
    'no image': (b'II*\0\0\0\0\0', 'without an image'),
    'a big header': (b'II+\0\x08\0\0\0' + struct.pack('<QQ', 16, 2**63) + bytes(100), 'tags|TIFF'),
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_hostile_headers_are_refused_at_once(tmp_path, bounded, monkeypatch, kind):
    content, message = HOSTILE[kind]
    monkeypatch.setattr(LIMITS, 'pages', 100)  # the fixture makes Python slow
    (tmp_path / 'a.tif').write_bytes(content)
    with pytest.raises(ImageReadError, match=message):
        read_everywhere(tmp_path / 'a.tif')
    with pytest.raises(ImageReadError, match=message):
        read_label_map(tmp_path / 'a.tif')


@pytest.mark.parametrize('limit, value, options, message', [
    ('pages', 1, {}, 'lists too many images'), ('header_bytes', 100, {}, 'too many bytes of headers'),
    ('segment_bytes', 1000, dict(tile=(32, 32)), 'tiles of 32x32 px'),
    ('samples_in_memory', 1000, {}, r'samples \(112 x 96 px\)')])
def test_a_limit_is_named_and_can_be_raised_as_its_message_says(tmp_path, image, monkeypatch, limit, value, options,
                                                                message):
    with tifffile.TiffWriter(tmp_path / 'a.tif') as writer:
        writer.write(image, photometric='rgb', compression='zlib', **options)
        writer.write(image[::2, ::2], photometric='rgb', subfiletype=1)
    raised = getattr(LIMITS, limit)
    monkeypatch.setattr(LIMITS, limit, value)
    with pytest.raises(ImageReadError, match=rf'{message}.*mmcell\.images\.limits\.LIMITS\.{limit}$'):
        read_image(tmp_path / 'a.tif')
    monkeypatch.setattr(LIMITS, limit, raised)
    np.testing.assert_array_equal(read_image(tmp_path / 'a.tif'), image)


def test_small_files_of_large_images_are_refused_by_their_ratio(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((3000, 3000), np.uint8), compression='zstd', rowsperstrip=3000)
    assert not read_image(tmp_path / 'a.tif').any()
    monkeypatch.setattr(LIMITS, 'free_bytes', 2**20)
    with pytest.raises(ImageReadError, match=r'would unfold from [\d,]+ to 9,000,000 bytes.*weaker compression'):
        read_image(tmp_path / 'a.tif')
    monkeypatch.setattr(LIMITS, 'expansion', 10**6)
    assert not read_image(tmp_path / 'a.tif').any()


def test_an_image_of_20000_px_is_read_in_parts(tmp_path, bounded):
    tile = np.full((2048, 2048), 7, np.uint8)
    tifffile.imwrite(tmp_path / 'a.tif', (tile for _ in range(100)), shape=(20_000, 20_000), dtype=np.uint8,
                     tile=(2048, 2048), compression='zlib', photometric='minisblack', maxworkers=1)
    with open_image(tmp_path / 'a.tif') as opened:
        assert (opened.height, opened.width) == (20_000, 20_000)
        assert (opened.read(19_000, 19_000, 19_100, 19_050) == 7).all()


@pytest.mark.parametrize('options', [
    dict(compression='jpeg', rowsperstrip=96), dict(compression='jpeg', tile=(32, 32)), dict(compression='zlib'), {},
    dict(compression='lzw', rowsperstrip=10), dict(compression='zstd'), dict(compression='jpeg2000', tile=(32, 32)),
    dict(compression='webp'), dict(compression='png'), dict(compression='packbits')], ids=str)
@pytest.mark.parametrize('part', [.1, .5, .99])
def test_cut_tiffs_are_refused(tmp_path, image, options, part):
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', **options)
    content = (tmp_path / 'a.tif').read_bytes()
    (tmp_path / 'a.tif').write_bytes(content[:int(len(content) * part)])
    with pytest.raises(ImageReadError, match=r'a\.tif: '):
        read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('options', [dict(compression='jpeg'), dict(compression='jpeg2000'), dict(compression='webp'),
                                     dict(compression='zlib'), dict(compression='lzw'), dict(compression='zstd'),
                                     dict(compression='packbits'), dict(rowsperstrip=96)], ids=str)
def test_a_strip_with_fewer_bytes_than_it_needs_is_refused(tmp_path, image, options):
    tifffile.imwrite(tmp_path / 'a.tif', image, photometric='rgb', **{'rowsperstrip': 96, **options})
    with tifffile.TiffFile(tmp_path / 'a.tif') as file:
        n_bytes, = file.pages[0].databytecounts
    change_tag(tmp_path / 'a.tif', 279, n_bytes // 2)
    if 'compression' in options:
        with pytest.raises(ImageReadError, match=r'a\.tif: '):
            read_everywhere(tmp_path / 'a.tif')
    else:  # the size of a single strip without compression follows from the image
        np.testing.assert_array_equal(read_everywhere(tmp_path / 'a.tif'), image)


def test_a_picture_in_a_tile_that_claims_another_size_is_not_decoded(tmp_path, image, bounded):
    tifffile.imwrite(tmp_path / 'a.tif', image[:64, :64], photometric='rgb', compression='jpeg', tile=(32, 32))
    content = (tmp_path / 'a.tif').read_bytes()
    begin = content.index(b'\xff\xc0') + 5
    assert content[begin:begin + 4] == struct.pack('>HH', 32, 32)
    for height, width in ((65_000, 65_000), (64, 16), (16, 64), (16, 16)):
        (tmp_path / 'a.tif').write_bytes(content[:begin] + struct.pack('>HH', height, width) + content[begin + 4:])
        with pytest.raises(ImageReadError, match=f'is a picture of {width} x {height} px'):
            read_everywhere(tmp_path / 'a.tif')


@pytest.mark.parametrize('in_tiff', [False, True])
def test_holes_in_a_jpeg_are_found_and_empty_jpegs_read(tmp_path, rng, in_tiff):
    noise = rng.integers(0, 256, (400, 400, 3)).astype(np.uint8)
    path = tmp_path / ('a.tif' if in_tiff else 'a.jpg')

    def write(pixels):
        if in_tiff:
            tifffile.imwrite(path, pixels, photometric='rgb', compression='jpeg', rowsperstrip=400)
        else:
            cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_OPTIMIZE, 1])

    write(np.full((1600, 1600, 3), 255, np.uint8))
    assert (read_image(path) == 255).all()
    write(noise)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:middle + 1024] = bytes(1024)
    path.write_bytes(content)
    with pytest.raises(ImageReadError, match='filled with zeros'):
        read_everywhere(path)


@pytest.mark.parametrize('in_tiff', [False, True])
def test_jpegs_that_end_before_the_picture_are_refused_though_they_are_closed(tmp_path, rng, in_tiff):
    noise = rng.integers(0, 256, (200, 150, 3)).astype(np.uint8)
    jpeg = cv2.imencode('.jpg', noise)[1].tobytes()
    size = jpeg.index(b'\xff\xc0') + 5
    cut = jpeg[:len(jpeg) // 2] + b'\xff\xd9'
    too_high = jpeg[:size] + struct.pack('>H', 400) + jpeg[size + 2:]

    def write(encoded, height):
        path = tmp_path / ('a.tif' if in_tiff else 'a.jpg')
        if in_tiff:
            tifffile.imwrite(path, iter([encoded]), shape=(height, 150, 3), dtype=np.uint8, photometric='ycbcr',
                             compression='jpeg', rowsperstrip=height, subsampling=(2, 2), planarconfig='contig')
        else:
            path.write_bytes(encoded)
        return path

    assert read_image(write(jpeg, 200)).std() > 20
    for encoded, height in ((cut, 200), (too_high, 400)):
        with pytest.raises(ImageReadError, match='is damaged or cut short: a part of it is missing'):
            read_everywhere(write(encoded, height))


def test_jpegs_that_really_end_in_grey_are_read(tmp_path, rng):
    image = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    image[40:, 40:] = 128
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]):
        cv2.imwrite(str(tmp_path / 'a.jpg'), image, options)
        with open(tmp_path / 'a.jpg', 'ab') as file:
            file.write(b'what some cameras append')
        assert np.abs(read_image(tmp_path / 'a.jpg')[48:, 48:].astype(int) - 128).max() <= 2


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp', '.jp2', '.ppm', '.pgm'])
@pytest.mark.parametrize('part', [.02, .5, .97])
def test_cut_files_of_other_formats_are_refused(tmp_path, image, suffix, part):
    encoded = cv2.imencode(suffix, image if suffix != '.pgm' else image[..., 0])[1].tobytes()
    (tmp_path / f'a{suffix}').write_bytes(encoded)
    assert read_everywhere(tmp_path / f'a{suffix}').shape == image.shape
    (tmp_path / f'a{suffix}').write_bytes(encoded[:int(len(encoded) * part)])
    with pytest.raises(ImageReadError, match=rf'a\{suffix}: .*(cut short|damaged)'):
        read_everywhere(tmp_path / f'a{suffix}')


def chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def png(*chunks, width=8, height=8):
    pixels = zlib.compress(b''.join(b'\0' + bytes(24) for _ in range(8)))
    return b'\x89PNG\r\n\x1a\n' + b''.join([
        chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)), *chunks, chunk(b'IDAT', pixels),
        chunk(b'IEND', b'')])


PACKED = zlib.compress(bytes(2**20))
HOSTILE_PICTURES = {
    'PNG, 2^31 px': (png(width=2**31 - 1, height=2**31 - 1), 'too many to be read at once'),
    'PNG, 20,000 px': (png(width=20_000, height=20_000), 'would unfold'),
    'PNG, texts': (png(*[chunk(b'zTXt', b'a\0\0' + PACKED)] * 101), 'more than 100 packed texts'),
    'PNG, colour profiles': (png(*[chunk(b'iCCP', b'a\0\0' + PACKED)] * 101), 'more than 100 packed texts'),
    'PNG, wrong check sum': (png()[:-14] + bytes([png()[-14] ^ 1]) + png()[-13:], 'check sum'),
    'PNG, only a beginning': (b'\x89PNG\r\n\x1a\n', 'cut short'),
    'PGM, 60,000 px': (b'P5 60000 60000 255\n' + bytes(100), 'cut short'),
    'PGM, 10 bits': (b'P5 4 4 1023\n' + bytes(32), 'values up to 1023'),
    'BMP, 60,000 px': (b'BM' + struct.pack('<IIIIiiHHII', 200, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0) + bytes(100),
                       'cut short'),
    'GIF, 65,535 px': (b'GIF89a' + struct.pack('<HHBBB', 65535, 65535, 0, 0, 0) + b',' + bytes(9) + b'\2\0;',
                       'too many to be read at once'),
    'JPEG, 500 scans': (b'\xff\xd8\xff\xe0\0\4ab' + b'\xff\xc2\0\x0b\x08' + struct.pack('>HH', 8, 8)
                        + b'\1\1\x11\0' + b'\xff\xda\0\x08\1\1\0\0\0\0\0' * 500 + b'\xff\xd9', 'more than 100 scans'),
    'JPEG, beginning and end': (b'\xff\xd8\xff\xd9', 'cut short'),
    'WebP, only a beginning': (b'RIFF\0\0\0\0WEBP', 'states no size'),
}


@pytest.mark.parametrize('kind', HOSTILE_PICTURES)
def test_hostile_files_of_other_formats_are_refused_at_once(tmp_path, bounded, kind):
    content, message = HOSTILE_PICTURES[kind]
    (tmp_path / 'a.png').write_bytes(content)
    with pytest.raises(ImageReadError, match=message):
        read_everywhere(tmp_path / 'a.png')


def test_xml_with_entities_is_not_expanded(tmp_path, bounded):
    bomb = ''.join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10 if i else "x" * 99}">' for i in range(9))
    tifffile.imwrite(tmp_path / 'a.tif', np.zeros((4, 5), np.uint8), metadata=None,
                     description=f'<?xml version="1.0"?><!DOCTYPE OME [{bomb}]><OME xmlns="http://www.openmicroscopy.'
                                 'org/Schemas/OME/2016-06"><Image>&a8;</Image></OME>')
    with open_image(tmp_path / 'a.tif') as opened:
        assert opened.mpp is None
    assert not read_everywhere(tmp_path / 'a.tif').any()

"""What the headers of encoded pictures claim, found without decoding them.

Decoders allocate memory for what a header claims before they notice that the rest does not fit, and some of them return
half a picture for half a file. That is why sizes and ends are checked here first, for files and for the tiles and
strips of TIFFs.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from mmap import mmap

import imagecodecs
import numpy as np

from mmcell.images.limits import LIMITS, ImageReadError

# Greatest number of chunks of a PNG, and of chunks that unfold when they are read (texts and colour profiles).
_MAX_CHUNKS, _MAX_PACKED_CHUNKS = 1_000_000, 100
_HOLE_BYTES = 512
_CUT = 'is cut short: its end is missing'
_JPEG_MARKER = re.compile(rb'\xff+([^\x00\xff\xd0-\xd7])')
_PNM_NUMBER = re.compile(rb'(?:\s|#[^\r\n]*[\r\n])+(\d{1,9})')


@dataclass(frozen=True)
class Header:
    """What a header claims.

    Attributes:
        kind: Name of the format.
        height: Height in px, as stored.
        width: Width in px, as stored.
        n_channels: Number of stored channels.
        sample_bytes: Bytes per sample when decoded.
        n_images: Number of images, for example of an animation.
        is_lossless: Whether the pixels are surely those that were saved.
        orientation: Value of the EXIF tag Orientation, 1 to 8.
    """

    kind: str
    height: int
    width: int
    n_channels: int
    sample_bytes: int = 1
    n_images: int = 1
    is_lossless: bool = True
    orientation: int = 1


def read_header(data: bytes | mmap) -> Header | None:
    """Reads the header of an encoded picture: JPEG, PNG, WebP, JPEG 2000, BMP, PNM, GIF, LERC or JPEG XL.

    Args:
        data: The whole encoded picture. It may be longer than the picture.

    Returns:
        What the header claims; None if the picture has none of these formats.

    Raises:
        ImageReadError: The picture is damaged or cut short.
    """
    for signature, read in _READERS.items():
        if data[:len(signature)] == signature and (signature != b'RIFF' or data[8:12] == b'WEBP'):
            try:
                return read(data)
            except (struct.error, IndexError) as error:
                raise ImageReadError(_CUT) from error
    return None


def _read_jpeg(data: bytes | mmap) -> Header:
    """Follows the markers to the end: decoders only warn if it is missing, and fill the rest with grey."""
    frame, position, n_scans, orientation = None, 2, 0, 1
    while found := _JPEG_MARKER.search(data, position):
        marker, position = found[1][0], found.end()
        if marker == 0xd9:
            break
        if marker in (0x01, 0xd8):
            continue
        length, = struct.unpack_from('>H', data, position)
        if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            frame = marker, *struct.unpack_from('>BHHB', data, position + 2)
        elif marker == 0xe1 and data[position + 2:position + 8] == b'Exif\0\0':
            orientation = read_exif_orientation(data[position + 8:position + length])
        n_scans += marker == 0xda
        if n_scans > LIMITS.scans:
            raise ImageReadError(f'has more than {LIMITS.scans} scans: save it as a baseline JPEG, or raise '
                                 'mmcell.images.limits.LIMITS.scans')
        position += length
    if not found or not frame or not n_scans:
        raise ImageReadError(_CUT)
    marker, bits, height, width, n_channels = frame
    return Header('JPEG', height, width, n_channels, 1 + (bits > 8), 1, marker in (0xc3, 0xc7, 0xcb, 0xcf), orientation)


def check_jpeg(header: Header, data: bytes, pixels: np.ndarray, tables: bytes | None = None) -> None:
    """Looks for a hole in a JPEG: zeros where a disk or a transfer lost a block, or codes that end before the picture.

    Decoders only warn about the damage. Zeros can be right (an empty picture with tables of its own), and so can the
    grey with which they fill the rest of a picture, so that a JPEG with either is translated to JPEG XL, which fails if
    any of its codes is wrong or missing.

    Args:
        header: Header of the JPEG.
        data: The JPEG.
        pixels: The decoded picture (H, W) or (H, W, C).
        tables: JPEG with the tables that it needs, from the TIFF in which it lies.

    Raises:
        ImageReadError: The JPEG is damaged.
    """
    if header.n_channels not in (1, 3) or header.sample_bytes > 1:
        return
    last_block = pixels[(pixels.shape[0] - 1) // 8 * 8:, (pixels.shape[1] - 1) // 8 * 8:]
    ends_in_grey = (abs(last_block.astype(int) - 128) <= 2).all()
    if bytes(_HOLE_BYTES) not in data and not ends_in_grey:
        return
    try:
        imagecodecs.jpegxl_encode_jpeg(data if tables is None else data[:2] + tables[2:-2] + data[2:])
    except imagecodecs.JpegxlError as error:
        raise ImageReadError('is damaged or cut short: a part of it is missing or filled with zeros') from error


def _read_png(data: bytes | mmap) -> Header:
    position, n_images, orientation, n_packed, shape = 8, 1, 1, 0, None
    for _ in range(_MAX_CHUNKS):
        length, kind = struct.unpack_from('>I4s', data, position)
        position += 12 + length
        if position > len(data):
            raise ImageReadError(_CUT)
        if kind == b'IEND':
            break
        content = position - 4 - length
        is_critical, (check_sum,) = not kind[0] & 32, struct.unpack_from('>I', data, position - 4)
        if is_critical and zlib.crc32(data[content - 4:position - 4]) != check_sum:
            raise ImageReadError(f'is damaged: the check sum of its part {kind.decode("latin-1")!r} is wrong')
        if kind == b'IHDR':
            shape = struct.unpack_from('>IIBB', data, content)
        elif kind == b'acTL':
            n_images = struct.unpack_from('>I', data, content)[0]
        elif kind == b'eXIf':
            orientation = read_exif_orientation(data[content:position - 4])
        n_packed += kind in (b'zTXt', b'iTXt', b'iCCP')
        if n_packed > _MAX_PACKED_CHUNKS:
            raise ImageReadError(f'has more than {_MAX_PACKED_CHUNKS} packed texts or colour profiles: save it '
                                 'without them')
    else:
        raise ImageReadError(f'has more than {_MAX_CHUNKS:,} parts: save it again')
    if shape is None:
        raise ImageReadError('is damaged: it states no size')
    width, height, bits, color_type = shape
    return Header('PNG', height, width, {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}.get(color_type, 4), 1 + (bits > 8), n_images,
                  orientation=orientation)


def _read_webp(data: bytes | mmap) -> Header:
    end = 8 + struct.unpack_from('<I', data, 4)[0]
    if end > len(data):
        raise ImageReadError(_CUT)
    position, sizes, n_frames, orientation, is_lossless = 12, [], 0, 1, True
    while position + 8 <= end:
        kind, length = struct.unpack_from('<4sI', data, position)
        content = position + 8
        if kind == b'VP8X':
            sizes.append([1 + int.from_bytes(data[i:i + 3], 'little') for i in (content + 4, content + 7)])
        elif kind == b'VP8 ':
            sizes.append([side & 0x3fff for side in struct.unpack_from('<HH', data, content + 6)])
            is_lossless = False
        elif kind == b'VP8L':
            packed, = struct.unpack_from('<I', data, content + 1)
            sizes.append([(packed & 0x3fff) + 1, (packed >> 14 & 0x3fff) + 1])
        elif kind == b'EXIF':
            exif = data[content:content + length]
            orientation = read_exif_orientation(exif.removeprefix(b'Exif\0\0'))
        n_frames += kind == b'ANMF'
        position = content + length + length % 2
    if not sizes:
        raise ImageReadError('is damaged: it states no size')
    return Header('WebP', max(size[1] for size in sizes), max(size[0] for size in sizes), 4, 1, max(n_frames, 1),
                  is_lossless, orientation)


def _code_stream(data: bytes | mmap) -> bytes:
    """Returns the first code stream among the boxes of a JP2 or JPEG XL file."""
    position = 0
    while True:
        length, kind = struct.unpack_from('>I4s', data, position)
        begin = 8
        if length == 1:
            length, begin = struct.unpack_from('>Q', data, position + 8)[0], 16
        end = position + length if length else len(data)
        if end > len(data) or (length and length < begin):
            raise ImageReadError(_CUT)
        if kind in (b'jp2c', b'jxlc', b'jxlp'):
            return data[position + begin + 4 * (kind == b'jxlp'):end]
        position = end


def _read_j2k(data: bytes) -> Header:
    right, bottom, left, top, _, _, _, _, n_channels, bits = struct.unpack_from('>8IHB', data, 8)
    # Decoders return what they have of a code stream without its end.
    if data[-64:].rstrip(b'\0')[-2:] != b'\xff\xd9':
        raise ImageReadError(_CUT)
    # Whether it is lossless cannot be seen: a reversible transform may have been cut to a size.
    return Header('JPEG 2000', bottom - top, right - left, n_channels, 1 + ((bits & 127) > 7), is_lossless=False)


def _read_bmp(data: bytes | mmap) -> Header:
    begin, header_bytes = struct.unpack_from('<II', data, 10)
    if header_bytes == 12:
        width, height, _, bits = struct.unpack_from('<HHHH', data, 18)
        packing = 0
    else:
        width, height, _, bits, packing = struct.unpack_from('<iiHHI', data, 18)
    if packing in (0, 3) and begin + (abs(width) * bits + 31) // 32 * 4 * abs(height) > len(data):
        raise ImageReadError(_CUT)
    return Header('BMP', abs(height), abs(width), 4)


def _read_pnm(data: bytes | mmap) -> Header:
    n_numbers = 2 if data[1] in b'14' else 3
    numbers, position = [], 2
    for _ in range(n_numbers):
        found = _PNM_NUMBER.match(data, position)
        if not found:
            raise ImageReadError('is damaged: its header has no size')
        numbers.append(int(found[1]))
        position = found.end()
    width, height, brightest = (*numbers, 1)[:3]
    if n_numbers == 3 and brightest not in (255, 65535):
        raise ImageReadError(f'has values up to {brightest}; 255 or 65535 is expected: convert it to PNG or TIFF')
    n_channels = 3 if data[1] in b'36' else 1
    row_bytes = (width + 7) // 8 if data[1:2] == b'4' else width * n_channels * (1 + (brightest > 255))
    if position + 1 + row_bytes * height > len(data):
        raise ImageReadError(_CUT)
    return Header('PNM', height, width, n_channels, 1 + (brightest > 255))


def _read_gif(data: bytes | mmap) -> Header:
    def color_bytes(flags: int) -> int:
        return 3 << (flags & 7) + 1 if flags & 0x80 else 0

    width, height, flags = struct.unpack_from('<HHB', data, 6)
    position, n_images = 13 + color_bytes(flags), 0
    while data[position] != 0x3b:
        if data[position] == 0x2c:
            n_images += 1
            position += 11 + color_bytes(data[position + 9])
        elif data[position] == 0x21:
            position += 2
        else:
            raise ImageReadError('is damaged: one of its parts has an unknown kind')
        while data[position]:
            position += data[position] + 1
        position += 1
    return Header('GIF', height, width, 4, n_images=n_images)


def _read_lerc(data: bytes | mmap) -> Header:
    """Reads the header of LERC 2, whose fields depend on the version."""
    version, = struct.unpack_from('<i', data, 6)
    position = 10 + 4 * (version >= 3)
    height, width = struct.unpack_from('<ii', data, position)
    position += 8
    n_channels = struct.unpack_from('<i', data, position)[0] if version >= 4 else 1
    position += 4 * (version >= 4)
    kind = struct.unpack_from('<i', data, position + 12)[0]
    max_error, = struct.unpack_from('<d', data, position + 16 + 8 * (version >= 6))
    # The kinds 0 to 5 are integers, for which an error of one half changes nothing.
    return Header('LERC', height, width, n_channels, 8, is_lossless=max_error <= (.5 if kind < 6 else 0))


def _read_jxl(data: bytes | mmap) -> Header:
    """Reads the size from the first bits of a JPEG XL code stream (ISO 18181-1, SizeHeader)."""
    bits = int.from_bytes(data[2:18], 'little')
    position = 0

    def take(n_bits: int) -> int:
        nonlocal position
        value = bits >> position & (1 << n_bits) - 1
        position += n_bits
        return value

    is_small = take(1)

    def take_side() -> int:
        return 8 * (1 + take(5)) if is_small else 1 + take((9, 13, 18, 30)[take(2)])

    height = take_side()
    ratio = take(3)
    # The ratios of width to height that have a number of their own.
    numerator, denominator = ((0, 1), (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio]
    width = height * numerator // denominator if ratio else take_side()
    return Header('JPEG XL', height, width, 4, 4, is_lossless=False)


def read_exif_orientation(exif: bytes) -> int:
    """Returns the tag Orientation of EXIF data, or 1 (upright) if it has none."""
    order = {b'II': '<', b'MM': '>'}.get(exif[:2])
    try:
        begin, = struct.unpack_from(f'{order}I', exif, 4)
        n_tags, = struct.unpack_from(f'{order}H', exif, begin)
        for i in range(n_tags):
            code, _, _, value = struct.unpack_from(f'{order}HHIH', exif, begin + 2 + 12 * i)
            if code == 274:
                return value if 1 <= value <= 8 else 1
    except struct.error:  # no EXIF data, or damaged EXIF data
        pass
    return 1


_READERS = {b'\xff\xd8\xff': _read_jpeg, b'\x89PNG\r\n\x1a\n': _read_png, b'RIFF': _read_webp,
            b'\0\0\0\x0cjP  \r\n\x87\n': lambda data: _read_j2k(_code_stream(data)), b'\xff\x4f\xff\x51': _read_j2k,
            b'BM': _read_bmp,
            **{b'P%d' % number: _read_pnm for number in range(1, 7)},
            b'GIF87a': _read_gif, b'GIF89a': _read_gif, b'Lerc2 ': _read_lerc,
            b'\xff\x0a': _read_jxl, b'\0\0\0\x0cJXL \r\n\x87\n': lambda data: _read_jxl(_code_stream(data))}

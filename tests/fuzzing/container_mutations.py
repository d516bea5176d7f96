"""Changes to zips, gzip, pickles, arrays of NumPy, safetensors and PNG, with right check sums and lengths."""

import ast
import copy
import gzip
import io
import json
import pickletools
import struct
import warnings
import zipfile
import zlib

from fuzzing.byte_mutations import border_below, mutate_bytes
from fuzzing.text_mutations import INJECTED, change_tree, mutate_json, some_value

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_NAMES = ('', '../a.roi', '/a.roi', 'a\\b.roi', 'ü.roi', f'a\n{INJECTED}', 'test-results.json', '__MACOSX/a.roi',
          'x' * 300, 'a/')
# Instructions of pickles that are short and dangerous: huge indices, counts and objects of other modules.
_INSTRUCTIONS = (
    b'N', b'\x88', b']', b'}', b')', b'(', b'0', b'1', b'2', b'.', b'e', b'u', b's', b'a', b't', b'l', b'd', b'R', b'b',
    b'\x81', b'\x85', b'\x86', b'\x87', b'\x8f', b'\x90', b'\x91', b'\x93', b'\x94', b'Q', b'K\xff',
    b'J\xff\xff\xff\x7f', b'\x8a\x0a' + b'\xff' * 9 + b'\x7f', b'r\xff\xff\xff\x3f', b'j\xff\xff\xff\xff', b'h\x00',
    b'q\x00', b'G' + b'\x7f\xf8' + bytes(6), b'X\xff\xff\xff\x7f', b'B\xff\xff\xff\xff', b'\x95' + b'\xff' * 8,
    b'\x8e' + b'\xff' * 8, b'U\x02ab', b'X\x01\x00\x00\x00a', b'\x8c\x08img_path', b'\x80\x05', b'\x97',
    b'cposix\nsystem\n', b'cbuiltins\ngetattr\n', b'cnumpy\ndtype\n', b'cbuiltins\nset\n', b'cbuiltins\nbytearray\n',
    b'ccollections\nOrderedDict\n', b'ctorch._utils\n_rebuild_tensor_v2\n', b'c_codecs\nencode\n')


def mutate_zip(content, rng):
    """Returns a zip in which the content, the names, the number or the order of entries are changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [(entry.filename, entry.compress_type, archive.read(entry)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, RuntimeError, zlib.error):
        return mutate_bytes(content, rng)
    if not entries:
        return mutate_bytes(content, rng)
    place = rng.randrange(len(entries))
    name, method, inner = entries[place]
    kind = rng.random()
    if kind < .7:
        entries[place] = name, method, _mutate_entry(name, inner, rng)
    elif kind < .75:
        entries[place] = rng.choice(_NAMES) or name.upper(), method, inner
    elif kind < .8:
        entries[place] = name, rng.choice(_METHODS), inner
    elif kind < .85:
        del entries[place]
    elif kind < .9:
        entries.append(rng.choice(entries))
    elif kind < .92:
        entries[place] = name, zipfile.ZIP_DEFLATED, rng.choice((
            bytes(2 ** 24), b'[' * 2 ** 24, b'Iout' + bytes(2 ** 22)))
    else:
        return _change_records(content, rng)
    return _write_zip(entries)


def _mutate_entry(name, content, rng):
    if name.endswith('.pkl'):
        return mutate_pickle(content, rng)
    return mutate_json(content, rng) if name.endswith('json') else mutate_bytes(content, rng)


def _write_zip(entries):
    written = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(written, 'w') as archive:
        warnings.simplefilter('ignore')  # about names that occur twice
        for name, method, content in entries:
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = method
            archive.writestr(entry, content)
    return written.getvalue()


def _change_records(content, rng):
    """Changes sizes, methods and flags in the records of a zip about its entries."""
    content = bytearray(content)
    records = [at for mark in (b'PK\x01\x02', b'PK\x03\x04', b'PK\x05\x06') for at in range(len(content))
               if content.startswith(mark, at)]
    at = rng.choice(records) + 4 + 2 * rng.randrange(20)
    form = rng.choice(('<H', '<I'))
    if at + 4 <= len(content):
        struct.pack_into(form, content, at, border_below(16 if form == '<H' else 32, rng))
    return bytes(content)


def mutate_gzip(content, rng):
    """Returns gzip of changed JSON, or changed bytes."""
    if rng.random() < .3:
        return mutate_bytes(content, rng)
    try:
        return gzip.compress(mutate_json(gzip.decompress(content), rng), mtime=0)
    except (OSError, EOFError, zlib.error):
        return mutate_bytes(content, rng)


def mutate_pickle(content, rng):
    """Returns a pickle in which instructions are left out, repeated, exchanged or added."""
    try:
        begins = [at for _, _, at in pickletools.genops(content)]
    except ValueError:
        return mutate_bytes(content, rng)
    steps = [content[begin:end] for begin, end in zip(begins, [*begins[1:], len(content)], strict=True)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = rng.randrange(len(steps))
        change = rng.randrange(6)
        if change == 0:
            steps[place] = b''
        elif change == 1:
            steps[place] *= rng.choice((2, 2, 1000))
        elif change == 2:
            steps[place] = rng.choice(_INSTRUCTIONS)
        elif change == 3:
            steps[place] += rng.choice(_INSTRUCTIONS)
        elif change == 4:
            steps[place] = rng.choice(steps)
        elif len(steps[place]) > 1:
            steps[place] = steps[place][:1] + mutate_bytes(steps[place][1:], rng)
    return b''.join(steps)


def mutate_npy(content, rng):
    """Returns an .npy file with another header, or with a changed pickle behind it."""
    n_bytes = int.from_bytes(content[8:10], 'little')
    header, rest = content[10:10 + n_bytes], content[10 + n_bytes:]
    try:
        described = ast.literal_eval(header.decode('latin-1').strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return mutate_bytes(content, rng)
    if rest[:1] == b'\x80' and rng.random() < .8:
        return content[:10 + n_bytes] + mutate_pickle(rest, rng)
    if not isinstance(described, dict) or rng.random() < .3:
        return mutate_bytes(content, rng)
    described[rng.choice(('shape', 'descr', 'fortran_order', 'more'))] = copy.deepcopy(rng.choice((
        (), (0,), (-1, 5), (2 ** 40, 2 ** 40), (10 ** 5, 10 ** 4), (40, 60, 1), (2400,), (4.0, 6), 'O', '|O', '<f8',
        '>i4', '<i8', '|b1', '<M8[s]', '<U4', [('a', '<i4')], '<c16', True, some_value(rng))))
    header = f'{described!r}\n'.encode('latin-1', errors='replace')[:60_000]
    return content[:8] + len(header).to_bytes(2, 'little') + header + rest


def mutate_safetensors(content, rng):
    """Returns a file of safetensors with another description of its tensors, whose length is right."""
    n_bytes = int.from_bytes(content[:8], 'little')
    try:
        described = [json.loads(content[8:8 + n_bytes])]
    except ValueError:
        return mutate_bytes(content, rng)
    if rng.random() < .3:
        return mutate_bytes(content, rng)
    for _ in range(rng.choice((1, 2))):
        change_tree(described, rng)
    header = json.dumps(described[0]).encode()
    return len(header).to_bytes(8, 'little') + header + content[8 + n_bytes:]


def mutate_png(content, rng):
    """Returns a PNG whose parts are changed, left out, repeated or exchanged, with right check sums."""
    chunks, at = [], 8
    while at + 12 <= len(content) and len(chunks) < 100:
        n_bytes = int.from_bytes(content[at:at + 4], 'big')
        chunks.append((content[at + 4:at + 8], content[at + 8:at + 8 + n_bytes]))
        at += 12 + n_bytes
    if not chunks or rng.random() < .2:
        return mutate_bytes(content, rng)
    place = rng.randrange(len(chunks))
    kind, inner = chunks[place]
    change = rng.randrange(7)
    if change < 3:
        chunks[place] = kind, _mutate_png_part(kind, inner, rng)
    elif change == 3:
        del chunks[place]
    elif change == 4:
        chunks.insert(rng.randrange(len(chunks)), (kind, inner))
    elif change == 5:
        chunks[place] = rng.choice((b'PLTE', b'tRNS', b'acTL', b'eXIf', b'iCCP', b'zTXt', b'abcd', b'IDAT')), inner
    else:
        chunks.insert(1, rng.choice((
            (b'acTL', bytes([0, 0, 0, 2] * 2)), (b'tRNS', bytes(6)), (b'gAMA', bytes(4)), (b'PLTE', bytes(9)),
            (b'eXIf', b'II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0'), (b'IHDR', chunks[0][1]))))
    return content[:8] + b''.join(
        len(inner).to_bytes(4, 'big') + kind + inner + zlib.crc32(kind + inner).to_bytes(4, 'big')
        for kind, inner in chunks)


def _mutate_png_part(kind, inner, rng):
    if kind == b'IHDR' and len(inner) == 13:
        changed = bytearray(inner)
        at = rng.choice((0, 4, 8, 9, 10, 11, 12))
        if at < 8:
            struct.pack_into('>I', changed, at, rng.choice((0, 1, 39, 41, 59, 61, border_below(32, rng))))
        else:
            changed[at] = rng.choice((0, 1, 2, 3, 4, 6, 8, 16, 255))
        return bytes(changed)
    if kind == b'IDAT':
        try:
            return zlib.compress(mutate_bytes(zlib.decompress(inner), rng))
        except zlib.error:
            pass
    return mutate_bytes(inner, rng) if inner else bytes(4)

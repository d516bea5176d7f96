"""Changes to inputs of any kind: bytes are flipped, cut off, repeated, or exchanged for numbers that are borders."""

import struct

# Numbers at which readers change their mind: sizes of types, signs, and small counts.
BORDERS = [0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 100, 127, 128, 129, 255, 256, 1000, 4096, 32767,
           32768, 65535, 65536, 10 ** 6, 2 ** 24, 2 ** 30, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 48,
           2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1]
_FORMS = ('<B', '<H', '>H', '<I', '>I', '<Q', '>Q')


def border_below(n_bits, rng):
    """Returns a number that is a border and has at most so many bits."""
    return rng.choice([number for number in BORDERS if number < 1 << n_bits])


def mutate_bytes(content, rng):
    """Returns the bytes with one to four changes."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if content:
            rng.choice(_CHANGES)(content, rng)
    return bytes(content)


def _flip(content, rng):
    for _ in range(rng.choice((1, 1, 3, 16))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _overwrite_with_border(content, rng):
    form = rng.choice(_FORMS)
    n_bytes = struct.calcsize(form)
    if len(content) >= n_bytes:
        struct.pack_into(form, content, rng.randrange(len(content) - n_bytes + 1), border_below(8 * n_bytes, rng))


def _cut_off(content, rng):
    del content[rng.randrange(len(content)):]


def _take_out(content, rng):
    begin, n_bytes = _random_part(content, rng)
    del content[begin:begin + n_bytes]


def _repeat(content, rng):
    begin, n_bytes = _random_part(content, rng)
    place = rng.randrange(len(content) + 1)
    content[place:place] = content[begin:begin + n_bytes] * rng.choice((1, 1, 2, 50))


def _move(content, rng):
    begin, n_bytes = _random_part(content, rng)
    part = content[begin:begin + n_bytes]
    place = rng.randrange(len(content))
    content[place:place + n_bytes] = part


def _fill(content, rng):
    begin, n_bytes = _random_part(content, rng)
    content[begin:begin + n_bytes] = bytes([rng.choice((0, 255, 65))]) * n_bytes


def _random_part(content, rng):
    n_bytes = min(rng.choice((1, 2, 4, 8, 16, 64, 600)), len(content))
    return rng.randrange(len(content) - n_bytes + 1), n_bytes


_CHANGES = (_flip, _flip, _overwrite_with_border, _overwrite_with_border, _cut_off, _take_out, _repeat, _move, _fill)

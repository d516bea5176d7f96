"""Changes to TIFFs that keep their form: tags, counts, types, positions and lists of images are edited one by one."""

import struct
from typing import NamedTuple

from fuzzing.byte_mutations import border_below, mutate_bytes
from fuzzing.text_mutations import mutate_text

# Values that tags have in files of some program, and values just beside them.
_USUAL = {
    254: (0, 1, 2, 4, 5), 255: (1, 2, 3), 258: (1, 2, 4, 7, 8, 12, 16, 24, 32, 64, 128),
    259: (1, 2, 3, 4, 5, 6, 7, 8, 9, 32773, 32946, 33004, 33005, 34712, 34887, 34925, 34926, 34927, 34933, 50000, 50001,
          50002, 50013, 52546),
    262: (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 32803, 32844, 32845, 34892), 266: (1, 2), 274: tuple(range(10)),
    277: (0, 1, 2, 3, 4, 5, 255), 284: (1, 2, 3), 296: (1, 2, 3), 317: (1, 2, 3, 34892, 34893), 338: (0, 1, 2),
    339: (1, 2, 3, 4, 5, 6), 530: (1, 2, 4), 32997: (1, 2), 32998: (1, 2)}
_CODES = (254, 255, 256, 257, 258, 259, 262, 266, 270, 273, 274, 277, 278, 279, 282, 284, 292, 296, 305, 317, 320, 322,
          323, 324, 325, 330, 338, 339, 347, 513, 514, 530, 532, 32997, 32998, 33445, 33629, 34665, 42113, 50838, 50839,
          65420)
_TYPES = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 16, 18, 0, 99)
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MAX_IMAGES = 32


class _Tag(NamedTuple):
    at: int
    code: int
    kind: int
    count: int
    # Where the values lie: in the tag itself, or elsewhere.
    values_at: int


class _Form:
    """What is where in a TIFF; as far as it can be followed."""

    def __init__(self, content):
        self.order = '>' if content[:2] == b'MM' else '<'
        self.is_big = 43 in content[2:4]
        self.offset, self.number = ('Q', 8) if self.is_big else ('I', 4)
        self.tag_bytes = 20 if self.is_big else 12
        self.tags, self.links, self.headers = [], [8 if self.is_big else 4], []
        pending = list(self.links)
        while pending and len(self.headers) < _MAX_IMAGES:
            try:
                pending += self._follow(content, pending.pop(0))
            except (struct.error, OverflowError):  # a link that leads out of the file, or beyond any file
                continue

    def _follow(self, content, link):
        """Notes the header that a link leads to, and returns further links."""
        begin, = struct.unpack_from(self.order + self.offset, content, link)
        if not begin or begin in self.headers:
            return []
        count_form = self.order + ('Q' if self.is_big else 'H')
        n_tags, = struct.unpack_from(count_form, content, begin)
        first, below = begin + struct.calcsize(count_form), []
        end = first + min(n_tags, 200) * self.tag_bytes
        struct.unpack_from(self.order + self.offset, content, end)
        self.headers.append(begin)
        for at in range(first, end, self.tag_bytes):
            code, kind, count = struct.unpack_from(f'{self.order}HH{self.offset}', content, at)
            inline = at + 4 + self.number
            n_bytes = _TYPE_BYTES.get(kind, 1) * count
            values_at = inline if n_bytes <= self.number else struct.unpack_from(
                self.order + self.offset, content, inline)[0]
            self.tags.append(_Tag(at, code, kind, count, values_at))
            if code == 330:
                below += [values_at + self.number * i for i in range(min(count, 8))]
        self.links.append(end)
        return [end, *below]

    def write(self, content, at, form, number):
        if 0 <= at <= len(content) - struct.calcsize(form):
            struct.pack_into(self.order + form, content, at, number % (1 << 8 * struct.calcsize(form)))

    def read_numbers(self, content, tag):
        form = {1: 'B', 3: 'H', 4: 'I', 13: 'I', 16: 'Q', 18: 'Q'}.get(tag.kind)
        try:
            return list(struct.unpack_from(f'{self.order}{min(tag.count, 64)}{form}', content, tag.values_at)), form
        except (struct.error, OverflowError):
            return [], form


def mutate_tiff(content, rng):
    """Returns a TIFF with one to four edits; the content of a file that is no TIFF is changed like any other."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        form = _Form(content)
        if not form.tags:
            return mutate_bytes(content, rng)
        rng.choice(_EDITS)(content, form, rng)
    return bytes(content)


def _some_number(content, form, rng):
    """Returns a number that may be a position, a size or anything else."""
    return rng.choice([border_below(8 * form.number, rng), rng.choice(form.headers), rng.choice(form.tags).values_at,
                       rng.choice(form.tags).at, len(content), len(content) - 1, rng.randrange(len(content))])


def _set_value(content, form, rng):
    tag = rng.choice(form.tags)
    usual = _USUAL.get(tag.code)
    number = rng.choice(usual) if usual and rng.random() < .7 else _some_number(content, form, rng)
    values, value_form = form.read_numbers(content, tag)
    if values:
        place = rng.randrange(len(values))
        near = values[place] + rng.choice((-1, 1, values[place]))
        form.write(content, tag.values_at + place * struct.calcsize(value_form), value_form, rng.choice((number, near)))
    else:
        form.write(content, tag.at + 4 + form.number, form.offset, number)


def _set_every_value(content, form, rng):
    """Gives all values of a tag, for example the bits of all samples, the same usual number."""
    tag = rng.choice([tag for tag in form.tags if tag.code in _USUAL] or form.tags)
    number = rng.choice(_USUAL.get(tag.code, (1,)))
    values, value_form = form.read_numbers(content, tag)
    for place in range(len(values)):
        form.write(content, tag.values_at + place * struct.calcsize(value_form), value_form, number)


def _set_pointer(content, form, rng):
    form.write(content, rng.choice(form.tags).at + 4 + form.number, form.offset, _some_number(content, form, rng))


def _set_count(content, form, rng):
    tag = rng.choice(form.tags)
    number = rng.choice((tag.count + 1, tag.count - 1, tag.count * 2, border_below(8 * form.number, rng)))
    form.write(content, tag.at + 4, form.offset, number)


def _set_type(content, form, rng):
    form.write(content, rng.choice(form.tags).at + 2, 'H', rng.choice(_TYPES))


def _set_code(content, form, rng):
    """Turns one tag into another, and therefore removes and adds one."""
    tag, code = rng.choice(form.tags), rng.choice(_CODES)
    form.write(content, tag.at, 'H', code)
    if rng.random() < .5:
        form.write(content, tag.at + 2, 'H', 3)
        form.write(content, tag.at + 4, form.offset, 1)
        form.write(content, tag.at + 4 + form.number, form.offset, 0)
        form.write(content, tag.at + 4 + form.number, 'H', rng.choice(_USUAL.get(code, (0, 1, 2, 16, 17))))


def _copy_tag(content, form, rng):
    source, target = rng.choice(form.tags), rng.choice(form.tags)
    content[target.at:target.at + form.tag_bytes] = content[source.at:source.at + form.tag_bytes]


def _link(content, form, rng):
    """Makes the list of images lead somewhere else, perhaps in a circle."""
    form.write(content, rng.choice(form.links), form.offset, _some_number(content, form, rng))


def _set_n_tags(content, form, rng):
    count_form = 'Q' if form.is_big else 'H'
    form.write(content, rng.choice(form.headers), count_form, rng.choice((0, 1, 5, 11, 12, 300, border_below(16, rng))))


def _damage_segment(content, form, rng):
    tags = [tag for tag in form.tags if tag.code in (273, 324)]
    begins = form.read_numbers(content, rng.choice(tags))[0] if tags else []
    begins = [begin for begin in begins if begin < len(content)]
    if begins:
        begin = rng.choice(begins)
        changed = mutate_bytes(content[begin:begin + 200], rng)
        content[begin:begin + len(changed)] = changed


def _edit_text(content, form, rng):
    texts = [tag for tag in form.tags if tag.kind == 2 and tag.count > 8 and tag.values_at + tag.count <= len(content)]
    if texts:
        tag = rng.choice(texts)
        changed = mutate_text(bytes(content[tag.values_at:tag.values_at + tag.count]), rng)
        content[tag.values_at:tag.values_at + tag.count] = changed[:tag.count].ljust(tag.count, b' ')


def _change_header(content, form, rng):
    form.write(content, rng.choice((0, 2)), 'H', rng.choice((0x4949, 0x4d4d, 42, 43, 0x2a00)))


def _change_bytes(content, form, rng):
    content[:] = mutate_bytes(content, rng)


_EDITS = (_set_value,) * 8 + (_set_code,) * 3 + (
    _set_every_value, _set_every_value, _set_pointer, _set_count, _set_count, _set_type, _set_type, _copy_tag,
    _copy_tag, _link, _link, _set_n_tags, _damage_segment, _damage_segment, _edit_text, _change_header, _change_bytes)

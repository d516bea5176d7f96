"""Matches the classes of two sources by their names. Places and numbers of classes may differ between files."""

import unicodedata
from collections.abc import Sequence

from mmcell.errors import MmcellError


class ClassesError(MmcellError):
    """Two sources do not have the same classes. The message names both lists and the names that differ."""


def match_classes(names: Sequence[str], reference: Sequence[str], names_in: str, reference_in: str) -> list[int]:
    """Returns for each name its index in a reference list, which has the same names in any order.

    Example: the names ['b', 'c', 'a'] have the indices [1, 2, 0] in the reference ['a', 'b', 'c'].

    Args:
        names: The names of the classes in one source, such as a dump.
        reference: The names of the classes in another source, such as an annotation file.
        names_in: How messages call the first source.
        reference_in: How messages call the source of the reference.

    Raises:
        ClassesError: A name occurs twice, or is in only one of the two lists. Names that differ in case or spaces are
            different names; the message then says that this is the only difference.
    """
    for source, listed in ((names_in, names), (reference_in, reference)):
        if len(set(listed)) < len(listed):
            raise ClassesError(f'{source} has a class twice: {list(listed)}')
    here, there = ([name for name in listed if name not in other]
                   for listed, other in ((names, reference), (reference, names)))
    if here or there:
        raise ClassesError(
            f'{names_in} has the classes {list(names)}, but {reference_in} has {list(reference)}: '
            + '; '.join(f'only in {source}: {", ".join(map(repr, missing))}'
                        for source, missing in ((names_in, here), (reference_in, there)) if missing)
            + '. ' + _advise(here, there))
    return [list(reference).index(name) for name in names]


def are_alike(names: Sequence[str], others: Sequence[str]) -> bool:
    """Returns whether two lists have the same names in any order, apart from case, spaces and Unicode's forms."""
    return {_fold(name) for name in names} == {_fold(name) for name in others}


def _advise(here: list[str], there: list[str]) -> str:
    """Returns what to do about names that are in only one of two sources."""
    same = [(name, other) for name in here for other in there if _fold(name) == _fold(other)]
    if same:
        return ('; '.join(f'{name!r} and {other!r}' for name, other in same) + ' differ only in case, spaces or the '
                'encoding of letters: write them in the same way')
    if here and there:
        return 'Classes are matched by their names: give the same classes the same names'
    return 'Add the missing categories to the file that lacks them (a category may have no cell), or use another file'


def _fold(name: str) -> str:
    """Returns a name without case, spaces, and the differences between Unicode's forms of the same letters."""
    return ''.join(unicodedata.normalize('NFKC', name).casefold().split())

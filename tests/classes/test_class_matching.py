import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmcell.classes.matching import ClassesError, are_alike, match_classes


@given(st.lists(st.text(max_size=3), max_size=6, unique=True).flatmap(
    lambda names: st.tuples(st.just(names), st.permutations(names))))
def test_each_name_finds_its_place(lists):
    names, reference = lists
    assert [reference[index] for index in match_classes(names, reference, 'a', 'b')] == names


@pytest.mark.parametrize('names, reference, message', [
    (['x', 'y'], ['y'], r"^a has the classes \['x', 'y'\], but b has \['y'\]: only in a: 'x'. Add the missing"),
    (['x'], ['y', 'x'], "only in b: 'y'. Add the missing categories"),
    (['x', 'y'], ['x', 'z'], "only in a: 'y'; only in b: 'z'. Classes are matched by their names"),
    (['Tumour'], ['tumour '], "'Tumour' and 'tumour ' differ only in case, spaces"),
    (['a b'], ['ab'], 'differ only in case, spaces'),
    (['caf\u00e9'], ['cafe\u0301'], 'the encoding of letters'),
    (['CD3+'], ['CD3-'], 'matched by their names'),
    (['x', 'x'], ['x'], 'a has a class twice'),
    (['x'], ['x', 'x'], 'b has a class twice'),
])
def test_what_does_not_match_is_named_in_one_line(names, reference, message):
    with pytest.raises(ClassesError, match=message) as caught:
        match_classes(names, reference, 'a', 'b')
    assert '\n' not in str(caught.value)


def test_names_are_alike_whatever_their_case_and_order():
    assert are_alike(['a', 'B '], ['b', 'A'])
    assert not are_alike(['a', 'b'], ['a', 'c'])

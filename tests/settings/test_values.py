import pytest

from mmcell.settings.options import parse_value, split_at_commas


@pytest.mark.parametrize('text, current, expected', [
    # Numbers, and what looks like one.
    ('3', 1, 3), ('-1', 0, -1), ('1e-4', .1, 1e-4), ('.5', None, .5), ('inf', 1., float('inf')),
    # Truth values and nothing.
    ('True', False, True), ('false', True, False), ('None', 'text', None),
    # Text arrives as it was typed.
    ('run two', 'run', 'run two'), ("it's", '', "it's"), ('a,b', 'x', 'a,b'), ('1,2', 'x', '1,2'),
    ('torchvision://resnet50', '', 'torchvision://resnet50'), ('C:\\data x', '', 'C:\\data x'), ('', 'x', ''),
    ('dict(a=1)', None, 'dict(a=1)'),
    # Quotes that reach the program belong to Python.
    ('"a,b"', None, 'a,b'), ("'1'", None, '1'),
    # Lists and tuples.
    ('[a, b]', None, ['a', 'b']), ('[T cell, B cell]', None, ['T cell', 'B cell']), ("['a,b', c]", None, ['a,b', 'c']),
    ('(256,256)', (1, 1), (256, 256)), ('[(1,2),[a,b],c]', None, [(1, 2), ['a', 'b'], 'c']), ('[]', [1], []),
    ('[1.,1.5]', None, [1., 1.5]), ("{'a': 1}", None, {'a': 1}), ('[True, None]', None, [True, None]),
    # Without brackets, as in MMDetection.
    ('1,2,3', [0], [1, 2, 3]), ('a,b', None, ['a', 'b']), ("Crohn's,b", None, ["Crohn's", 'b']),
])
def test_what_was_typed_arrives(text, current, expected):
    value = parse_value(text, current)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize('text', ['[1,2', '(1,2', '1,2]', '[(1,2]'])
def test_brackets_must_be_closed(text):
    with pytest.raises(ValueError, match='missing|closes nothing'):
        parse_value(text)


def test_commas_inside_brackets_and_quotes_separate_nothing():
    assert split_at_commas('(1,2),[a,b],"c,d"') == ['(1,2)', '[a,b]', '"c,d"']

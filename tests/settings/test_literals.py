import pytest

from mmcell.settings.literals import LiteralError, parse_typed_dict


@pytest.mark.parametrize('text, expected', [
    ("dict(type='A', x=.05, y=(-1, 2.), z=[None, True])", dict(type='A', x=.05, y=(-1, 2.), z=[None, True])),
    (" {'type': 'A', 'b': dict(c=dict(), d=['e', dict(f=1)])}", dict(type='A', b=dict(c={}, d=['e', dict(f=1)]))),
])
def test_values_are_read_as_in_a_config(text, expected):
    assert parse_typed_dict(text) == expected


@pytest.mark.parametrize('text, message', [
    ("__import__('os').system('touch x')", 'is code, which is not run'),
    ("dict(type='A', x=open('y'))", r'open(…) is code, which is not run'),
    ("dict(type='A', x=[i for i in 'ab'])", 'cannot be read'),
    ("dict(**{'type': 'A'})", 'takes KEY=VALUE'), ("dict([('type', 'A')])", 'takes KEY=VALUE'),
    ("dict(type='A'", 'cannot be read'), ('RandomFlip', 'cannot be read'), ("dict(x='A')", 'not a dict with a type'),
    ('dict(type=3)', 'not a dict with a type'), ("'A'", 'not a dict with a type'), ('[' * 10000, 'cannot be read'),
])
def test_everything_else_is_refused_with_an_example(text, message):
    with pytest.raises(LiteralError) as refused:
        parse_typed_dict(text)
    assert message in str(refused.value) and "Write dict(type='RandomFlip', prob=.5)" in str(refused.value)

"""Parts of a config as texts: ``dict(type='RandomFlip', prob=.5)``, read without running code."""

import ast

from mmcell.errors import MmcellError

EXAMPLE = "dict(type='RandomFlip', prob=.5)"


class LiteralError(MmcellError):
    """A text is not a dict of plain values; the message says why."""


class _DictCalls(ast.NodeTransformer):
    """Turns calls ``dict(key=value)`` into displays ``{'key': value}``, which ``ast.literal_eval`` takes."""

    def visit_Call(self, node: ast.Call) -> ast.Dict:
        """Replaces one call."""
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict':
            raise ValueError(f'{ast.unparse(node.func)}(…) is code, which is not run')
        if node.args or any(keyword.arg is None for keyword in node.keywords):
            raise ValueError('dict(…) takes KEY=VALUE')
        self.generic_visit(node)
        return ast.Dict([ast.Constant(keyword.arg) for keyword in node.keywords],
                        [keyword.value for keyword in node.keywords])


def parse_typed_dict(text: str) -> dict:
    """Returns the dict that a text describes, as it stands in a config.

    Args:
        text: ``dict(type='RandomFlip', prob=.5)`` or ``{'type': 'RandomFlip', 'prob': .5}``. Values are texts, numbers,
            lists, tuples, dicts, True, False and None.

    Raises:
        LiteralError: The text is something else, or has no ``type``.
    """
    try:
        tree = ast.parse(text.strip(), mode='eval')
        value = ast.literal_eval(_DictCalls().visit(tree).body)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise LiteralError(f'{text!r} cannot be read: {error}. Write {EXAMPLE}, for example') from error
    if not isinstance(value, dict) or not isinstance(value.get('type'), str):
        raise LiteralError(f'{text!r} is not a dict with a type. Write {EXAMPLE}, for example')
    return value

"""The tree of exceptions in mmcell/errors.py is the one that the code has."""

import ast
import re

from support.paths import REPO


def test_the_tree_lists_every_exception_with_its_file_and_its_base():
    defined = {}
    for path in sorted((REPO / 'mmcell').rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.ClassDef) and node.name.endswith('Error') and node.name != 'MmcellError':
                defined[node.name] = (str(path.relative_to(REPO / 'mmcell')), node.bases[0].id)
    tree = ast.get_docstring(ast.parse((REPO / 'mmcell' / 'errors.py').read_text(encoding='utf-8')))
    drawn, last_file = {}, ''
    for line in tree.partition('::')[2].splitlines():
        match = re.fullmatch(r'([ │├└─]*)(\w+)\s*([\w/]*\.py)?', line)
        if match:
            # A subclass without a file of its own lies in that of the line above.
            last_file = match[3] or last_file
            drawn[match[2]] = (last_file, len(match[1]) // 4)
    for name, (path, base) in defined.items():
        assert drawn[name][0] == path, name
        assert drawn[name][1] == drawn[base][1] + 1, name
    assert drawn.keys() - defined.keys() == {'ValueError', 'RuntimeError', 'MmcellError'}

"""Every promise of the documents is held by a test that docs/reference/reliability.md names."""

import ast
import re

import pytest
from support.paths import REPO
from support.promises import promising, read_sentences

PAGE = (REPO / 'docs' / 'reference' / 'reliability.md').read_text(encoding='utf-8')
PATHS = (REPO / 'README.md', REPO / 'SECURITY.md', *(REPO / 'docs' / 'guides').glob('*.md'))
DOCUMENTS = {path.name: path for path in PATHS}
# Each row: document, quotation, and the tests, or why it is no promise.
ROWS = [cells for line in re.findall(r'^\| (\S+\.md \| .+) \|$', PAGE, re.MULTILINE) for cells in [line.split(' | ')]]
TESTS = [name for row in ROWS for name in re.findall(r'`(tests/[^`]+)`', row[2])]


def normalised(text):
    return re.sub(r'\s+', ' ', text)


@pytest.mark.parametrize('name', sorted(DOCUMENTS))
def test_every_promise_is_in_the_tables(name):
    quotations = [quotation for document, quotation, _ in ROWS if document == name]
    missing = [sentence for sentence in promising(DOCUMENTS[name])
               if not any(quotation in sentence for quotation in quotations)]
    assert missing == []


def test_every_quotation_is_in_its_document():
    texts = {name: ' '.join(read_sentences(path.read_text(encoding='utf-8'))) for name, path in DOCUMENTS.items()}
    assert [row for row in ROWS if normalised(row[1]) not in texts[row[0]]] == []
    assert all(re.search('`tests/|^an? ', row[2]) for row in ROWS)


@pytest.mark.parametrize('name', sorted(set(TESTS)))
def test_every_test_that_is_named_exists(name):
    path, _, function = name.partition('::')
    tree = ast.parse((REPO / path).read_text(encoding='utf-8'))
    assert function.startswith('test_') and function in {node.name for node in tree.body
                                                         if isinstance(node, ast.FunctionDef)}


def test_promises_are_found_wherever_they_stand(tmp_path):
    document = tmp_path / 'a.md'
    document.write_text('# Always\n\nIt **never**\nfails. It may.\n\n- It [always](b.md) ends; rarely.\n\n'
                        '| row | exactly one |\n\n```sh\nnever\n```\n\n'
                        '## What is promised\n\n- It holds. Really.\n\n## No\n')
    assert promising(document) == ['# Always', 'It never fails.', '- It always ends;', 'exactly one',
                                   '- It holds. Really.']

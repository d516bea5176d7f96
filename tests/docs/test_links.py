"""Links between the documents lead somewhere, and what documents name exists."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
from support.configs import BASES, EXPERIMENTS, path_of
from support.paths import REPO, tracked_files

import mmcell

LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')


def documents():
    """The project's documents, without those that a user has added beside them."""
    found = [*REPO.glob('*.md'), *(REPO / 'docs').rglob('*.md'), REPO / 'configs' / 'README.md']
    return tracked_files('*.md') or [str(path.relative_to(REPO)) for path in found]


def without_code(text):
    return re.sub(r'```.*?```', '', text, flags=re.DOTALL)


def anchors(path):
    """The anchors of the headings of a document, as the usual hosts of repositories make them."""
    headings = re.findall(r'^#+ (.+)$', without_code(path.read_text(encoding='utf-8')), re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading.lower()).replace(' ', '-') for heading in headings}


@pytest.mark.parametrize('name', documents())
def test_links_lead_to_files_and_headings(name):
    document = REPO / name
    broken = []
    for link in LINK.findall(without_code(document.read_text(encoding='utf-8'))):
        if '://' in link:
            continue
        target, _, anchor = link.partition('#')
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


def test_documents_named_in_code_exist():
    sources = [path for folder in ('mmcell', 'tools', 'data_prep', 'benchmarks')
               for path in (REPO / folder).rglob('*.py')] + [path_of(name) for name in [*BASES, *EXPERIMENTS]]
    missing = {(str(path.relative_to(REPO)), name) for path in sources
               for name in re.findall(r'\bdocs/[\w/.-]*\w\.md', path.read_text(encoding='utf-8'))
               if not (REPO / name).exists()}
    assert missing == set()


@pytest.mark.parametrize('name', documents())
def test_python_in_documents_parses_and_imports_what_exists(name):
    missing = []
    for source in re.findall(r'```python\n(.*?)```', (REPO / name).read_text(encoding='utf-8'), flags=re.DOTALL):
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and node.module.split('.')[0] == 'mmcell':
                module = import_module(node.module)
                missing += [f'{node.module}.{alias.name}' for alias in node.names if not hasattr(module, alias.name)]
            is_public = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            if is_public and node.value.id == 'mmcell' and node.attr not in mmcell.__all__:
                missing.append(f'mmcell.{node.attr}')
    assert missing == []


def test_a_broken_link_is_noticed(tmp_path):
    (tmp_path / 'a.md').write_text('# One heading, two\n\n[here](#one-heading-two) [there](b.md)\n')
    assert anchors(tmp_path / 'a.md') == {'one-heading-two'}
    assert LINK.findall((tmp_path / 'a.md').read_text()) == ['#one-heading-two', 'b.md']
    assert not Path(tmp_path / 'b.md').exists()

"""Links between the documents lead somewhere."""

import re
import subprocess
from pathlib import Path

import pytest
from support.paths import REPO

LINK = re.compile(r'!?\[[^\]]*\]\(([^)\s]+)\)')


def documents():
    listed = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard', '*.md'], cwd=REPO,
                            capture_output=True, text=True, check=True)
    return listed.stdout.split()


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
    sources = [path for folder in ('mmcell', 'tools', 'data_prep', 'configs', 'benchmarks')
               for path in (REPO / folder).rglob('*.py')]
    missing = {(str(path.relative_to(REPO)), name) for path in sources
               for name in re.findall(r'\bdocs/[\w/.-]*\w\.md', path.read_text(encoding='utf-8'))
               if not (REPO / name).exists()}
    assert missing == set()


def test_a_broken_link_is_noticed(tmp_path):
    (tmp_path / 'a.md').write_text('# One heading, two\n\n[here](#one-heading-two) [there](b.md)\n')
    assert anchors(tmp_path / 'a.md') == {'one-heading-two'}
    assert LINK.findall((tmp_path / 'a.md').read_text()) == ['#one-heading-two', 'b.md']
    assert not Path(tmp_path / 'b.md').exists()

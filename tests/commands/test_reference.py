import re

import pytest
from support.command_reference import COMMANDS, PAGE, find_parser, write_page
from support.paths import REPO


def test_the_reference_page_is_what_the_commands_say():
    assert PAGE.read_text(encoding='utf-8') == write_page(), 'run python tests/support/command_reference.py'


def test_every_command_is_in_the_reference_and_in_the_readme():
    commands = {str(path.relative_to(REPO)) for folder in ('data_prep', 'tools')
                for path in (REPO / folder).glob('[!_]*.py')}
    assert set(COMMANDS) == commands
    readme = (REPO / 'README.md').read_text(encoding='utf-8')
    assert [command for command in sorted(commands) if f'`{command}`' not in readme] == []


@pytest.fixture(scope='module')
def known_flags():
    parsers = [find_parser(command) for command in COMMANDS]
    return {flag for parser in parsers for action in parser._actions for flag in action.option_strings}


@pytest.mark.parametrize('page', ['README.md', 'configs/README.md', *sorted(
    str(path.relative_to(REPO)) for path in (REPO / 'docs' / 'guides').glob('*.md'))])
def test_guides_name_flags_that_exist(page, known_flags):
    of_other_programs = {'--nproc-per-node', '--force-reinstall', '--no-deps', '--num-images', '--logdir',
                         '--find-links', '--no-index', '--wheel-dir'}
    of_benchmarks = {'--data'}
    named = set(re.findall(r'(?<![\w-])--[a-z][\w-]*', (REPO / page).read_text(encoding='utf-8')))
    assert named - known_flags - of_other_programs - of_benchmarks == set()

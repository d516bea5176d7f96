from support.command_reference import COMMANDS, PAGE, write_page
from support.paths import REPO


def test_the_reference_page_is_what_the_commands_say():
    assert PAGE.read_text(encoding='utf-8') == write_page(), 'run python tests/support/command_reference.py'


def test_every_command_is_in_the_reference_and_in_the_readme():
    commands = {str(path.relative_to(REPO)) for folder in ('data_prep', 'tools')
                for path in (REPO / folder).glob('[!_]*.py')}
    assert set(COMMANDS) == commands
    readme = (REPO / 'README.md').read_text(encoding='utf-8')
    assert [command for command in sorted(commands) if f'`{command}`' not in readme] == []

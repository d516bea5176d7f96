"""Writes docs/reference/commands.md from the commands' own argument parsers.

``python tests/support/command_reference.py`` writes the page; a test compares it with the commands.
"""

import argparse
import importlib.util
import re
import sys
from pathlib import Path
from unittest import mock

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / 'docs' / 'reference' / 'commands.md'
# The order is the order in which a project needs the commands.
COMMANDS = [
    'data_prep/to_coco.py', 'data_prep/inspect_dataset.py', 'data_prep/from_coco.py', 'data_prep/repair_coco.py',
    'data_prep/make_demo_data.py', 'tools/browse.py', 'tools/anchor_recall.py',
    'tools/convert_torchvision.py', 'tools/train.py', 'tools/test.py', 'tools/study.py', 'tools/half_weights.py',
    'tools/export_model.py',
    'tools/evaluate.py', 'tools/submit.py', 'tools/ensemble.py', 'tools/predict.py', 'tools/overlay.py',
    'tools/curves.py', 'tools/report.py', 'tools/mmdet_tool.py']
INTRODUCTION = """# Commands

Every command with all its flags, as `--help` shows them. This page is written from the commands themselves by
`python tests/support/command_reference.py`.

All commands end with one of these exit statuses, which their help names:

- 0: everything was done.
- 1: the command failed, and says why on standard error: `error: …`. An error that nobody foresaw shows a Python
  traceback instead. A closed pipe, as of `| head`, ends a command without a message.
- 2: the command line is wrong. Nothing was done.
- 3: a part was done, and the rest is listed; or `inspect_dataset.py` has found an error or a doubt in the data. Only a
  few commands have this status.
- 130: Ctrl-C ended the command.

The log file of a training or a test gets the traceback of every error that ends it.
"""


class _Parsed(Exception):
    """Carries the parser out of a command when the command calls ``parse_args``."""


def find_parser(command: str) -> argparse.ArgumentParser:
    """Returns the argument parser that a command builds.

    Args:
        command: Path of the script in the checkout.
    """
    path = REPO / command

    def stop(parser: argparse.ArgumentParser, *args: object) -> None:
        raise _Parsed(parser)

    spec = importlib.util.spec_from_file_location(f'reference_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    with (mock.patch.object(sys, 'path', [str(path.parent), *sys.path]), mock.patch.object(sys, 'argv', [str(path)]),
          mock.patch.object(argparse.ArgumentParser, 'parse_args', stop),
          mock.patch.object(argparse.ArgumentParser, 'parse_intermixed_args', stop)):
        spec.loader.exec_module(module)
        try:
            module.parse_args()
        except _Parsed as parsed:
            return parsed.args[0]
    raise ValueError(f'{command} has no parse_args() that parses')


def describe_command(command: str) -> str:
    """Returns the section about one command: description, table of arguments, examples."""
    parser = find_parser(command)
    lines = [f'## {command}', '', parser.description.strip(), '', '| argument | meaning |', '| --- | --- |']
    lines += [f'| {_name_of(action)} | {_help_of(action, parser)} |' for action in parser._actions
              if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction)]
    if parser.epilog:
        lines += ['', '```text', parser.epilog.strip(), '```']
    return '\n'.join(lines)


def _name_of(action: argparse.Action) -> str:
    if not action.option_strings:
        return f'`{action.metavar or action.dest}`'
    if action.nargs == 0:
        value = ''
    elif action.choices is not None and action.metavar is None:
        value = ' {' + ','.join(map(str, action.choices)) + '}'
    else:
        metavars = action.metavar if isinstance(action.metavar, tuple) else (action.metavar or action.dest.upper(),)
        value = ' ' + ' '.join(metavars) + (' …' if action.nargs in ('+', '*') else '')
    return ', '.join(f'`{option}{value}`' for option in action.option_strings)


def _help_of(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ''
    return re.sub(r'\s+', ' ', text).replace('|', '\\|').replace('<', '&lt;')


def write_page() -> str:
    """Returns the text of the whole page."""
    return '\n\n'.join([INTRODUCTION.strip(), *map(describe_command, COMMANDS)]) + '\n'


if __name__ == '__main__':
    PAGE.write_text(write_page(), encoding='utf-8')

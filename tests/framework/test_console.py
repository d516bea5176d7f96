"""The part of MMEngine's log that is shown on the screen."""

import itertools
import logging

import pytest
from mmengine.logging import MMLogger, print_log

from mmcell.framework import console
from mmcell.framework.console import FILE_ONLY, ScreenFilter, shorten_screen, show_line, without_onedl_notice

_numbers = itertools.count()


@pytest.fixture
def logger(tmp_path):
    logger = MMLogger(f'console_{next(_numbers)}', log_file=str(tmp_path / 'x.log'))
    shorten_screen(logger)
    return logger


@pytest.fixture
def read_file(tmp_path):
    return lambda: (tmp_path / 'x.log').read_text()


def test_information_of_the_framework_is_for_the_file(logger, read_file, capsys):
    print_log('Config: hundreds of lines', logger)
    logger.info('from mmcell or a hook of the user')
    logger.info('trainable parameters', extra=FILE_ONLY)
    assert capsys.readouterr().out == 'from mmcell or a hook of the user\n'
    for text in ('Config: hundreds of lines', 'from mmcell or a hook', 'trainable parameters'):
        assert f' - INFO - {text}' in read_file()


def test_the_reason_for_early_stopping_is_shown():
    folder = ScreenFilter().framework_folders[0]
    for module, is_shown in (('early_stopping_hook', True), ('checkpoint_hook', False)):
        record = logging.LogRecord('mmengine', logging.INFO, f'{folder}hooks/{module}.py', 1, 'text', (), None)
        assert ScreenFilter().filter(record) == is_shown


def test_warnings_and_errors_of_the_framework_are_shown(logger, read_file, capsys):
    print_log('the seed differs', logger, logging.WARNING)
    print_log('"HardDiskBackend" is the alias of "LocalBackend"', logger, logging.WARNING)
    print_log('\n'.join(map(str, range(100))), logger, logging.ERROR)
    shown = capsys.readouterr().out.splitlines()
    assert shown == ['warning: the seed differs', 'error: 0', *map(str, range(1, 100))]
    assert 'HardDiskBackend' in read_file()


@pytest.mark.parametrize('n_lines, n_columns, is_cut', [
    (console.WARNING_LINES, console.WARNING_COLUMNS, False), (console.WARNING_LINES + 1, 3, True),
    (1, console.WARNING_COLUMNS + 1, True)])
def test_only_the_beginning_of_a_long_warning_is_shown(n_lines, n_columns, is_cut, logger, read_file, capsys):
    text = '\n\n'.join(['x' * n_columns] * n_lines)
    logger.warning(text)
    shown = capsys.readouterr().out.removeprefix('warning: ').splitlines()
    assert shown[0].rstrip(' …') == 'x' * min(n_columns, console.WARNING_COLUMNS)
    assert ('log file' in shown[-1]) == is_cut
    assert len(shown) == min(n_lines, console.WARNING_LINES) + is_cut
    assert text in read_file()


def test_a_line_for_the_screen_is_not_in_the_file(logger, read_file, capsys):
    show_line(logger, 'epoch 1/2')
    assert capsys.readouterr().out == 'epoch 1/2\n'
    assert 'epoch 1/2' not in read_file()
    # As on all processes but the first.
    logger.handlers[0].setLevel(logging.ERROR)
    show_line(logger, 'epoch 2/2')
    assert capsys.readouterr().out == ''


def test_only_the_notice_of_onedl_is_left_out_of_what_is_printed(capsys):
    with without_onedl_notice():
        print('before')
        print('Could not import OneDL. Skipping OneDL datasets.')
        print('Could not import OneDL')
        print()
        print('after', end='')
    print(' the block')
    assert capsys.readouterr().out == 'before\n\nafter the block\n'

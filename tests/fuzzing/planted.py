"""Readers with a fault each, which the fuzzing must find."""

import os
import sys
import time

import numpy as np
from fuzzing.text_mutations import INJECTED
from fuzzing.workers import MIB, Target

from mmcell.errors import MmcellError


def _die(path):
    os.abort()


def _sleep(path):
    time.sleep(3600)


def _compute(path):
    while True:
        pass


def _fill_memory(path):
    np.ones(400 * MIB, np.uint8)


def _reserve_memory(path):
    np.zeros(2 ** 45, np.uint8)


def _hide_lack_of_memory(path):
    try:
        _reserve_memory(path)
    except MemoryError as error:
        raise MmcellError(f'{path}: is damaged') from error


def _fail(path):
    {}['key']


def _print_traceback(path):
    print('Traceback (most recent call last):', file=sys.stderr, flush=True)


def _say_nothing(path):
    raise MmcellError('')


def _say_too_much(path):
    raise MmcellError('n\n' * 2500)


def _let_the_file_speak(path):
    raise MmcellError(f'{path}: has the name a\n{INJECTED}')


def _disagree(path):
    assert path.read_bytes() == b'', 'two ways to read the file disagree'


def _fail_sometimes(path):
    if path.stat().st_size % 5 == 0:
        raise TypeError('a size that nobody thought of')
    raise MmcellError('is refused')


# Each target with the beginning of the name of its fault; None for those that have no fault.
FAULTS = {'dies': (_die, 'crash: SIGABRT'), 'sleeps': (_sleep, 'hang: '), 'computes': (_compute, 'time: SIGXCPU'),
          'fills the memory': (_fill_memory, 'memory'), 'reserves memory': (_reserve_memory, 'memory'),
          'hides lack of memory': (_hide_lack_of_memory, 'memory'),
          'fails': (_fail, 'KeyError: tests/fuzzing/planted.py'),
          'prints a traceback': (_print_traceback, 'a traceback is printed'),
          'is silent': (_say_nothing, 'message: empty'),
          'says too much': (_say_too_much, 'message: far too long'),
          'lets the file speak': (_let_the_file_speak, 'message: has a line of its own'),
          'disagrees': (_disagree, 'AssertionError'), 'reads': (lambda path: None, None)}
TARGETS = {name: Target('masks', read) for name, (read, _) in FAULTS.items()}
SOMETIMES = {'fails sometimes': Target('masks', _fail_sometimes)}
SOUND = {'reads': TARGETS['reads']}

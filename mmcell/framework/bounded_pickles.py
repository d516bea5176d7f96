"""Reads pickles of unknown origin in bounded time and memory, and finds those with which others could not.

A pickle is a program. Interpreters that refuse to call other functions than a few (Python's with ``find_class``,
torch's with ``weights_only``) run no foreign code. But a file of a hundred bytes can still make them fill the memory or
compute for years: with a huge index into their memory, with a function that copies a long text again and again, or with
a key of a dict whose hash takes exponential time. :class:`BoundedUnpickler` is the interpreter of the standard library
that is written in Python, which has no such index, and checks keys and the arguments of functions. What remains takes
time and memory in proportion to the file.
"""

import io
import pickle
from collections.abc import Callable
from contextlib import suppress

import torch

# Plain values, tensors and their containers need these instructions. Those that make other objects are missing, and
# those of the text format of Python 2.
_INSTRUCTIONS = (
    'PROTO', 'FRAME', 'STOP', 'MARK', 'POP', 'NONE', 'NEWTRUE', 'NEWFALSE', 'BININT', 'BININT1', 'BININT2', 'LONG1',
    'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'SHORT_BINSTRING', 'SHORT_BINBYTES', 'BINBYTES',
    'BINBYTES8', 'EMPTY_LIST', 'APPEND', 'APPENDS', 'EMPTY_TUPLE', 'TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3',
    'EMPTY_DICT', 'SETITEM', 'SETITEMS', 'BINPUT', 'LONG_BINPUT', 'MEMOIZE', 'BINGET', 'LONG_BINGET', 'GLOBAL',
    'STACK_GLOBAL', 'REDUCE', 'BUILD', 'BINPERSID')
_PLAIN_KEYS = (str, int, float, bytes, type(None))
# A byte of a pickle may stand for so many bytes that functions make.
_EXPANSION = 16


class BoundedUnpickler(pickle._Unpickler):
    """Interprets a pickle; subclasses say in ``find_class`` which functions it may call.

    Args:
        content: The pickle.
    """

    dispatch = {getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]]
                for name in _INSTRUCTIONS}

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding='latin1')
        self._left = _EXPANSION * len(content)

    def load(self) -> object:
        """Returns the object that the pickle makes.

        Raises:
            pickle.UnpicklingError: The pickle is damaged, has instructions or keys that plain values do not need, or
                calls functions with more than its size allows.
        """
        try:
            return super().load()
        except pickle.UnpicklingError:
            raise
        except KeyError as error:
            raise pickle.UnpicklingError(f'it has an unknown instruction ({error})') from error
        # A damaged pickle can make the interpreter fail in any way, even with a MemoryError.
        except Exception as error:
            reason = ' '.join(str(error).split())
            raise pickle.UnpicklingError(f'{type(error).__name__}{reason and ": "}{reason}') from error

    def _set_items(self, items: list) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            parts = key if isinstance(key, tuple) else (key,)
            if not isinstance(self.stack[-1], dict) or not all(isinstance(part, _PLAIN_KEYS) for part in parts):
                raise pickle.UnpicklingError(f'it has a {type(key).__name__} of other values than numbers and texts as '
                                             f'a key of a {type(self.stack[-1]).__name__}')
            self.stack[-1][key] = value

    def _setitem(self) -> None:
        self._set_items([self.stack.pop(-2), self.stack.pop()])

    def _setitems(self) -> None:
        self._set_items(self.pop_mark())

    def _reduce(self) -> None:
        arguments = self.stack.pop()
        if not isinstance(arguments, tuple):
            raise pickle.UnpicklingError('it calls a function without arguments')
        cost = 1
        for argument in arguments:
            if isinstance(argument, str | bytes | list | tuple | dict):
                cost *= 1 + len(argument)
            elif isinstance(argument, int) and not getattr(self.stack[-1], 'makes_views', False):
                cost *= 1 + abs(argument)
        self._left -= cost
        if self._left < 0:
            raise pickle.UnpicklingError('it unfolds to far more than its size')
        self.stack[-1] = self.stack[-1](*arguments)

    def _build(self) -> None:
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):  # state dicts have attributes, which nobody reads here
            raise pickle.UnpicklingError(f'it sets attributes of a {type(self.stack[-1]).__name__}')

    dispatch.update({pickle.SETITEM[0]: _setitem, pickle.SETITEMS[0]: _setitems, pickle.REDUCE[0]: _reduce,
                     pickle.BUILD[0]: _build})


def refuse_unbounded(content: bytes) -> None:
    """Checks a pickle before torch's own interpreter reads it with ``weights_only``.

    No function is called. Where the pickle names a function that torch does not know, torch stops, and so does this
    check.

    Args:
        content: A pickle, or a whole file of torch before 1.6, which begins with five pickles.

    Raises:
        pickle.UnpicklingError: The pickle is damaged, or would take far more memory or time than its size allows.
    """
    rehearsal = _Rehearsal(content)
    with suppress(_TorchStops):
        if rehearsal.load() == torch.serialization.MAGIC_NUMBER:
            for _ in range(4):
                rehearsal.load()


class _TorchStops(BaseException):
    """The pickle has come to a name that torch refuses."""


class _Rehearsal(BoundedUnpickler):
    """Interprets a pickle of torch with stand-ins for everything that it makes."""

    def find_class(self, module: str, name: str) -> Callable:
        path = f'{module}.{name}'.replace('__builtin__', 'builtins')  # the name before Python 3
        if path in _CONTAINERS:
            return _CONTAINERS[path]
        if path not in ('_codecs.encode', 'builtins.bytearray', 'builtins.complex') and not module.startswith('torch'):
            raise _TorchStops
        return _View if name.startswith('_rebuild_') else _StandIn

    def persistent_load(self, pid: object) -> object:
        return _StandIn()


class _StandIn:
    def __init__(self, *arguments: object) -> None:
        pass


class _View(_StandIn):
    # Its numbers say which part of existing memory a tensor shows.
    makes_views = True


def _hashed(keys: list | dict = ()) -> dict:
    if not all(isinstance(key, _PLAIN_KEYS) for key in keys):
        raise pickle.UnpicklingError('it has a set of other values than numbers and texts')
    return {}


_CONTAINERS = {'collections.OrderedDict': lambda: {}, 'collections.Counter': _hashed, 'builtins.set': _hashed}

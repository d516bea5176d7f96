"""Runs functions around or after the import of a module, whichever code imports it."""

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec


def run_after_import(name: str, action: Callable[[types.ModuleType], None]) -> None:
    """Calls ``action(module)`` right after a module has been imported for the first time.

    If the module has been imported already, the action runs at once. A second call for the same name and action changes
    nothing as long as the module has not been imported.

    Args:
        name: Full name of the module, for example ``mmengine.runner.checkpoint``.
        action: Function that takes the module. It runs again if ``run_after_import`` is called again after the import.
    """
    if name in sys.modules:
        action(sys.modules[name])
    else:
        _add_finder(name, partial(_followed_by, action), action)


def import_inside(name: str, surroundings: Callable[[], AbstractContextManager]) -> None:
    """Makes the code of a module run inside a context manager when the module is imported for the first time.

    If the module has been imported already, nothing happens. A second call for the same name and surroundings changes
    nothing.

    Args:
        name: Full name of the module.
        surroundings: Function that returns the context manager.
    """
    if name not in sys.modules:
        _add_finder(name, lambda module: surroundings(), surroundings)


@contextmanager
def _followed_by(action: Callable[[types.ModuleType], None], module: types.ModuleType) -> Iterator[None]:
    yield
    action(module)


def _add_finder(name: str, surround: Callable[[types.ModuleType], AbstractContextManager], key: object) -> None:
    if not any(isinstance(finder, _SurroundingFinder) and (finder.name, finder.key) == (name, key)
               for finder in sys.meta_path):
        sys.meta_path.insert(0, _SurroundingFinder(name, surround, key))


class _SurroundingFinder(MetaPathFinder):
    """Finds one module with the help of the other finders, and makes its loader run the module inside a block."""

    def __init__(self, name: str, surround: Callable[[types.ModuleType], AbstractContextManager], key: object) -> None:
        self.name = name
        self.surround = surround
        self.key = key
        self._is_searching = False

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: types.ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self.name or self._is_searching:
            return None
        # The search below asks this finder again, which then returns None, so that the next finders are asked.
        self._is_searching = True
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._is_searching = False
        if spec is None or spec.loader is None:
            return spec
        exec_module = spec.loader.exec_module

        def exec_module_inside(module: types.ModuleType) -> None:
            with self.surround(module):
                exec_module(module)
            # The finder is not removed before this point, because find_spec is also called to ask whether a module
            # exists, without an import.
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        spec.loader.exec_module = exec_module_inside
        return spec

"""Runs a function as soon as a module has been imported, whichever code imports it."""

import importlib.util
import sys
import types
from collections.abc import Callable, Sequence
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
    elif not any(isinstance(finder, _ActionFinder) and (finder.name, finder.action) == (name, action)
                 for finder in sys.meta_path):
        sys.meta_path.insert(0, _ActionFinder(name, action))


class _ActionFinder(MetaPathFinder):
    """Finds one module with the help of the other finders, and makes its loader run the action after the module."""

    def __init__(self, name: str, action: Callable[[types.ModuleType], None]) -> None:
        self.name = name
        self.action = action
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

        def exec_module_then_act(module: types.ModuleType) -> None:
            exec_module(module)
            self.action(module)
            # The finder is not removed before this point, because find_spec is also called to ask whether a module
            # exists, without an import.
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        spec.loader.exec_module = exec_module_then_act
        return spec

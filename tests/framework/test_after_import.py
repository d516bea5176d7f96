import importlib.util
import sys

import pytest

from mmcell.framework.after_import import run_after_import


@pytest.fixture
def module_name(tmp_path, monkeypatch):
    """Name of a module in a temporary folder that can be imported, but has not been imported yet."""
    (tmp_path / 'imported_later.py').write_text("value = 'its own'")
    monkeypatch.syspath_prepend(tmp_path)
    yield 'imported_later'
    sys.modules.pop('imported_later', None)


def replace_value(module):
    module.value = 'replaced'


def test_the_action_runs_right_after_the_import(module_name):
    finders = list(sys.meta_path)
    run_after_import(module_name, replace_value)
    run_after_import(module_name, replace_value)
    assert len(sys.meta_path) == len(finders) + 1
    assert module_name not in sys.modules
    assert importlib.import_module(module_name).value == 'replaced'
    assert sys.meta_path == finders


def test_the_action_still_runs_after_a_search_for_the_module(module_name):
    run_after_import(module_name, replace_value)
    assert importlib.util.find_spec(module_name) is not None
    assert importlib.import_module(module_name).value == 'replaced'


def test_a_module_that_is_imported_already_is_changed_at_once(module_name):
    module = importlib.import_module(module_name)
    run_after_import(module_name, replace_value)
    assert module.value == 'replaced'


def test_a_module_that_does_not_exist_is_not_found(module_name):
    finders = list(sys.meta_path)
    run_after_import('there_is_no_such_module', replace_value)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('there_is_no_such_module')
    sys.meta_path[:] = finders

"""Clean scenes, which are made and measured once for all tests."""

import pytest
from support.planted_cells import inspected, make_scene


@pytest.fixture(scope='session')
def scenes():
    return tuple(make_scene(seed) for seed in range(8))


@pytest.fixture(scope='session')
def clean(scenes):
    """A set without defects."""
    return inspected(scenes)

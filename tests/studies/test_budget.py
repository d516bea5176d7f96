"""How a budget is divided, so that the whole study ends in time."""

import time

import pytest

from mmcell.studies.budget import NO_LIMIT, TIMES, fits, known_seconds, plan_limit, timed
from mmcell.studies.facts import add_test, add_training, read_effort_facts, write_json


def test_without_a_budget_nothing_ends(tmp_path):
    assert plan_limit(100., None, tmp_path) == NO_LIMIT
    assert fits(1e9, None)


def test_a_first_call_keeps_a_tenth_for_the_tables_and_a_tenth_for_the_stop(tmp_path):
    limit = plan_limit(100., 60., tmp_path, [tmp_path / 'run'])
    assert (limit.end, limit.kill, limit.ask, limit.begin) == pytest.approx((160., 154., 148., 145.))
    hours = plan_limit(0., 8 * 3600., tmp_path)
    assert (hours.end - hours.kill, hours.kill - hours.ask, hours.ask - hours.begin) == (45., 45., 25.)


def test_later_calls_keep_what_was_measured(tmp_path):
    write_json({'tables': 5., 'report': 2., 'share': 1.}, tmp_path / TIMES)
    for name, seconds in (('a', 4.), ('b', 6.)):
        (tmp_path / name).mkdir()
        add_training(tmp_path / name, 30., 10, seconds)
    limit = plan_limit(0., 540., tmp_path, [tmp_path / 'a', tmp_path / 'b', tmp_path / 'c'])
    assert (limit.end - limit.kill, limit.kill - limit.ask) == pytest.approx((14., 11.))
    # However long they took, a third of the budget is left for trainings.
    short = plan_limit(0., 9., tmp_path, [tmp_path / 'a'])
    assert (short.kill, short.ask) == (6., 3.)


def test_the_parts_of_the_end_are_timed_one_by_one(tmp_path):
    assert known_seconds('report', tmp_path) is None
    with timed('report', tmp_path):
        time.sleep(.05)
    with timed('tables', tmp_path):
        pass
    assert .05 <= known_seconds('report', tmp_path) < 5. and known_seconds('tables', tmp_path) < .05


def test_the_slowest_stop_counts(tmp_path):
    for seconds in (4., 1., 0.):
        add_training(tmp_path, 30., 10, seconds)
    assert read_effort_facts(tmp_path)['stop_seconds'] == 4.


def test_effort_adds_up(tmp_path):
    add_training(tmp_path, 30., 10, 4.)
    add_test(tmp_path, 'net.pkl', 7.)
    assert add_training(tmp_path, 20., 30, 0.) == {'seconds': 50., 'peak_bytes': 30}
    assert read_effort_facts(tmp_path) == {'seconds': 50., 'peak_bytes': 30, 'stop_seconds': 4., 'tests':
                                           {'net.pkl': 7.}}


def test_work_must_fit_with_a_margin():
    assert fits(None, time.time() + 1) and fits(5., time.time() + 10)
    assert not fits(9., time.time() + 10)
    assert not fits(None, time.time() - 1)

"""Lowest versions: what SECURITY.md says is what requirements.txt demands and constraints.txt fulfils."""

import re
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from support.paths import REPO


def advisories():
    text = (REPO / 'SECURITY.md').read_text(encoding='utf-8').partition('## Advisories')[2]
    rows = re.findall(r'^\| ([a-z0-9-]+) \| (\S+) \| (.+) \|$', text, re.MULTILINE)
    return [row for row in rows if set(row[0]) != {'-'} and row[0] != 'package']


def requirements(name):
    lines = (REPO / name).read_text(encoding='utf-8').splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith(('#', '-'))]
    return {requirement.name: requirement.specifier for requirement in parsed}


def test_the_table_answers_the_advisories_that_are_known():
    assert {package for package, _, _ in advisories()} >= {'torch', 'torchvision', 'pillow'}
    assert {'CVE-2026-24747', 'CVE-2026-4775'} <= set(re.findall(r'CVE-\d+-\d+', str(advisories())))


@pytest.mark.parametrize('package, lowest, reason', advisories())
def test_no_version_below_the_lowest_is_allowed(package, lowest, reason):
    allowed = requirements('requirements.txt')[package]
    floors = [Version(clause.version) for clause in allowed if clause.operator in ('>=', '==', '~=')]
    assert max(floors) == Version(lowest), f'{package}: {reason}'
    tested, = requirements('constraints.txt')[package]
    assert Version(tested.version) >= Version(lowest)
    assert Version(version(package)) >= Version(lowest)


def test_the_tested_versions_are_allowed_ones():
    tested = requirements('constraints.txt')
    for package, allowed in requirements('requirements.txt').items():
        pinned, = tested[package]
        assert allowed.contains(pinned.version), package

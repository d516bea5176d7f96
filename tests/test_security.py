"""Lowest versions: what SECURITY.md says is what requirements.txt demands and constraints.txt fulfils."""

import re
from importlib.metadata import version

import pytest
from packaging.version import Version
from support.distributions import lowest_version, pinned_versions, read_requirements
from support.paths import REPO


def advisories():
    text = (REPO / 'SECURITY.md').read_text(encoding='utf-8').partition('## Advisories')[2]
    rows = re.findall(r'^\| ([a-z0-9-]+) \| (\S+) \| (.+) \|$', text, re.MULTILINE)
    return [row for row in rows if set(row[0]) != {'-'} and row[0] != 'package']


def test_the_table_answers_the_advisories_that_are_known():
    assert {package for package, _, _ in advisories()} >= {'torch', 'torchvision', 'pillow'}
    assert {'CVE-2026-24747', 'CVE-2026-4775'} <= set(re.findall(r'CVE-\d+-\d+', str(advisories())))


@pytest.mark.parametrize('package, lowest, reason', advisories())
def test_no_version_below_the_lowest_is_allowed(package, lowest, reason):
    assert lowest_version(read_requirements('requirements.txt')[package]) == Version(lowest), f'{package}: {reason}'
    assert Version(pinned_versions()[package]) >= Version(lowest)
    assert Version(version(package)) >= Version(lowest)


def test_the_tested_versions_are_allowed_ones():
    for package, requirement in read_requirements('requirements.txt').items():
        assert requirement.specifier.contains(pinned_versions()[package]), package

"""Dependencies: the documents, the requirements files and the installed packages agree."""

import json
import re
from importlib.metadata import distribution, distributions, version

import pytest
import yaml
from cyclonedx.model.bom import Bom
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from support.dependency_list import HEADING, PAGE
from support.distributions import (
    UNPINNED,
    all_needs,
    has_version,
    licence_of,
    lowest_version,
    pinned_versions,
    read_requirements,
)
from support.paths import REPO
from support.sbom import write_sbom

import mmcell

REQUIRED = read_requirements('requirements.txt')
PYTHONS = [Version(f'3.{minor}') for minor in range(8, 30)]


def read(name):
    return (REPO / name).read_text(encoding='utf-8')


def table_rows(text):
    lines = re.findall(r'^\|.+\|$', text, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in lines]
    return [row for row in rows if row[0] != 'package' and set(row[0]) != {'-'}]


def allowed_pythons():
    allowed = SpecifierSet(re.search(r'requires-python = "(.+)"', read('pyproject.toml'))[1])
    return [f'{python}' for python in PYTHONS if python in allowed]


def test_the_table_names_every_requirement_with_its_lowest_version():
    rows = table_rows(PAGE.read_text(encoding='utf-8').partition(HEADING)[0])
    assert {row[0]: Version(row[3]) for row in rows} == {
        name: lowest_version(requirement) for name, requirement in REQUIRED.items()}
    assert all(len(row) == 6 and all(row) for row in rows)


def test_every_advisory_that_decides_a_lowest_version_is_in_both_tables():
    mended = {row[0]: row[5] for row in table_rows(PAGE.read_text(encoding='utf-8').partition(HEADING)[0])
              if 'mended in' in row[5]}
    advisories = read('SECURITY.md').partition('## Advisories')[2]
    assert set(re.findall(r'CVE-\d+-\d+', advisories)) == set(re.findall(r'CVE-\d+-\d+', str(mended)))
    for name, text in mended.items():
        assert Version(text.rpartition(' ')[2]) == lowest_version(REQUIRED[name])


@pytest.mark.parametrize('part, column', [(0, 2), (2, 2)])
def test_licences_are_those_of_the_installed_packages(part, column):
    rows = table_rows(PAGE.read_text(encoding='utf-8').partition(HEADING)[part])
    # Packages can state their licence in other words in other versions.
    rows = [row for row in rows if has_version(row[0], pinned_versions()[row[0]])]
    assert {row[0]: row[column] for row in rows} == {row[0]: licence_of(distribution(row[0])) for row in rows}
    assert len(rows) > 10


def test_the_list_of_what_they_bring_is_that_of_constraints_txt():
    rows = table_rows(PAGE.read_text(encoding='utf-8').partition(HEADING)[2])
    assert {name: version for name, version, _ in rows} == {
        name: version for name, version in pinned_versions().items() if name not in REQUIRED}


def test_constraints_txt_pins_everything_that_is_needed():
    needed = all_needs({*REQUIRED, *read_requirements('requirements-dev.txt')})
    assert {name for name in needed if not name.startswith(UNPINNED)} <= set(pinned_versions())


def test_only_requirements_txt_states_lowest_versions_of_what_mmcell_uses():
    # A second place would have to be kept in step: pyproject.toml names no dependency, and the files share none.
    assert 'dependencies' not in re.findall(r'^(\S+) = ', read('pyproject.toml'), re.MULTILINE)
    assert not set(REQUIRED) & set(read_requirements('requirements-dev.txt'))
    # Documents that name a version of a requirement name the tested one, or the end of its range.
    for name in ('README.md', *(f'docs/guides/{path.name}' for path in (REPO / 'docs' / 'guides').glob('*.md'))):
        for package, operator, number in re.findall(r'\b([a-z][a-z-]+)(==|<|>=)(\d[\w.]*)', read(name)):
            if package in REQUIRED:
                allowed = {clause.operator: clause.version for clause in REQUIRED[package].specifier}
                expected = {**allowed, '==': pinned_versions()[package]}[operator]
                assert number == expected, f'{name}: {package}{operator}{number}'


def test_every_place_names_the_same_pythons():
    pythons = allowed_pythons()
    lowest, highest = pythons[0], pythons[-1]
    assert pythons == ['3.11', '3.12', '3.13']
    assert f'Python {lowest} to {highest}' in read('README.md')
    assert f'for Python {lowest} to {highest}' in read('constraints.txt').splitlines()[0]
    assert f'for Python {lowest} to {highest}' in read('requirements.txt')
    assert 'Python 3.11, 3.12 or 3.13' in read('docs/guides/install.md')
    minors = [python.split('.')[1] for python in pythons]
    makefile = read('Makefile')
    assert f'(3, {minors[0]}) <= sys.version_info < (3, {int(minors[-1]) + 1})' in makefile
    assert ' '.join(f'python{python}' for python in reversed(pythons)) in makefile
    assert f'target-version = "py3{minors[0]}"' in read('pyproject.toml')
    jobs = yaml.safe_load(read('.github/workflows/ci.yml'))['jobs']
    assert jobs['tests']['strategy']['matrix']['python'] == pythons


def test_continuous_integration_calls_what_exists():
    targets = set(re.findall(r'^([a-z-]+):', read('Makefile'), re.MULTILINE))
    steps = [step for job in yaml.safe_load(read('.github/workflows/ci.yml'))['jobs'].values() for step in job['steps']]
    commands = [step['run'] for step in steps if 'run' in step]
    assert '.ci/run' in commands and 'make test-lowest' in commands
    for command in commands:
        program, *arguments = command.split()
        assert (program == 'make' and set(arguments) <= targets) or (REPO / program).stat().st_mode & 0o111, command


def test_the_makefile_pins_every_lowest_version():
    pattern = re.search(r"sed -n '(.+)' requirements\.txt", read('Makefile'))[1]
    _, found, replacement, _ = pattern.split('/')
    pins = [re.sub(found.replace(r'\(', '(').replace(r'\)', ')'), replacement, line)
            for line in read('requirements.txt').splitlines() if not line.startswith('#') and '>=' in line]
    assert {canonicalize_name(pin.split('==')[0]): Version(pin.split('==')[1]) for pin in pins} == {
        name: lowest_version(requirement) for name, requirement in REQUIRED.items()}


def test_the_four_packages_of_the_framework_can_be_kept():
    framework = {name for name in REQUIRED if name.startswith('onedl-')}
    assert set(re.findall(r'onedl-[a-z]+', read('docs/guides/install.md').partition('## If')[2])) >= framework
    assert len(framework) == 4 and "grep -o '^onedl-[a-z]*' requirements.txt" in read('Makefile')


def test_the_bill_of_materials_has_every_package(tmp_path):
    write_sbom(tmp_path / 'sbom.json')
    content = json.loads((tmp_path / 'sbom.json').read_text(encoding='utf-8'))
    assert (content['bomFormat'], content['specVersion']) == ('CycloneDX', '1.6')
    assert content['metadata']['component']['version'] == mmcell.__version__
    components = {component['name']: component for component in content['components']}
    assert set(components) == {canonicalize_name(package.name) for package in distributions()} - {'mmcell'}
    for name, component in components.items():
        assert component['version'] == version(name)
        assert component['purl'] == f'pkg:pypi/{name}@{component["version"]}'
        licence, = component['licenses']
        assert licence.get('expression') or licence['license'].get('id') or licence['license']['name']
    assert components['numpy']['licenses'] == [{'license': {'name': licence_of(distribution('numpy'))}}]
    # Every package that something needs is in the file, and the library of the format reads it.
    references = {component['bom-ref'] for component in components.values()} | {'mmcell'}
    assert {need for entry in content['dependencies'] for need in entry.get('dependsOn', ())} <= references
    assert len(Bom.from_json(content).components) == len(components)

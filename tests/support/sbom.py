"""Writes the software bill of materials (SBOM) of this Python environment: CycloneDX 1.6, as JSON.

``make sbom`` calls ``python -m support.sbom FILE`` with the folder tests/ on Python's path.
"""

import sys
from importlib.metadata import distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.utils import canonicalize_name
from support.distributions import direct_needs, licence_of

import mmcell
from mmcell.files.whole_files import written_whole

# SPDX's word for a licence about which nothing is stated.
_NOT_STATED = 'NOASSERTION'


def list_components() -> dict[str, Component]:
    """Returns the installed distributions other than mmcell, by name, each with version, address and licence."""
    components = {}
    for name in sorted({canonicalize_name(package.name) for package in distributions()} - {'mmcell'}):
        package = distribution(name)
        licence = LicenseFactory().make_from_string(licence_of(package) or _NOT_STATED)
        components[name] = Component(
            type=ComponentType.LIBRARY, name=name, version=package.version, bom_ref=f'{name}=={package.version}',
            purl=PackageURL('pypi', name=name, version=package.version), licenses=[licence])
    return components


def make_bom() -> Bom:
    """Returns the list of all components, and which of them needs which."""
    components = list_components()
    application = Component(type=ComponentType.APPLICATION, name='mmcell', version=mmcell.__version__,
                            bom_ref='mmcell', licenses=[LicenseFactory().make_from_string('MIT')])
    bom = Bom(components=components.values())
    bom.metadata.component = application
    bom.register_dependency(application, components.values())
    for name, component in components.items():
        needs = direct_needs(distribution(name)) & set(components)
        bom.register_dependency(component, [components[need] for need in needs])
    return bom


def write_sbom(path: str | Path) -> None:
    """Writes the file, completely or not at all."""
    with written_whole([path]) as (temporary,):
        temporary.write_text(JsonV1Dot6(make_bom()).output_as_string(indent=2), encoding='utf-8')


if __name__ == '__main__':
    write_sbom(sys.argv[1])
    print(f'{sys.argv[1]}: the installed packages, with versions and licences')

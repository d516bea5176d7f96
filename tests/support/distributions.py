"""What requirements files and the metadata of installed packages say. Names are in the form of PyPI: ``jinja2``."""

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from support.paths import REPO

# The first words of the texts of licences, for packages whose metadata hold only the text.
_TEXTS = {'Apache License': 'Apache-2.0', 'MIT License': 'MIT'}
# Not pinned: the tools that install, and what torch for Linux asks for by itself, in exactly one version.
UNPINNED = ('pip', 'setuptools', 'triton', 'cuda-', 'nvidia-')


def read_requirements(name: str) -> dict[str, Requirement]:
    """Returns the requirements in a requirements file of the project, by the name of the package."""
    lines = (REPO / name).read_text(encoding='utf-8').splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith(('#', '-'))]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def lowest_version(requirement: Requirement) -> Version:
    """Returns the version after ``>=`` of a requirement."""
    version, = [clause.version for clause in requirement.specifier if clause.operator == '>=']
    return Version(version)


def pinned_versions() -> dict[str, str]:
    """Returns the versions in constraints.txt, by the name of the package."""
    return {name: next(iter(pinned.specifier)).version for name, pinned in read_requirements('constraints.txt').items()}


def has_version(name: str, version: str) -> bool:
    """Returns whether a package is installed in this version."""
    try:
        return Version(distribution(name).version) == Version(version)
    except PackageNotFoundError:
        return False


def licence_of(package: Distribution) -> str:
    """Returns the licence of an installed package in the words of its metadata; an empty text if they state none."""
    metadata = package.metadata
    field = (metadata.get('License') or '').strip()
    if metadata.get('License-Expression'):
        return metadata['License-Expression']
    if field and '\n' not in field and field != 'UNKNOWN':
        return field
    classified = [text.rpartition(' :: ')[2] for text in metadata.get_all('Classifier', ())
                  if text.startswith('License :: ')]
    texts = [field, *(package.read_text(f'licenses/{name}') or '' for name in metadata.get_all('License-File', ()))]
    titled = [licence for title, licence in _TEXTS.items() if any(title in text for text in texts)]
    return '; '.join(classified or titled[:1])


def direct_needs(package: Distribution) -> set[str]:
    """Returns the names of the packages that an installed package needs here, without its extras."""
    needs = map(Requirement, package.requires or ())
    return {canonicalize_name(need.name) for need in needs
            if need.marker is None or need.marker.evaluate({'extra': ''})}


def all_needs(names: set[str]) -> set[str]:
    """Returns these packages, and all that they need in turn."""
    reached, waiting = set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += direct_needs(distribution(name))
    return reached

"""Writes the list of the packages that the dependencies bring into docs/reference/dependencies.md.

``python -m support.dependency_list``, with the folder tests/ on Python's path, writes it from constraints.txt and from
the metadata of the installed packages; a test compares it with both.
"""

from importlib.metadata import distribution

from support.distributions import has_version, licence_of, pinned_versions, read_requirements
from support.paths import REPO

PAGE = REPO / 'docs' / 'reference' / 'dependencies.md'
HEADING = '## Packages that these bring\n'
_INTRODUCTION = """
All packages of `constraints.txt` that `requirements.txt` does not name, with those that only the tests need.
`PYTHONPATH=tests python -m support.dependency_list` writes this list from the installed packages.

| package | tested | licence |
| --- | --- | --- |
"""


def list_brought() -> list[tuple[str, str, str]]:
    """Returns name, tested version and licence of each package.

    Raises:
        ValueError: Other versions are installed than those that were tested.
    """
    versions = {name: version for name, version in pinned_versions().items()
                if name not in read_requirements('requirements.txt')}
    missing = [f'{name}=={version}' for name, version in versions.items() if not has_version(name, version)]
    if missing:
        raise ValueError(f'first install the tested versions of all packages; not installed: {", ".join(missing)}')
    return [(name, version, licence_of(distribution(name))) for name, version in sorted(versions.items())]


if __name__ == '__main__':
    head, _, _ = PAGE.read_text(encoding='utf-8').partition(HEADING)
    rows = ''.join(f'| {" | ".join(row)} |\n' for row in list_brought())
    PAGE.write_text(head + HEADING + _INTRODUCTION + rows, encoding='utf-8')

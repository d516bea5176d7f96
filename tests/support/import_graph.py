"""The rooms of the project (folders of Python files, and loose modules) and the imports between them.

``python tests/support/import_graph.py [CHECKOUT]`` prints them, top floor first.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

COMMAND_FOLDERS = ('tools', 'benchmarks', 'data_prep')
# In this folder, each folder and each loose module is a room. Each of the COMMAND_FOLDERS is one room.
PACKAGE = 'mmcell'


def find_imports(checkout: Path) -> set[tuple[str, str]]:
    """Returns the imports between the rooms of a checkout as pairs (importing room, imported room).

    Imports inside functions count, too. ``mmcell/__init__.py`` belongs to no room: its imports are left out, and so is
    ``import mmcell``.
    """
    arrows = set()
    for path in sorted(path for folder in (PACKAGE, *COMMAND_FOLDERS) for path in (checkout / folder).rglob('*.py')):
        relative = path.relative_to(checkout)
        if relative == Path(PACKAGE, '__init__.py'):
            continue
        room = _room_of_file(relative)
        arrows |= {(room, imported) for module in _imported_modules(path)
                   if (imported := _room_of_module(module, checkout)) not in (None, room)}
    return arrows


def find_rooms(checkout: Path) -> set[str]:
    """Returns the names of all rooms of a checkout: ``tools``, ``mmcell/masks``, ``mmcell/errors.py`` …"""
    return {_room_of_file(path.relative_to(checkout)) for folder in (PACKAGE, *COMMAND_FOLDERS)
            for path in (checkout / folder).rglob('*.py')} - {f'{PACKAGE}/__init__.py'}


def assign_floors(rooms: set[str], arrows: set[tuple[str, str]]) -> dict[str, int]:
    """Returns the floor of each room: 1 if it imports no other room, else one above the highest room that it imports.

    Raises:
        ValueError: Rooms import one another in a circle; the message names them.
    """
    floors: dict[str, int] = {}
    while len(floors) < len(rooms):
        ready = {room for room in rooms - floors.keys()
                 if all(below in floors for above, below in arrows if above == room)}
        if not ready:
            raise ValueError(f'rooms import one another in a circle: {sorted(rooms - floors.keys())}')
        floors |= {room: 1 + max((floors[below] for above, below in arrows if above == room), default=0)
                   for room in ready}
    return floors


def _room_of_file(path: Path) -> str:
    return '/'.join(path.parts[:2]) if path.parts[0] == PACKAGE else path.parts[0]


def _room_of_module(name: str, checkout: Path) -> str | None:
    parts = name.split('.')
    if parts[0] != PACKAGE:
        return next((folder for folder in COMMAND_FOLDERS if (checkout / folder / f'{parts[0]}.py').exists()), None)
    if len(parts) == 1:
        return None
    return f'{PACKAGE}/{parts[1]}' + ('' if (checkout / PACKAGE / parts[1]).is_dir() else '.py')


def _imported_modules(path: Path) -> Iterator[str]:
    """Yields the dotted names of the modules that a file imports; ``from mmcell import x`` gives ``mmcell.x``."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            yield from (f'{PACKAGE}.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def main() -> None:
    checkout = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[2])
    rooms, arrows = find_rooms(checkout), find_imports(checkout)
    floors = assign_floors(rooms, arrows)
    print(f'{len(rooms)} rooms, {len(arrows)} arrows, {max(floors.values())} floors')
    for floor in range(max(floors.values()), 0, -1):
        for room in sorted(room for room in rooms if floors[room] == floor):
            print(f'{floor}  {room} -> {", ".join(sorted(below for above, below in arrows if above == room)) or "-"}')


if __name__ == '__main__':
    main()

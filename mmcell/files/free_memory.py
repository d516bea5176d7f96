"""How much memory a process can still use."""

import os
from collections.abc import Iterator
from pathlib import Path

# By version of the control groups (cgroups) of Linux: the limit, what is in use, and how memory.stat calls the part of
# it that only mirrors files on disk and can be given back.
_GROUP_FILES = {1: ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file'),
                2: ('memory.max', 'memory.current', 'inactive_file')}


def find_free_memory(root: Path = Path('/')) -> int | None:
    """Returns how many bytes of memory this process can still use; None if the system does not say.

    On Linux, the limits of containers and of schedulers such as Slurm count as well as the memory of the machine. On
    other systems it is half of the machine's memory.

    Args:
        root: The folder that holds ``proc`` and ``sys``.
    """
    try:
        lines = (root / 'proc/meminfo').read_text().splitlines()
    except OSError:
        sizes = getattr(os, 'sysconf_names', {})
        known = {'SC_PHYS_PAGES', 'SC_PAGE_SIZE'} <= set(sizes)
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2 if known else None
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(':') for line in lines)}
    in_machine = kib.get('MemAvailable', kib.get('MemFree', 0)) * 1024
    return max(min([in_machine, *_free_in_groups(root)]), 0)


def _free_in_groups(root: Path) -> Iterator[int]:
    """Yields the free bytes of each control group with a limit that this process belongs to."""
    try:
        lines = (root / 'proc/self/cgroup').read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, own_path = line.split(':', 2)
        if controllers not in ('', 'memory'):
            continue
        top = root / 'sys/fs/cgroup' / controllers
        # Limits of all groups above hold, too. In a container, only the upper folder may be visible.
        own = top / own_path.lstrip('/')
        for folder in (own, *own.parents):
            yield from _free_in_group(folder, _GROUP_FILES[1 if controllers else 2])
            if folder == top:
                break


def _free_in_group(folder: Path, names: tuple[str, str, str]) -> Iterator[int]:
    limit_name, used_name, files_name = names
    try:
        limit, used = ((folder / name).read_text().strip() for name in (limit_name, used_name))
        lines = (folder / 'memory.stat').read_text().splitlines()
    except OSError:  # no such group, or one without a limit
        return
    if limit != 'max':
        yield int(limit) - int(used) + sum(int(line.split()[1]) for line in lines if line.split()[0] == files_name)

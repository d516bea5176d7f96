"""Small disks, for which the rights of an administrator are needed."""

import subprocess
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory


@cache
def can_mount():
    """Whether this process may mount a disk in memory."""
    with TemporaryDirectory() as folder:
        try:
            with mounted(Path(folder), '64k'):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


@contextmanager
def mounted(folder, size):
    """Mounts an empty disk of some size, for example '64k', on a folder as long as the block runs."""
    subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', folder], check=True, capture_output=True)
    try:
        yield folder
    finally:
        # Lazily: a process that was not found may still have its current folder there.
        subprocess.run(['umount', '--lazy', folder], check=True)


def remount(folder, options):
    """Changes the options of a disk, for example 'ro' or 'size=1g'."""
    subprocess.run(['mount', '-o', f'remount,{options}', folder], check=True, capture_output=True)

"""The folder of the project, and the files in it that belong to the project."""

import subprocess
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]


def tracked_files(*patterns):
    """Returns the paths, relative to REPO, of the files that git knows; none if git or its folder is missing.

    Files that users add beside them, for example configs of their own, are not in the list.
    """
    try:
        listed = subprocess.run(['git', 'ls-files', '-z', '--', *patterns], cwd=REPO, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [name for name in listed.stdout.decode().split('\0') if (REPO / name).is_file()]

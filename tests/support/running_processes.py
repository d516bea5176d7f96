"""Processes of this machine, looked at in /proc."""

import time
from pathlib import Path


def is_running(process_id):
    """Whether a process exists, and has not ended without its parent having noticed."""
    try:
        return Path(f'/proc/{process_id}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def wait_until_all_have_ended(process_ids, seconds=20):
    """Waits for the end of processes, which must come within some seconds."""
    begin = time.monotonic()
    while any(map(is_running, process_ids)):
        assert time.monotonic() - begin < seconds
        time.sleep(.02)

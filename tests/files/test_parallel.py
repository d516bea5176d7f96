import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from support.paths import REPO
from support.running_processes import wait_until_all_have_ended

from mmcell.files.parallel import map_with_progress

# Two workers that write their process ids, and then have much to do.
PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from mmcell.files.parallel import map_with_progress

def work(name):
    Path(name).write_text(str(os.getpid()))
    time.sleep(100)

if __name__ == '__main__':
    # A shell that starts the tests in the background lets them ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        map_with_progress(work, sys.argv[1:], 2, 'items', skip_bad=False)
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.skipif(not hasattr(signal, 'pthread_sigmask'), reason='Windows cannot block signals')
def test_only_the_main_process_hears_ctrl_c():
    blocked_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK)
    results, bad = map_with_progress(blocked_signals, [[], []], 2, 'items', skip_bad=False)
    assert results == [{signal.SIGINT}] * 2 and bad == []
    assert signal.SIGINT not in blocked_signals([])


@pytest.mark.skipif(not Path('/proc').is_dir(), reason='looks at processes in /proc')
@pytest.mark.parametrize('number, status', [
    (signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)])
def test_workers_end_soon_after_a_signal(tmp_path, number, status):
    script = tmp_path / 'program.py'
    script.write_text(PROGRAM)
    names = [tmp_path / f'{index}' for index in range(5)]
    process = subprocess.Popen([sys.executable, script, *names], stderr=subprocess.PIPE, start_new_session=True,
                               env={**os.environ, 'PYTHONPATH': str(REPO)})
    while not all(name.exists() and name.read_text() for name in names[:2]):
        assert process.poll() is None
        time.sleep(.05)
    # Ctrl-C reaches all processes of a terminal.
    os.kill(-process.pid if number == signal.SIGINT else process.pid, number)
    assert process.wait(20) == status
    wait_until_all_have_ended([int(name.read_text()) for name in names[:2]])
    assert not names[2].exists() and b'Traceback' not in process.stderr.read()

import signal
from functools import partial

import pytest

from mmcell.files.parallel import map_with_progress


@pytest.mark.skipif(not hasattr(signal, 'pthread_sigmask'), reason='Windows cannot block signals')
def test_only_the_main_process_hears_ctrl_c():
    blocked_signals = partial(signal.pthread_sigmask, signal.SIG_BLOCK)
    results, bad = map_with_progress(blocked_signals, [[], []], 2, 'items', skip_bad=False)
    assert results == [{signal.SIGINT}] * 2 and bad == []
    assert signal.SIGINT not in blocked_signals([])

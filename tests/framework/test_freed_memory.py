import platform
import subprocess
import sys

import pytest

# Page faults for 40 tensors of 34 MB, one after the other. Small objects that Python allocates between them take pieces
# of the freed memory, so that the first tensors need new memory in both modes.
COUNT = """
import resource, sys
from mmcell.framework.freed_memory import keep_freed_memory
if sys.argv[1] == 'keep':
    assert keep_freed_memory()
import torch
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    torch.zeros(8_500_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def count_page_faults(mode):
    return int(subprocess.run([sys.executable, '-c', COUNT, mode], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc has mallopt')
def test_memory_of_freed_tensors_is_used_again():
    assert count_page_faults('keep') < .5 * count_page_faults('default')


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr('platform.libc_ver', lambda: ('', ''))
    monkeypatch.setattr('ctypes.CDLL', None)
    from mmcell.framework.freed_memory import keep_freed_memory
    assert keep_freed_memory() is False

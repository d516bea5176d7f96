import platform
import subprocess
import sys

import pytest

# Page faults for 40 tensors of 34 MB, one after the other, before and after the call. Small objects that Python
# allocates between them take pieces of the freed memory, so that the first tensors need new memory in both modes.
COUNT = """
import resource
import torch
from mmcell.framework.freed_memory import keep_freed_memory
torch.set_num_threads(1)

def count_page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        torch.zeros(8_500_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

n_before = count_page_faults()
assert keep_freed_memory()
print(n_before, count_page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='only glibc has mallopt')
def test_memory_of_freed_tensors_is_used_again():
    ended = subprocess.run([sys.executable, '-c', COUNT], capture_output=True, check=True, text=True)
    n_before, n_after = map(int, ended.stdout.split())
    assert n_after < .5 * n_before


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr('platform.libc_ver', lambda: ('', ''))
    monkeypatch.setattr('ctypes.CDLL', None)
    from mmcell.framework.freed_memory import keep_freed_memory
    assert keep_freed_memory() is False

"""Makes the C library keep freed memory, so that large tensors do not cost the time of new memory again and again."""

import ctypes
import platform

# Parameters of mallopt() in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Makes this process, and the processes that it forks, keep the memory of freed tensors for later tensors.

    By default, glibc returns the memory of each block above 32 MiB to the system at once. The next tensor of this size
    gets new pages, which the system fills with zeros first. A step of training on an image of 1000x1000 px frees and
    allocates several gigabytes. Kept memory is returned when the process ends. In a training on whole images of CoNSeP
    the greatest memory was 3 % larger, and a step took 11 % less time.

    Returns:
        Whether the C library was changed; False on systems without glibc.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    libc = ctypes.CDLL(None)
    # No block comes from a mapping of its own, and the heap shrinks only if 2 GiB at its end are free.
    return bool(libc.mallopt(_M_MMAP_MAX, 0) and libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))

import copy
import errno
import mmap
import multiprocessing
import os
import pickle
import signal
import tempfile

import numpy as np
import pytest

from mmcell.files import shared_arrays
from mmcell.files.shared_arrays import PAGE_BYTES, SharedArrays

LAYOUTS = [((5, 4, 3), np.uint8), ((70, 90), np.uint16), ((0,), np.uint8), ((3,), np.int32)]


def values(index):
    shape, dtype = LAYOUTS[index]
    return np.random.default_rng(index).integers(1, 200, shape).astype(dtype)


def write_second(arrays):
    arrays.write(1, values(1))


def kill_before_the_end(arrays):
    arrays._mark_complete = lambda index: os.kill(os.getpid(), signal.SIGKILL)
    arrays.write(1, values(1))


def run_in_process(method, target, *args):
    process = multiprocessing.get_context(method).Process(target=target, args=args)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture(params=['in memory', 'on disk'])
def arrays(request, monkeypatch, tmp_path):
    if request.param == 'on disk':
        monkeypatch.delattr(os, 'memfd_create', raising=False)
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    return SharedArrays(LAYOUTS)


def test_places_are_empty_until_they_are_written(arrays):
    for index in range(len(LAYOUTS)):
        assert arrays.read(index) is None
        arrays.write(index, values(index))
        read = arrays.read(index)
        assert (read.dtype, read.shape) == (values(index).dtype, values(index).shape)
        assert np.array_equal(read, values(index))
    assert len(arrays) == len(LAYOUTS) and arrays.n_bytes == PAGE_BYTES * (1 + 1 + -(-12600 // PAGE_BYTES) + 0 + 1)


def test_changes_of_an_array_stay_in_this_array(arrays):
    arrays.write(1, values(1))
    first, second = arrays.read(1), arrays.read(1)
    first[:] = 0
    assert np.array_equal(second, values(1)) and np.array_equal(arrays.read(1), values(1)) and not first.any()


def test_arrays_outlive_the_places():
    arrays = SharedArrays(LAYOUTS)
    arrays.write(1, values(1))
    read, descriptor = arrays.read(1), arrays._descriptor
    del arrays
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(descriptor)
    assert np.array_equal(read, values(1))


def test_an_array_that_cannot_be_mapped_is_copied(arrays, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    arrays.write(1, values(1))
    monkeypatch.setattr(mmap, 'mmap', refuse)
    read = arrays.read(1)
    assert np.array_equal(read, values(1))
    read[:] = 0
    assert np.array_equal(arrays.read(1), values(1))


@pytest.mark.parametrize('method', ['fork', 'spawn'])
def test_what_another_process_writes_is_read_here(arrays, method):
    assert run_in_process(method, write_second, arrays) == 0
    assert np.array_equal(arrays.read(1), values(1)) and arrays.read(0) is None


def test_a_process_killed_while_it_writes_leaves_the_place_empty(arrays):
    assert run_in_process('fork', kill_before_the_end, arrays) == -signal.SIGKILL
    assert arrays.read(1) is None
    write_second(arrays)
    assert np.array_equal(arrays.read(1), values(1))


def test_the_file_has_no_name(arrays, tmp_path):
    for _ in range(2):
        assert list(tmp_path.iterdir()) == [] and os.fstat(arrays._descriptor).st_nlink == 0
        arrays.write(1, values(1))


def test_a_lack_of_space_leaves_the_place_empty(arrays, monkeypatch):
    def write_little(descriptor, content, begin):
        if begin + len(content) > PAGE_BYTES * 3 and len(content) <= 6000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content[:4000], begin)

    pwrite = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, 'pwrite', write_little)
        with pytest.raises(OSError, match='No space left'):
            arrays.write(1, values(1))
    assert arrays.read(1) is None
    # An incomplete write of the system is continued.
    monkeypatch.setattr(os, 'pwrite', lambda descriptor, content, begin: pwrite(descriptor, content[:4000], begin))
    arrays.write(1, values(1))
    assert np.array_equal(arrays.read(1), values(1))


def test_only_arrays_of_the_place_are_written(arrays):
    for wrong in (values(1).astype(np.int16), values(1)[:-1]):
        with pytest.raises(ValueError, match='the place is for'):
            arrays.write(1, wrong)
    assert arrays.read(1) is None
    arrays.write(1, np.asfortranarray(values(1)))
    assert np.array_equal(arrays.read(1), values(1))


def test_copies_are_the_same_places_and_pickles_are_empty(arrays):
    arrays.write(1, values(1))
    assert copy.deepcopy([arrays])[0] is arrays
    restored = pickle.loads(pickle.dumps(arrays))
    restored.write(0, values(0))
    assert restored.read(0) is None and restored.read(1) is None and arrays.read(0) is None


def test_memory_is_taken_up_only_by_places_that_are_written():
    n_bytes = 1 << 30
    arrays = SharedArrays([((n_bytes,), np.uint8), ((100,), np.uint8)])
    arrays.write(1, np.zeros(100, np.uint8))
    assert arrays.n_bytes > n_bytes and os.fstat(arrays._descriptor).st_blocks * 512 <= 4 * PAGE_BYTES


def test_a_system_that_forbids_files_in_memory_gets_one_on_disk(monkeypatch):
    def refuse(name):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(os, 'memfd_create', refuse, raising=False)
    arrays = SharedArrays(LAYOUTS)
    arrays.write(0, values(0))
    assert np.array_equal(arrays.read(0), values(0))
    assert shared_arrays.CAN_SHARE

import pytest

from mmcell.files.free_memory import find_free_memory

MIB = 2 ** 20
MEMINFO = f'MemTotal: {900 * 1024} kB\nMemFree: {100 * 1024} kB\nMemAvailable: {500 * 1024} kB\nHugePages_Total: 0\n'


def write_group(folder, names, limit, used_mib, files_mib):
    limit_name, used_name, files_name = names
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit_name).write_text(f'{limit}\n')
    (folder / used_name).write_text(f'{used_mib * MIB}\n')
    (folder / 'memory.stat').write_text(f'anon 5\n{files_name} {files_mib * MIB}\nfile 7\n')


V1 = ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')
V2 = ('memory.max', 'memory.current', 'inactive_file')


@pytest.fixture
def root(tmp_path):
    (tmp_path / 'proc' / 'self').mkdir(parents=True)
    (tmp_path / 'proc' / 'meminfo').write_text(MEMINFO)
    return tmp_path


def test_without_groups_it_is_the_memory_of_the_machine(root):
    assert find_free_memory(root) == 500 * MIB
    (root / 'proc' / 'self' / 'cgroup').write_text('0::/\n')
    assert find_free_memory(root) == 500 * MIB


@pytest.mark.parametrize('line, folder, names', [
    ('0::/job/step', 'sys/fs/cgroup', V2), ('4:memory:/job/step', 'sys/fs/cgroup/memory', V1)])
def test_the_tightest_group_counts(root, line, folder, names):
    (root / 'proc' / 'self' / 'cgroup').write_text(f'9:name=systemd:/\n3:cpuset:/x\n{line}\n')
    # 300 MiB are in use, of which 100 MiB mirror files.
    write_group(root / folder / 'job' / 'step', names, 600 * MIB, 300, 100)
    assert find_free_memory(root) == 400 * MIB
    write_group(root / folder / 'job', names, 500 * MIB, 300, 100)
    assert find_free_memory(root) == 300 * MIB
    write_group(root / folder, names, 100 * MIB, 300, 100)
    assert find_free_memory(root) == 0


def test_groups_without_a_limit_do_not_count(root):
    (root / 'proc' / 'self' / 'cgroup').write_text('0::/job\n')
    write_group(root / 'sys/fs/cgroup/job', V2, 'max', 10 ** 6, 0)
    assert find_free_memory(root) == 500 * MIB


def test_in_a_container_the_upper_folder_is_read(root):
    # The path is that of the host, which the container does not see.
    (root / 'proc' / 'self' / 'cgroup').write_text('4:memory:/docker/0123\n')
    write_group(root / 'sys/fs/cgroup/memory', V1, 64 * MIB, 4, 0)
    assert find_free_memory(root) == 60 * MIB


def test_other_systems_and_this_machine_have_memory(tmp_path):
    assert find_free_memory(tmp_path) > 100 * MIB
    assert find_free_memory() > 0

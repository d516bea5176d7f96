"""Files in parts of a limited size."""

import subprocess

import pytest

from mmcell.files.parts import PartsError, find_written, join_parts, write_parts

CONTENT = bytes(range(256)) * 10


def test_parts_are_small_enough_and_give_the_whole_back(tmp_path):
    parts = write_parts(CONTENT, tmp_path / 'net.pth', 1000)
    assert [(part.name[-6:], part.stat().st_size) for part in parts] == [('1-of-3', 1000), ('2-of-3', 1000),
                                                                         ('3-of-3', 560)]
    for named in (parts[1], parts[0].with_suffix('')):
        whole, content = join_parts(named)
        assert content == CONTENT and whole.name == parts[0].name.removesuffix('.1-of-3')
    assert find_written(tmp_path / 'net.pth') == parts
    joined = subprocess.run(f'cat {whole}.*-of-3', shell=True, check=True, capture_output=True).stdout
    assert joined == CONTENT


def test_more_than_nine_parts_stay_in_order(tmp_path):
    parts = write_parts(CONTENT, tmp_path / 'net.pth', 200)
    assert len(parts) == 13 and parts[0].name.endswith('.01-of-13')
    assert join_parts(parts[0])[1] == CONTENT == b''.join(part.read_bytes() for part in sorted(parts))


def test_a_file_that_is_small_enough_is_whole(tmp_path):
    whole, = write_parts(CONTENT, tmp_path / 'net.pth', 2560)
    assert whole.suffix == '.pth' and join_parts(whole) == (whole, CONTENT)
    whole.write_bytes(CONTENT[:-1])
    with pytest.raises(PartsError, match='the SHA-256 sum of the file does not begin with'):
        join_parts(whole)


def test_a_newer_file_replaces_the_parts_of_an_older_one(tmp_path):
    write_parts(CONTENT, tmp_path / 'net.pth', 1000)
    other = write_parts(CONTENT, tmp_path / 'net_other.pth', 1000)
    newer = write_parts(CONTENT[1:], tmp_path / 'net.pth', 1500, replaces=True)
    assert sorted(tmp_path.iterdir()) == sorted([*newer, *other])


def test_files_of_others_with_such_names_stay(tmp_path):
    published = tmp_path / 'net-19c8e357.pth'
    published.write_bytes(b'weights of others')
    written = write_parts(CONTENT, tmp_path / 'net.pth', 1500)
    assert published.read_bytes() == b'weights of others'
    assert sorted(tmp_path.iterdir()) == sorted([published, *written])


def test_a_joined_file_beside_its_parts_stays(tmp_path):
    parts = write_parts(CONTENT, tmp_path / 'net.pth', 1000)
    whole, content = join_parts(parts[0])
    whole.write_bytes(content)
    assert find_written(tmp_path / 'net.pth') == parts


def test_missing_mixed_and_damaged_parts_are_named(tmp_path):
    parts = write_parts(CONTENT, tmp_path / 'net.pth', 1000)
    parts[1].rename(tmp_path / 'away')
    with pytest.raises(PartsError, match='of 3 parts, these are missing: 2$'):
        join_parts(parts[0])
    (tmp_path / 'away').rename(parts[1])
    other = parts[0].with_name(parts[0].name.replace('1-of-3', '1-of-4'))
    other.write_bytes(b'')
    with pytest.raises(PartsError, match='parts of 3 and of 4'):
        join_parts(parts[0])
    other.unlink()
    parts[2].write_bytes(b'x' * 560)
    with pytest.raises(PartsError, match='the SHA-256 sum of its parts does not begin with'):
        join_parts(parts[0])
    with pytest.raises(PartsError, match=r'neither a file .*none\.pth nor a part of it'):
        join_parts(tmp_path / 'none.pth')

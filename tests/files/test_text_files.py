"""Text and JSON in every encoding, and what is said about files that are something else."""

import gzip
import json

import pytest

from mmcell.errors import MmcellError
from mmcell.files.text_files import parse_json, read_json, read_text

CONTENT = {'name': 'Zelle \u00e4 \u7d30\u80de \U0001f9ab', 'values': [1, 2.5, None, True, []]}


@pytest.mark.parametrize('encoding', [
    'utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be', 'utf-32', 'utf-32-le', 'utf-32-be'])
@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_every_encoding_of_unicode_is_read(tmp_path, encoding, newline):
    text = json.dumps(CONTENT, ensure_ascii=False, indent=1).replace('\n', newline)
    (tmp_path / 'a.json').write_bytes(text.encode(encoding))
    assert read_json(tmp_path / 'a.json', MmcellError) == CONTENT
    assert read_text(tmp_path / 'a.json', MmcellError) == text


@pytest.mark.parametrize('content, message', [
    (b'', r'is empty \(0 bytes\)'),
    (b' \r\n\t', 'is empty'),
    ('{"name": "Zelle \u00e4"}'.encode('latin-1'), 'is not text in UTF-8.* at byte 16.*; save it as UTF-8'),
    ('{"name": "\u7d30\u80de"}'.encode('gb18030'), 'is not text'),
    (b'\xff\xfe{\0"', 'is not text'),
    (b'"\xed\xa0\x80"', 'is not text'),
    (b'\0' * 40, 'is not JSON'),
    (b'{"images": [1, 2', r'is not JSON: .*\(line 1, column 17\)'),
    (b'{"images": [],}', 'is not JSON'),
    (b'{} {}', 'is not JSON: Extra data'),
    (b'[' + b'8' * 5000 + b']', 'thousands of digits'),
    (b'[' * 100_000, 'levels'),
    (b'{"a":' * 100_000, 'levels'),
    (b'[' * 101 + b']' * 101, 'levels'),
    (b'{"a": {"id": 1, "id": 2}}', "the key 'id' twice"),
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n', 'Git LFS pointer.*git lfs pull'),
    (gzip.compress(b'{}', mtime=0), 'gunzip'),
    (b'PK\x03\x04\x14', 'zip archive'),
    (b'\x80\x04]q\x00.', 'is a pickle'),
])
def test_other_content_is_described_in_one_short_line(tmp_path, content, message):
    path = tmp_path / 'a.json'
    path.write_bytes(content)
    with pytest.raises(MmcellError, match=f'a.json: .*{message}') as error:
        read_json(path, MmcellError)
    assert '\n' not in str(error.value) and len(str(error.value)) < len(str(path)) + 160


def test_the_whole_file_is_never_in_the_message(tmp_path):
    path = tmp_path / 'a.json'
    for content in ('{"name": "\u00e4"}'.encode('latin-1') * 10_000, b'{"long": "' + b'x' * 200_000,
                    b'{"' + b'k' * 200_000 + b'": 1, "' + b'k' * 200_000 + b'": 2}'):
        path.write_bytes(content)
        with pytest.raises(MmcellError) as error:
            read_json(path, MmcellError)
        assert len(str(error.value)) < len(str(path)) + 200


def test_a_hundred_levels_and_numbers_that_json_does_not_have_are_read():
    assert parse_json(b'[' * 100 + b']' * 100, 'a', MmcellError)
    values = parse_json(b'[NaN, -Infinity, 1e999, 1' + b'0' * 400 + b']', 'a', MmcellError)
    assert values[0] != values[0] and values[1:] == [float('-inf'), float('inf'), 10 ** 400]


def test_folders_and_missing_files_are_named(tmp_path):
    with pytest.raises(MmcellError, match='is a folder'):
        read_json(tmp_path, MmcellError)
    with pytest.raises(MmcellError, match='cannot be read: No such file'):
        read_text(tmp_path / 'none.txt', MmcellError)

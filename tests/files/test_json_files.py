import codecs

import pytest

from mmcell.files.folders import FileError
from mmcell.files.json_files import read_json, read_text

TEXT = '["zelle_ä", "细胞 😀"]'
ENCODINGS = ['utf-8', 'utf-8-sig', 'utf-16']


@pytest.mark.parametrize('encoding', [*ENCODINGS, 'utf-16-le', 'utf-16-be', 'utf-32'])
def test_json_is_read_in_all_encodings_of_unicode(tmp_path, encoding):
    (tmp_path / 'a.json').write_bytes(TEXT.encode(encoding))
    assert read_json(tmp_path / 'a.json') == ['zelle_ä', '细胞 😀']


@pytest.mark.parametrize('content', [TEXT.encode(encoding) for encoding in ENCODINGS]
                         + [codecs.BOM_UTF16_BE + TEXT.encode('utf-16-be')])
def test_text_is_read_in_utf_8_and_utf_16(tmp_path, content):
    (tmp_path / 'a.txt').write_bytes(content)
    assert read_text(tmp_path / 'a.txt') == TEXT


@pytest.mark.parametrize('content, words', [
    (b'["' + b'a' * 5000 + b'\xe4"]', '0xe4 at position 5002'),
    (b'[1, 2', 'is not JSON: Expecting'),
    (b'[' * 100_000, 'is not JSON'),
    (b'[' + b'9' * 5000 + b']', 'is not JSON'),
    (b'', 'is empty'),
    (b'\xff\xd8\xff\xe0' + bytes(3000), 'is not JSON')])
def test_a_message_says_where_a_file_is_not_json_without_its_content(tmp_path, content, words):
    (tmp_path / 'a.json').write_bytes(content)
    with pytest.raises(FileError, match=words) as error:
        read_json(tmp_path / 'a.json')
    assert len(str(error.value)) < 300 + len(str(tmp_path)) and '\n' not in str(error.value)


def test_text_in_another_encoding_is_refused_with_its_line(tmp_path):
    (tmp_path / 'a.txt').write_bytes(b'one\ntwo\nz\xfcrich\n' + b'x' * 5000)
    with pytest.raises(FileError, match='line 3 has the byte 0xfc') as error:
        read_text(tmp_path / 'a.txt')
    assert len(str(error.value)) < 300 + len(str(tmp_path))

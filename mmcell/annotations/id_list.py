"""The list of the test images of the challenge and their ids."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from mmcell.annotations.annotated_image import LayoutError
from mmcell.errors import quote
from mmcell.files.folders import refuse_unusable
from mmcell.files.names import is_bare_name
from mmcell.files.text_files import is_integer, read_json

TEST_FOLDER = 'test_release'
TEST_IDS_FILE = 'test_image_name_to_ids.json'


@dataclass(frozen=True)
class TestImage:
    """One entry of the list of test images and their ids.

    Attributes:
        file_name: The name of the image file in the folder of the test images.
        image_id: The id of the image in submissions.
        height: The height of the image in px.
        width: The width of the image in px.
    """

    file_name: str
    image_id: int
    height: int
    width: int


def read_test_ids(path: Path) -> list[TestImage]:
    """Reads the list of test images: a JSON list of ``{file_name, id, height, width}``.

    Raises:
        FileError: The file is a broken link, or cannot be read.
        LayoutError: The file is not such a JSON list, a file name has a folder, or an id or a file name repeats.
    """
    refuse_unusable(path)
    entries = read_json(path, LayoutError)
    if not isinstance(entries, list):
        raise LayoutError(f'{path}: is not a JSON list of {{file_name, id, height, width}}, but begins with '
                          f'{quote(entries)}')
    images = [_read_entry(entry, f'{path}: entry {index}') for index, entry in enumerate(entries, start=1)]
    for key, attribute in (('id', 'image_id'), ('file_name', 'file_name')):
        for value, count in Counter(getattr(image, attribute) for image in images).most_common(1):
            if count > 1:
                raise LayoutError(f'{path}: {key} {quote(value)} occurs more than once')
    return images


def _read_entry(entry: object, where: str) -> TestImage:
    missing = [key for key in ('file_name', 'id', 'height', 'width') if not isinstance(entry, dict) or key not in entry]
    if missing:
        raise LayoutError(f'{where} is {quote(entry)}; {", ".join(missing)} expected, too')
    for key, lowest in (('id', 0), ('height', 1), ('width', 1)):
        if not is_integer(entry[key]) or not lowest <= entry[key] < 2**63:
            raise LayoutError(f'{where} has the {key} {quote(entry[key])}; a whole number from {lowest} is expected')
    if not is_bare_name(entry['file_name']):
        raise LayoutError(f"{where} has the file_name {quote(entry['file_name'])}; the name of a file in "
                          f'{TEST_FOLDER}/ is expected, without folders')
    return TestImage(entry['file_name'], entry['id'], entry['height'], entry['width'])

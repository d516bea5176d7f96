"""JSON documents with one list that grows."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing_json_list(path: Path, members: dict, list_name: str) -> Iterator[Callable[[dict], None]]:
    """Gives a function that adds a record to the list that ends a JSON object; records are not kept.

    Args:
        path: of the file, which is complete when the block ends.
        members: of the object, before the list.
        list_name: of the list.
    """
    with open(path, 'w', encoding='utf-8') as file:
        file.write(json.dumps({**members, list_name: []}, ensure_ascii=False).removesuffix(']}'))
        separator = '\n'

        def add(record: dict) -> None:
            nonlocal separator
            file.write(separator + json.dumps(record, ensure_ascii=False, separators=(',', ':')))
            separator = ',\n'

        yield add
        file.write('\n]}\n')

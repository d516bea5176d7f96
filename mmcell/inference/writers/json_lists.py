"""Writes JSON documents with one long list, record by record."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def writing_json_list(path: Path, members: dict, list_name: str) -> Iterator[Callable[[dict], None]]:
    """Yields a function that adds a record to the list at the end of a JSON object.

    Each record is written at once and not kept in memory.

    Args:
        path: The JSON file, which is complete when the block ends.
        members: Members of the JSON object that stand before the list.
        list_name: Name of the member that holds the list.
    """
    # Bytes of a file name that are not UTF-8 are written as escapes like \udce4, which JSON also has.
    with open(path, 'w', encoding='utf-8', errors='backslashreplace') as file:
        # The object with an empty list, but without the two brackets at its end, which close the list and the object.
        file.write(json.dumps({**members, list_name: []}, ensure_ascii=False).removesuffix(']}'))
        separator = '\n'

        def add(record: dict) -> None:
            nonlocal separator
            file.write(separator + json.dumps(record, ensure_ascii=False, separators=(',', ':')))
            separator = ',\n'

        yield add
        file.write('\n]}\n')

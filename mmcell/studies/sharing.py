"""What matters of a study in one folder of few and small files, which can be carried to another machine.

``results.zip`` has everything of the study but checkpoints, with paths as in its folder: unpacked there, the study
continues on another machine, and does no finished run again. The weights of each finished training are files of their
own, in half precision.
"""

import io
import time
import zipfile
from pathlib import Path

from mmcell.checkpoints.half_precision import to_bytes, to_half
from mmcell.checkpoints.records import find_checkpoint
from mmcell.errors import MmcellError
from mmcell.files.parts import PartsError, find_written, join_parts, write_parts
from mmcell.files.whole_files import remove_leftovers, written_whole
from mmcell.framework.safe_loading import load_tensors_only
from mmcell.studies.facts import add_share
from mmcell.studies.runs import Run

SHARE = 'share'
RESULTS = 'results.zip'
# Files of a study that the results have. Checkpoints and everything else that is large ends otherwise.
_SUFFIXES = {'.json', '.log', '.txt', '.py', '.pkl', '.zip', '.md', '.csv', '.tex', '.html'}
# Folders with what a study needs only while it runs.
_NOT_SHARED = {SHARE, 'jobs'}


def weights_path(run: Run, folder: Path) -> Path:
    """Returns the name of the weights of a run, without the digits and the number of a part."""
    return folder / SHARE / f'{"_".join(run.folder.parts)}.pth'


def share_weights(run: Run, folder: Path, max_bytes: int) -> None:
    """Writes the weights of a finished training in half precision, unless they are there already.

    Nothing is written if the work folder has no checkpoint, because only its results were carried to this machine.

    They are those of the checkpoint that ``tools/test.py`` takes: the best one, or the last one of a final training.
    Of a training with EMA, they are the averaged weights.

    Args:
        run: The run.
        folder: The folder of the study.
        max_bytes: The greatest number of bytes of a file.
    """
    if not lacks_weights(run, folder, max_bytes):
        return
    begun = time.monotonic()
    weights = to_half(load_tensors_only(find_checkpoint(folder / run.folder), 'cpu'))
    write_parts(to_bytes(weights), weights_path(run, folder), max_bytes, replaces=True)
    add_share(folder / run.folder, time.monotonic() - begun)


def lacks_weights(run: Run, folder: Path, max_bytes: int) -> bool:
    """Returns whether :func:`share_weights`, which has the same arguments, has something to write."""
    if not list((folder / run.folder).glob('*.pth')):
        return False
    written = find_written(weights_path(run, folder))
    if not written or max(part.stat().st_size for part in written) > max_bytes:
        return True
    try:
        join_parts(written[0])
    except PartsError:
        return True
    return False


def try_to_share_weights(run: Run, folder: Path, max_bytes: int) -> str:
    """Does what :func:`share_weights` does, and returns why it failed; '' if it did not."""
    try:
        share_weights(run, folder, max_bytes)
    except (MmcellError, OSError) as error:
        return f'its weights cannot be written: {error}'
    return ''


def share_results(folder: Path, max_bytes: int) -> list[Path]:
    """Writes ``results.zip``, and returns all files in the folder that is to be carried.

    Args:
        folder: The folder of the study.
        max_bytes: The greatest number of bytes of a file. A larger zip is written in parts.
    """
    share = folder / SHARE
    share.mkdir(exist_ok=True)
    remove_leftovers(share, lambda name: True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob('*')):
            relative = path.relative_to(folder)
            if path.is_file() and path.suffix in _SUFFIXES and relative.parts[0] not in _NOT_SHARED:
                archive.write(path, relative)
    content = buffer.getvalue()
    if len(content) > max_bytes:
        (share / RESULTS).unlink(missing_ok=True)
        write_parts(content, share / RESULTS, max_bytes, replaces=True)
    else:
        for old in find_written(share / RESULTS):
            old.unlink()
        with written_whole([share / RESULTS]) as (temporary,):
            temporary.write_bytes(content)
    return sorted(path for path in share.iterdir() if path.is_file())

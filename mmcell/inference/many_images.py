"""The prediction of many image files, shared among processes."""

import errno
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list
from rich.console import Console
from rich.progress import track

from mmcell.errors import MmcellError
from mmcell.files.whole_files import remove_leftovers
from mmcell.inference.image_jobs import Done, ImageJob
from mmcell.inference.image_records import record_path
from mmcell.inference.writers import output_paths


def refuse_to_overwrite(images: Sequence[tuple[Path, str]], job: ImageJob) -> None:
    """Stops where a file to be written is one of the images, or was made from another image.

    Args:
        images: image files and the names of their outputs.
        job: what is to be done with each.

    Raises:
        MmcellError: it is.
    """
    outputs = {output.resolve() for _, name in images
               for output in output_paths(job.formats, job.folder, name, len(job.class_names))}
    for path, name in images:
        if path.resolve() in outputs:
            raise MmcellError(f'{path} would be overwritten: name another folder with --out')
        other = job.other_image(path, name)
        if other is not None:
            raise MmcellError(f'the files of {path} would be called {name}, as those of {other} are in {job.folder}: '
                              f'name another folder with --out, or remove {record_path(job.folder, name)}')


def predict_images(images: Sequence[tuple[Path, str]], job: ImageJob, resume: bool, rank: int,
                   n_processes: int) -> list[Done | str | None]:
    """Does all images: small ones each in one of the processes, large ones by all of them together.

    Args:
        images: image files and the names of their outputs.
        job: what is to be done with each.
        resume: whether images, and tiles of large ones, that were done before are left out.
        rank: of this process, which shows its progress on standard error if it is 0.
        n_processes: of ``torch.distributed``, 1 without it.

    Returns:
        For each image what became of it, what went wrong, or None where it was done before.

    Raises:
        OSError: the disk is full.
    """
    if rank == 0:
        outputs = {path.name for _, name in images for path in (
            record_path(job.folder, name), *output_paths(job.formats, job.folder, name, len(job.class_names)))}
        remove_leftovers(job.folder, outputs.__contains__)
    large = [image for image in images if job.is_large(image[0])]
    alone = [image for image in images if image not in large]
    outcomes = {}
    hidden = rank > 0 or not alone
    for path, name in track(alone[rank::n_processes], 'images', console=Console(stderr=True), disable=hidden):
        done = resume and job.is_done(path, name)
        outcomes[path] = None if done else outcome_of(job.run, path, name)
    outcomes = {path: outcome for part in all_gather_object(outcomes) for path, outcome in part.items()}
    for path, name in large:
        done = [resume and len(job.large_formats) > 0 and job.is_done(path, name, job.large_formats)]
        # As the first process sees it: all of them begin, or none.
        broadcast_object_list(done)
        outcomes[path] = None if done[0] else outcome_of(job.run_large, path, name, resume)
    return [outcomes[path] for path, _ in images]


def outcome_of(run: Callable[..., Done], path: Path, *args: object) -> Done | str:
    """What ``run(path, ...)`` gives, or what went wrong, so that the other images are done.

    An error that is not about the image or a file is printed with its traceback on standard error.

    Raises:
        OSError: the disk is full.
    """
    try:
        return run(path, *args)
    except (MmcellError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return str(error) if str(path) in str(error) else f'{path}: {error}'
    except Exception as error:
        traceback.print_exc()
        return f'{path}: {type(error).__name__}: {error}'

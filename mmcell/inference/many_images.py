"""Predicts many image files, which are shared among processes."""

import errno
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from mmengine.dist import all_gather_object, broadcast_object_list
from rich.console import Console
from rich.progress import track

from mmcell.errors import MmcellError, escape
from mmcell.files.whole_files import remove_leftovers
from mmcell.inference.formats import output_paths
from mmcell.inference.image_jobs import ImageJob, ImageSummary
from mmcell.inference.image_records import record_path


def refuse_to_overwrite(images: Sequence[tuple[Path, str]], job: ImageJob) -> None:
    """Checks that no output would overwrite an image, or an output of another image.

    Args:
        images: Each image file with the name of its outputs.
        job: Job that will be done for each image.

    Raises:
        MmcellError: An output would overwrite one of the images, or an output that an earlier run made from another
            image.
    """
    outputs = {output.resolve() for _, name in images
               for output in output_paths(job.formats, job.folder, name, len(job.class_names))}
    for path, name in images:
        if path.resolve() in outputs:
            raise MmcellError(f'the image {path} would be overwritten by an output: name another folder with --out')
        other_image = job.conflicting_image(path, name)
        if other_image is not None:
            raise MmcellError(f'the outputs of {path} would replace the outputs of {other_image} in {job.folder}, '
                              f'because both are called {name}: name another folder with --out, or delete '
                              f'{record_path(job.folder, name)} if they may be replaced')


def predict_images(images: Sequence[tuple[Path, str]], job: ImageJob, resume: bool, rank: int,
                   n_processes: int) -> list[ImageSummary | str | None]:
    """Predicts all images: each small image in one process, each large image in all processes together.

    Args:
        images: Each image file with the name of its outputs.
        job: Job that is done for each image.
        resume: Whether images, and tiles of large images, that an earlier run has done are skipped.
        rank: Rank of this process; rank 0 shows its progress on standard error.
        n_processes: Number of processes of ``torch.distributed``; 1 without it.

    Returns:
        One entry per image, in the order of ``images``: a summary; an error message (str) if the image failed; None if
        an earlier run has done it.

    Raises:
        OSError: The disk is full.
    """
    if rank == 0:
        outputs = {path.name for _, name in images for path in (
            record_path(job.folder, name), *output_paths(job.formats, job.folder, name, len(job.class_names)))}
        remove_leftovers(job.folder, outputs.__contains__)
    large = [image for image in images if job.is_large(image[0])]
    small = [image for image in images if image not in large]
    outcomes = {}
    hidden = rank > 0 or not small
    for path, name in track(small[rank::n_processes], 'images', console=Console(stderr=True), disable=hidden):
        done = resume and job.is_done(path, name)
        outcomes[path] = None if done else run_or_explain(job.run, path, name)
    outcomes = {path: outcome for part in all_gather_object(outcomes) for path, outcome in part.items()}
    for path, name in large:
        done = [resume and len(job.large_formats) > 0 and job.is_done(path, name, job.large_formats)]
        # The first process decides for all processes, because they must either all begin an image or all skip it.
        broadcast_object_list(done)
        outcomes[path] = None if done[0] else run_or_explain(job.run_large, path, name, resume)
    return [outcomes[path] for path, _ in images]


def run_or_explain(run: Callable[..., ImageSummary], path: Path, *args: object) -> ImageSummary | str:
    """Returns the result of ``run(path, ...)``, or the message of its error, so that the other images are predicted.

    The traceback of an error that does not concern the image or a file is printed on standard error.

    Args:
        run: Method of :class:`ImageJob` that predicts an image.
        path: The image file; the message begins with it if it is not mentioned anyway.
        args: Further arguments of ``run``.

    Raises:
        OSError: The disk is full.
    """
    try:
        return run(path, *args)
    except (MmcellError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        # Messages of MmcellError are escaped already.
        return escape(error) if escape(path) in escape(error) else f'{path}: {error}'
    except Exception as error:
        traceback.print_exc()
        return f'{path}: {type(error).__name__}: {error}'

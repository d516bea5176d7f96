"""Predicts many image files, which are shared among processes."""

import errno
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from mmcell.errors import MmcellError, escape
from mmcell.images.image_file import open_image
from mmcell.inference.image_jobs import ImageJob, Outcome
from mmcell.inference.processes import LostProcessError, gather
from mmcell.inference.progress import Report, progress_bars
from mmcell.writers.output_records import refuse_to_replace

# If so many images fail for the same reason before any image is done, the model is at fault, and the run stops.
MAX_EQUAL_FAILURES = 3


class ModelFailureError(MmcellError):
    """The model fails on every image."""


def refuse_to_overwrite(images: Sequence[tuple[Path, str]], job: ImageJob) -> None:
    """Checks that no output would overwrite an image, an output of another image, or a file that mmcell did not write.

    Args:
        images: Each image file with the name of its outputs.
        job: Job that will be done for each image.

    Raises:
        MmcellError: An output would overwrite one of the images, the regions of one, an output that an earlier run
            made from another image, or a file beside which no record says that it is an output.
    """
    outputs = {output.resolve() for _, name in images for output in job.output_paths(name)}
    for regions in (job.regions or {}).values():
        drawn = Path(regions.fingerprint['image'])
        if drawn in outputs:
            raise MmcellError(f'the regions {drawn} would be overwritten by an output: name another folder with --out')
    for path, name in images:
        if path.resolve() in outputs:
            raise MmcellError(f'the image {path} would be overwritten by an output: name another folder with --out')
        refuse_to_replace(job.folder, name, path, job.output_paths(name))


def predict_images(images: Sequence[tuple[Path, str]], job: ImageJob, resume: bool, rank: int,
                   n_processes: int) -> list[Outcome]:
    """Predicts all images, each of them in one process, and those that are streamed in all processes together.

    Args:
        images: Each image file with the name of its outputs.
        job: Job that is done for each image.
        resume: Whether images, and tiles of streamed images, that an earlier run has done are skipped.
        rank: Rank of this process; rank 0 shows its progress on standard error.
        n_processes: Number of processes of ``torch.distributed``; 1 without it.

    Returns:
        The outcome of each image, in the order of ``images``.

    Raises:
        LostProcessError: Another process has ended early.
        ModelFailureError: The first images failed for the same reason, which is no reason of theirs.
        OSError: The disk is full.
    """
    failures = _Failures()
    share = images[rank::n_processes]
    with progress_bars(is_hidden=rank > 0) as add_bar:
        report, outcomes = add_bar('images'), {}
        for n_done, (path, name) in enumerate(share):
            report(n_done, len(share), _count(outcomes))
            outcomes[path] = failures.catch(_predict, path, name, job, resume, add_bar, n_processes == 1)
        report(len(share), len(share), _count(outcomes))
        outcomes = {path: outcome for part in gather(outcomes) for path, outcome in part.items()}
        for path, name in images:
            if outcomes[path].status == 'postponed':
                outcomes[path] = failures.catch(_predict, path, name, job, resume, add_bar, False, True)
    return [outcomes[path] for path, _ in images]


def _count(outcomes: dict[Path, Outcome]) -> int:
    return sum(outcome.n_cells for outcome in outcomes.values())


def _predict(path: Path, name: str, job: ImageJob, resume: bool, add_bar: Callable[[str], Report],
             is_alone: bool, is_postponed: bool = False) -> Outcome:
    """Predicts an image, unless it is done, or must be postponed because all processes stream it together."""
    # One process decides for all whether an image is done or postponed: they must all stream it or all not.
    with open_image(path, job.channel_order, job.percentiles) as image:
        plan = job.make_plan(image)
        if not is_postponed and resume and job.is_done(image, name, plan):
            return Outcome('skipped')
        if plan.way != 'streamed':
            return job.run(image, name, plan)
        if not is_postponed and not is_alone:
            return Outcome('postponed')
        return job.run(image, name, plan, resume, add_bar(f'{path.name}, tiles'))


class _Failures:
    """Turns the errors of images into outcomes, so that the other images are predicted."""

    def __init__(self) -> None:
        self._is_any_done = False
        self._places: set[tuple] = set()
        self._reasons: list[str] = []

    def catch(self, predict: Callable[..., Outcome], path: Path, *args: object) -> Outcome:
        """Returns the result of ``predict(path, ...)``, or an outcome with the message of its error.

        Raises:
            LostProcessError, ModelFailureError, OSError: As :func:`predict_images` says.
        """
        try:
            outcome = predict(path, *args)
        except LostProcessError:
            raise
        except (MmcellError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            # Messages of MmcellError are escaped already.
            message = escape(error) if escape(path) in escape(error) else f'{path}: {error}'
            return Outcome('failed', message=message)
        except Exception as error:
            return Outcome('failed', message=f'{path}: {self._explain(error)}')
        self._is_any_done |= outcome.status == 'done'
        return outcome

    def _explain(self, error: Exception) -> str:
        """Returns the reason of an unexpected error in one line; prints one traceback per line of code that fails."""
        reason = f'{type(error).__name__}: {error}'
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = type(error), frame.filename, frame.lineno
        if place not in self._places:
            traceback.print_exc()
        self._places.add(place)
        # Smaller images may need less memory.
        if not isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
            self._reasons.append(reason)
        if not self._is_any_done and self._reasons == [reason] * MAX_EQUAL_FAILURES:
            raise ModelFailureError(f'{MAX_EQUAL_FAILURES} images failed for the same reason, and none was done, so '
                                    f'that the model seems to be at fault: {reason}') from error
        return reason

"""Reads inputs in a process whose time and memory are limited, and judges how the reading ends.

A process reads many inputs, because its imports take seconds. It is replaced when it has died or was killed.
"""

import faulthandler
import gc
import itertools
import multiprocessing
import os
import re
import resource
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
MIB = 2 ** 20
# What a message may have at most: the place of a file, and some values that were shortened.
_MAX_MESSAGE_CHARACTERS = 4000
# What a library in C says when it has asked for too much memory.
_NO_MEMORY = re.compile(r'bad_alloc|insufficient memory|not enough memory|cannot allocate', re.IGNORECASE)


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        corpus: The folder of its seeds, and of the inputs that were found.
        read: Reads a file. The folder of the file also has the files in ``corpus/beside``.
    """

    corpus: str
    read: Callable[[Path], None]


@dataclass(frozen=True)
class Limits:
    """What reading one input may take.

    Attributes:
        cpu_seconds: Time of the processor, after which the process is killed.
        wall_seconds: Time, after which the process is killed; a busy computer needs more of it than of the other.
        memory_bytes: Memory in addition to that of the process before; the same is added for what is only reserved.
    """

    cpu_seconds: int = 10
    wall_seconds: float = 120.
    memory_bytes: int = 1024 * MIB


@dataclass(frozen=True)
class Outcome:
    """How reading an input ended.

    Attributes:
        kind: 'read'; 'refused' with a message; or 'found', a fault of the reader.
        text: The message, or a description of the fault, whose first line is the same for equal faults.
    """

    kind: str
    text: str = ''

    @property
    def name(self):
        """The first line."""
        return self.text.partition('\n')[0]


class Worker:
    """A process that reads inputs one after another.

    Args:
        targets: Where the readers are defined, MODULE:NAME of a dict from names to :class:`Target`.
        limits: What reading an input may take.
        beside: A folder with files that inputs are read together with.
    """

    def __init__(self, targets, limits, beside=None):
        self.targets, self.limits, self.beside = targets, limits, beside
        self._process = self._pipe = None
        self._folder = Path(tempfile.mkdtemp(prefix='fuzzing-'))

    def read(self, target, suffix, content):
        """Returns the outcome of reading an input."""
        if self._process is None:
            self._start()
        try:
            self._pipe.send((target, suffix, content))
            if self._pipe.poll(self.limits.wall_seconds):
                return self._pipe.recv()
        except (EOFError, ConnectionError):
            return self._describe_death()
        self._stop()
        return Outcome('found', f'hang: not done after {self.limits.wall_seconds:g} s\n{self._printed()}')

    def close(self):
        self._stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self):
        context = multiprocessing.get_context('spawn')
        self._pipe, other_end = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other_end, self.targets, self.limits, self.beside, self._folder), daemon=True)
        self._process.start()
        other_end.close()
        try:
            self._pipe.recv()  # the imports are done
        except EOFError as error:
            raise RuntimeError(f'the process cannot start:\n{self._printed()}') from error

    def _stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
        self._process = None

    def _describe_death(self):
        self._process.join()
        status = self._process.exitcode
        self._stop()
        return describe_death(status, self._printed())

    def _printed(self):
        return read_printed(self._folder)


def read_printed(folder):
    """Returns the end of what an :class:`InputReader` with this folder has printed."""
    with suppress(OSError):
        return (folder / 'printed').read_text(errors='replace')[-6000:]
    return ''


def describe_death(status, printed):
    """Returns the outcome of an input at which the process has ended.

    Args:
        status: The exit status of the process; that of a signal is negative.
        printed: What the process has printed.
    """
    name = signal.Signals(-status).name if status < 0 else f'exit status {status}'
    kind = 'time' if name == 'SIGXCPU' else 'crash'
    return Outcome('found', f'{kind}: {name} {_last_own_line(printed)}\n{printed}')


def _last_own_line(printed):
    """Returns the innermost line of mmcell in what faulthandler has printed."""
    for path, line in re.findall(r'File "([^"]+)", line (\d+)', printed):
        if (name := _own_name(path)) is not None:
            return f'{name}:{line}'
    return ''


def _own_name(path):
    """Returns the name of a file of mmcell, or of a comparison of this folder, in the repository; None for others."""
    path = Path(path)
    is_own = path.is_relative_to(REPO / 'mmcell') or path.is_relative_to(REPO / 'tests')
    return str(path.relative_to(REPO)) if is_own and path != Path(__file__) else None


def load_targets(place):
    """Returns the dict of targets that a text MODULE:NAME names."""
    module, _, name = place.partition(':')
    return getattr(import_module(module), name)


def choose_targets(place, names):
    """Returns those targets of a text MODULE:NAME that have the names; all of them if there are no names."""
    targets = load_targets(place)
    if unknown := set(names or ()) - set(targets):
        raise SystemExit(f'there is no target {", ".join(sorted(unknown))}; there are: {", ".join(targets)}')
    return {name: targets[name] for name in names or targets}


def _serve(pipe, targets, limits, beside, folder):
    """Reads inputs until the other end of the pipe is closed."""
    reader = InputReader(limits, beside, folder)
    targets = load_targets(targets)
    gc.freeze()
    pipe.send('ready')
    with suppress(EOFError):
        while True:
            target, suffix, content = pipe.recv()
            pipe.send(reader.read(targets[target], suffix, content))


class InputReader:
    """Reads inputs in this process, whose output goes into the file ``printed`` from now on.

    Args:
        limits: What reading an input may take.
        beside: A folder with files that inputs are read together with; None if there are none.
        folder: Where ``printed`` and the folder ``inputs`` with the present input are written.
    """

    def __init__(self, limits, beside, folder):
        self.limits, self.beside, self.folder, self._numbers = limits, beside, folder, itertools.count()
        self._printed = os.open(folder / 'printed', os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.dup2(self._printed, 1)
        os.dup2(self._printed, 2)
        faulthandler.enable()
        faulthandler.register(signal.SIGXCPU, chain=True)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def read(self, target, suffix, content):
        """Returns the outcome of reading an input with a target."""
        os.ftruncate(self._printed, 0)
        os.lseek(self._printed, 0, os.SEEK_SET)
        inputs = self.folder / 'inputs'
        shutil.rmtree(inputs, ignore_errors=True)
        inputs.mkdir() if self.beside is None else shutil.copytree(self.beside, inputs)
        # Another name each time, because readers may remember files by their names.
        path = inputs / f'input-{next(self._numbers)}{suffix}'
        path.write_bytes(content)
        return _read_within(self.limits, target.read, path, self.folder / 'printed')


def _read_within(limits, read, path, printed):
    """Returns the outcome of reading a file within limits."""
    before = _memory('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the greatest memory so far is that of now
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (
        int(used.ru_utime + used.ru_stime) + 1 + limits.cpu_seconds, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_AS, (_memory('VmSize') + 2 * limits.memory_bytes, resource.RLIM_INFINITY))
    try:
        outcome = judge(read, path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    if outcome.kind != 'found' and (peak := _memory('VmHWM') - before) > limits.memory_bytes:
        return Outcome('found', f'memory: more than {limits.memory_bytes >> 20} MiB\n{peak >> 20} MiB, then '
                       f'{outcome.kind}: {outcome.text}')
    if outcome.kind != 'found' and 'Traceback (most recent' in (text := printed.read_text(errors='replace')):
        return Outcome('found', f'a traceback is printed\n{text[-3000:]}')
    return outcome


def _memory(key):
    """Returns a value of this process's memory in bytes: VmRSS, VmHWM (its greatest value) or VmSize."""
    return int(re.search(rf'{key}:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024


def judge(read, path):
    """Returns the outcome of reading a file without limits."""
    from mmcell.commands.messages import describe_error
    try:
        read(path)
    except Exception as error:
        for cause in _causes(error):
            if isinstance(cause, MemoryError) or _NO_MEMORY.search(str(cause)):
                return Outcome('found', f'memory: {_place_of(cause)}\n{_trace(error)}')
        message = describe_error(error)
        if message is None:
            return Outcome('found', f'{type(error).__name__}: {_place_of(error)}\n{_trace(error)}')
        problem = _problem_of(message)
        return Outcome('refused', message) if problem is None else Outcome(
            'found', f'message: {problem} {_place_of(error)}\n{message[:3000]}\n{_trace(error)}')
    return Outcome('read')


def _causes(error):
    """Yields an error, and those from which it was raised."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _trace(error):
    return ''.join(traceback.format_exception(error))[-6000:]


def _place_of(error):
    """Returns the innermost line of mmcell, or of a comparison of this folder, at which an error was raised."""
    frames = [(_own_name(frame.filename), frame) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(name, frame) for name, frame in frames if name is not None]
    name, frame = own[-1] if own else (Path(frames[-1][1].filename).name, frames[-1][1])
    return f'{name}:{frame.lineno} in {frame.name}'


def _problem_of(message):
    """Returns what is wrong with the message of a command; None if nothing is."""
    from fuzzing.text_mutations import INJECTED
    lines = message.split('\n')
    if not message.strip():
        return 'empty'
    if len(message) > _MAX_MESSAGE_CHARACTERS:
        return 'far too long'
    if not all(line.isprintable() for line in lines):
        return 'has characters that cannot be printed'
    if any(line.lstrip().startswith(INJECTED) for line in lines):
        return 'has a line of its own from the file'
    return None

"""Starts commands of the project in processes that can be killed, watched and limited.

They are forks of a server that has imported MMDetection, so that they are killed during their work and not during their
imports.
"""

import atexit
import importlib
import os
import resource
import runpy
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from support.fork_server import FRAMEWORK, SERVER
from support.paths import REPO

from mmcell.commands import shell

# The environment of all processes that a command starts has this name.
MARK = 'MMCELL_SOAK'
# A command that was told to end, and whatever it started, must have ended after so many seconds.
MAX_SECONDS_TO_END = 60.


def preload():
    """Makes the server import MMDetection and most of mmcell, once, before the first command."""
    SERVER.set_forkserver_preload([*FRAMEWORK, 'mmcell.inference.predictor', 'mmcell.inference.many_images'])


@dataclass(frozen=True)
class Surroundings:
    """What a command finds.

    Attributes:
        variables: Environment variables that are set.
        n_files: How many files may be open at once; None for no other limit than that of the system.
        patches: Values of variables in modules, for example a size from which images are streamed, by their names.
    """

    variables: dict[str, str] = field(default_factory=dict)
    n_files: int | None = None
    patches: dict[str, object] = field(default_factory=dict)


class Command:
    """A running command.

    Args:
        script: A script of the project, relative to the repository.
        arguments: Its arguments.
        folder: The current folder of the command; its output goes to a file there.
        surroundings: What the command finds.
        n_processes: 0 for a process of its own, otherwise torchrun starts this number.
    """

    def __init__(self, script, arguments, folder, surroundings=None, n_processes=0):
        surroundings = surroundings or Surroundings()
        self.text = ' '.join([script, *arguments])
        self._mark = f'{os.getpid()}-{time.monotonic_ns()}'
        self._output = folder / 'output.txt'
        variables = {**surroundings.variables, MARK: self._mark, 'OMP_NUM_THREADS': '1'}
        if n_processes:
            with open(self._output, 'wb') as output:
                self._process = subprocess.Popen(
                    [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
                     str(n_processes), str(REPO / script), *arguments, '--launcher', 'pytorch'],
                    cwd=folder, stdout=output, stderr=output, start_new_session=True, env={**os.environ, **variables})
        else:
            has_begun, begin = SERVER.Pipe(duplex=False)
            self._process = SERVER.Process(target=_run, args=(script, arguments, folder, self._output, variables,
                                                              surroundings, begin))
            self._process.start()
            begin.close()
            has_begun.recv()
        self.process_id = self._process.pid

    def ends_within(self, seconds):
        """Waits; returns whether the command has ended."""
        if isinstance(self._process, subprocess.Popen):
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            return True
        self._process.join(seconds)
        return self._process.exitcode is not None

    def finish(self):
        """Waits for its end.

        Raises:
            RuntimeError: It has failed, or has not ended after ten minutes.
        """
        if not self.ends_within(10 * MAX_SECONDS_TO_END) or self.status:
            self.end()
            raise RuntimeError(f'exit status {self.status}: {self.text}\n{self.output}')

    def send(self, number):
        """Sends a signal: Ctrl-C to all its processes, as a terminal does, and others only to the command itself."""
        kill(-self.process_id if number == signal.SIGINT else self.process_id, number)

    @property
    def status(self):
        """The exit status; minus the number of the signal that ended it; None while it runs."""
        if isinstance(self._process, subprocess.Popen):
            return self._process.returncode
        return self._process.exitcode

    @property
    def output(self):
        """What it has printed on standard output and standard error."""
        return self._output.read_text(errors='backslashreplace') if self._output.exists() else ''

    def living(self):
        """Returns the ids of its processes, and of all that they started."""
        names = (path.name for path in Path('/proc').iterdir())
        return [int(name) for name in names if name.isdecimal() and self._is_ours(int(name))]

    def ranks(self):
        """Returns the ids of the processes that torchrun started, by their rank."""
        return {int(variables['RANK']): process_id for process_id in self.living()
                if 'RANK' in (variables := _environment(process_id)) and _parent(process_id) == self.process_id}

    def end(self):
        """Kills whatever is left of it."""
        for process_id in self.living():
            kill(process_id, signal.SIGKILL)
        self.ends_within(MAX_SECONDS_TO_END)

    def _is_ours(self, process_id):
        # Forks have the environment of the server, but the session of the command.
        try:
            is_ours = os.getsid(process_id) == self.process_id or _environment(process_id).get(MARK) == self._mark
            return is_ours and _status_fields(process_id)[0] != 'Z'
        except OSError:  # it has ended in the meantime, or belongs to another user
            return False


def _hold_interrupts():
    """Lets Ctrl-C wait until a command reads its command line: before, nothing but Python is at work."""
    run_command = shell.run_command

    def run(parse_args, carry_out, **options):
        def parse():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            return parse_args()
        return run_command(parse, carry_out, **options)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    shell.run_command = run


def kill(process_id, number):
    """Sends a signal to a process, or to a group of processes with a negative number, if it still exists."""
    with suppress(ProcessLookupError):
        os.kill(process_id, number)


def _environment(process_id):
    try:
        entries = Path(f'/proc/{process_id}/environ').read_bytes().split(b'\0')
    except OSError:
        return {}
    return dict(os.fsdecode(entry).split('=', 1) for entry in entries if b'=' in entry)


def _parent(process_id):
    return int(_status_fields(process_id)[1])


def _status_fields(process_id):
    """The state of a process, its parent, and what follows them in /proc/PID/stat."""
    return Path(f'/proc/{process_id}/stat').read_text().rpartition(')')[2].split()


def _run(script, arguments, folder, output, variables, surroundings, begin):
    """Runs a script as Python would, in a fork of the server."""
    os.setsid()
    os.chdir(folder)
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not Path(script).is_absolute():
        _hold_interrupts()
    for name, value in surroundings.patches.items():
        module, _, variable = name.rpartition('.')
        setattr(importlib.import_module(module), variable, value)
    sys.argv = [str(REPO / script), *arguments]
    sys.path[0] = str((REPO / script).parent)
    begin.send(None)
    begin.close()
    if surroundings.n_files is not None:
        n_open = len(list(Path('/proc/self/fd').iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (n_open + surroundings.n_files,) * 2)
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    finally:
        atexit._run_exitfuncs()  # as at the end of Python, but not of a fork

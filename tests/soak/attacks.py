"""Ways to disturb a command, and what must be true of its files then and after it was run again."""

import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from soak.disks import mounted, remount
from soak.processes import MAX_SECONDS_TO_END, kill
from soak.subjects import DISK, OUT

# An undisturbed run may take so many times as long as the first one, on a machine that is busy.
_MAX_SLOWDOWN = 10
_INTERRUPTED = 130
# So often a command is started again if it has ended before a signal was sent.
_MOST_STARTS = 6


@dataclass
class Place:
    """Where a command runs: its current folder, and the folder of the data that it reads."""

    folder: Path
    data: Path

    @property
    def temporary(self):
        """The folder for temporary files."""
        return self.folder / 'temporary'

    @property
    def out(self):
        """The folder that the command writes."""
        return self.folder / OUT

    @property
    def disk(self):
        """The folder on which a small disk can be mounted; that of outputs lies in it."""
        return self.folder / DISK

    def clear(self):
        """Removes whatever commands have written."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.temporary.mkdir(parents=True)
        self.disk.mkdir()


@dataclass
class Reference:
    """An undisturbed run: the digests of its files and of those of an older run, and what it takes."""

    files: dict[str, str]
    older: dict[str, str]
    seconds: float
    n_bytes: int


class Trial:
    """One attack on one command.

    Args:
        subject: The command.
        place: Where it runs.
        reference: Its undisturbed run.
        rng: Draws times and sizes.
    """

    def __init__(self, subject, place, reference, rng):
        self.subject, self.place, self.reference, self.rng = subject, place, reference, rng
        self.story, self.findings = [], []
        self.n_kills = 0

    @property
    def limit_seconds(self):
        """How long the command may take, interrupted or not."""
        return MAX_SECONDS_TO_END + _MAX_SLOWDOWN * self.reference.seconds

    def interrupt(self):
        """Ends the command at random times, one to three times, and lets it continue."""
        place, has_older = self.place, self.subject.older is not None and self.rng.random() < .5
        longest_seconds = self.reference.seconds
        for _ in range(_MOST_STARTS):
            if has_older:
                self.run_to_end('the older run', older=True)
            self._interrupt_until_it_ends(place, has_older, longest_seconds)
            if self.n_kills:
                break
            longest_seconds /= 2
            place.clear()
        self.run_to_end('continued', resumed=True)
        self.judge_result()

    def _interrupt_until_it_ends(self, place, has_older, longest_seconds):
        for resumed in (False, True, True):
            number = self.rng.choice([signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
            seconds = self.rng.uniform(0, longest_seconds)
            command = self.subject.start(place, resumed)
            has_ended = command.ends_within(seconds)
            if not has_ended:
                command.send(number)
                self.n_kills += 1
            self.story.append(f'{number.name} after {seconds:.1f} s' if not has_ended else 'ended before')
            self.wait_for(command)
            self.judge_end(command, None if has_ended else number)
            self.judge_files(has_older)
            if has_ended or self.rng.random() < .5:
                break

    def fill_the_disk(self):
        """Gives the command a disk that is too small for its files, then room."""
        n_kib = self.rng.randint(4, max(self.reference.n_bytes // 1024, 8))
        self.story.append(f'a disk of {n_kib} KiB for {self.reference.n_bytes // 1024} KiB')
        with mounted(self.place.disk, f'{n_kib}k'):
            command = self.subject.start(self.place)
            self.judge_refused(command)
            if command.status == 0:
                self.judge_result()
            remount(self.place.disk, 'size=1g')
            self.run_to_end('with room', resumed=True)
            self.judge_result()

    def forbid_writing(self):
        """Gives the command a disk that cannot be written, with or without a folder for its files."""
        has_folder = self.rng.random() < .5
        with mounted(self.place.disk, '1g'):
            if has_folder:
                self.place.out.mkdir()
            remount(self.place.disk, 'ro')
            self.story.append(f'a read-only disk {"with" if has_folder else "without"} the folder')
            command = self.subject.start(self.place)
            self.judge_refused(command)
            if command.status == 0:
                self.find('it says that all was written')
            remount(self.place.disk, 'rw')
            self.run_to_end('writable', resumed=True)
            self.judge_result()

    def limit_open_files(self):
        """Lets the command open only a few files at once."""
        n_files = self.rng.randint(0, 24)
        self.story.append(f'{n_files} more open files')
        self.judge_refused(self.subject.start(self.place, n_files=n_files))
        self.run_to_end('without limit', resumed=True)
        self.judge_result()

    def spoil_temporary_folder(self):
        """Names a folder for temporary files that is missing, read-only or nearly full."""
        kind = self.rng.choice(['missing', 'read-only', 'nearly full'])
        self.story.append(f'a folder for temporary files that is {kind}')
        if kind == 'missing':
            self.judge_refused(self.subject.start(self.place, TMPDIR=str(self.place.folder / 'missing')))
        else:
            with mounted(self.place.temporary, '16k'):
                if kind == 'read-only':
                    remount(self.place.temporary, 'ro')
                self.judge_refused(self.subject.start(self.place))
        self.run_to_end('with a good one', resumed=True)
        self.judge_result()

    def start_two(self):
        """Starts the command twice in one folder: one of them must do the work, and none may spoil it."""
        seconds = self.rng.uniform(0, self.reference.seconds / 2)
        self.story.append(f'a second one after {seconds:.1f} s')
        second_place = Place(self.place.folder / 'second', self.place.data)
        second_place.clear()
        # Both write to the same folder, but have their own files for what they print.
        second_place.disk.rmdir()
        second_place.disk.symlink_to(self.place.disk)
        first = self.subject.start(self.place)
        first.ends_within(seconds)
        second = self.subject.start(second_place)
        for command in (first, second):
            self.judge_refused(command)
        if first.status and second.status:
            self.find(f'neither has done the work:\n{first.output[-1500:]}\n{second.output[-1500:]}')
        if second.status:
            self.story.append('the second was refused')
        self.run_to_end('once more', resumed=True)
        self.judge_result()

    def kill_a_rank(self):
        """Kills one of the processes that torchrun started; the others must end within a minute."""
        longest_seconds = self.reference.seconds
        for _ in range(_MOST_STARTS):
            begin = time.monotonic()
            command = self.subject.start(self.place)
            while len(command.ranks()) < self.subject.n_processes and time.monotonic() < begin + 2 * MAX_SECONDS_TO_END:
                if command.ends_within(.1):
                    break
            # The processes that torchrun starts take part of the time of the undisturbed run to appear.
            command.ends_within(self.rng.uniform(0, max(longest_seconds - (time.monotonic() - begin), 0)))
            if ranks := command.ranks():
                break
            self.story.append('ended before')
            self.wait_for(command)
            longest_seconds /= 2
            self.place.clear()
        if ranks:
            rank = self.rng.choice(sorted(ranks))
            number = self.rng.choice([signal.SIGKILL, signal.SIGSEGV])
            self.story.append(f'{number.name} for rank {rank}')
            self.n_kills += 1
            kill(ranks[rank], number)
            self.wait_for(command)
            if command.status == 0:
                self.find('it says that all was done')
            elif f'local_rank: {rank}' not in command.output:
                self.find(f'the rank {rank} is not named:\n{command.output[-1500:]}')
        self.judge_files(False)
        self.run_to_end('continued', resumed=True)
        self.judge_result()

    def run_to_end(self, what, **options):
        """Runs the command undisturbed; it must succeed."""
        begin = time.monotonic()
        command = self.subject.start(self.place, **options)
        if not command.ends_within(self.limit_seconds):
            self.find(f'{what}: not done after {self.limit_seconds:.0f} s:\n{command.output[-1500:]}')
        elif command.status != 0:
            self.find(f'{what}: exit status {command.status}\n{command.output[-1500:]}')
        else:
            self.story.append(f'{what}: {time.monotonic() - begin:.1f} s')
        self.wait_for(command)

    def wait_for(self, command):
        """Waits until a command, and whatever it started, has ended; kills what has not."""
        end = time.monotonic() + MAX_SECONDS_TO_END
        has_ended = command.ends_within(MAX_SECONDS_TO_END)
        while command.living() and time.monotonic() < end:
            time.sleep(.1)
        if not has_ended:
            self.find(f'it has not ended after {MAX_SECONDS_TO_END:.0f} s:\n{command.output[-1500:]}')
        elif left := command.living():
            self.find(f'{len(left)} of its processes have not ended after {MAX_SECONDS_TO_END:.0f} s')
        command.end()

    def judge_end(self, command, number):
        """Ctrl-C and a request to end lead to the documented exit status, without a traceback."""
        allowed = {None: {0}, signal.SIGKILL: {0, -signal.SIGKILL}, signal.SIGINT: {0, _INTERRUPTED},
                   signal.SIGTERM: {0, -signal.SIGTERM, self.subject.asked_to_stop}}[number]
        if self.subject.n_processes and number is not None:  # torchrun has exit statuses of its own
            return
        if command.status not in allowed or 'Traceback' in command.output:
            self.find(f'exit status {command.status} after {"no signal" if number is None else number.name}\n'
                      f'{command.output[-3000:]}')

    def judge_refused(self, command):
        """A command either succeeds, or says in one line why it cannot."""
        command.ends_within(self.limit_seconds)
        self.wait_for(command)
        if command.status not in (0, 1, 3) or 'Traceback' in command.output:
            self.find(f'exit status {command.status}\n{command.output[-3000:]}')
        elif command.status == 1 and 'error: ' not in command.output:
            self.find(f'no reason is given:\n{command.output[-1500:]}')
        self.judge_files(False)

    def judge_files(self, has_older):
        """Each file of the result is absent, complete, or that of the older run."""
        for name, digest in self.subject.read_outputs(self.place.out).items():
            allowed = {self.reference.files.get(name), self.reference.older.get(name) if has_older else None}
            if name in self.reference.files and digest not in allowed and not self.subject.is_changing(name):
                self.find(f'{name} has another content than it must have: {digest}, not {self.reference.files[name]}')

    def judge_result(self):
        """The files are those of the undisturbed run, byte by byte, and no others."""
        files = self.subject.read_outputs(self.place.out)
        for name in sorted(files.keys() | self.reference.files.keys()):
            if files.get(name) != self.reference.files.get(name):
                problem = ('is missing' if name not in files else 'is left over' if name not in self.reference.files
                           else f'differs from that of the undisturbed run: {files[name]}, not '
                                f'{self.reference.files[name]}')
                self.find(f'{name} {problem}')

    def find(self, text):
        self.findings.append(text)


ATTACKS = {
    'killed': Trial.interrupt,
    'full disk': Trial.fill_the_disk,
    'read-only disk': Trial.forbid_writing,
    'few open files': Trial.limit_open_files,
    'bad folder for temporary files': Trial.spoil_temporary_folder,
    'two at once': Trial.start_two,
    'dead process of several': Trial.kill_a_rank,
}
SIGNALS = {'killed', 'dead process of several'}

"""Disturbs commands at random, and looks whether anything is lost: kills, full disks, dead processes, two at once.

    make soak
    python tests/soak/run.py --seed 7 --only training --minutes 5

Each command is run again afterwards, and its files are compared with those of an undisturbed run, byte by byte. The
seed and the number of an attack make its random choices again, but not the moment in which a signal arrives.
"""

import argparse
import os
import random
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
# Processes that are started look for modules in the same folders.
sys.path[:0] = [str(REPO / 'tests'), str(REPO)]
os.environ['PYTHONPATH'] = os.pathsep.join([str(REPO / 'tests'), str(REPO), os.environ.get('PYTHONPATH', '')])
os.environ['OMP_NUM_THREADS'] = '1'

from soak.attacks import ATTACKS, SIGNALS, Place, Reference, Trial  # noqa: E402
from soak.disks import can_mount  # noqa: E402
from soak.processes import preload  # noqa: E402
from soak.subjects import SUBJECTS, prepare  # noqa: E402

from mmcell.commands.shell import make_parser, run_command  # noqa: E402

_NEED_DISKS = {'full disk', 'read-only disk', 'bad folder for temporary files'}
# So many times as often as the others.
_WEIGHTS = {'killed': 30}
_BEGIN, _END = '<!-- soak: begin -->', '<!-- soak: end -->'


def parse_args() -> argparse.Namespace:
    parser = make_parser(__doc__, '', 'nothing was found', 'something was found, or the attacks failed')
    parser.add_argument('--minutes', type=float, default=20., help='how long attacks are begun (default: 20)')
    parser.add_argument('--seed', type=int, help='the seed of a run that is repeated (default: a new one)')
    parser.add_argument('--only', nargs='+', metavar='COMMAND', choices=SUBJECTS, help='which commands (default: all)')
    parser.add_argument('--attacks', nargs='+', metavar='ATTACK', choices=ATTACKS, help='which attacks (default: all)')
    parser.add_argument('--jobs', type=int, default=2, help='how many commands are attacked at once (default: 2)')
    parser.add_argument('--report', type=Path, metavar='FILE', help='Markdown file whose section between the comments '
                        f'"{_BEGIN}" and "{_END}" gets the figures (default: none)')
    parser.add_argument('--keep', action='store_true', help='keep the files of attacks that found something')
    return parser.parse_args()


@dataclass(frozen=True)
class Task:
    """An attack on a command, with the number from which its random choices follow."""

    subject: str
    attack: str
    number: int


class Record:
    """Counts attacks, and prints what is found."""

    def __init__(self):
        self.tried, self.kills, self.found = Counter(), Counter(), Counter()
        self.lock = threading.Lock()

    def add(self, task, trial):
        """Counts an attack that has ended."""
        with self.lock:
            key = task.subject, task.attack
            # A command that ended before each signal was not attacked.
            self.tried[key] += trial.n_kills > 0 or task.attack not in SIGNALS
            self.kills[key] += trial.n_kills
            self.found[key] += bool(trial.findings)
            print(f'{task.number:4} {task.subject}, {task.attack}: {"; ".join(trial.story)}', flush=True)
            for finding in trial.findings:
                print('     found: ' + finding.replace('\n', '\n       '), flush=True)

    def table(self):
        """Returns a Markdown table with a row per command: how often each attack was tried."""
        attacks = [attack for attack in ATTACKS if any(attack == other for _, other in self.tried)]
        subjects = [name for name in SUBJECTS if any(name == other for other, _ in self.tried)]
        rows = [['command', *attacks, 'signals', 'found']]
        for subject in subjects:
            keys = [(subject, attack) for attack in attacks]
            rows.append([subject, *(str(self.tried[key] or '') for key in keys),
                         str(sum(self.kills[key] for key in keys)), str(sum(self.found[key] for key in keys))])
        rows.append(['all', *(str(sum(self.tried[subject, attack] for subject in subjects)) for attack in attacks),
                     str(self.kills.total()), str(self.found.total())])
        rows.insert(1, ['---', *['---:'] * (len(attacks) + 2)])
        return '\n'.join(f'| {" | ".join(row)} |' for row in rows)


def plan(subjects, attacks, rng):
    """Yields tasks without end: each attack on each command once, in random order, then more kills than others."""
    pairs = [(name, attack) for name in subjects for attack in attacks
             if (attack == 'dead process of several') == (SUBJECTS[name].n_processes > 0)]
    weights = [_WEIGHTS.get(attack, 1) for _, attack in pairs]
    rng.shuffle(pairs)
    number = 0
    while True:
        pair = pairs[number] if number < len(pairs) else rng.choices(pairs, weights)[0]
        yield Task(*pair, number)
        number += 1


def measure(subject, place):
    """Runs a command undisturbed; returns its files and what it takes."""
    older = {}
    if subject.older is not None:
        place.clear()
        subject.start(place, older=True).finish()
        older = subject.read_outputs(place.out)
    place.clear()
    begin = time.monotonic()
    subject.start(place).finish()
    seconds = time.monotonic() - begin
    n_bytes = sum(path.stat().st_size for path in place.out.rglob('*') if path.is_file())
    return Reference(subject.read_outputs(place.out), older, seconds, n_bytes)


def attack_all(args, tasks, root, record):
    """Attacks commands, several at once, until the time is over."""
    end, lock = time.monotonic() + 60 * args.minutes, threading.Lock()
    data = root / 'data'

    def work(job):
        # Paths are in the files, so that each job has references of its own.
        place, references = Place(root / f'job{job}', data), {}
        while time.monotonic() < end:
            with lock:
                task = next(tasks)
            subject = SUBJECTS[task.subject]
            if task.subject not in references:
                references[task.subject] = measure(subject, place)
            place.clear()
            trial = Trial(subject, place, references[task.subject], random.Random(f'{args.seed} {task.number}'))
            ATTACKS[task.attack](trial)
            record.add(task, trial)
            if trial.findings and args.keep:
                shutil.copytree(place.folder, root / f'found{task.number}', symlinks=True,
                                ignore=shutil.ignore_patterns('temporary'))

    with ThreadPoolExecutor(args.jobs) as pool:
        for future in [pool.submit(work, job) for job in range(args.jobs)]:
            future.result()


def write_report(path, text):
    """Replaces the section of a Markdown file that this script writes."""
    before, _, rest = path.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(f'{before}{_BEGIN}\n{text}\n{_END}{after}')


def carry_out(args):
    args.seed = secrets.randbelow(2 ** 31) if args.seed is None else args.seed
    attacks = list(args.attacks or ATTACKS)
    without = [] if can_mount() else [attack for attack in attacks if attack in _NEED_DISKS]
    attacks = [attack for attack in attacks if attack not in without]
    print(f'seed {args.seed}')
    if without:
        print(f'left out, because only an administrator can mount disks: {", ".join(without)}')
    preload()
    record, begin = Record(), time.monotonic()
    root = Path(tempfile.mkdtemp(prefix='soak-'))
    try:
        prepare(root / 'data')
        print(f'prepared in {time.monotonic() - begin:.0f} s', flush=True)
        attack_all(args, plan(args.only or list(SUBJECTS), attacks, random.Random(args.seed)), root, record)
    finally:
        if args.keep and record.found.total():
            print(f'kept: {root}')
        else:
            shutil.rmtree(root, ignore_errors=True)
    minutes = (time.monotonic() - begin) / 60
    n_found = record.found.total()
    summary = (f'{record.tried.total()} attacks with {record.kills.total()} signals in {minutes:.0f} minutes, seed '
               f'{args.seed}: {n_found} found something.')
    print(f'{record.table()}\n\n{summary}')
    if args.report is not None:
        left_out = f' Left out, because no disks could be mounted: {", ".join(without)}.' if without else ''
        write_report(args.report, f'{summary}{left_out}\n\n{record.table()}')
    return 1 if n_found else 0


def main():
    return run_command(parse_args, carry_out)


if __name__ == '__main__':
    sys.exit(main())

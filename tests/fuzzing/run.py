"""Looks for inputs that a reader of mmcell neither reads nor refuses in one message.

    make fuzz
    python tests/fuzzing/run.py --inputs 100000 --jobs 2

Inputs are made from the files in tests/fuzzing/corpus by changes that know the formats. Each is read in a process with
limits on time and memory. The seed, the target and the number of an input make it again, as long as corpus and changes
stay the same. What is found is saved, and the search goes on.
"""

import os
import secrets
import sys
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

REPO = Path(__file__).resolve().parents[2]
# Processes that are started look for modules in the same folders.
sys.path[:0] = [str(REPO / 'tests'), str(REPO)]
os.environ['OMP_NUM_THREADS'] = '1'

from fuzzing.mutations import BESIDE, CORPUS, make_input, seed_files  # noqa: E402
from fuzzing.workers import Limits, Worker, choose_targets  # noqa: E402

from mmcell.commands.shell import make_parser, run_command  # noqa: E402

# So many inputs with the same fault are saved.
_MOST_SAVED = 3


def parse_args():
    parser = make_parser(__doc__, '', 'nothing was found', 'something was found, or the search failed')
    parser.add_argument('--inputs', type=int, default=4800, help='how many inputs are read in all (default: 4800)')
    parser.add_argument('--seed', type=int, help='the seed of a run that is repeated (default: a new one)')
    parser.add_argument('--targets', nargs='+', metavar='NAME', help='which readers (default: all)')
    parser.add_argument('--first', type=int, default=0, help='the number of the first input of each '
                        'target (default: 0)')
    parser.add_argument('--jobs', type=int, default=1, help='how many processes read (default: 1)')
    parser.add_argument('--seconds', type=int, default=Limits.cpu_seconds, help='processor time per input (default: '
                        '%(default)s)')
    parser.add_argument('--registry', default='fuzzing.targets:TARGETS', metavar='MODULE:NAME',
                        help='where the readers are defined (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'fuzzing', help='where findings are saved '
                        '(default: work_dirs/fuzzing)')
    return parser.parse_args()


def search(targets, numbers, seed, jobs, make_worker, on_outcome):
    """Reads inputs with several processes, and calls ``on_outcome`` for each.

    Args:
        targets: The names of corpora by the names of targets.
        numbers: The numbers of the inputs of each target.
        seed: The seed of the run.
        jobs: How many processes read.
        make_worker: Makes a worker.
        on_outcome: Takes the target, the number, the suffix and content of the input, and the outcome.
    """
    tasks = SimpleQueue()
    for number in numbers:
        for name in targets:
            tasks.put((name, number))
    for _ in range(jobs):
        tasks.put(None)

    def work():
        worker = make_worker()
        try:
            while (task := tasks.get()) is not None:
                name, number = task
                suffix, content = make_input(targets[name], seed, number)
                on_outcome(name, number, suffix, content, worker.read(name, suffix, content))
        finally:
            worker.close()

    with ThreadPoolExecutor(jobs) as pool:
        for future in [pool.submit(work) for _ in range(jobs)]:
            future.result()


class Record:
    """Counts outcomes, and saves what is found.

    Args:
        folder: Where findings are saved.
        seed: The seed of the run.
        output: The open file to which the names of what is found are printed; None: the standard output.
    """

    def __init__(self, folder, seed, output=None):
        self.folder, self.seed, self.output = folder, seed, output
        self.counts = defaultdict(Counter)
        self.names = Counter()

    def add(self, target, number, suffix, content, outcome):
        """Counts an outcome."""
        self.counts[target][outcome.kind] += 1
        if outcome.kind != 'found':
            return
        self.names[target, outcome.name] += 1
        if self.names[target, outcome.name] > _MOST_SAVED:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f'{target.replace(" ", "-")}_{self.seed}_{number}{suffix}'
        path.write_bytes(content)
        path.with_name(f'{path.name}.txt').write_text(
            f'{target}, seed {self.seed}, number {number}\n{outcome.text}\n', errors='backslashreplace')
        print(f'found: {target}: {outcome.name}\n  {path}', file=self.output, flush=True)

    def table(self):
        """Returns one line per target."""
        return '\n'.join(f'{name:24} {counts.total():7,} inputs, {counts["read"]:7,} read, {counts["refused"]:7,} '
                         f'refused, {counts["found"]:4,} found' for name, counts in self.counts.items())


def carry_out(args):
    targets = choose_targets(args.registry, args.targets)
    seed = secrets.randbelow(2 ** 31) if args.seed is None else args.seed
    n_per_target = -(-args.inputs // len(targets))
    print(f'seed {seed}, {n_per_target} inputs for each of {len(targets)} targets, from '
          f'{sum(len(seed_files(path.name)) for path in CORPUS.iterdir())} files', flush=True)
    begin, record = time.monotonic(), Record(args.out, seed)
    numbers = range(args.first, args.first + n_per_target)
    search({name: target.corpus for name, target in targets.items()}, numbers, seed, args.jobs, lambda: Worker(
        args.registry, Limits(cpu_seconds=args.seconds), BESIDE), record.add)
    n_found = sum(counts['found'] for counts in record.counts.values())
    print(f'{record.table()}\n{n_found} found with seed {seed} in {time.monotonic() - begin:.0f} s')
    return 1 if n_found else 0


def main():
    return run_command(parse_args, carry_out)


if __name__ == '__main__':
    sys.exit(main())

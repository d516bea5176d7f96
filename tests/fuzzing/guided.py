"""Looks for faults of readers with inputs that are kept if they reach new lines of mmcell (atheris, libFuzzer).

    make fuzz-guided
    python tests/fuzzing/guided.py --targets QuPath ImageJ --seconds 300

Half of the changes are those of tests/fuzzing/run.py, which know the formats, the others those of libFuzzer. Inputs are
judged by the same rules. What is found is saved, and the search goes on. atheris has wheels for Linux and Python 3.11
to 3.13, and is needed by nothing else: make installs it into a folder of its own.
"""

import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
# Processes that are started look for modules in the same folders.
sys.path[:0] = [str(REPO / 'tests'), str(REPO)]
os.environ['OMP_NUM_THREADS'] = '1'

from fuzzing.byte_mutations import mutate_bytes  # noqa: E402
from fuzzing.mutations import BESIDE, mutate_by_format, seed_files  # noqa: E402
from fuzzing.run import Record  # noqa: E402
from fuzzing.workers import InputReader, Limits, choose_targets, describe_death, read_printed  # noqa: E402

from mmcell.commands.shell import make_parser, run_command  # noqa: E402

_MAX_INPUT_BYTES = 2 ** 16
# So many deaths of a reader end the search for its faults.
_MOST_DEATHS = 3


def parse_args():
    parser = make_parser(__doc__, '', 'nothing was found', 'something was found, or the search failed')
    parser.add_argument('--targets', nargs='+', metavar='NAME', help='which readers (default: all)')
    parser.add_argument('--seconds', type=int, default=60, help='time per reader (default: %(default)s)')
    parser.add_argument('--seed', type=int, help='the seed of the changes (default: a new one)')
    parser.add_argument('--registry', default='fuzzing.targets:TARGETS', metavar='MODULE:NAME',
                        help='where the readers are defined (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'fuzzing', help='where findings are saved '
                        '(default: work_dirs/fuzzing)')
    return parser.parse_args()


def carry_out(args):
    targets = choose_targets(args.registry, args.targets)
    seed = secrets.randbelow(2 ** 31) if args.seed is None else args.seed
    print(f'seed {seed}, {args.seconds} s for each of {len(targets)} targets', flush=True)
    record = Record(args.out, seed)
    for name in targets:
        with tempfile.TemporaryDirectory(prefix='fuzzing-') as folder:
            search(name, args, record, Path(folder))
            print(f'{name}: {len(list((Path(folder) / "corpus").iterdir()))} inputs reached new lines', flush=True)
    n_found = sum(counts['found'] for counts in record.counts.values())
    print(f'{record.table()}\n{n_found} found with seed {seed}')
    return 1 if n_found else 0


def search(name, args, record, folder):
    """Searches the faults of one target with processes, each of which is replaced when it has died of an input."""
    end, n_deaths = time.monotonic() + args.seconds, 0
    while (left := round(end - time.monotonic())) > 0 and n_deaths < _MOST_DEATHS:
        shutil.rmtree(folder / 'inputs', ignore_errors=True)
        status = subprocess.run([sys.executable, __file__, '--serve', name, args.registry, args.out.absolute(),
                                 str(record.seed + n_deaths), str(left), folder]).returncode
        inputs = list((folder / 'inputs').glob('input-*'))
        if status and not inputs:
            raise SystemExit(f'the process of {name} cannot start:\n{read_printed(folder)}')
        record.counts[name].update(json.loads((folder / 'counts').read_text()))
        if status:
            n_deaths += 1
            record.add(name, f'died-{n_deaths}', inputs[0].suffix, inputs[0].read_bytes(),
                       describe_death(status, read_printed(folder)))


class Fuzzer:
    """Reads and makes the inputs of libFuzzer: a byte that chooses the suffix of the file, and the content of the file.

    Args:
        name: The name of a target.
        target: The target.
        reader: The :class:`InputReader`.
        record: Counts and saves what comes out.
    """

    def __init__(self, name, target, reader, record):
        self.name, self.target, self.reader, self.record = name, target, reader, record
        self.n_left_format = 0
        self.suffixes = sorted({path.suffix for path in seed_files(target.corpus)})
        self.write_counts()

    def write_seeds(self, folder):
        """Writes the seeds as inputs of libFuzzer into a folder."""
        folder.mkdir(exist_ok=True)
        for number, path in enumerate(seed_files(self.target.corpus)):
            (folder / f'seed-{number}').write_bytes(bytes([self.suffixes.index(path.suffix)]) + path.read_bytes())

    def mutate(self, data, max_size, seed):
        """Returns a changed input."""
        import atheris
        rng = random.Random(seed)
        if len(data) < 2 or rng.random() < .5:
            return atheris.Mutate(data, max_size)
        return self.mutate_by_format(data, rng)[:max_size]

    def mutate_by_format(self, data, rng):
        """Returns an input changed as its format allows, or as bytes if it has left its format."""
        try:
            changed = mutate_by_format(self._suffix_of(data), data[1:], rng)
        except Exception:  # these changes expect files that were sound
            self.n_left_format += 1
            changed = mutate_bytes(data[1:], rng)
        return data[:1] + changed

    def _suffix_of(self, data):
        return self.suffixes[(data[0] if data else 0) % len(self.suffixes)]

    def read(self, data):
        """Reads an input, and records the outcome."""
        suffix, content = self._suffix_of(data), data[1:]
        outcome = self.reader.read(self.target, suffix, content)
        self.record.add(self.name, f'{os.getpid()}-{self.record.counts[self.name].total()}', suffix, content, outcome)
        self.write_counts()

    def write_counts(self):
        """Writes the counts where they are found if this process dies."""
        (self.reader.folder / 'counts').write_text(json.dumps(self.record.counts[self.name]))


def serve(name, registry, out, seed, seconds, folder):
    """Reads inputs of libFuzzer until the time is over, and does not return."""
    import atheris
    folder = Path(folder)
    (folder / 'counts').unlink(missing_ok=True)
    record = Record(Path(out), seed, os.fdopen(os.dup(1), 'w'))
    reader = InputReader(Limits(), BESIDE, folder)
    with atheris.instrument_imports(include=['mmcell'], enable_loader_override=False):
        target = choose_targets(registry, [name])[name]
    fuzzer = Fuzzer(name, target, reader, record)
    fuzzer.write_seeds(folder / 'seeds')
    (folder / 'corpus').mkdir(exist_ok=True)
    atheris.Setup([sys.argv[0], f'{folder}/corpus', f'{folder}/seeds', f'-max_total_time={seconds}', f'-seed={seed}',
                   f'-max_len={_MAX_INPUT_BYTES}', '-rss_limit_mb=0', '-timeout=120', f'-artifact_prefix={folder}/'],
                  fuzzer.read, custom_mutator=fuzzer.mutate)
    atheris.Fuzz()


def main():
    return run_command(parse_args, carry_out)


if __name__ == '__main__':
    sys.exit(serve(*sys.argv[2:]) if sys.argv[1:2] == ['--serve'] else main())

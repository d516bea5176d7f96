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
from collections import Counter
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / 'tests'), str(REPO)]
os.environ['OMP_NUM_THREADS'] = '1'

from fuzzing.byte_mutations import mutate_bytes  # noqa: E402
from fuzzing.mutations import BESIDE, MUTATORS, seed_files  # noqa: E402
from fuzzing.workers import Limits, load_targets, read_within  # noqa: E402

_MAX_INPUT_BYTES = 2 ** 16
# So many deaths of a reader end the search for its faults.
_MOST_DEATHS = 3
# What a searching process writes into its folder.
_COUNTS, _CURRENT, _FOUND, _PRINTED = 'counts.json', 'current', 'found', 'printed'
# The readers that are searched, and what they import, must not be loaded before atheris watches the import.
_REGISTRY = 'fuzzing.targets:TARGETS'


def parse_args():
    from mmcell.commands.shell import make_parser
    parser = make_parser(__doc__, '', 'nothing was found', 'something was found, or the search failed')
    parser.add_argument('--targets', nargs='+', metavar='NAME', help='which readers (default: all)')
    parser.add_argument('--seconds', type=int, default=60, help='time per reader (default: %(default)s)')
    parser.add_argument('--seed', type=int, help='the seed of the changes (default: a new one)')
    parser.add_argument('--registry', default=_REGISTRY, metavar='MODULE:NAME',
                        help='where the readers are defined (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=REPO / 'work_dirs' / 'fuzzing', help='where findings are saved '
                        '(default: work_dirs/fuzzing)')
    return parser.parse_args()


def carry_out(args):
    targets = load_targets(args.registry)
    names = args.targets or list(targets)
    if unknown := set(names) - set(targets):
        raise SystemExit(f'there is no target {", ".join(sorted(unknown))}; there are: {", ".join(targets)}')
    seed = secrets.randbelow(2 ** 31) if args.seed is None else args.seed
    print(f'seed {seed}, {args.seconds} s for each of {len(names)} targets', flush=True)
    n_found = sum(search(name, args.registry, seed, args.seconds, args.out) for name in names)
    print(f'{n_found} found with seed {seed}')
    return 1 if n_found else 0


def search(name, registry, seed, seconds, out):
    """Searches one target, saves and prints what is found, prints one line, and returns the number of findings."""
    end, n_started, counts = time.monotonic() + seconds, 0, Counter()
    folder = Path(tempfile.mkdtemp(prefix='fuzzing-'))
    try:
        # A process that dies of an input is replaced.
        while (left := round(end - time.monotonic())) > 0 and counts['deaths'] < _MOST_DEATHS:
            n_started += 1
            process = subprocess.run([sys.executable, __file__, '--serve', name, registry, str(seed + n_started),
                                      str(left), str(folder)], capture_output=True, text=True, errors='replace')
            if not (folder / _COUNTS).exists():
                raise SystemExit(f'the process of {name} cannot start:\n{process.stderr[-3000:]}')
            counts += Counter(json.loads((folder / _COUNTS).read_text()))
            if process.returncode and (folder / _CURRENT).exists():
                counts.update(['found', 'deaths'])
                save(folder / _FOUND, f'died-{n_started}', next((folder / _CURRENT).glob('input-*')),
                     f'died with exit status {process.returncode}\n{process.stderr[-6000:]}')
            (folder / _COUNTS).unlink()
            shutil.rmtree(folder / _CURRENT, ignore_errors=True)
        for path in sorted((folder / _FOUND).glob('*')):
            out.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, out / f'{name.replace(" ", "-")}_guided-{seed}_{path.name}')
            if path.suffix == '.txt':
                print(f'found: {name}: {path.read_text().partition(chr(10))[0]}\n  {out}', flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f'{name:28} {counts["read"] + counts["refused"] + counts["found"]:8,} inputs, {counts["read"]:7,} read, '
          f'{counts["refused"]:7,} refused, {counts["found"]:4,} found; {counts["kept"]:5,} reached new lines',
          flush=True)
    return counts['found']


def save(folder, prefix, path, text):
    """Copies an input into a folder that is made if it is missing, with a text file beside it."""
    folder.mkdir(exist_ok=True)
    shutil.copy(path, folder / f'{prefix}-{path.name}')
    (folder / f'{prefix}-{path.name}.txt').write_text(text, errors='backslashreplace')


class Reading:
    """What libFuzzer calls with each input: reads and judges it.

    An input of libFuzzer is one byte that chooses the suffix of the file, and the content of the file.

    Args:
        target: The reader.
        folder: Where inputs, counts and findings are written.
    """

    def __init__(self, target, folder):
        self.target, self.folder = target, folder
        self.suffixes = sorted({path.suffix for path in seed_files(target.corpus)})
        (folder / _PRINTED).touch()
        self.counts, self.names, self.number = Counter(), Counter(), 0

    def write_seeds(self, folder):
        """Writes the seeds as inputs of libFuzzer into a new folder."""
        folder.mkdir(exist_ok=True)
        for number, path in enumerate(seed_files(self.target.corpus)):
            content = path.read_bytes()
            if len(content) < _MAX_INPUT_BYTES:
                (folder / f'seed-{number}').write_bytes(bytes([self.suffixes.index(path.suffix)]) + content)

    def mutate(self, data, max_size, seed):
        """Returns a changed input: libFuzzer's custom mutator."""
        import atheris
        rng = random.Random(seed)
        if len(data) < 2 or rng.random() < .5:
            return atheris.Mutate(data, max_size)
        suffix = self._suffix_of(data)
        return (data[:1] + MUTATORS.get(suffix, mutate_bytes)(data[1:], rng))[:max_size]

    def _suffix_of(self, data):
        return self.suffixes[(data[0] if data else 0) % len(self.suffixes)]

    def read(self, data):
        """Reads an input, counts the outcome, and saves what is found."""
        self.number += 1
        current = self.folder / _CURRENT
        shutil.rmtree(current, ignore_errors=True)
        shutil.copytree(BESIDE, current)
        path = current / f'input-{self.number}{self._suffix_of(data)}'
        path.write_bytes(data[1:])
        outcome = read_within(Limits(), self.target.read, path, self.folder / _PRINTED)
        self.counts[outcome.kind] += 1
        if outcome.kind == 'found':
            self.names[outcome.name] += 1
            if self.names[outcome.name] == 1:
                save(self.folder / _FOUND, str(os.getpid()), path, outcome.text)
        self.counts['kept'] = len(list((self.folder / 'corpus').iterdir()))
        if self.number % 50 == 1 or outcome.kind == 'found':
            self.write_counts()

    def write_counts(self):
        (self.folder / _COUNTS).write_text(json.dumps(self.counts))


def serve(name, registry, seed, seconds, folder):
    """Reads inputs of libFuzzer until the time is over, and does not return."""
    import atheris
    with atheris.instrument_imports(include=['mmcell'], enable_loader_override=False):
        target = load_targets(registry)[name]
    folder = Path(folder)
    reading = Reading(target, folder)
    reading.write_seeds(folder / 'seeds')
    reading.write_counts()
    (folder / 'corpus').mkdir(exist_ok=True)
    atheris.Setup([sys.argv[0], str(folder / 'corpus'), str(folder / 'seeds'), f'-max_total_time={seconds}',
                   f'-seed={seed}', f'-max_len={_MAX_INPUT_BYTES}', '-rss_limit_mb=0', '-timeout=120',
                   f'-artifact_prefix={folder}/artifact-', '-print_final_stats=1'],
                  reading.read, custom_mutator=reading.mutate)
    atheris.Fuzz()


if __name__ == '__main__':
    if sys.argv[1:2] == ['--serve']:
        serve(*sys.argv[2:])
    else:
        from mmcell.commands.shell import run_command
        sys.exit(run_command(parse_args, carry_out))

"""
Hostile input: random files and names given to every reader of the program.

    python benchmarks/fuzz.py [--cases 100000] [--seed 0] [--only NAME ...]

A case passes if the reader returns, or refuses with the error that it documents, in a message that
names the file, within 20 s. Whatever else comes out is printed once a kind, with the seed of its
case, and counted as lost.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import io
import json
import logging
import os
import random
import signal
import string
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import nibabel as nb
import numpy as np

from qsmprep.bids import acquisitions
from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.errors import InputError
from qsmprep.bids.filters import check_query, load_filters, matches
from qsmprep.bids.headers import inspect_image
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.masks import inspect_mask
from qsmprep.cli.group import run_group
from qsmprep.cli.parser import parse_args
from qsmprep.cli.records import Outcome, finish_record, keep_earlier, read_crash, read_record
from qsmprep.reports.pages import write_participant_pages
from qsmprep.settings import Settings, SettingsError

LIMIT_S = 20
KEYS = (
    'EchoTime', 'EchoTime1', 'EchoTime2', 'MagneticFieldStrength', 'ImagingFrequency', 'Units',
    'Manufacturer', 'ImageType', 'IntendedFor', 'RepetitionTime', 'MRAcquisitionType',
    'PartialFourier', 'CoilCombinationMethod', 'ComplexImageComponent', 'PixelBandwidth',
)  # fmt: skip
WORDS = (
    'rad', 'Siemens', 'GE', 'P', 'M', '3T', '', '\0', '\ud800', '<script>alert(1)</script>',
    '../../etc/passwd', 'a' * 5000, 'Universit\xe4t', '%s%n', '{0}', "'; DROP TABLE", 'NaN',
)  # fmt: skip


LABELS = (
    'sub-01', 'echo-1', 'echo-x', 'part-phase', 'part-mag', 'run-1', 'acq-', 'acq-a-b', 'ses-1',
    'SUB-02', 'desc-\u00e9', ' ', 'part-phase', '%', 'a' * 60,
)  # fmt: skip
FLAGS = (
    '--participant-label', '--phase-range', '--mem', '--derivatives', '--device', '--config-file',
    '--sr-resolution', '--inversion', '--inversion-parameter', '--prior', '--nprocs', '--reference',
    '--random-seed', '--posterior-samples',
)  # fmt: skip
RECORD_KEYS = (
    'participant', 'acquisitions', 'errors', 'stem', 'status', 'quality', 'warnings', 'inputs',
)  # fmt: skip
CRASH = (
    b'Node: qsmprep_wf.sub_01_wf.MEGRE_wf.x\nWorking directory: /w\n\n'
    b'Traceback (most recent call last):\nValueError: broken\n'
)


class Timeout(Exception):
    """A case took too long."""


def value(rng: random.Random, depth: int = 0) -> object:
    """Any JSON value, odd ones more often than not."""
    kind = rng.randrange(12 if depth < 4 else 9)
    if kind < 2:
        return rng.choice([0, 1, -1, 0.004, 3, 123.25, 1e308, -1e-320, 10**30, 10**400, 2**63])
    if kind < 4:
        return rng.choice([float('nan'), float('inf'), -float('inf'), True, False, None])
    if kind < 7:
        return rng.choice(WORDS)
    if kind < 9:
        return ''.join(rng.choices(string.printable, k=rng.randrange(20)))
    if kind == 9:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    if kind == 10:
        return {str(value(rng, 9)): value(rng, depth + 1) for _ in range(rng.randrange(5))}
    nested: object = value(rng, 9)
    for _ in range(rng.choice([1, 10, 100, 900])):
        nested = [nested] if rng.random() < 0.5 else {'a': nested}
    return nested


def text(rng: random.Random, content: object) -> bytes:
    """JSON as bytes, now and then spoiled."""
    try:
        raw = json.dumps(content, ensure_ascii=rng.random() < 0.7).encode('utf-8', 'surrogatepass')
    except (ValueError, RecursionError):
        raw = b'[' * rng.choice([10, 1000, 200000])
    return mutate(rng, raw) if rng.random() < 0.3 else raw


def mutate(rng: random.Random, raw: bytes) -> bytes:
    """Bytes changed, cut, doubled or put in."""
    data = bytearray(raw)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(len(data) + 1)
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[place % len(data)] = rng.randrange(256)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            data[place:place] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4, 64])))
        elif kind == 3:
            data[place:place] = data[: rng.randrange(64)]
        elif kind == 4:
            data = bytearray(rng.choice([b'\xef\xbb\xbf', b'\xff\xfe', b'\x1f\x8b'])) + data
        elif data:
            data[place % len(data)] ^= 1 << rng.randrange(8)
    return bytes(data)


class Bench:
    """A small dataset whose files are replaced, and readers to try on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / 'data'
        self.anat = self.data / 'sub-01' / 'anat'
        self.anat.mkdir(parents=True)
        (self.data / 'dataset_description.json').write_text('{"Name": "f", "BIDSVersion": "1.9.0"}')
        rng = np.random.default_rng(0)
        for echo in (1, 2):
            for part in ('mag', 'phase'):
                path = self.anat / f'sub-01_echo-{echo}_part-{part}_MEGRE.nii.gz'
                low = -np.pi if part == 'phase' else 0.0
                data = rng.uniform(low, np.pi, (8, 8, 8)).astype(np.float32)
                nb.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0])).to_filename(path)
                keys = {'EchoTime': 0.004 * echo, 'MagneticFieldStrength': 3, 'Units': 'rad'}
                path.with_suffix('').with_suffix('.json').write_text(json.dumps(keys))
        (self.acquisition,), _ = find_acquisitions(open_dataset(self.data), '01')
        # sidecars change and images do not: these are read once
        acquisitions.inspect_image = functools.cache(inspect_image)
        self.image = gzip.decompress(path.read_bytes())
        self.settings = Settings().to_toml().encode()
        self.weights = _weights(root)
        self.folders = [str(self.data), str(root / 'out'), 'participant', '-w', str(root / 'work')]

    def new(self, name: str, raw: bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return path

    def sidecar(self, rng: random.Random) -> str:
        path = rng.choice(sorted(self.anat.glob('*.json')))
        before = path.read_bytes()
        content = json.loads(before)
        for _ in range(rng.choice([1, 1, 3])):
            content[rng.choice(KEYS)] = value(rng)
        try:
            path.write_bytes(text(rng, content if rng.random() < 0.9 else value(rng)))
            _, rejected = find_acquisitions(open_dataset(self.data), '01')
        finally:
            path.write_bytes(before)
        for item in rejected:
            assert 'sub-01_echo-' in item.error, item.error
            raise InputError(item.error)
        return ''

    def description(self, rng: random.Random) -> str:
        path = self.data / 'dataset_description.json'
        before = path.read_bytes()
        try:
            path.write_bytes(text(rng, value(rng)))
            open_dataset(self.data)
        finally:
            path.write_bytes(before)
        return 'dataset_description.json'

    def header(self, rng: random.Random) -> str:
        raw = bytearray(self.image)
        for _ in range(rng.choice([1, 2, 6])):
            place = rng.randrange(352)
            raw[place : place + 4] = rng.randbytes(rng.choice([1, 2, 4]))
        if rng.random() < 0.2:
            raw = bytearray(mutate(rng, bytes(raw)))
        name, content = 'x.nii', bytes(raw)
        if rng.random() < 0.2:
            name, content = 'x.nii.gz', gzip.compress(content, 1)
            content = mutate(rng, content) if rng.random() < 0.5 else content
        path = self.new(name, content)
        if rng.random() < 0.7:
            inspect_image(path)
        else:
            inspect_mask(path, 'bids:x:y', self.acquisition, (250.0, 2500.0))
        return path.name

    def names(self, rng: random.Random) -> str:
        created = []
        for _ in range(3):
            parts = rng.sample(LABELS, rng.randrange(1, 6))
            name = '_'.join([*parts, rng.choice(('MEGRE', 'T2starw', 'megre', ''))])
            path = self.anat / (name + rng.choice(('.nii', '.nii.gz', '.json', '', '.nii.gz.json')))
            if not os.path.lexists(path):
                kind = rng.randrange(5)
                if kind == 0:
                    path.symlink_to('/dev/zero')
                elif kind == 1:
                    path.symlink_to(self.anat)
                elif kind == 2:
                    path.symlink_to('nowhere')
                elif kind == 3:
                    path.mkdir()
                else:
                    path.write_bytes(b'{}')
                created.append(path)
        try:
            find_acquisitions(open_dataset(self.data), '01')
        finally:
            for path in created:
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        return ''

    def filters(self, rng: random.Random) -> str:
        content = {
            rng.choice(('megre', 't1w', 'bold')): {
                rng.choice(('acquisition', 'run', 'echo', 'session', 'suffix', 'x')): value(rng)
            }
        }
        path = self.new('filters.json', text(rng, content if rng.random() < 0.8 else value(rng)))
        query = load_filters(path).get('megre', {})
        try:
            check_query(query)
        except InputError as error:
            raise InputError(f'{error} (filters.json)') from error
        for image in open_dataset(self.data).images('01', 'anat', ('MEGRE',)):
            matches(image, query)
        return path.name

    def toml(self, rng: random.Random) -> str:
        path = self.new('settings.toml', mutate(rng, self.settings))
        parse_args([*self.folders, '--config-file', str(path)])
        return ''

    def arguments(self, rng: random.Random) -> str:
        words = [w for w in WORDS if '\0' not in w and '\ud800' not in w]
        words += ['1', '-1', 'nan', 'a=1', '=', '1e99']
        given = []
        for _ in range(rng.randrange(1, 4)):
            given += [rng.choice(FLAGS), *rng.choices(words, k=rng.randrange(3))]
        parse_args([*self.folders, *given])
        return ''

    def plugin(self, rng: random.Random) -> str:
        from qsmprep.cli.execution import read_plugin

        seeds = (
            b'plugin: MultiProc\nplugin_args: {n_procs: 2}\n',
            b'&a [*a]',
            b'[' * 500,
            b'{a: b}',
        )
        read_plugin(path := self.new('plugin.yml', mutate(rng, rng.choice(seeds))))
        return path.name

    def record(self, rng: random.Random) -> str:
        content = {
            'participant': '01',
            'acquisitions': [
                {'stem': 'sub-01_MEGRE', 'status': 'completed', 'quality': {}, 'error': None}
            ],
            'errors': [],
        }
        for _ in range(rng.choice([1, 2])):
            acquisitions = content['acquisitions']
            first = acquisitions[0] if isinstance(acquisitions, list) and acquisitions else content
            target = first if isinstance(first, dict) and rng.random() < 0.6 else content
            target[rng.choice(RECORD_KEYS)] = value(rng)
        self.new('out/logs/sub-01.json', text(rng, content))
        out = self.root / 'out'
        write_participant_pages(out, '01')
        with redirect_stdout(io.StringIO()):
            run_group(out)
        keep_earlier(out, {'participant': '01', 'acquisitions': []})
        read_record(out, '01')
        return 'sub-01.json'

    def crash(self, rng: random.Random) -> str:
        folder = self.root / 'crashes'
        path = self.new('crashes/crash-1.txt', mutate(rng, CRASH))
        read_crash(path)
        record = {'participant': '01', 'acquisitions': [], 'errors': []}
        finish_record(self.root / 'out2', record, folder, Outcome())
        return ''

    def prior(self, rng: random.Random) -> str:
        from qsmprep.qsm.diffusion.weights import load_weights

        path = self.new('prior.safetensors', mutate(rng, self.weights))
        load_weights(path)
        return path.name


def _weights(root: Path) -> bytes:
    import torch

    from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
    from qsmprep.qsm.diffusion.weights import save_weights

    torch.manual_seed(0)
    path = root / 'prior.safetensors'
    save_weights(Denoiser(Architecture(channels=(4, 8), blocks=(1, 1), embedding=16)), path, {})
    return path.read_bytes()


SHARES = {
    'sidecar': 0.25, 'header': 0.25, 'names': 0.08, 'filters': 0.1, 'toml': 0.08, 'arguments': 0.06,
    'record': 0.02, 'plugin': 0.04, 'crash': 0.05, 'description': 0.05, 'prior': 0.02,
}  # fmt: skip
"""Part of the cases that each reader gets."""


def try_one(reader: Callable[[random.Random], str], seed: int) -> str:
    """``'read'``, ``'refused'``, or the kind of what was lost."""
    rng, said = random.Random(seed), io.StringIO()
    signal.alarm(LIMIT_S)
    try:
        with redirect_stderr(said):
            reader(rng)
        return 'read'
    except (InputError, SettingsError) as error:
        return 'refused' if str(error) else 'an empty message'
    except ValueError as error:
        known = any(name in str(error) for name in ('plugin.yml', 'prior.safetensors'))
        return 'refused' if known else f'ValueError: {str(error)[:120]}'
    except SystemExit as error:
        told = error.code == 2 and 'error:' in said.getvalue()
        return 'refused' if told else f'SystemExit {error.code} without a word'
    except Timeout:
        return 'longer than 20 s'
    except Exception as error:
        return f'{type(error).__name__}: {str(error)[:120]}'
    finally:
        signal.alarm(0)


def main() -> int:
    """Run the driver; the exit code is 1 if a case was lost."""
    parser = argparse.ArgumentParser(description='Give random input to every reader.')
    parser.add_argument('--cases', type=int, default=100_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='+', choices=sorted(SHARES), default=sorted(SHARES))
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)

    def stop(number, frame):
        raise Timeout

    signal.signal(signal.SIGALRM, stop)
    lost = 0
    print('| reader | cases | read | refused | lost | s |\n|-|-|-|-|-|-|')
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        bench = Bench(Path(folder))
        total = sum(SHARES[name] for name in arguments.only)
        for name in arguments.only:
            count, begin = round(arguments.cases * SHARES[name] / total), time.monotonic()
            ends: Counter[str] = Counter()
            for number in range(count):
                seed = 10**9 * arguments.seed + 10**7 * sorted(SHARES).index(name) + number
                end = try_one(getattr(bench, name), seed)
                if end not in ('read', 'refused') and not ends[end]:
                    print(f'{name}, case {seed}: {end}', file=sys.stderr)
                ends[end] += 1
            gone = count - ends['read'] - ends['refused']
            lost += gone
            seconds = time.monotonic() - begin
            row = (name, count, ends['read'], ends['refused'], gone, f'{seconds:.0f}')
            print('|', ' | '.join(map(str, row)), '|', flush=True)
        os.chdir('/')
    print(f'\n{lost} of {arguments.cases} lost')
    return 1 if lost else 0


if __name__ == '__main__':
    sys.exit(main())

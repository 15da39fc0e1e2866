"""Scans of ``reported.py`` whose echoes or echo times are not what they should be."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scans.changes import (
    both,
    by_parts,
    complex_noise,
    exchange,
    magnitude,
    phase,
    relabel,
    remove,
    rename,
    sidecars,
    signal,
    times,
    values,
)
from scans.dataset import Raw, failed, of_kind, read, refused, right, sidecar, store, told, write
from scipy import ndimage

PI = np.pi


def copied(part: str, source: int, *targets: int) -> Callable:
    """Copy the image of an echo over others."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        for echo in targets:
            shutil.copy(raw.files(part, source)[0], raw.files(part, echo)[0])

    return alter


def four_dimensional(root: Path) -> None:
    """All echoes in one file of four axes."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        files = raw.files(part)
        data = np.stack([read(path) for path in files], axis=-1)
        target = files[0].with_name(f'sub-01_part-{part}_MEGRE.nii.gz')
        write(target, data, files[0])
        content = json.loads(sidecar(files[0]).read_text())
        content['EchoTime'] = [json.loads(sidecar(path).read_text())['EchoTime'] for path in files]
        sidecar(target).write_text(json.dumps(content))
        for file in raw.with_sidecars(part, '*'):
            file.unlink()


def renumbered(numbers: str) -> Callable:
    """Other numbers of the echoes."""
    pattern = re.compile('_echo-([0-9])_')
    return rename(lambda name: pattern.sub(lambda m: f'_echo-{numbers[int(m[1]) - 1]}_', name))


def off_centre(frequency_hz: float) -> Callable:
    """Centre frequency off that of water."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        times = [json.loads(sidecar(path).read_text())['EchoTime'] for path in raw.files('mag')]
        raw.signal(lambda z, echo: z * np.exp(2j * PI * frequency_hz * times[echo]))

    return alter


def noise_only(z: np.ndarray, echo: int) -> np.ndarray:
    """Noise alone."""
    return 0.01 * np.abs(z).max() * complex_noise(z.shape, np.random.default_rng(3))


def moved(voxels: int) -> Callable:
    """The third echo from a head that lay elsewhere."""
    return signal(lambda z, echo: np.roll(z, voxels, axis=1), only=3)


def fourth_axis(part: str, copies: int) -> Callable:
    """Images of one part repeated along a fourth axis."""
    return values(lambda v: np.stack([v] * copies, axis=-1), part)


def exchanged_times(s: dict) -> float:
    """Echo times of the first and the third echo exchanged."""
    return {1: 0.020, 3: 0.004}.get(s['EchoNumber'], s['EchoTime'])


def relative_phase(root: Path) -> None:
    """Phase of each echo less that of the first."""
    raw = Raw(root)
    first = read(raw.files('phase', 1)[0])
    raw.values('phase', lambda p: np.angle(np.exp(1j * (p - first))))


def own_constants(z: np.ndarray, echo: int) -> np.ndarray:
    """A constant phase of its own in each echo, as some reconstructions leave it."""
    return z * np.exp(1j * (0.3, 2.1, -1.2, 0.9)[echo])


def flipped_read_out(z: np.ndarray, echo: int) -> np.ndarray:
    """Every second echo as it was read out, from the other side."""
    return z[::-1] if echo % 2 else z


def turned(degrees: float) -> Callable:
    """The last echo from a head that was turned by an angle."""

    def turn(part: np.ndarray) -> np.ndarray:
        return ndimage.rotate(part, degrees, reshape=False, order=1)

    return signal(lambda z, echo: by_parts(turn, z), only=4)


def mean_as_fifth(root: Path) -> None:
    """The mean of all echoes as a fifth one, with the mean of their times."""
    raw = Raw(root)
    mags, phases = raw.files('mag'), raw.files('phase')
    total = sum(read(a) * np.exp(1j * read(b)) for a, b in zip(mags, phases, strict=True))
    for path, data in ((mags[0], np.abs(total) / 4), (phases[0], np.angle(total))):
        new = path.with_name(path.name.replace('_echo-1_', '_echo-5_'))
        write(new, data.astype(np.float32), path)
        content = json.loads(sidecar(path).read_text()) | {'EchoTime': 0.016, 'EchoNumber': 5}
        sidecar(new).write_text(json.dumps(content))


def last_is_difference(root: Path) -> None:
    """The phase of the last echo is that against the first."""
    raw = Raw(root)
    first, last = (raw.files('phase', echo)[0] for echo in (1, 4))
    store(last, np.angle(np.exp(1j * (read(last) - read(first)))))


def other_times(s: dict) -> float:
    """Echo times of another protocol, which are no multiple of the right ones."""
    return (0.003, 0.008, 0.016, 0.021)[s['EchoNumber'] - 1]


SCANS = of_kind(
    'echoes',
    refused('phase of the first echo in all', copied('phase', 1, 2, 3, 4), 'same values'),
    told('magnitude of the first echo in all', copied('mag', 1, 2, 3, 4), 'same values'),
    failed('phase of two echoes exchanged', exchange('phase', 1, 3), 'echo'),
    refused('one echo in milliseconds', sidecars(echo=3, EchoTime=20.0), 'milliseconds'),
    refused('all in milliseconds', times(lambda t: 1000 * t), 'milliseconds'),
    refused('in microseconds', times(lambda t: 1e6 * t), 'seconds'),
    failed(
        'EchoTime is the echo number in ms',
        sidecars(EchoTime=lambda s: s['EchoNumber'] / 1000),
        'echo time|EchoTime',
    ),
    refused('one EchoTime for all', sidecars(EchoTime=0.004), 'must all differ'),
    refused('EchoTime as text', sidecars(EchoTime=lambda s: str(s['EchoTime'])), 'one number'),
    refused('EchoTime as a list', sidecars(EchoTime=[0.004, 0.012, 0.02, 0.028]), '4 echo times'),
    refused(
        'EchoTime missing in one echo', sidecars(echo=2, drop='EchoTime'), 'EchoTime is missing'
    ),
    right('numbered from behind', renumbered('4321'), 'numbers 4, 3, 2, 1'),
    right('numbered 01, 02, ...', relabel('echo-', 'echo-0')),
    right('numbered from 0', renumbered('0123')),
    right('second echo missing', remove('*', 2)),
    refused('magnitude of one echo missing', remove('mag', 4), 'part-mag'),
    refused('one magnitude for all phases', remove('mag', '[234]'), 'part-mag'),
    refused('all in one 4-D file', four_dimensional, 'split it'),
    told('last echo is noise', signal(noise_only, only=4), 'echo|Misfit'),
    failed('second echo with the other sign', phase(lambda p: -p, echo=2), 'echo|Misfit'),
    failed(
        'every second echo with the other sign',
        both(phase(lambda p: -p, echo=2), phase(lambda p: -p, echo=4)),
        'echo|Misfit|sign',
    ),
    right('pi added to every second echo', signal(lambda z, e: z * (-1) ** e)),
    right('centre frequency off by 150 Hz', off_centre(150)),
    told('one echo', remove('*', '[234]'), 'one echo', source='--tes 20 24 28 32'),
    right('two echoes', remove('*', '[34]')),
    failed(
        'two echo times exchanged in the sidecars', sidecars(EchoTime=exchanged_times), 'echo times'
    ),
    right('EchoTime beside the phase alone', sidecars(part='mag', drop='EchoTime')),
    right('EchoTime beside the magnitude alone', sidecars(part='phase', drop='EchoTime')),
    refused(
        'EchoTime of both parts differs',
        sidecars(part='mag', EchoTime=lambda s: s['EchoTime'] + 0.001),
        'must agree',
    ),
    refused('EchoTime null', sidecars(EchoTime=None), 'EchoTime is missing'),
    refused('EchoTime true', sidecars(EchoTime=True), 'one number'),
    refused('EchoTime in a dictionary', sidecars(EchoTime={'value': 4}), 'one number'),
    refused('EchoTime negative', times(lambda t: -t), 'positive'),
    failed('EchoTime ten times too long', times(lambda t: 10 * t), 'R2|echo times|EchoTime'),
    failed('EchoTime ten times too short', times(lambda t: t / 10), 'R2|echo times|EchoTime'),
    refused('one echo of another matrix', values(lambda v: v[2:], echo=3), 'share one grid'),
    refused('phase of another matrix', phase(lambda p: p[:, :-1]), 'share one grid'),
    refused('magnitude of four axes', fourth_axis('mag', 4), 'split it'),
    refused('fourth axis of one in the magnitude', fourth_axis('mag', 1), 'squeeze'),
    failed('one echo moved by 9 mm', moved(3), 'Motion|moved|Misfit'),
    refused('phases relative to the first echo', relative_phase, 'one value alone'),
    right('numbered A to D', renumbered('ABCD')),
    told('exported as acquisitions', relabel('echo-', 'acq-e'), 'exported'),
    right('a constant phase of its own in each echo', signal(own_constants)),
    failed('every second echo read out from the other side', signal(flipped_read_out), 'echo'),
    told('last echo turned by 6 degrees', turned(6), 'Motion|Misfit'),
    told('one echo moved by 3 mm', moved(1), 'Motion|Misfit'),
    told('mean of all as a fifth echo', mean_as_fifth, 'echo'),
    told('last phase is that against the first', last_is_difference, 'echo'),
    told('echo times of another protocol', sidecars(EchoTime=other_times), '.'),
    refused(
        'one slice fewer in one echo', magnitude(lambda m: m[:, :, :-1], echo=3), 'share one grid'
    ),
    refused('two volumes in each file', fourth_axis('*', 2), 'split it'),
)

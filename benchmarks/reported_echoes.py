"""Scans of ``reported.py`` whose echoes or echo times are not what they should be."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import (
    both,
    complex_noise,
    exchange,
    on_files,
    phase,
    remove,
    rename,
    sidecars,
    signal,
)
from reported_data import Raw, Scan, read, sidecar, store, write
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
        write(target, data, nb.load(files[0]).affine)
        content = json.loads(sidecar(files[0]).read_text())
        content['EchoTime'] = [json.loads(sidecar(path).read_text())['EchoTime'] for path in files]
        sidecar(target).write_text(json.dumps(content))
        for path in files:
            path.unlink()
            sidecar(path).unlink()


def renumbered(numbers: dict[str, str]) -> Callable:
    """Other numbers of the echoes."""
    pattern = re.compile('_echo-([0-9])_')
    return rename(lambda name: pattern.sub(lambda m: f'_echo-{numbers[m[1]]}_', name))


def off_centre(frequency_hz: float) -> Callable:
    """Centre frequency off that of water."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        times = [json.loads(sidecar(path).read_text())['EchoTime'] for path in raw.files('mag')]
        raw.signal(lambda z, echo: z * np.exp(2j * PI * frequency_hz * times[echo]))

    return alter


def noise_only(wanted: int) -> Callable:
    """One echo that holds noise alone."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        rng = np.random.default_rng(3)
        noise = 0.01 * np.abs(z).max() * complex_noise(z.shape, rng)
        return noise if echo == wanted else z

    return change


def moved_echo(z: np.ndarray, echo: int) -> np.ndarray:
    """The third echo from a head that lay 9 mm away."""
    return np.roll(z, 3, axis=1) if echo == 2 else z


def fourth_axis(part: str, copies: int) -> Callable:
    """Images of one part repeated along a fourth axis."""

    def change(path: Path) -> None:
        data = read(path)
        write(path, np.stack([data] * copies, axis=-1), nb.load(path).affine)

    return on_files(change, part)


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

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        if echo < 3:
            return z
        parts = (ndimage.rotate(part, degrees, reshape=False, order=1) for part in (z.real, z.imag))
        real, imaginary = parts
        return real + 1j * imaginary

    return change


def mean_as_fifth(root: Path) -> None:
    """The mean of all echoes as a fifth one, with the mean of their times."""
    raw = Raw(root)
    mags, phases = raw.files('mag'), raw.files('phase')
    total = sum(read(a) * np.exp(1j * read(b)) for a, b in zip(mags, phases, strict=True))
    for path, data in ((mags[0], np.abs(total) / 4), (phases[0], np.angle(total))):
        new = path.with_name(path.name.replace('_echo-1_', '_echo-5_'))
        write(new, data.astype(np.float32), nb.load(path).affine)
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


SCANS: tuple[Scan, ...] = (
    Scan(
        'echoes',
        'phase of the first echo in all',
        copied('phase', 1, 2, 3, 4),
        'refused',
        'same values',
    ),
    Scan(
        'echoes',
        'magnitude of the first echo in all',
        copied('mag', 1, 2, 3, 4),
        'told',
        'same values',
    ),
    Scan('echoes', 'phase of two echoes exchanged', exchange('phase', 1, 3), 'failed', 'echo'),
    Scan(
        'echoes',
        'one echo in milliseconds',
        sidecars(echo=3, EchoTime=20.0),
        'refused',
        'milliseconds',
    ),
    Scan(
        'echoes',
        'all in milliseconds',
        sidecars(EchoTime=lambda s: 1000 * s['EchoTime']),
        'refused',
        'milliseconds',
    ),
    Scan(
        'echoes',
        'in microseconds',
        sidecars(EchoTime=lambda s: 1e6 * s['EchoTime']),
        'refused',
        'seconds',
    ),
    Scan(
        'echoes',
        'EchoTime is the echo number in ms',
        sidecars(EchoTime=lambda s: s['EchoNumber'] / 1000),
        'failed',
        'echo time|EchoTime',
    ),
    Scan('echoes', 'one EchoTime for all', sidecars(EchoTime=0.004), 'refused', 'must all differ'),
    Scan(
        'echoes',
        'EchoTime as text',
        sidecars(EchoTime=lambda s: str(s['EchoTime'])),
        'refused',
        'one number',
    ),
    Scan(
        'echoes',
        'EchoTime as a list',
        sidecars(EchoTime=[0.004, 0.012, 0.02, 0.028]),
        'refused',
        '4 echo times',
    ),
    Scan(
        'echoes',
        'EchoTime missing in one echo',
        sidecars(echo=2, drop=('EchoTime',)),
        'refused',
        'EchoTime is missing',
    ),
    Scan(
        'echoes',
        'numbered from behind',
        renumbered(dict(zip('1234', '4321', strict=True))),
        'map',
        'numbers 4, 3, 2, 1',
    ),
    Scan('echoes', 'numbered 01, 02, ...', rename(lambda n: n.replace('echo-', 'echo-0'))),
    Scan('echoes', 'numbered from 0', renumbered(dict(zip('1234', '0123', strict=True)))),
    Scan('echoes', 'second echo missing', remove('*', 2)),
    Scan('echoes', 'magnitude of one echo missing', remove('mag', 4), 'refused', 'part-mag'),
    Scan('echoes', 'one magnitude for all phases', remove('mag', '[234]'), 'refused', 'part-mag'),
    Scan('echoes', 'all in one 4-D file', four_dimensional, 'refused', 'split it'),
    Scan('echoes', 'last echo is noise', signal(noise_only(3)), 'told', 'echo|Misfit'),
    Scan(
        'echoes',
        'second echo with the other sign',
        phase(lambda p: -p, echo=2),
        'failed',
        'echo|Misfit',
    ),
    Scan(
        'echoes',
        'every second echo with the other sign',
        both(phase(lambda p: -p, echo=2), phase(lambda p: -p, echo=4)),
        'failed',
        'echo|Misfit|sign',
    ),
    Scan('echoes', 'pi added to every second echo', signal(lambda z, e: z * (-1) ** e)),
    Scan('echoes', 'centre frequency off by 150 Hz', off_centre(150)),
    Scan(
        'echoes',
        'one echo',
        remove('*', '[234]'),
        'told',
        'one echo',
        source=('--tes', '20', '24', '28', '32'),
    ),
    Scan('echoes', 'two echoes', remove('*', '[34]')),
    Scan(
        'echoes',
        'two echo times exchanged in the sidecars',
        sidecars(EchoTime=exchanged_times),
        'failed',
        'echo times',
    ),
    Scan('echoes', 'EchoTime beside the phase alone', sidecars(part='mag', drop=('EchoTime',))),
    Scan(
        'echoes', 'EchoTime beside the magnitude alone', sidecars(part='phase', drop=('EchoTime',))
    ),
    Scan(
        'echoes',
        'EchoTime of both parts differs',
        sidecars(part='mag', EchoTime=lambda s: s['EchoTime'] + 0.001),
        'refused',
        'must agree',
    ),
    Scan('echoes', 'EchoTime null', sidecars(EchoTime=None), 'refused', 'EchoTime is missing'),
    Scan('echoes', 'EchoTime true', sidecars(EchoTime=True), 'refused', 'one number'),
    Scan(
        'echoes',
        'EchoTime in a dictionary',
        sidecars(EchoTime={'value': 4}),
        'refused',
        'one number',
    ),
    Scan(
        'echoes',
        'EchoTime negative',
        sidecars(EchoTime=lambda s: -s['EchoTime']),
        'refused',
        'positive',
    ),
    Scan(
        'echoes',
        'EchoTime ten times too long',
        sidecars(EchoTime=lambda s: 10 * s['EchoTime']),
        'failed',
        'R2|echo times|EchoTime',
    ),
    Scan(
        'echoes',
        'EchoTime ten times too short',
        sidecars(EchoTime=lambda s: s['EchoTime'] / 10),
        'failed',
        'R2|echo times|EchoTime',
    ),
    Scan(
        'echoes',
        'one echo of another matrix',
        on_files(lambda p: write(p, read(p)[2:], nb.load(p).affine), echo=3),
        'refused',
        'share one grid',
    ),
    Scan(
        'echoes',
        'phase of another matrix',
        on_files(lambda p: write(p, read(p)[:, :-1], nb.load(p).affine), 'phase'),
        'refused',
        'share one grid',
    ),
    Scan('echoes', 'magnitude of four axes', fourth_axis('mag', 4), 'refused', 'split it'),
    Scan(
        'echoes', 'fourth axis of one in the magnitude', fourth_axis('mag', 1), 'refused', 'squeeze'
    ),
    Scan('echoes', 'one echo moved by 9 mm', signal(moved_echo), 'failed', 'Motion|moved|Misfit'),
    Scan(
        'echoes', 'phases relative to the first echo', relative_phase, 'refused', 'one value alone'
    ),
    Scan('echoes', 'numbered A to D', renumbered(dict(zip('1234', 'ABCD', strict=True)))),
    Scan(
        'echoes',
        'exported as acquisitions',
        rename(lambda n: n.replace('echo-', 'acq-e')),
        'told',
        'exported',
    ),
    Scan('echoes', 'a constant phase of its own in each echo', signal(own_constants)),
    Scan(
        'echoes',
        'every second echo read out from the other side',
        signal(flipped_read_out),
        'failed',
        'echo',
    ),
    Scan('echoes', 'last echo turned by 6 degrees', signal(turned(6)), 'told', 'Motion|Misfit'),
    Scan(
        'echoes',
        'one echo moved by 3 mm',
        signal(lambda z, e: np.roll(z, 1, axis=1) if e == 2 else z),
        'told',
        'Motion|Misfit',
    ),
    Scan('echoes', 'mean of all as a fifth echo', mean_as_fifth, 'told', 'echo'),
    Scan('echoes', 'last phase is that against the first', last_is_difference, 'told', 'echo'),
    Scan('echoes', 'echo times of another protocol', sidecars(EchoTime=other_times), 'told', '.'),
    Scan(
        'echoes',
        'one slice fewer in one echo',
        on_files(lambda p: write(p, read(p)[:, :, :-1], nb.load(p).affine), 'mag', 3),
        'refused',
        'share one grid',
    ),
    Scan('echoes', 'two volumes in each file', fourth_axis('*', 2), 'refused', 'split it'),
)

"""Scans of ``reported.py`` that start from a phase, a field or a map that was made elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scans.dataset import (
    Raw,
    Scan,
    describe,
    failed,
    of_kind,
    read,
    refused,
    right,
    sidecar,
    told,
    write,
)
from scipy import ndimage

HZ_PER_T = 42.577478518e6
BRAIN = 'anat/sub-01_desc-brain_mask.nii.gz'
MAPS = {
    'local-field': 'fmap/sub-01_desc-local_fieldmap.nii.gz',
    'total-field': 'fmap/sub-01_desc-total_fieldmap.nii.gz',
    'chi': 'anat/sub-01_Chimap.nii.gz',
}
TURN = 'turn the sign of the field or map that was given'


def given(raw: Raw) -> Path:
    """Folder of what is given for the first participant; it holds the true mask."""
    folder = raw.root / 'derivatives' / 'given' / 'sub-01'
    (folder / 'anat').mkdir(parents=True)
    describe(folder.parent)
    shutil.copy(raw.truth / BRAIN, folder / BRAIN)
    return folder


def give(path: Path, data: np.ndarray, affine_of: Path, **content) -> None:
    """Write an image with its sidecar."""
    path.parent.mkdir(exist_ok=True)
    write(path, data.astype(np.float32), affine_of)
    sidecar(path).write_text(json.dumps(content))


def starting(scan: Scan, start: str, alter: Callable, flags: str = '') -> Scan:
    """Scan that starts from what a function gives."""
    return replace(
        scan, change=alter, flags=f'--start-from {start} -d GIVEN {flags}'.strip(), mask=None
    )


def start_from(start: str, units: str, scan: Scan, flags: str = '') -> Scan:
    """Scan whose change makes the map that is given of a true one and of the mask."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        source = raw.truth / MAPS[start]
        values = scan.change(read(source), raw.brain())
        give(given(raw) / MAPS[start], values, source, Units=units)

    return starting(scan, start, alter, flags)


def from_phase(scan: Scan) -> Scan:
    """Scan whose change is one of the true phase of each echo, unwrapped."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        folder, field = given(raw), read(raw.truth / MAPS['total-field'])
        for number, path in enumerate(raw.files('phase')):
            time = json.loads(sidecar(path).read_text())['EchoTime']
            target = folder / 'anat' / path.name.replace('_MEGRE', '_desc-unwrapped_MEGRE')
            turned = scan.change(2 * np.pi * time * field, number)
            give(target, turned, path, Units='rad', EchoTime=time)

    return starting(scan, 'unwrapped', alter)


def with_noise(hertz: float, scan: Scan) -> Scan:
    """The true local field with a noise map of one value."""
    scan = start_from('local-field', 'Hz', replace(scan, change=within()))

    def alter(root: Path) -> None:
        scan.change(root)
        field = root / 'derivatives' / 'given' / 'sub-01' / MAPS['local-field']
        noise = field.with_name(field.name.replace('desc-local', 'desc-noise'))
        give(noise, np.full_like(read(field), hertz), field, Units='Hz')

    return replace(scan, change=alter)


def within(factor: float = 1.0) -> Callable:
    """Multiply by a factor, and leave nothing outside the brain."""
    return lambda values, brain: factor * values * brain


def wrapped(values: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """A field that was never unwrapped: echoes 8 ms apart hold 125 Hz."""
    return np.mod(values + 62.5, 125.0) - 62.5


def nan_outside(values: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Not a number outside the brain."""
    return np.where(brain, values, np.nan)


LOCAL, TOTAL, CHI = ('local-field', 'Hz'), ('total-field', 'Hz'), ('chi', 'ppm')
SCANS = of_kind(
    'given maps',
    start_from(*LOCAL, right('local field', within())),
    start_from(
        *LOCAL, right('local field, not a number outside the brain', nan_outside, 'not finite')
    ),
    start_from('local-field', 'ppm', failed('local field, Hz called ppm', within(), 'Units')),
    start_from(*LOCAL, failed('local field, rad/s called Hz', within(2 * np.pi), 'Units')),
    start_from('local-field', 'rad/s', failed('local field, Hz called rad/s', within(), 'Units')),
    start_from(*LOCAL, failed('local field of the other sign', within(-1), TURN)),
    start_from(*TOTAL, right('total field', lambda v, b: v)),
    start_from(*TOTAL, refused('total field, wrapped', wrapped, 'not unwrapped')),
    start_from(*CHI, right('map', within())),
    start_from(*CHI, refused('map, ppb called ppm', within(1000), 'Units')),
    start_from(*CHI, failed('map of the other sign', within(-1), TURN)),
)
SCANS += of_kind(
    'handed on',
    from_phase(right('unwrapped phase', lambda p, echo: p)),
    from_phase(right('unwrapped phase, whole turns apart', lambda p, echo: p + 2 * np.pi * echo)),
    from_phase(failed('unwrapped phase of the other sign', lambda p, echo: -p, '[Ss]ign')),
    from_phase(
        told(
            'unwrapped phase that is wrapped', lambda p, echo: np.angle(np.exp(1j * p)), 'unwrapped'
        )
    ),
    from_phase(
        failed(
            'unwrapped phase, high-passed', lambda p, echo: p - ndimage.gaussian_filter(p, 4), '.'
        )
    ),
    from_phase(right('unwrapped phase less its median', lambda p, echo: p - np.median(p))),
    start_from(*LOCAL, failed('local field 12 mm away', lambda v, b: np.roll(v * b, 4, 1), '.')),
    start_from(*LOCAL, told('local field flipped left to right', lambda v, b: (v * b)[::-1], 'R2')),
    start_from(*LOCAL, failed('local field upside down', lambda v, b: (v * b)[:, :, ::-1], '.')),
    start_from('total-field', 'T', right('total field in T', lambda v, b: v / HZ_PER_T)),
    start_from(*TOTAL, right('total field in the brain alone', within())),
    start_from(*TOTAL, failed('total field of the other sign', lambda v, b: -v, '[Ss]ign')),
    start_from(
        *TOTAL,
        failed(
            'phase of one echo called a field', lambda v, b: 0.02 * 2 * np.pi * v, 'Units|scale'
        ),
    ),
    start_from(*CHI, right('map, not a number outside', nan_outside)),
    start_from(*CHI, right('map with an offset of 0.5 ppm', lambda v, b: (v + 0.5) * b)),
    with_noise(0, refused('local field with a noise of 0 Hz', words='noise')),
    with_noise(-1, refused('local field with a noise of -1 Hz', words='noise')),
    with_noise(1, right('local field with a noise of 1 Hz')),
    *(
        start_from(*LOCAL, refused(f'local field, {flag}', within(), flag), f'{flag} {value}')
        for flag, value in (
            ('--phase-sign', '-1'),
            ('--unwrapping', 'laplacian'),
            ('--background', 'vsharp'),
        )
    ),
)

"""Scans of ``reported.py`` that start from a field or a map that was made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_data import Scan, describe, read, sidecar, write

NAMES = {
    'local-field': 'fmap/sub-01_desc-local_fieldmap.nii.gz',
    'total-field': 'fmap/sub-01_desc-total_fieldmap.nii.gz',
    'chi': 'anat/sub-01_Chimap.nii.gz',
}


def given(start: str, change: Callable[[np.ndarray, np.ndarray], np.ndarray], units: str):
    """Give the true map of a stage, changed within the brain, in some unit."""

    def alter(root: Path) -> None:
        truth, folder = (root / 'derivatives' / name for name in ('simulation', 'given'))
        source, target = (place / 'sub-01' / NAMES[start] for place in (truth, folder))
        target.parent.mkdir(parents=True)
        describe(folder)
        brain = read(truth / 'sub-01' / 'anat' / 'sub-01_desc-brain_mask.nii.gz') > 0
        write(target, change(read(source), brain).astype(np.float32), nb.load(source).affine)
        sidecar(target).write_text(json.dumps({'Units': units}))

    return alter


def of(start: str, name: str, change: Callable, units: str, expect: str = 'map', words: str = ''):
    """Scan that starts from a given map; the mask is given with it."""
    alter = given(start, change, units)

    def both(root: Path) -> None:
        alter(root)
        mask = 'anat/sub-01_desc-brain_mask.nii.gz'
        source, target = (
            root / 'derivatives' / place / 'sub-01' / mask for place in ('simulation', 'given')
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())

    flags = ('--start-from', start, '-d', 'GIVEN')
    return Scan('given maps', name, both, expect, words, flags, mask=None)


def within(factor: float = 1.0) -> Callable:
    """Multiply by a factor, and leave nothing outside the brain."""
    return lambda values, brain: factor * values * brain


def wrapped(values: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """A field that was never unwrapped: echoes 8 ms apart hold 125 Hz."""
    return np.mod(values + 62.5, 125.0) - 62.5


SCANS: tuple[Scan, ...] = (
    of('local-field', 'local field', within(), 'Hz'),
    of(
        'local-field',
        'local field, not a number outside the brain',
        lambda values, brain: np.where(brain, values, np.nan),
        'Hz',
        words='not finite',
    ),
    of('local-field', 'local field, Hz called ppm', within(), 'ppm', 'failed', 'Units'),
    of('local-field', 'local field, rad/s called Hz', within(2 * np.pi), 'Hz', 'failed', 'Units'),
    of('local-field', 'local field, Hz called rad/s', within(), 'rad/s', 'failed', 'Units'),
    of(
        'local-field',
        'local field of the other sign',
        within(-1),
        'Hz',
        'failed',
        'turn the sign of the field or map that was given',
    ),
    of('total-field', 'total field', lambda values, brain: values, 'Hz'),
    of('total-field', 'total field, wrapped', wrapped, 'Hz', 'refused', 'not unwrapped'),
    of('chi', 'map', within(), 'ppm'),
    of('chi', 'map, ppb called ppm', within(1000), 'ppm', 'refused', 'Units'),
    of(
        'chi',
        'map of the other sign',
        within(-1),
        'ppm',
        'failed',
        'turn the sign of the field or map that was given',
    ),
)

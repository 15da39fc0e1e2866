"""Scans of ``reported.py`` with one echo or two, where few measures tell, and of damaged signal."""

from __future__ import annotations

import numpy as np
from reported_changes import complex_noise, exchange, phase, signal
from reported_data import Scan
from reported_labs import in_t1w, times
from reported_scanner import ghost, moved_during_scan

ONE = ('--tes', '20')
TWO = ('--tes', '5', '15')


def dead_element(z: np.ndarray, echo: int) -> np.ndarray:
    """One element of the coil is dead: a quarter of the head has the signal of noise."""
    x, y = (np.linspace(0, 1, n) for n in z.shape[:2])
    gain = 1 - 0.95 / (1 + np.exp(30 * (np.hypot.outer(x - 0.15, y - 0.3) - 0.3)))
    rng = np.random.default_rng(echo)
    noise = 0.01 * np.abs(z).max() * complex_noise(z.shape, rng)
    return gain[..., None] * z + noise


def folded(z: np.ndarray, echo: int) -> np.ndarray:
    """The field of view was too small: the nose lies on the back of the head."""
    cut = z.shape[1] // 6
    inner = z.copy()
    inner[:, :cut] += np.roll(z, cut, axis=1)[:, :cut]
    inner[:, -cut:] = 0
    return inner


SCANS: tuple[Scan, ...] = (
    Scan('few', 'one echo, other sign', phase(lambda p: -p), 'failed', '[Ss]ign', source=ONE),
    Scan('few', 'one echo, EchoTime of half', times(lambda t: t / 2), 'told', '.', source=ONE),
    Scan('few', 'one echo, EchoTime of a third', times(lambda t: t / 3), 'told', '.', source=ONE),
    Scan('few', 'one echo, turned by 30 degrees', in_t1w(30), 'failed', 'B0', source=ONE),
    Scan(
        'few',
        'one echo, moved while the lines were measured',
        signal(moved_during_scan),
        'told',
        '.',
        source=ONE,
    ),
    Scan('few', 'one echo, a ghost of a fifth', signal(ghost), 'told', '.', source=ONE),
    Scan(
        'few',
        'two echoes, the second negated',
        phase(lambda p: -p, echo=2),
        'failed',
        '.',
        source=TWO,
    ),
    Scan('few', 'two echoes, phases exchanged', exchange('phase', 1, 2), 'failed', '.', source=TWO),
    Scan('few', 'two echoes, other sign', phase(lambda p: -p), 'failed', '[Ss]ign', source=TWO),
    Scan('few', 'two echoes, turned by 30 degrees', in_t1w(30), 'failed', 'B0', source=TWO),
    Scan('few', 'one element of the coil is dead', signal(dead_element), 'told', '.'),
    Scan('few', 'nose folded onto the back', signal(folded), 'told', '.'),
)

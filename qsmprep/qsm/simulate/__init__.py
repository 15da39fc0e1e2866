"""Simulated heads and scans: truth for tests and benchmarks, training data for the prior.

:func:`simulate_head` makes a whole scan; :func:`simulate_local_field` only what a dipole inversion
needs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO, Grid
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.simulate.acquisition import Scan, scan
from qsmprep.qsm.simulate.analytic import ANALYTIC_BOUNDS, ANALYTIC_BRAIN_BOUNDS
from qsmprep.qsm.simulate.anatomy import Axes, LabelledHead, Nuclei, Tissue
from qsmprep.qsm.simulate.relaxation import r2star, tissue_maps
from qsmprep.qsm.simulate.susceptibility import Phantom, make_phantom, tissue_table
from qsmprep.qsm.simulate.t1w import T1wImage, rigid_transform, scan_t1w

__all__ = [
    'LabelledHead',
    'LocalField',
    'Nuclei',
    'Phantom',
    'Scan',
    'T1wImage',
    'Tissue',
    'rigid_transform',
    'simulate_head',
    'simulate_local_field',
    'simulate_t1w',
]


@dataclass(frozen=True)
class LocalField:
    """What a dipole inversion needs, and its truth.

    Parameters
    ----------
    chi
        Susceptibility within the mask [ppm], zero outside; no mean is removed.
    local_field_ppm
        Field of ``chi`` within the mask [ppm], free of noise.
    noise_ppm
        SD of the field's noise [ppm].
    measured_ppm
        ``local_field_ppm`` with noise of that SD.
    magnitude
        Magnitude of the first echo, white matter about 1.
    mask, labels
        Brain mask and tissue codes.
    paramagnetic, diamagnetic
        The two shares of ``chi`` [ppm], from 0 up and from 0 down.
    r2star_hz, r2_hz
        Relaxation rates [1/s], free of noise.
    grid
        Grid of the arrays.

    """

    chi: np.ndarray
    local_field_ppm: np.ndarray
    noise_ppm: np.ndarray
    measured_ppm: np.ndarray
    magnitude: np.ndarray
    mask: np.ndarray
    labels: np.ndarray
    paramagnetic: np.ndarray
    diamagnetic: np.ndarray
    r2star_hz: np.ndarray
    r2_hz: np.ndarray
    grid: Grid


def _field_of_view(
    head: LabelledHead | None,
    voxel_size: Sequence[float],
    shape: Sequence[int] | None,
    whole_head: bool,
    device: torch.device | str,
) -> Axes:
    """Grid that holds the head (or only its brain), or one of a given shape about its middle."""
    if head is None:
        low, high = np.array(ANALYTIC_BOUNDS if whole_head else ANALYTIC_BRAIN_BOUNDS)
    elif whole_head:
        low, high = head.bounds()
        low[2] = max(low[2], head.brain_bounds()[0][2] - 20)
    else:
        low, high = head.brain_bounds()
    if shape is None:
        # even lengths whose transforms are quick
        shape = [
            4 * math.ceil((h - b + 6) / v / 4)
            for b, h, v in zip(low, high, voxel_size, strict=True)
        ]
    centre = tuple(float(c) for c in (low + high) / 2)
    return Axes(tuple(shape), tuple(float(v) for v in voxel_size), centre, device)


def simulate_head(
    head: LabelledHead | None = None,
    *,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    shape: Sequence[int] | None = None,
    field_strength_t: float = 3.0,
    b0_direction: Sequence[float] = (0.0, 0.0, 1.0),
    echo_times_s: Sequence[float] = (0.004, 0.012, 0.020, 0.028),
    snr: float = 100.0,
    lesions: Sequence[str] = (),
    seed: int = 0,
    device: torch.device | str = 'cpu',
    supersampling: Sequence[int] | None = None,
    repeat: int = 0,
    **quirks,
) -> Scan:
    """Scan a simulated head.

    Parameters
    ----------
    head
        Segmented head, or None for the analytic one.
    voxel_size
        Edge lengths of a voxel [mm].
    shape
        Number of voxels along the axes; None for a field of view that holds the head.
    field_strength_t
        Field strength [T].
    b0_direction
        Direction of B0 in the frame of the array axes.
    echo_times_s
        Echo times [s].
    snr
        See :func:`~qsmprep.qsm.simulate.acquisition.scan`.
    lesions
        Any of :data:`~qsmprep.qsm.simulate.lesions.LESIONS`.
    seed
        Seed of all that is random. A result is the same on one device and torch version.
    device
        Where to compute; the result is in numpy arrays.
    supersampling
        Parts into which a voxel is cut along each axis; None for parts of about 1 mm, and at
        least two.
    repeat
        Scans of one head with other repeats differ in receive phase, sensitivity and noise.
    **quirks
        Further keywords of :func:`~qsmprep.qsm.simulate.acquisition.scan`: ``shim_order``,
        ``phase_offset``, ``bipolar_rad``, ``alternate_slices``.

    Returns
    -------
    Scan
        Echoes and their truth.

    Raises
    ------
    ValueError
        If a lesion is unknown, or a number that must be positive is not.

    """
    axes = _field_of_view(head, voxel_size, shape, True, device)
    factors = supersampling or [max(2, round(v)) for v in voxel_size]
    generator = torch.Generator().manual_seed(seed)
    phantom = make_phantom(head, axes, factors=factors, lesions=lesions, generator=generator)
    if repeat:
        generator = torch.Generator().manual_seed(seed + 1_000_003 * repeat)
    return scan(
        phantom,
        field_strength_t=field_strength_t,
        b0_direction=b0_direction,
        echo_times_s=echo_times_s,
        snr=snr,
        generator=generator,
        **quirks,
    )


def simulate_t1w(
    head: LabelledHead | None = None,
    *,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    position: np.ndarray | None = None,
    snr: float = 40.0,
    seed: int = 0,
) -> T1wImage:
    """Scan a simulated head with an MPRAGE.

    Parameters
    ----------
    head, voxel_size, seed
        Those of :func:`simulate_head`: the same head and seed are the same anatomy. Lesions and
        veins are left out.
    position
        Rigid 4 x 4 matrix: how the head is moved from the middle of the scanner; None for not.
    snr
        White matter over the SD of the noise.

    """
    axes = _field_of_view(head, voxel_size, None, True, 'cpu')
    position = np.eye(4) if position is None else np.asarray(position)
    return scan_t1w(head, axes, position=position, snr=snr, seed=seed)


def simulate_local_field(
    head: LabelledHead | None = None,
    *,
    voxel_size: Sequence[float] = (1.0, 1.0, 1.0),
    shape: Sequence[int] | None = None,
    field_strength_t: float = 3.0,
    b0_direction: Sequence[float] = (0.0, 0.0, 1.0),
    echo_times_s: Sequence[float] = (0.004, 0.012, 0.020, 0.028),
    snr: float = 100.0,
    lesions: Sequence[str] = (),
    seed: int = 0,
    device: torch.device | str = 'cpu',
    supersampling: Sequence[int] = (1, 1, 1),
) -> LocalField:
    """Susceptibility, its local field and the noise of a scan, without the scan.

    The field is that of the dipole operator on the grid itself, so that an inversion meets no
    error of the model but noise; the noise is what the echoes would leave in a magnitude-weighted
    fit. Parameters as in :func:`simulate_head`; the field of view holds the brain only.

    Returns
    -------
    LocalField
        Field, noise, mask and truth.

    """
    axes = _field_of_view(head, voxel_size, shape, False, device)
    generator = torch.Generator().manual_seed(seed)
    phantom = make_phantom(head, axes, factors=supersampling, lesions=lesions, generator=generator)
    grid = Grid(axes.shape, axes.voxel_size, tuple(b0_direction))
    mask = phantom.mask
    chi = phantom.chi * mask
    field = Dipole(grid, padding=2.0, device=device).forward(chi) * mask
    decay = r2star(phantom.labels, phantom.chi, field_strength_t)
    s0 = tissue_table('s0', device)[phantom.labels.int()]
    first = s0 * torch.exp(-echo_times_s[0] * decay)
    information = torch.zeros_like(s0)
    for te in echo_times_s:
        information += (te * s0 * torch.exp(-te * decay)).square()
    noise_hz = first[mask].mean() / snr / (2 * math.pi * information.sqrt().clamp(min=1e-6))
    noise = noise_hz / (PROTON_GYROMAGNETIC_RATIO * field_strength_t) * mask
    draw = torch.randn(axes.shape, generator=generator).to(device)
    measured = field + noise * draw
    arrays = [chi, field, noise, measured, first, mask, phantom.labels]
    arrays += [volume * mask for volume in tissue_maps(phantom, field_strength_t).values()]
    return LocalField(*[a.cpu().numpy() for a in arrays], grid=grid)  # type: ignore[misc, arg-type]

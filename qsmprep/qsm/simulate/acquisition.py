"""A multi-echo gradient-echo scan of a phantom: field, shim, signal, noise and vendor quirks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO, Grid
from qsmprep.qsm.simulate.anatomy import Axes, Tissue
from qsmprep.qsm.simulate.fields import fields_ppm, shim, solid_harmonics
from qsmprep.qsm.simulate.relaxation import parts, r2star, tissue_maps
from qsmprep.qsm.simulate.susceptibility import Phantom, block_mean, tissue_table


@dataclass(frozen=True)
class Scan:
    """A simulated scan and its truth.

    Parameters
    ----------
    magnitude, phase
        (X, Y, Z, E), arbitrary units and rad within [-pi, pi).
    chi
        Susceptibility [ppm], mean over each voxel. Zero is the tissue reference (about CSF); no
        mean is removed. Outside the brain mask it holds the head's bone, fat and air too.
    total_field_hz
        Off-resonance after the shim [Hz], mean over each voxel.
    local_field_hz
        Field of the sources within the brain mask alone [Hz]; zero outside the mask.
    paramagnetic, diamagnetic
        The two shares of ``chi`` [ppm], from 0 up and from 0 down, means over each voxel.
    r2star_hz, r2_hz
        Relaxation rates within a voxel [1/s], dephasing across the voxel not included: R2* is R2
        and 137 1/s per ppm (at 3 T) of both shares.
    brain
        Brain mask.
    labels
        :class:`~qsmprep.qsm.simulate.anatomy.Tissue` codes.
    echo_times_s
        Echo times [s].
    field_strength_t
        Field strength [T].
    noise_sd
        SD of the noise in the real and in the imaginary channel, in units of the magnitude.
    affine
        Voxel indices to scanner mm; its third row is B0, so that B0 is found from it.
    head_affine
        Voxel indices to head mm.
    grid
        Grid of the image with B0 in its frame.

    """

    magnitude: np.ndarray
    phase: np.ndarray
    chi: np.ndarray
    total_field_hz: np.ndarray
    local_field_hz: np.ndarray
    paramagnetic: np.ndarray
    diamagnetic: np.ndarray
    r2star_hz: np.ndarray
    r2_hz: np.ndarray
    brain: np.ndarray
    labels: np.ndarray
    echo_times_s: tuple[float, ...]
    field_strength_t: float
    noise_sd: float
    affine: np.ndarray
    head_affine: np.ndarray
    grid: Grid


def oblique_affine(grid: Grid) -> np.ndarray:
    """Affine of an image whose array axes are turned so that scanner z is B0.

    Parameters
    ----------
    grid
        Grid with B0 in the frame of its axes; the middle of the image becomes the origin.

    Examples
    --------
    >>> grid = Grid((8, 8, 8), (1, 1, 2), (0.0, 0.6, 0.8))
    >>> Grid.from_affine(grid.shape, oblique_affine(grid)).b0_direction
    (0.0, 0.6, 0.8)

    """
    b0 = np.array(grid.b0_direction)
    nearest = np.array([0.0, 0.0, 1.0])
    axis, cosine = np.cross(b0, nearest), float(b0 @ nearest)
    if cosine < -1 + 1e-9:
        rotation = np.diag([1.0, -1.0, -1.0])
    else:
        cross = np.cross(np.eye(3), axis)
        rotation = np.eye(3) + cross + cross @ cross / (1 + cosine)
    affine = np.eye(4)
    affine[:3, :3] = rotation * np.array(grid.voxel_size)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(grid.shape) - 1) / 2)
    return affine


def _smooth_map(axes: Axes, generator: torch.Generator, order: int) -> Tensor:
    """Random solid harmonics, about 1 at the edge of the head."""
    terms = solid_harmonics(axes, order)
    draw = torch.randn(len(terms), generator=generator, device=generator.device).tolist()
    return sum(d * t for d, t in zip(draw[1:], terms[1:], strict=True))


def scan(
    phantom: Phantom,
    *,
    field_strength_t: float,
    b0_direction: Sequence[float],
    echo_times_s: Sequence[float],
    snr: float,
    generator: torch.Generator,
    shim_order: int = 2,
    phase_offset: bool = True,
    bipolar_rad: float = 0.0,
    alternate_slices: bool = False,
) -> Scan:
    """Scan a phantom with a spoiled multi-echo gradient echo.

    Phase is ``+2 pi * TE * df + offset`` with ``df`` the off-resonance: a paramagnetic source
    raises it on its axis. A voxel's signal is the complex mean over its parts, so that the field
    within it dephases it.

    Parameters
    ----------
    phantom
        The head.
    field_strength_t
        Field strength [T].
    b0_direction
        Direction of B0 in the frame of the axes.
    echo_times_s
        Echo times [s].
    snr
        Mean noise-free magnitude of the first echo over the brain mask, divided by the SD of the
        noise of the real (and of the imaginary) channel; infinity for none.
    generator
        Source of receive phase, sensitivity and noise.
    shim_order
        Solid harmonics up to this order (0-2) are removed from the field over the brain.
    phase_offset
        Whether the receive chain adds a smooth phase.
    bipolar_rad
        Phase that a readout against the first echo's direction adds, from one end of the first
        axis to the other [rad]; 0 for a monopolar readout.
    alternate_slices
        Whether every second slice is turned by pi, as in some GE exports.

    Returns
    -------
    Scan
        Echoes and their truth.

    Raises
    ------
    ValueError
        If echo times, SNR or field strength are not positive.

    """
    if not len(echo_times_s) or min(echo_times_s) <= 0 or snr <= 0 or field_strength_t <= 0:
        raise ValueError('Echo times, SNR and field strength are positive numbers.')
    axes, larmor = phantom.axes, PROTON_GYROMAGNETIC_RATIO * field_strength_t
    grid = Grid(axes.shape, axes.voxel_size, tuple(b0_direction))
    field, local = _fields(phantom, grid.b0_direction, shim_order)
    magnitudes = _sensitivity(axes, generator)
    offset = _receive_phase(axes, generator) if phase_offset else torch.zeros(axes.shape)
    signal = _signal(phantom, field, field_strength_t, echo_times_s)
    tissue = tissue_maps(phantom, field_strength_t)
    signal = signal * (magnitudes * torch.exp(1j * offset.to(axes.device)))
    _add_quirks(signal, bipolar_rad, alternate_slices)
    noise_sd = float(signal[0].abs()[phantom.mask].mean()) / snr
    if noise_sd > 0:
        noise = torch.randn((2, *signal.shape), generator=generator, device=generator.device)
        signal += noise_sd * torch.complex(*noise.to(axes.device))
    phase = signal.angle()
    phase[phase >= math.pi] = -math.pi

    def array(volume: Tensor) -> np.ndarray:
        return volume.cpu().numpy()

    return Scan(
        magnitude=array(signal.abs().movedim(0, -1)),
        phase=array(phase.movedim(0, -1)),
        chi=array(phantom.chi),
        total_field_hz=array(block_mean(field, phantom.factors) * larmor),
        local_field_hz=array(local * larmor),
        **{name: array(volume) for name, volume in tissue.items()},
        brain=array(phantom.mask),
        labels=array(phantom.labels),
        echo_times_s=tuple(float(te) for te in echo_times_s),
        field_strength_t=float(field_strength_t),
        noise_sd=noise_sd,
        affine=oblique_affine(grid),
        head_affine=axes.affine,
        grid=grid,
    )


def _fields(
    phantom: Phantom, b0_direction: Sequence[float], shim_order: int
) -> tuple[Tensor, Tensor]:
    """Shimmed field at the parts of the voxels, and local field of the brain [ppm]."""
    inside = phantom.mask
    for axis, factor in enumerate(phantom.factors):
        inside = inside.repeat_interleave(factor, axis)
    field = fields_ppm(phantom, b0_direction, phantom.chi_fine * inside)
    local = block_mean(field, phantom.factors) * phantom.mask
    others = torch.where(inside, 0, phantom.chi_fine).sub_(tissue_table('chi')[Tissue.AIR].item())
    del inside
    field += fields_ppm(phantom, b0_direction, others, extend_below=True)
    shim(field, phantom, shim_order)
    return field, local


def _receive_phase(axes: Axes, generator: torch.Generator) -> Tensor:
    """Smooth phase of the receive chain [rad]."""
    constant = 6.2832 * torch.rand((), generator=generator, device=generator.device)
    return 1.2 * _smooth_map(axes, generator, 2) + constant.to(axes.device)


def _sensitivity(axes: Axes, generator: torch.Generator) -> Tensor:
    """Smooth positive receive sensitivity."""
    return torch.exp(0.15 * _smooth_map(axes, generator, 2)).expand(axes.shape)


def _signal(
    phantom: Phantom, field: Tensor, field_strength_t: float, echo_times_s: Sequence[float]
) -> Tensor:
    """Complex signal (E, X, Y, Z), the mean over the parts of each voxel."""
    larmor = PROTON_GYROMAGNETIC_RATIO * field_strength_t
    shape = (len(echo_times_s), *phantom.axes.shape)
    signal = torch.zeros(shape, dtype=torch.complex64, device=field.device)
    s0_table = tissue_table('s0', field.device)
    for part in parts(phantom):
        labels = phantom.labels_fine[part]
        decay = r2star(labels, phantom.chi_fine[part], field_strength_t)
        s0 = s0_table[labels.int()]
        angle = (2 * math.pi * larmor) * field[part]
        for echo, te in enumerate(echo_times_s):
            signal[echo] += torch.polar(s0 * torch.exp(-te * decay), te * angle)
    return signal.div_(math.prod(phantom.factors))


def _add_quirks(signal: Tensor, bipolar_rad: float, alternate_slices: bool) -> None:
    """Bipolar readout and alternate slices, in place."""
    if bipolar_rad:
        ramp = torch.linspace(-0.5, 0.5, signal.shape[1], device=signal.device) * bipolar_rad
        signal[1::2] *= torch.exp(1j * ramp)[:, None, None]
    if alternate_slices:
        signal[..., 1::2] *= -1

"""A multi-echo gradient-echo scan of a phantom: field, shim, signal, noise and vendor quirks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO, Grid
from qsmprep.qsm.operators import Dipole, dipole_kernel
from qsmprep.qsm.separation import R2PRIME_PER_PPM, at_field_strength
from qsmprep.qsm.simulate.anatomy import Axes, Tissue, smooth
from qsmprep.qsm.simulate.susceptibility import Phantom, block_mean, tissue_table

__all__ = [
    'Scan',
    'fields_ppm',
    'oblique_affine',
    'r2',
    'r2star',
    'scan',
    'solid_harmonics',
    'sources',
]

_BODY_MM = 60.0


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


def fields_ppm(
    phantom: Phantom, b0_direction: Sequence[float], sources: Tensor, extend_below: bool = False
) -> Tensor:
    """Field of susceptibility sources at the parts of the voxels [ppm].

    The sources, smoothed over a voxel, are convolved on the image's grid, zero-padded (a linear
    convolution), and their field is interpolated; what the smoothing left out has no far field and
    is convolved on the finer grid.

    Parameters
    ----------
    phantom
        Gives the grids.
    b0_direction
        Direction of B0 in the frame of the axes.
    sources
        Susceptibility on the finer grid [ppm], zero in the surroundings; overwritten.
    extend_below
        Whether the lowest slice goes on for 60 mm below the image, as a neck does.

    Returns
    -------
    torch.Tensor
        Field on the finer grid [ppm].

    """
    axes, factors = phantom.axes, phantom.factors
    coarse = block_mean(sources, factors)
    if factors != (1, 1, 1):
        # what is smooth can be interpolated; the rest has no far field
        coarse = smooth(coarse, 1.0)
    below = math.ceil(_BODY_MM / axes.voxel_size[2]) if extend_below else 0
    grid = Grid((*axes.shape[:2], axes.shape[2] + below), axes.voxel_size, tuple(b0_direction))
    extended = torch.cat([coarse[:, :, :1].expand(-1, -1, below), coarse], dim=2)
    field = Dipole(grid, padding=2.0, device=axes.device).forward(extended)[:, :, below:]
    if factors == (1, 1, 1):
        return field
    sources -= _upsample(coarse, factors)
    kernel = dipole_kernel(
        tuple(sources.shape),
        axes.finer(factors).voxel_size,
        grid.b0_direction,
        device=axes.device,
    )
    spectrum = torch.fft.rfftn(sources).mul_(kernel)
    del kernel
    return torch.fft.irfftn(spectrum, s=sources.shape).add_(_upsample(field, factors))


def _upsample(volume: Tensor, factors: Sequence[int]) -> Tensor:
    shape = [n * f for n, f in zip(volume.shape, factors, strict=True)]
    return functional.interpolate(
        volume[None, None], size=shape, mode='trilinear', align_corners=False
    )[0, 0]


def solid_harmonics(axes: Axes, order: int = 2) -> list[Tensor]:
    """Solid harmonics up to second order on a grid (coordinates in units of 100 mm)."""
    x, y, z = (
        (axes.coordinates(a) - axes.centre[a]).reshape([-1 if b == a else 1 for b in range(3)])
        / 100
        for a in range(3)
    )
    terms = [torch.ones(1, 1, 1, device=axes.device)]
    if order > 0:
        terms += [x, y, z]
    if order > 1:
        terms += [x * y, x * z, y * z, x * x - y * y, 2 * z * z - x * x - y * y]
    return terms


def sources(labels: Tensor, chi: Tensor) -> tuple[Tensor, Tensor]:
    """Paramagnetic (from 0 up) and diamagnetic (from 0 down) share of susceptibility [ppm].

    The diamagnetic one is that of the tissue, or all of a susceptibility that is lower.

    Parameters
    ----------
    labels
        Tissue codes.
    chi
        Susceptibility [ppm], the sum of both.

    """
    diamagnetic = torch.minimum(tissue_table('diamagnetic', labels.device)[labels.int()], chi)
    return chi - diamagnetic, diamagnetic


def r2(labels: Tensor, field_strength_t: float) -> Tensor:
    """R2 of the tissues [1/s]; it grows by 40 % of its 3 T value per 3 T."""
    return tissue_table('r2', labels.device)[labels.int()] * (0.6 + 0.4 * field_strength_t / 3)


def r2star(labels: Tensor, chi: Tensor, field_strength_t: float) -> Tensor:
    """R2* within a voxel [1/s]: R2 of the tissue, plus R2' of its sources of either sign.

    Parameters
    ----------
    labels
        Tissue codes.
    chi
        Susceptibility [ppm]; see :func:`sources`.
    field_strength_t
        Field strength [T]; R2' grows in proportion.

    """
    positive, negative = sources(labels, chi)
    both = torch.where(labels <= int(Tissue.BONE), 0, positive - negative)
    return (
        r2(labels, field_strength_t) + at_field_strength(R2PRIME_PER_PPM, field_strength_t) * both
    )


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
    inside = phantom.mask
    for axis, factor in enumerate(phantom.factors):
        inside = inside.repeat_interleave(factor, axis)
    field = fields_ppm(phantom, grid.b0_direction, phantom.chi_fine * inside)
    local = block_mean(field, phantom.factors) * phantom.mask
    others = torch.where(inside, 0, phantom.chi_fine).sub_(tissue_table('chi')[Tissue.AIR].item())
    del inside
    field += fields_ppm(phantom, grid.b0_direction, others, extend_below=True)
    del others
    _shim(field, phantom, shim_order)
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


def _shim(field: Tensor, phantom: Phantom, order: int) -> None:
    """Remove from the field, in place, the harmonics that fit it over the brain."""
    terms = solid_harmonics(phantom.axes, order)
    coarse = block_mean(field, phantom.factors)[phantom.mask].double()
    design = torch.stack([t.expand(phantom.axes.shape)[phantom.mask] for t in terms], 1).double()
    normal = design.T @ design
    weights = torch.linalg.solve(normal, design.T @ coarse).tolist()
    fine = solid_harmonics(phantom.axes.finer(phantom.factors), order)
    for weight, term in zip(weights, fine, strict=True):
        field -= weight * term


def _receive_phase(axes: Axes, generator: torch.Generator) -> Tensor:
    """Smooth phase of the receive chain [rad]."""
    constant = 6.2832 * torch.rand((), generator=generator, device=generator.device)
    return 1.2 * _smooth_map(axes, generator, 2) + constant.to(axes.device)


def _sensitivity(axes: Axes, generator: torch.Generator) -> Tensor:
    """Smooth positive receive sensitivity."""
    return torch.exp(0.15 * _smooth_map(axes, generator, 2)).expand(axes.shape)


def _parts(phantom: Phantom) -> Iterator[tuple[slice, ...]]:
    """Where the parts of the voxels lie on the finer grid, one after another."""
    fx, fy, fz = phantom.factors
    for i, j, k in np.ndindex(fx, fy, fz):
        yield slice(i, None, fx), slice(j, None, fy), slice(k, None, fz)


def tissue_maps(phantom: Phantom, field_strength_t: float) -> dict[str, Tensor]:
    """Mean over each voxel of the shares of susceptibility [ppm], R2* and R2 [1/s]."""
    names = ('paramagnetic', 'diamagnetic', 'r2star_hz', 'r2_hz')
    maps = {name: torch.zeros_like(phantom.chi) for name in names}
    for part in _parts(phantom):
        labels, chi = phantom.labels_fine[part], phantom.chi_fine[part]
        maps['r2star_hz'] += r2star(labels, chi, field_strength_t)
        maps['r2_hz'] += r2(labels, field_strength_t)
        for name, share in zip(names, sources(labels, chi), strict=False):
            maps[name] += share
    return {name: volume.div_(math.prod(phantom.factors)) for name, volume in maps.items()}


def _signal(
    phantom: Phantom, field: Tensor, field_strength_t: float, echo_times_s: Sequence[float]
) -> Tensor:
    """Complex signal (E, X, Y, Z), the mean over the parts of each voxel."""
    larmor = PROTON_GYROMAGNETIC_RATIO * field_strength_t
    shape = (len(echo_times_s), *phantom.axes.shape)
    signal = torch.zeros(shape, dtype=torch.complex64, device=field.device)
    s0_table = tissue_table('s0', field.device)
    for part in _parts(phantom):
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

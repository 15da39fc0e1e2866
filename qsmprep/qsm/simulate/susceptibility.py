"""Susceptibility, contrast and relaxation of a head's tissues."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.operators import frequencies
from qsmprep.qsm.simulate.analytic import analytic_head
from qsmprep.qsm.simulate.anatomy import Axes, LabelledHead, Tissue, brain_mask, label_head, smooth
from qsmprep.qsm.simulate.lesions import paint_lesions
from qsmprep.qsm.simulate.nuclei import place_dentate, place_nuclei
from qsmprep.qsm.simulate.veins import venous_fraction

__all__ = ['TISSUES', 'Phantom', 'TissueProperties', 'block_mean', 'make_phantom', 'tissue_table']


class TissueProperties(NamedTuple):
    """What a tissue is to the scanner.

    Parameters
    ----------
    chi
        Mean susceptibility against the tissue reference (about that of CSF) [ppm].
    spread
        SD of the mean over heads [ppm].
    texture
        SD of the variation within the tissue [ppm].
    diamagnetic
        Diamagnetic share of ``chi`` [ppm].
    s0
        Magnitude at echo time 0 in a T1-weighted gradient echo; white matter is 1.
    r2
        R2 at 3 T [1/s].

    """

    chi: float
    spread: float
    texture: float
    diamagnetic: float
    s0: float
    r2: float


TISSUES: dict[Tissue, TissueProperties] = {
    Tissue.AIR: TissueProperties(9.4, 0, 0, 0, 0.0, 0),
    Tissue.SOFT_TISSUE: TissueProperties(0.0, 0, 0.02, -0.02, 0.75, 25),
    Tissue.FAT: TissueProperties(0.65, 0, 0.02, 0, 1.2, 30),
    Tissue.BONE: TissueProperties(-2.0, 0, 0, -2.0, 0.05, 500),
    Tissue.MARROW: TissueProperties(0.2, 0, 0.02, 0, 0.6, 60),
    Tissue.EYE: TissueProperties(0.0, 0.005, 0.002, 0, 0.7, 4),
    Tissue.MUCOSA: TissueProperties(0.0, 0.01, 0.02, 0, 0.9, 15),
    Tissue.ARTERY: TissueProperties(-0.03, 0.005, 0, -0.03, 1.5, 10),
    Tissue.SINUS: TissueProperties(0.30, 0.04, 0.02, -0.01, 0.9, 25),
    Tissue.CSF: TissueProperties(0.0, 0.003, 0.006, 0, 0.62, 1.5),
    Tissue.WHITE_MATTER: TissueProperties(-0.022, 0.004, 0.013, -0.033, 1.0, 14),
    Tissue.CORTEX: TissueProperties(0.012, 0.004, 0.014, -0.0195, 0.88, 11),
    Tissue.VENTRICLE: TissueProperties(0.0, 0.003, 0.005, 0, 0.62, 1.5),
    Tissue.CAUDATE: TissueProperties(0.039, 0.008, 0.014, -0.0095, 0.88, 13),
    Tissue.PUTAMEN: TissueProperties(0.055, 0.016, 0.02, -0.0099, 0.9, 15),
    Tissue.PALLIDUM: TissueProperties(0.121, 0.013, 0.022, -0.0137, 0.95, 20),
    Tissue.THALAMUS: TissueProperties(0.008, 0.006, 0.016, -0.0316, 0.93, 14),
    Tissue.RED_NUCLEUS: TissueProperties(0.100, 0.015, 0.014, -0.0095, 0.92, 18),
    Tissue.SUBSTANTIA_NIGRA: TissueProperties(0.103, 0.015, 0.018, -0.0124, 0.92, 18),
    Tissue.SUBTHALAMIC_NUCLEUS: TissueProperties(0.097, 0.013, 0.014, -0.0153, 0.92, 18),
    Tissue.DENTATE: TissueProperties(0.125, 0.018, 0.018, -0.0163, 0.92, 17),
    Tissue.ACCUMBENS: TissueProperties(0.022, 0.008, 0.014, -0.0234, 0.88, 12),
    Tissue.HIPPOCAMPUS: TissueProperties(0.004, 0.005, 0.012, -0.02, 0.87, 11),
    Tissue.AMYGDALA: TissueProperties(0.002, 0.005, 0.01, -0.02, 0.87, 11),
    Tissue.VENTRAL_DIENCEPHALON: TissueProperties(0.0, 0.006, 0.014, -0.03, 0.95, 14),
    Tissue.BRAINSTEM: TissueProperties(-0.008, 0.004, 0.013, -0.033, 0.95, 14),
    Tissue.CORPUS_CALLOSUM: TissueProperties(-0.028, 0.004, 0.012, -0.0423, 1.02, 15),
    Tissue.CEREBELLAR_CORTEX: TissueProperties(0.008, 0.004, 0.013, -0.0195, 0.88, 12),
    Tissue.CEREBELLAR_WHITE_MATTER: TissueProperties(-0.012, 0.004, 0.013, -0.033, 1.0, 15),
    Tissue.CHOROID_PLEXUS: TissueProperties(-0.03, 0.06, 0.03, -0.08, 0.9, 10),
    Tissue.VEIN: TissueProperties(0.30, 0.04, 0, -0.01, 0.9, 25),
    Tissue.CALCIFICATION: TissueProperties(-1.0, 0.1, 0.03, -1.0, 0.5, 30),
    Tissue.HAEMORRHAGE: TissueProperties(1.0, 0.1, 0.05, -0.01, 0.6, 25),
    Tissue.MICROBLEED: TissueProperties(0.6, 0.1, 0.02, -0.01, 0.6, 20),
    Tissue.MS_LESION: TissueProperties(0.012, 0.006, 0.01, -0.015, 0.8, 8),
    Tissue.MS_RIM: TissueProperties(0.06, 0.015, 0.012, -0.012, 0.85, 10),
}
"""Brain: Min 2024 (10.1002/nbm.5226) and Ridani (10.1002/mrm.70468); the rest textbook values."""


_DEEP_CORTEX, _OUTER_CORTEX, _DEEP_WHITE = 0.022, 0.012, 0.008
"""Rise in the deep layers, fall in the outer ones, fall in deep white matter [ppm]."""

_TEXTURE_GAIN = 1.45
"""Brings the power spectrum of whole maps to that of COSMOS maps in vivo, 0.05-0.45 cycles/mm."""


@dataclass(frozen=True)
class Phantom:
    """A head before it is scanned.

    Parameters
    ----------
    axes
        Grid of the image.
    factors
        Parts into which the finer grid cuts a voxel along each axis.
    labels_fine, chi_fine
        Tissue codes (uint8) and susceptibility [ppm] on the finer grid. The zero of
        susceptibility is the tissue reference, about CSF; no mean is removed.
    labels, chi, mask
        Majority tissue, mean susceptibility [ppm] and brain mask on the grid of the image.

    """

    axes: Axes
    factors: tuple[int, ...]
    labels_fine: Tensor
    chi_fine: Tensor
    labels: Tensor
    chi: Tensor
    mask: Tensor


def tissue_table(column: str, device: torch.device | str = 'cpu') -> Tensor:
    """One property of all tissues, indexed by :class:`Tissue` code.

    Examples
    --------
    >>> round(float(tissue_table('chi')[Tissue.AIR]), 1)
    9.4

    """
    return torch.tensor([getattr(TISSUES[t], column) for t in Tissue], device=device)


def make_phantom(
    head: LabelledHead | None,
    axes: Axes,
    *,
    factors: Sequence[int] = (2, 2, 2),
    lesions: Sequence[str] = (),
    generator: torch.Generator,
) -> Phantom:
    """Susceptibility of a head on a grid and on a finer one.

    Parameters
    ----------
    head
        Segmented head, or None for the analytic one.
    axes
        Grid of the image.
    factors
        Parts into which the finer grid cuts a voxel along each axis; borders and veins become
        partial volumes.
    lesions
        Any of :data:`~qsmprep.qsm.simulate.lesions.LESIONS`.
    generator
        Source of all that is random.

    Returns
    -------
    Phantom
        Labels and susceptibility on both grids.

    Raises
    ------
    ValueError
        If a lesion is unknown.

    """
    factors = tuple(int(f) for f in factors)
    fine = axes.finer(factors)
    labels, chi, texture_sd = draw_tissues(head, fine, lesions=lesions, generator=generator)
    texture = correlated_noise(axes, generator) * block_mean(texture_sd, factors)
    del texture_sd
    texture += cortical_layers(labels, axes, factors)
    for axis, factor in enumerate(factors):
        texture = texture.repeat_interleave(factor, axis)
    chi += texture
    coarse = majority(labels, factors)
    mask = brain_mask(coarse, axes.voxel_size)
    return Phantom(axes, factors, labels, chi, coarse, block_mean(chi, factors), mask)


def draw_tissues(
    head: LabelledHead | None,
    axes: Axes,
    *,
    lesions: Sequence[str] = (),
    veins: float = 1.0,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Tissues of a head, their susceptibility without texture, and the SD of that texture.

    Parameters
    ----------
    head, lesions, generator
        See :func:`make_phantom`.
    axes
        Grid to draw on.
    veins
        Number of veins, as a share of the usual one; none at 0.

    Returns
    -------
    labels
        Tissue codes, uint8.
    chi
        Susceptibility [ppm], piecewise constant but for the partial volumes of veins.
    texture_sd
        SD of the variation within tissues [ppm], float16.

    """
    if head is None:
        labels = analytic_head(axes, generator)
    else:
        labels = label_head(head, axes)
        if head.nuclei is not None:
            place_nuclei(labels, head, axes)
        place_dentate(labels, axes)
    paint_lesions(labels, axes, lesions, generator)
    chi, texture_sd = _mean_susceptibility(labels, generator)
    if veins:
        _add_veins(chi, labels, axes, veins, generator)
    return labels, chi, texture_sd


def _mean_susceptibility(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Piecewise constant susceptibility of one individual, and the SD of its texture [ppm]."""
    draw = torch.randn(len(Tissue), generator=generator, device=generator.device)
    means = tissue_table('chi', labels.device)
    means = means + tissue_table('spread', labels.device) * draw.clamp(-2, 2).to(labels.device)
    texture = _TEXTURE_GAIN * tissue_table('texture', labels.device)
    chi = torch.empty(labels.shape, device=labels.device)
    sd = torch.empty(labels.shape, dtype=torch.float16, device=labels.device)
    for i in range(len(labels)):
        chi[i], sd[i] = means[labels[i].int()], texture[labels[i].int()].half()
    return chi, sd


def cortical_layers(labels: Tensor, axes: Axes, factors: Sequence[int]) -> Tensor:
    """Iron of the deep cortical layers and of the fibres below them [ppm]."""
    cortex = block_mean((labels == int(Tissue.CORTEX)), factors)
    white = block_mean((labels == int(Tissue.WHITE_MATTER)), factors)
    near = white
    for axis in range(3):
        near = smooth(near, 1.2 / axes.voxel_size[axis], axis)
    deep = torch.exp(-(((near - 0.36) / 0.14) ** 2))
    return cortex * (_DEEP_CORTEX * deep - _OUTER_CORTEX * (near < 0.15)) - (
        _DEEP_WHITE * white * (near > 0.97)
    )


def _add_veins(
    chi: Tensor, labels: Tensor, axes: Axes, number: float, generator: torch.Generator
) -> None:
    fraction = venous_fraction(labels, axes, generator, number)
    mean = 0.25 + 0.15 * float(torch.rand((), generator=generator, device=generator.device))
    for i in range(len(chi)):
        chi[i] += fraction[i] * (mean - chi[i])
        labels[i][fraction[i] > 0.5] = int(Tissue.VEIN)


def correlated_noise(
    axes: Axes,
    generator: torch.Generator,
    exponent: float = 3.2,
    *,
    corner: float = 0.02,
    form: Sequence[Sequence[float]] = ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
) -> Tensor:
    """Gaussian noise whose power falls with spatial frequency.

    The power density is proportional to ``(corner**2 + k @ form @ k) ** (-exponent / 2)``, corner
    in cycles/mm, and has unit variance up to 0.5 cycles/mm, whatever the grid, for a form of unit
    determinant: all but exactly where that is not a sphere.
    """
    k = torch.linspace(0, 0.5, 2001, dtype=torch.float64)
    density = 4 * math.pi * k**2 * (corner**2 + k**2) ** (-exponent / 2)
    total = float(torch.trapezoid(density, k)) * math.prod(axes.voxel_size)
    white = torch.randn(axes.shape, generator=generator, device=generator.device).to(axes.device)
    ks = frequencies(axes.shape, axes.voxel_size, device=axes.device)
    response = sum((form[i][i] * ks[i] ** 2 for i in range(3)), corner**2)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        if form[i][j]:
            response = response + 2 * form[i][j] * (ks[i] * ks[j])
    response = response ** (-exponent / 4) / math.sqrt(total)
    return torch.fft.irfftn(torch.fft.rfftn(white).mul_(response), s=axes.shape)


def block_mean(volume: Tensor, factors: Sequence[int]) -> Tensor:
    """Mean over the parts of each voxel."""
    if tuple(factors) == (1, 1, 1):
        return volume.float()
    slabs = volume.split(factors[0] * max(1, 8_000_000 // volume[0].numel() // factors[0] or 1))
    return torch.cat(
        [functional.avg_pool3d(slab[None].float(), tuple(factors))[0] for slab in slabs]
    )


def majority(labels: Tensor, factors: Sequence[int]) -> Tensor:
    """Most frequent label among the parts of each voxel."""
    if tuple(factors) == (1, 1, 1):
        return labels.clone()
    fx, fy, fz = factors
    nx, ny, nz = (n // f for n, f in zip(labels.shape, factors, strict=True))
    result = labels.new_empty((nx, ny, nz))
    for i in range(nx):
        parts = labels[i * fx : (i + 1) * fx].reshape(fx, ny, fy, nz, fz).permute(1, 3, 0, 2, 4)
        result[i] = parts.reshape(ny, nz, -1).mode(-1).values
    return result

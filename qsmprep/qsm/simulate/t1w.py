"""A T1-weighted image of a simulated head, in a place of its own in the scanner."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import affine_transform

from qsmprep.qsm.simulate.anatomy import Axes, LabelledHead, Tissue, brain_mask
from qsmprep.qsm.simulate.susceptibility import block_mean, draw_tissues, majority

__all__ = ['T1wImage', 'rigid_transform', 'scan_t1w']

BRIGHTNESS: dict[Tissue, float] = {
    Tissue.SOFT_TISSUE: 0.55,
    Tissue.FAT: 1.35,
    Tissue.BONE: 0.1,
    Tissue.MARROW: 0.9,
    Tissue.EYE: 0.25,
    Tissue.MUCOSA: 0.6,
    Tissue.ARTERY: 0.5,
    Tissue.SINUS: 0.3,
    Tissue.CSF: 0.2,
    Tissue.VENTRICLE: 0.2,
    Tissue.CORTEX: 0.66,
    Tissue.CEREBELLAR_CORTEX: 0.66,
    Tissue.HIPPOCAMPUS: 0.67,
    Tissue.AMYGDALA: 0.67,
    Tissue.CAUDATE: 0.68,
    Tissue.ACCUMBENS: 0.68,
    Tissue.PUTAMEN: 0.73,
    Tissue.THALAMUS: 0.82,
    Tissue.PALLIDUM: 0.9,
    Tissue.RED_NUCLEUS: 0.92,
    Tissue.SUBSTANTIA_NIGRA: 0.9,
    Tissue.SUBTHALAMIC_NUCLEUS: 0.91,
    Tissue.DENTATE: 0.9,
    Tissue.VENTRAL_DIENCEPHALON: 0.93,
    Tissue.BRAINSTEM: 0.95,
    Tissue.CORPUS_CALLOSUM: 1.05,
    Tissue.CHOROID_PLEXUS: 0.45,
    Tissue.VEIN: 0.5,
}
"""Magnitude of an MPRAGE against white matter; what is not named has that of white matter."""

_MARGIN_MM = 12.0


@dataclass(frozen=True)
class T1wImage:
    """A simulated T1-weighted image and its truth.

    Parameters
    ----------
    image
        Magnitude (X, Y, Z), arbitrary units, with noise and receive bias.
    brain
        Brain mask.
    labels
        :class:`~qsmprep.qsm.simulate.anatomy.Tissue` codes.
    affine
        Voxel indices to scanner mm of this scan; array axes along +x, +y, +z.
    head_affine
        Voxel indices to head mm.

    """

    image: np.ndarray
    brain: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    head_affine: np.ndarray


def rigid_transform(
    rotation_deg: Sequence[float] = (0.0, 0.0, 0.0), shift_mm: Sequence[float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """4 x 4 matrix that turns about x, then y, then z [degrees], and shifts [mm].

    Examples
    --------
    >>> rigid_transform((0, 0, 90), (1, 0, 0)).round(6)[:2]
    array([[ 0., -1.,  0.,  1.],
           [ 1.,  0.,  0.,  0.]])

    """
    matrix = np.eye(4)
    for axis, angle in enumerate(np.deg2rad(rotation_deg)):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(4)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    matrix[:3, 3] = shift_mm
    return matrix


def scan_t1w(
    head: LabelledHead | None,
    axes: Axes,
    *,
    position: np.ndarray,
    snr: float = 40.0,
    seed: int = 0,
) -> T1wImage:
    """Scan a head with an MPRAGE.

    Parameters
    ----------
    head
        Segmented head, or None for the analytic one.
    axes
        Field of view and voxel size, in head coordinates; 12 mm are added at each side.
    position
        Rigid 4 x 4 matrix: how the head, whose middle lies in the middle of the scanner, is moved.
    snr
        White matter over the SD of the noise.
    seed
        That of :func:`~qsmprep.qsm.simulate.simulate_head`: the same seed is the same head.
        Lesions and veins are left out.

    """
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(
        n + 2 * math.ceil(_MARGIN_MM / v) for n, v in zip(axes.shape, axes.voxel_size, strict=True)
    )
    axes = Axes(shape, axes.voxel_size, axes.centre)
    factors = [1 if v <= 1.25 else 2 for v in axes.voxel_size]
    labels, _, _ = draw_tissues(head, axes.finer(factors), veins=0, generator=generator)
    table = torch.tensor([BRIGHTNESS.get(t, 1.0 if t else 0.0) for t in Tissue])
    still = block_mean(table[labels.int()], factors).numpy()
    coarse = majority(labels, factors)
    mask = brain_mask(coarse, axes.voxel_size)
    affine = axes.affine.copy()
    affine[:3, 3] = -np.diag(affine)[:3] * (np.array(axes.shape) - 1) / 2
    head_affine = np.linalg.inv(position) @ affine
    head_affine[:3, 3] += axes.centre
    change = np.linalg.inv(axes.affine) @ head_affine

    def turn(volume: np.ndarray, order: int) -> np.ndarray:
        return affine_transform(volume, change[:3, :3], change[:3, 3], order=order, mode='nearest')

    image = turn(still, 1)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in axes.shape), indexing='ij', sparse=True)
    tilt = 0.15 * torch.randn(3, generator=generator).numpy()
    image = image * np.exp(tilt[0] * x + tilt[1] * y + tilt[2] * z - 0.1 * (x * x + y * y + z * z))
    noise = torch.randn((2, *axes.shape), generator=generator).numpy() / snr
    return T1wImage(
        image=np.hypot(image + noise[0], noise[1]).astype(np.float32),
        brain=turn(mask.numpy().astype(np.float32), 1) > 0.5,
        labels=turn(coarse.numpy(), 0),
        affine=affine,
        head_affine=head_affine,
    )

"""Heads as label volumes: real label maps with deep nuclei placed in them, on any grid.

Head coordinates are millimetres, x to the right, y to the front, z up. Every sampling is separable:
the axes of a simulated image are those of the head, and the direction of B0 is turned instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

__all__ = [
    'BRAIN',
    'FREESURFER',
    'Axes',
    'LabelledHead',
    'Nuclei',
    'Tissue',
    'brain_mask',
    'interpolate',
    'interpolation_weights',
    'label_head',
    'smooth',
]


class Tissue(IntEnum):
    """Tissues of a simulated head; from WHITE_MATTER on they belong to the brain."""

    AIR = 0
    SOFT_TISSUE = 1
    FAT = 2
    BONE = 3
    MARROW = 4
    EYE = 5
    MUCOSA = 6
    ARTERY = 7
    SINUS = 8
    CSF = 9
    WHITE_MATTER = 10
    CORTEX = 11
    VENTRICLE = 12
    CAUDATE = 13
    PUTAMEN = 14
    PALLIDUM = 15
    THALAMUS = 16
    RED_NUCLEUS = 17
    SUBSTANTIA_NIGRA = 18
    SUBTHALAMIC_NUCLEUS = 19
    DENTATE = 20
    ACCUMBENS = 21
    HIPPOCAMPUS = 22
    AMYGDALA = 23
    VENTRAL_DIENCEPHALON = 24
    BRAINSTEM = 25
    CORPUS_CALLOSUM = 26
    CEREBELLAR_CORTEX = 27
    CEREBELLAR_WHITE_MATTER = 28
    CHOROID_PLEXUS = 29
    VEIN = 30
    CALCIFICATION = 31
    HAEMORRHAGE = 32
    MICROBLEED = 33
    MS_LESION = 34
    MS_RIM = 35


BRAIN = tuple(tissue for tissue in Tissue if tissue >= Tissue.WHITE_MATTER)

FREESURFER = {
    Tissue.WHITE_MATTER: (2, 25, 30, 41, 57, 62, 77, 85, 530),
    Tissue.CORTEX: (3, 42),
    Tissue.VENTRICLE: (4, 5, 14, 15, 43, 44, 72),
    Tissue.CEREBELLAR_WHITE_MATTER: (7, 46),
    Tissue.CEREBELLAR_CORTEX: (8, 47),
    Tissue.THALAMUS: (10, 49),
    Tissue.CAUDATE: (11, 50),
    Tissue.PUTAMEN: (12, 51),
    Tissue.PALLIDUM: (13, 52),
    Tissue.BRAINSTEM: (16,),
    Tissue.HIPPOCAMPUS: (17, 53),
    Tissue.AMYGDALA: (18, 54),
    Tissue.CSF: (24,),
    Tissue.ACCUMBENS: (26, 58),
    Tissue.VENTRAL_DIENCEPHALON: (28, 60),
    Tissue.CHOROID_PLEXUS: (31, 63, 136, 137, 163, 164),
    Tissue.CORPUS_CALLOSUM: (251, 252, 253, 254, 255),
    Tissue.ARTERY: (502,),
    Tissue.EYE: (506,),
    Tissue.SOFT_TISSUE: (507, 508, 511, 512),
    Tissue.MUCOSA: (509,),
    Tissue.SINUS: (514,),
    Tissue.BONE: (515,),
    Tissue.MARROW: (516,),
}

_SLAB_VOXELS = 4_000_000


@dataclass(frozen=True)
class Axes:
    """Voxel centres of a regular grid in head coordinates.

    Parameters
    ----------
    shape
        Number of voxels along x, y and z.
    voxel_size
        Edge lengths of a voxel [mm].
    centre
        Head coordinates of the middle of the grid [mm].
    device
        Where arrays on the grid live.

    """

    shape: tuple[int, ...]
    voxel_size: tuple[float, ...]
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    device: torch.device | str = 'cpu'

    def coordinates(self, axis: int) -> Tensor:
        """Coordinates of the voxel centres along one axis [mm]."""
        n = self.shape[axis]
        steps = torch.arange(n, device=self.device, dtype=torch.float32) - (n - 1) / 2
        return steps * self.voxel_size[axis] + self.centre[axis]

    @property
    def affine(self) -> np.ndarray:
        """4 x 4 matrix, voxel indices to head mm."""
        matrix = np.diag([*self.voxel_size, 1.0])
        matrix[:3, 3] = [
            c - (n - 1) / 2 * v
            for c, n, v in zip(self.centre, self.shape, self.voxel_size, strict=True)
        ]
        return matrix

    def finer(self, factors: Sequence[int]) -> Axes:
        """The same field of view with each voxel cut into ``factors`` parts."""
        shape = tuple(n * f for n, f in zip(self.shape, factors, strict=True))
        size = tuple(v / f for v, f in zip(self.voxel_size, factors, strict=True))
        return Axes(shape, size, self.centre, self.device)

    def slabs(self) -> list[slice]:
        """Slices along the first axis that bound the memory of a temporary array."""
        step = max(1, _SLAB_VOXELS // (self.shape[1] * self.shape[2]))
        return [slice(i, min(i + step, self.shape[0])) for i in range(0, self.shape[0], step)]


@dataclass(frozen=True)
class Nuclei:
    """The CIT168 atlas in its template space (Pauli 2018, 10.1038/sdata.2018.63; CC BY 4.0).

    Parameters
    ----------
    labels
        Integer labels, array axes along +x, +y, +z.
    affine
        4 x 4 matrix, voxel indices to template mm.

    """

    labels: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class LabelledHead:
    """A segmented head.

    Parameters
    ----------
    labels
        FreeSurfer labels, 502-530 outside the brain as in SimNIBS ``charm``; array axes along
        +x, +y, +z.
    affine
        4 x 4 matrix without rotation, voxel indices to head mm.
    nuclei
        Atlas that supplies red nucleus, substantia nigra and subthalamic nucleus, or None.

    Raises
    ------
    ValueError
        If the axes are turned or flipped, or the volume holds no brain.

    """

    labels: np.ndarray
    affine: np.ndarray
    nuclei: Nuclei | None = None

    def __post_init__(self) -> None:
        axes = np.asarray(self.affine, dtype=np.float64)[:3, :3]
        if not np.allclose(axes, np.diag(np.diag(axes)), atol=1e-3) or np.any(np.diag(axes) <= 0):
            raise ValueError(
                'A labelled head has its array axes along +x, +y and +z; reorient the volume '
                f'(for example with nibabel.as_closest_canonical). Found the axes {axes.tolist()}.'
            )
        if not np.isin(self.labels, (2, 3, 41, 42)).any():
            raise ValueError(
                'The label volume holds no cerebrum (FreeSurfer labels 2, 3, 41, 42); '
                'give a FreeSurfer or SynthSeg segmentation.'
            )

    def bounds(self, labels: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of some labels, or of all that is not air [mm]."""
        wanted = np.ones(int(self.labels.max()) + 1, dtype=bool)
        if labels is not None:
            wanted[:] = np.isin(np.arange(len(wanted)), labels)
        wanted[0] = False
        found = wanted[self.labels]
        low, high = [], []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            inside = np.flatnonzero(found.any(axis=others))
            low.append(inside[0] - 0.5)
            high.append(inside[-1] + 0.5)
        scale, origin = np.diag(self.affine)[:3], np.asarray(self.affine)[:3, 3]
        return np.array(low) * scale + origin, np.array(high) * scale + origin

    def brain_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner of the brain [mm]."""
        brain = [n for tissue in BRAIN for n in FREESURFER.get(tissue, ())]
        return self.bounds([n for n in brain if n < 500])


def label_head(head: LabelledHead, axes: Axes) -> Tensor:
    """Tissue of every voxel of a grid, with borders smoother than the label volume's own.

    Each tissue's indicator is smoothed over one voxel, interpolated linearly, and the largest one
    wins. Below the volume its lowest slice goes on, as a neck does.

    Parameters
    ----------
    head
        The segmented head.
    axes
        Grid to label.

    Returns
    -------
    torch.Tensor
        :class:`Tissue` codes, uint8, of the grid's shape.

    """
    source = torch.from_numpy(np.ascontiguousarray(head.labels).astype(np.int64)).to(axes.device)
    lookup = torch.full((int(source.max()) + 1,), int(Tissue.SOFT_TISSUE), dtype=torch.uint8)
    lookup[0] = Tissue.AIR
    for tissue, numbers in FREESURFER.items():
        lookup[[n for n in numbers if n < len(lookup)]] = tissue
    tissues = lookup.to(axes.device)[source]
    bottom = int(torch.nonzero((tissues > 0).any(0).any(0))[0])
    tissues[:, :, :bottom] = tissues[:, :, bottom : bottom + 1]
    tissues = _with_fat(tissues, source)
    _add_meninges(tissues)
    return _resample_labels(tissues, head.affine, axes)


def _add_meninges(tissues: Tensor) -> None:
    """A voxel of fluid wherever the segmentation lets the brain touch bone, fat or air."""
    brain = smooth((tissues >= int(Tissue.WHITE_MATTER)).half(), 0.6)
    outside = (tissues <= int(Tissue.MARROW)) | (tissues == int(Tissue.MUCOSA))
    tissues[outside & (brain > 0.05)] = int(Tissue.CSF)


def _with_fat(tissues: Tensor, source: Tensor) -> Tensor:
    """Subcutaneous fat: what lies between skin and skull above the eyes."""
    eyes = torch.nonzero(source == 506)
    if len(eyes):
        above = int(eyes[:, 2].max())
        tissues[:, :, above:][source[:, :, above:] == 507] = int(Tissue.FAT)
    return tissues


def interpolation_weights(coordinates: Tensor, scale: float, origin: float, n: int) -> tuple:
    """Neighbours and fractions of points on an axis of ``n`` samples, the ends repeated."""
    position = ((coordinates - origin) / scale).clamp(0, n - 1)
    low = position.floor().clamp(max=max(n - 2, 0)).long()
    return low, (low + 1).clamp(max=n - 1), position - low


def interpolate(volume: Tensor, weights: Sequence[tuple]) -> Tensor:
    """Linear interpolation along each axis in turn."""
    for axis in (2, 1, 0):
        low, high, fraction = weights[axis]
        shape = [1, 1, 1]
        shape[axis] = -1
        below, above = volume.index_select(axis, low), volume.index_select(axis, high)
        volume = below.lerp_(above, fraction.reshape(shape).to(volume.dtype))
    return volume


def _resample_labels(tissues: Tensor, affine: np.ndarray, axes: Axes) -> Tensor:
    scale, origin = np.diag(affine)[:3], np.asarray(affine)[:3, 3]
    coordinates = [axes.coordinates(a) for a in range(3)]
    labels = torch.zeros(axes.shape, dtype=torch.uint8, device=axes.device)
    best = torch.zeros(axes.shape, dtype=torch.float16, device=axes.device)
    for tissue in torch.unique(tissues).tolist():
        found = tissues == tissue
        crop, box, weights = [], [], []
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            inside = torch.nonzero(found.any(others[1]).any(others[0]))
            n = tissues.shape[axis]
            first, last = max(int(inside[0]) - 3, 0), min(int(inside[-1]) + 3, n - 1)
            position = (coordinates[axis] - origin[axis]) / scale[axis]
            reached = (position >= first) | (first == 0)
            reached &= (position <= last) | (last == n - 1)
            hit = torch.nonzero(reached)
            if not len(hit):
                break
            box.append(slice(int(hit[0]), int(hit[-1]) + 1))
            crop.append(slice(first, last + 1))
            low = origin[axis] + first * scale[axis]
            line = coordinates[axis][box[axis]]
            weights.append(interpolation_weights(line, scale[axis], low, last + 1 - first))
        if len(box) < 3:
            continue
        share = interpolate(smooth(found[tuple(crop)].float(), 0.6), weights).half()
        part_best, part_labels = best[tuple(box)], labels[tuple(box)]
        wins = share > part_best
        part_best[wins] = share[wins]
        part_labels[wins] = tissue
    return labels


def smooth(volume: Tensor, sigma: float, axis: int | None = None) -> Tensor:
    """Gaussian smoothing along one axis or all of them; ``sigma`` in voxels, mirrored edges."""
    if axis is None:
        for each in range(3):
            volume = smooth(volume, sigma, each)
        return volume
    n = volume.shape[axis]
    radius = min(n - 1, max(1, int(np.ceil(3 * sigma))))
    kernel = np.exp(-0.5 * (np.arange(radius + 1) / sigma) ** 2)
    total = kernel[0] + 2 * kernel[1:].sum()
    smoothed = volume * (kernel[0] / total)
    for step, tap in enumerate(kernel[1:] / total, start=1):
        for start, origin in ((step, 0), (0, step)):
            target = smoothed.narrow(axis, start, n - step)
            target.add_(volume.narrow(axis, origin, n - step), alpha=float(tap))
        for start in (0, n - step):
            mirrored = volume.narrow(axis, start, step).flip(axis)
            smoothed.narrow(axis, start, step).add_(mirrored, alpha=float(tap))
    return smoothed


def brain_mask(labels: Tensor, voxel_size: Sequence[float], closing_mm: float = 3.0) -> Tensor:
    """Brain with its ventricles and the sulcal fluid that a brain extraction leaves in.

    Parameters
    ----------
    labels
        :class:`Tissue` codes of a head.
    voxel_size
        Edge lengths of a voxel [mm].
    closing_mm
        Sulci narrower than about twice this are closed.

    Returns
    -------
    torch.Tensor
        Boolean mask of the same shape.

    """
    brain = (labels >= int(Tissue.WHITE_MATTER)).float()
    hull = brain
    for axis in range(3):
        hull = smooth(hull, closing_mm / voxel_size[axis], axis)
    fluid = (labels == int(Tissue.CSF)) | (labels == int(Tissue.SINUS))
    fluid |= labels == int(Tissue.ARTERY)
    return (brain > 0.5) | (fluid & (hull > 0.55))

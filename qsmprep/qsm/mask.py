"""Masks: brain and phase quality, hole filling, erosion, and what each step costs in volume."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from qsmprep.qsm.grid import bounding_box, relative_size
from qsmprep.qsm.phase import smooth

RELATIVE_QUALITY = 0.05
"""Phase quality, as a fraction of the brain's median, below which the phase is random.

Dephased voxels around lesions, veins and sinuses are wrong by 10 to 100 ppb, but their own fields
are ten times that: cutting them at a fraction of 0.75 halves a calcification's susceptibility in
simulated heads. It is relative since noise lowers the quality of all voxels alike.
"""

STEEPEST_RAD = 2.4
"""Change of the unwrapped phase of the first echo from a voxel to the next, above which it may be
off by 2 pi: near air at 7 T and 20 ms a fortieth of the voxels, which spoil the whole map."""

SMALLEST_PART = 0.1
"""Size of a part of a mask, relative to the largest, from which it is no crumb."""

RIM_SIGNAL = 0.5
"""Signal at an echo time of zero, as a fraction of that around, below which the outermost voxels of
a brain mask are bone or air. In simulated heads 0.05 % of the true brain's voxels are below."""
RIM_MM = 2.5
AROUND_MM = 8.0
LARGEST_DECAY = 3.0


def signal_mask(magnitude: np.ndarray, fraction: float = 0.2) -> np.ndarray:
    """Voxels with signal: the largest region above a fraction of the tissue's, holes filled.

    The tissue's signal is the median of the voxels above the mean of the image. That holds with
    much background around the object and also without any, as in a slab or a crop, where a
    threshold between two classes (Otsu's) would split the tissue.

    Parameters
    ----------
    magnitude
        ``(X, Y, Z)``.
    fraction
        Of the tissue's signal.

    Raises
    ------
    ValueError
        If no voxel has signal.

    Examples
    --------
    >>> signal_mask(np.full((3, 3, 3), 7.0)).all()
    np.True_

    """
    strong = magnitude[magnitude >= np.mean(magnitude)]
    above = (magnitude > 0) & (magnitude >= fraction * np.median(strong))
    return ndimage.binary_fill_holes(main_parts(above))


def fill_holes(mask: np.ndarray, max_volume_ml: float, voxel_volume_ml: float) -> np.ndarray:
    """Fill cavities that are closed on all sides and no larger than a volume.

    Parameters
    ----------
    mask
        Mask, ``(X, Y, Z)``.
    max_volume_ml
        Cavities up to this volume are filled [ml].
    voxel_volume_ml
        Volume of a voxel [ml].

    """
    mask = np.asarray(mask, dtype=bool)
    cavities, count = ndimage.label(ndimage.binary_fill_holes(mask) & ~mask)
    volume_ml = np.bincount(cavities.ravel(), minlength=count + 1) * voxel_volume_ml
    small = volume_ml <= max_volume_ml
    small[0] = False
    return mask | small[cavities]


def largest_component(mask: np.ndarray) -> np.ndarray:
    """Largest set of voxels that touch by faces.

    Raises
    ------
    ValueError
        If the mask is empty.

    """
    labels, size = _components(mask)
    return labels == np.argmax(size)


def main_parts(mask: np.ndarray) -> np.ndarray:
    """The largest set of voxels that touch by faces, and others of a tenth of its size at least.

    Two specimens in one coil, or the halves of a cut brain, are two parts; crumbs are none.

    Raises
    ------
    ValueError
        If the mask is empty.

    Examples
    --------
    >>> mask = np.array([1, 1, 1, 1, 0, 1, 1, 0])[:, None, None]
    >>> int(main_parts(mask).sum())
    6

    """
    labels, size = _components(mask)
    return (size >= SMALLEST_PART * size.max())[labels]


def separate_parts(mask: np.ndarray) -> list[np.ndarray]:
    """Each part of :func:`main_parts` as a mask; none where there is one part alone.

    No phase leads from one to another: each has a free multiple of 2 pi of its own.
    """
    if not np.any(mask):
        return []
    labels, size = _components(mask)
    numbers = np.flatnonzero(size >= SMALLEST_PART * size.max())
    return [labels == number for number in numbers] if len(numbers) > 1 else []


def _components(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number of the set of touching voxels that each belongs to, and the sizes; none of number 0.

    Raises
    ------
    ValueError
        If the mask is empty.

    """
    labels, count = ndimage.label(np.asarray(mask, dtype=bool))
    if count == 0:
        raise ValueError('The mask is empty: no voxel belongs to the brain.')
    size = np.bincount(labels.ravel())
    size[0] = 0
    return labels, size


def reliable_mask(
    brain: np.ndarray,
    quality: np.ndarray,
    voxel_size: tuple[float, ...],
    phase: np.ndarray | None = None,
    relative_quality: float = RELATIVE_QUALITY,
    max_hole_ml: float = 0.05,
) -> np.ndarray:
    """Voxels of the brain whose phase can be trusted.

    Cutting is the last resort: what signal a dephased voxel keeps is weighed by the noise of its
    field, and only random phase is dropped, and phase that is too steep to be unwrapped. Small
    cavities are filled again, large ones and regions that open to the outside stay out; never is a
    voxel outside the brain mask filled.

    Parameters
    ----------
    brain
        Brain mask, ``(X, Y, Z)``.
    quality
        Phase quality from 0 (random) to 1, such as ROMEO's voxel quality.
    voxel_size
        Edge lengths of a voxel [mm].
    phase
        Unwrapped phase of the first echo [rad]; voxels from which it changes by more than 2.4 rad
        to a reliable neighbour are dropped where they reach the rim, as at air. Around a lesion
        they stay: without them it would lose a third of its susceptibility.
    relative_quality
        Voxels below this fraction of the brain's median quality are dropped.
    max_hole_ml
        Cavities up to this volume are filled [ml].

    Raises
    ------
    ValueError
        If shapes disagree or no voxel is left.

    """
    brain = np.asarray(brain, dtype=bool)
    if brain.shape != quality.shape:
        raise ValueError(
            f'The brain mask has the shape {brain.shape} and the phase quality {quality.shape}; '
            'they must lie on one grid.'
        )
    if not brain.any():
        raise ValueError('The brain mask is empty: no voxel belongs to the brain.')
    quality = np.nan_to_num(quality)
    voxel_volume_ml = float(np.prod(voxel_size)) / 1000
    floor = max(relative_quality * np.median(quality[brain]), np.finfo(np.float32).tiny)
    reliable = brain & (quality >= floor)
    if phase is not None:
        steep = reliable & (_steepest_step(phase, reliable) > STEEPEST_RAD)
        rim = brain & ~ndimage.binary_erosion(brain)
        reliable &= ~ndimage.binary_propagation(steep & rim, mask=steep)
    parts = [reliable & part for part in separate_parts(brain) or [brain]]
    largest = [largest_component(part) for part in parts if part.any()]
    kept = np.any(largest or [largest_component(reliable)], axis=0)
    return fill_holes(kept, max_hole_ml, voxel_volume_ml) & brain


def bare_rim(
    brain: np.ndarray,
    magnitude: np.ndarray,
    echo_times_s: tuple[float, ...],
    voxel_size: tuple[float, ...],
) -> np.ndarray:
    """Outermost voxels of a brain mask that have no signal of their own: bone and air.

    A mask that is a voxel too wide takes part of the skull for tissue, whose strong sources
    background removal then may not remove. Looked at are the outer 2.5 mm (a voxel at least; less
    in objects smaller than a head). Signal is taken at an echo time of zero, to which the
    first two echoes lead: tissue that is dephased by a haemorrhage or above a sinus has it, bone
    does not. It is compared with the mean over the mask around (Gaussian of 8 mm), so that the
    sensitivity of coils does not matter.

    Parameters
    ----------
    brain
        Brain mask, ``(X, Y, Z)``.
    magnitude
        One or more echoes, ``(X, Y, Z, E)``.
    echo_times_s
        Echo times [s].
    voxel_size
        Edge lengths of a voxel [mm].

    Returns
    -------
    bare
        Voxels of the mask that are no brain.

    """
    brain = np.asarray(brain, dtype=bool)
    bare = np.zeros(brain.shape, dtype=bool)
    if not brain.any():
        return bare
    box = bounding_box(brain)
    inside, signal = brain[box], magnitude[box][..., 0].astype(np.float32)
    if len(echo_times_s) > 1:
        first, second = echo_times_s[:2]
        later = np.clip(magnitude[box][..., 1], 1e-3 * signal + 1e-30, None)
        decay = np.maximum(signal / later, 1) ** (first / (second - first))
        signal *= np.minimum(decay, LARGEST_DECAY)
    scale = relative_size(brain, voxel_size)
    sigma = tuple(AROUND_MM * scale / size for size in voxel_size)
    total = smooth(signal * inside, sigma)
    weak = inside & (signal * smooth(inside.astype(np.float32), sigma) < RIM_SIGNAL * total)
    layers = max(1, int(RIM_MM * scale / max(voxel_size)))
    # what is cut off by the field of view goes on there
    below, deep = (
        ndimage.binary_erosion(brain, iterations=n, border_value=1)[box] for n in (1, layers)
    )
    weak &= ~deep
    bare[box] = ndimage.binary_propagation(weak & ~below, mask=weak)
    return bare


def _steepest_step(phase: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Largest change of a phase to a face neighbour, both in the mask."""
    steepest = np.zeros(phase.shape, dtype=np.float32)
    for axis, n in enumerate(phase.shape):
        low, high = ((slice(None),) * axis + (part,) for part in (slice(0, n - 1), slice(1, n)))
        step = np.abs(phase[high] - phase[low]) * (mask[high] & mask[low])
        for side in (low, high):
            np.maximum(steepest[side], step, out=steepest[side])
    return steepest


def mask_steps(masks: dict[str, np.ndarray], voxel_size: tuple[float, ...]) -> dict[str, float]:
    """Volume of each mask [ml], in the order given: what every step costs.

    Examples
    --------
    >>> mask_steps({'brain': np.ones((10, 10, 10))}, (1, 1, 2))
    {'brain': 2.0}

    """
    volume_ml = float(np.prod(voxel_size)) / 1000
    return {
        name: round(float(np.count_nonzero(mask)) * volume_ml, 3) for name, mask in masks.items()
    }

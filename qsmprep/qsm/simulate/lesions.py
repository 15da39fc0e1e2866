"""Lesions painted into a labelled head on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from qsmprep.qsm.simulate.anatomy import Axes, Tissue, smooth

__all__ = ['LESIONS', 'paint_lesions']


class Lesion(NamedTuple):
    """How many of a kind, how large [mm], of which tissue and, for some of them, with which rim."""

    number: int
    radius_mm: tuple[float, float]
    tissue: Tissue
    rim: Tissue | None = None


LESIONS: dict[str, Lesion] = {
    'calcification': Lesion(1, (2.0, 4.0), Tissue.CALCIFICATION),
    'haemorrhage': Lesion(1, (4.0, 8.0), Tissue.HAEMORRHAGE),
    'microbleeds': Lesion(8, (0.8, 1.6), Tissue.MICROBLEED),
    'ms': Lesion(8, (2.5, 6.0), Tissue.MS_LESION, Tissue.MS_RIM),
}
_RIM_MM = 1.2


def paint_lesions(
    labels: Tensor, axes: Axes, kinds: Sequence[str], generator: torch.Generator
) -> None:
    """Paint lesions into the white matter of a head, in place.

    Parameters
    ----------
    labels
        :class:`~qsmprep.qsm.simulate.anatomy.Tissue` codes on ``axes``; changed.
    axes
        Grid of the labels.
    kinds
        Names from :data:`LESIONS`.
    generator
        Source of places and sizes.

    Raises
    ------
    ValueError
        If a kind is unknown, or the head has no white matter to hold it.

    """
    unknown = sorted(set(kinds) - set(LESIONS))
    if unknown:
        raise ValueError(f'Unknown lesions {", ".join(unknown)}; choose from {", ".join(LESIONS)}.')
    if not kinds:
        return
    strides = [max(1, round(1.5 / v)) for v in axes.voxel_size]
    thinned = labels[:: strides[0], :: strides[1], :: strides[2]]
    depth = (thinned == int(Tissue.WHITE_MATTER)).float()
    for axis in range(3):
        depth = smooth(depth, 3.0 / (axes.voxel_size[axis] * strides[axis]), axis)
    places = torch.nonzero(depth > min(0.85, 0.95 * float(depth.max())))
    if not len(places) or float(depth.max()) == 0:
        raise ValueError('The head holds no white matter in which a lesion could lie.')
    for kind in kinds:
        lesion = LESIONS[kind]
        for _ in range(lesion.number):
            draw = torch.rand(6, generator=generator, device=generator.device).tolist()
            place = places[int(draw[0] * len(places))].tolist()
            centre = [
                float(axes.coordinates(a)[min(place[a] * strides[a], axes.shape[a] - 1)])
                for a in range(3)
            ]
            low, high = lesion.radius_mm
            size = low + (high - low) * draw[1]
            radii = [size * (0.8 + 0.4 * r) for r in draw[2:5]]
            rim = lesion.rim if draw[5] < 0.5 else None
            _paint(labels, axes, centre, radii, lesion.tissue, rim)


def _paint(
    labels: Tensor,
    axes: Axes,
    centre: Sequence[float],
    radii: Sequence[float],
    tissue: Tissue,
    rim: Tissue | None,
) -> None:
    box: list[slice] = []
    square = torch.zeros((), device=axes.device)
    for axis in range(3):
        offset = (axes.coordinates(axis) - centre[axis]).abs()
        reach = max(radii[axis], 0.51 * axes.voxel_size[axis])
        hit = torch.nonzero(offset <= reach)
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
        shape = [1, 1, 1]
        shape[axis] = -1
        square = square + ((offset[box[axis]] / reach) ** 2).reshape(shape)
    part = labels[tuple(box)]
    inside = (square <= 1) & (part >= int(Tissue.WHITE_MATTER)) & (part != int(Tissue.VENTRICLE))
    part[inside] = int(tissue)
    if rim is not None:
        inner = (1 - _RIM_MM / (sum(radii) / 3)) ** 2
        part[inside & (square > inner)] = int(rim)

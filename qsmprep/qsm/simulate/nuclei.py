"""Deep nuclei that common segmentations lack, placed in a labelled head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qsmprep.qsm.simulate.anatomy import Axes, LabelledHead, Nuclei, Tissue, smooth

__all__ = ['atlas_to_head', 'place_dentate', 'place_nuclei']

_CIT168 = {
    Tissue.RED_NUCLEUS: (8, 108),
    Tissue.SUBSTANTIA_NIGRA: (7, 9, 107, 109),
    Tissue.SUBTHALAMIC_NUCLEUS: (16, 116),
}
_LANDMARKS = (
    ((11,), (2,)),
    ((50,), (102,)),
    ((12,), (1,)),
    ((51,), (101,)),
    ((13,), (5, 6)),
    ((52,), (105, 106)),
    ((26,), (3,)),
    ((58,), (103,)),
    ((28,), (7, 8, 9, 14, 15, 16)),
    ((60,), (107, 108, 109, 114, 115, 116)),
)
"""Structures that the FreeSurfer labels and the CIT168 labels share, left and right."""


def _centroid(labels: np.ndarray, numbers: Sequence[int], affine: np.ndarray) -> np.ndarray:
    found = np.argwhere(np.isin(labels, numbers, kind='table'))
    if not len(found):
        return np.full(3, np.nan)
    return np.asarray(affine)[:3, :3] @ found.mean(0) + np.asarray(affine)[:3, 3]


@lru_cache(maxsize=32)
def atlas_to_head(head: LabelledHead) -> np.ndarray:
    """Affine from atlas to head mm through the centroids of the structures that both have.

    The affine is drawn towards the least-squares similarity, since ten centroids, half of them in
    the striatum, hold shears but weakly.
    """
    atlas = cast(Nuclei, head.nuclei)
    pairs = np.array(
        [
            (
                _centroid(atlas.labels, theirs, atlas.affine),
                _centroid(head.labels, ours, head.affine),
            )
            for ours, theirs in _LANDMARKS
        ]
    )
    pairs = pairs[np.isfinite(pairs).all(axis=(1, 2))]
    if len(pairs) < 4:
        raise ValueError(
            'Fewer than four of the structures that place the CIT168 atlas (caudate, putamen, '
            'pallidum, accumbens, ventral diencephalon) are in the label volume; leave the atlas '
            'out or give a whole segmentation.'
        )
    middle = pairs.mean(0)
    source, target = (pairs - middle).transpose(1, 0, 2)
    u, s, vt = np.linalg.svd(target.T @ source)
    signs = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    similarity = (s * np.diag(signs)).sum() / (source**2).sum() * (u @ signs @ vt)
    ridge = 0.3 * np.trace(source.T @ source) / 3 * np.eye(3)
    matrix = (target.T @ source + similarity @ ridge) @ np.linalg.inv(source.T @ source + ridge)
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = middle[1] - matrix @ middle[0]
    return affine


def place_nuclei(labels: Tensor, head: LabelledHead, axes: Axes) -> None:
    """Paint the small nuclei of the atlas into the diencephalon and the brainstem."""
    nuclei = cast(Nuclei, head.nuclei)
    to_index = np.linalg.inv(atlas_to_head(head) @ nuclei.affine)
    atlas = torch.from_numpy(np.ascontiguousarray(nuclei.labels).astype(np.int64))
    atlas = atlas.to(axes.device)
    allowed = torch.zeros(256, dtype=torch.bool, device=axes.device)
    allowed[[Tissue.VENTRAL_DIENCEPHALON, Tissue.BRAINSTEM, Tissue.WHITE_MATTER]] = True
    for tissue, numbers in _CIT168.items():
        indicator = torch.isin(atlas, torch.tensor(numbers, device=axes.device)).float()
        indicator = smooth(indicator, 0.6)
        corners = torch.nonzero(indicator > 0.05)
        if not len(corners):
            continue
        low = corners.amin(0).cpu().numpy() - 2
        high = corners.amax(0).cpu().numpy() + 2
        cube = np.stack(np.meshgrid(*zip(low, high, strict=True), indexing='ij'), -1).reshape(-1, 3)
        back = np.linalg.inv(to_index)
        cube = cube @ back[:3, :3].T + back[:3, 3]
        box, points = [], []
        for axis in range(3):
            x = axes.coordinates(axis)
            hit = torch.nonzero((x >= cube[:, axis].min()) & (x <= cube[:, axis].max()))
            if not len(hit):
                break
            box.append(slice(int(hit[0]), int(hit[-1]) + 1))
            points.append(x[box[axis]])
        if len(box) < 3:
            continue
        places = torch.stack(torch.meshgrid(*points, indexing='ij'), -1)
        matrix = torch.tensor(to_index, dtype=torch.float32, device=axes.device)
        index = places @ matrix[:3, :3].T + matrix[:3, 3]
        size = torch.tensor(atlas.shape, device=axes.device, dtype=torch.float32)
        sampled = functional.grid_sample(
            indicator[None, None],
            (2 * index / (size - 1) - 1).flip(-1)[None],
            align_corners=True,
        )[0, 0]
        part = labels[tuple(box)]
        part[(sampled > 0.5) & allowed[part.long()]] = int(tissue)


def place_dentate(labels: Tensor, axes: Axes) -> None:
    """A crumpled shell in the white matter of each half of the cerebellum."""
    inside = labels == int(Tissue.CEREBELLAR_WHITE_MATTER)
    if not inside.any():
        return
    places = torch.nonzero(inside).float()
    size = torch.tensor(axes.voxel_size, device=axes.device)
    first = torch.tensor([float(axes.coordinates(a)[0]) for a in range(3)], device=axes.device)
    points = places * size + first
    middle = points[:, 0].median()
    for side in (-1, 1):
        chosen = (points[:, 0] - middle) * side > 4
        if chosen.sum() < 50:
            continue
        centre = points[chosen].median(0).values
        centre[0] = middle + side * 0.8 * (centre[0] - middle).abs()
        x, y, z = ((points - centre) / torch.tensor([9.0, 10.0, 6.5], device=axes.device)).T
        crumple = 0.09 * torch.sin(7 * x + 5 * z) * torch.sin(8 * y - 4 * z + 1)
        radius = torch.sqrt(x * x + y * y + z * z) + crumple
        # the hilus: the shell is open towards the middle and the front
        shell = chosen & (radius > 0.72) & (radius < 1.0) & (side * x - y > -1.1)
        index = places[shell].long()
        labels[index[:, 0], index[:, 1], index[:, 2]] = int(Tissue.DENTATE)

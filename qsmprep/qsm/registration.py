"""How well images lie on one another: measures on arrays, no registration itself."""

from __future__ import annotations

import numpy as np

GROUPS = 32
"""Groups of equal numbers of voxels that the correlation ratio takes."""


def dependence(known: np.ndarray, other: np.ndarray) -> float:
    """
    Correlation ratio: the share of an image's variance that another one explains.

    The other image may have any contrast: its values are grouped, and the variance within the
    groups is what it does not explain (Roche et al. 1998, 10.1007/BFb0056301).

    Parameters
    ----------
    known
        Values that explain.
    other
        Values of the same voxels.

    Returns
    -------
    float
        0 (nothing) to 1 (all).

    Examples
    --------
    >>> contrast = np.linspace(-1, 1, 1000)
    >>> round(dependence(contrast, contrast**2), 2)
    1.0

    """
    edges = np.quantile(known, np.linspace(0, 1, GROUPS + 1)[1:-1])
    group = np.searchsorted(edges, known, side='right')
    count = np.maximum(np.bincount(group, minlength=GROUPS), 1)
    other = np.asarray(other, np.float64)
    mean = np.bincount(group, other, minlength=GROUPS) / count
    total = np.var(other)
    return float(1 - np.mean((other - mean[group]) ** 2) / total) if total > 0 else 0.0


def distance_mm(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> float:
    """
    Root of the mean squared distance between where two matrices bring points.

    Parameters
    ----------
    first, second
        4 x 4 matrices.
    points
        (N, 3) [mm].

    Examples
    --------
    >>> shift = np.eye(4)
    >>> shift[0, 3] = 2
    >>> distance_mm(np.eye(4), shift, np.zeros((5, 3)))
    2.0

    """
    change = (first - second)[:3]
    moved = points @ change[:, :3].T + change[:, 3]
    return float(np.sqrt((moved**2).sum(axis=1).mean()))


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """
    Dice coefficient of two masks; 0 where both are empty.

    Examples
    --------
    >>> overlap(np.array([1, 1, 0]), np.array([0, 1, 0]))
    0.6666666666666666

    """
    size = np.count_nonzero(first) + np.count_nonzero(second)
    both = np.count_nonzero(np.logical_and(first, second))
    return float(2 * both / size) if size else 0.0

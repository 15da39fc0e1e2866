"""How far a susceptibility map is from the truth, by the definitions of the QSM-CI scorer.

Maps are in ppm and of one shape; what a reconstruction drops from the mask counts as zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_laplace, uniform_filter

XSIM_WINDOW = 5
XSIM_LUMINANCE = (0.01 * 1.0) ** 2
XSIM_CONTRAST = (0.001 * 1.0) ** 2


class Region(NamedTuple):
    """A region of a map beside the truth; susceptibilities in ppm."""

    voxels: int
    truth: float
    mean: float
    error: float
    error_sd: float


def _inside(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    if not chi.shape == truth.shape == mask.shape:
        raise ValueError(
            f'Map, truth and mask are compared voxel by voxel, but have the shapes {chi.shape}, '
            f'{truth.shape} and {mask.shape}; resample them to one grid.'
        )
    inside = np.asarray(mask) > 0
    if not inside.any():
        raise ValueError('The mask is empty; there is nothing to compare.')
    return inside


def _demeaned(chi: np.ndarray, inside: np.ndarray) -> np.ndarray:
    values = np.asarray(chi)[inside].astype(np.float64)
    return values - values.mean()


def _relative_norm(error: np.ndarray, truth: np.ndarray) -> float:
    return float(100 * np.linalg.norm(error) / np.linalg.norm(truth))


def nrmse(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Root mean square error relative to the truth, both demeaned in the mask [%].

    Examples
    --------
    >>> truth = np.array([[[-1.0, 0.0, 1.0]]])
    >>> nrmse(1.1 * truth + 5, truth, np.ones((1, 1, 3))).__round__(6)
    10.0

    """
    inside = _inside(chi, truth, mask)
    expected = _demeaned(truth, inside)
    return _relative_norm(_demeaned(chi, inside) - expected, expected)


def slope(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Slope of the regression of the map on the truth over the voxels of the mask."""
    inside = _inside(chi, truth, mask)
    expected = _demeaned(truth, inside)
    return float(expected @ _demeaned(chi, inside) / (expected @ expected))


def detrended_nrmse(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """NRMSE [%] after division by the slope of the regression of the map on the truth.

    It ignores an underestimation that is the same everywhere.
    """
    inside = _inside(chi, truth, mask)
    expected, found = _demeaned(truth, inside), _demeaned(chi, inside)
    gain = expected @ found / (expected @ expected)
    if gain != 0:
        found = found / gain
    return _relative_norm(found - expected, expected)


def hfen(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """High-frequency error norm [%]: error after a Laplacian of Gaussian of 1.5 voxels.

    References
    ----------
    Ravishankar and Bresler 2011, 10.1109/TMI.2010.2090538.

    """
    inside = _inside(chi, truth, mask)
    edges = [
        gaussian_laplace(np.asarray(x, dtype=np.float64), 1.5, truncate=5.0)[inside]
        for x in (chi, truth)
    ]
    return _relative_norm(edges[0] - edges[1], edges[1])


def xsim(chi: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Structural similarity tuned to susceptibility maps, 1 for equal maps.

    Windows of 5 x 5 x 5 voxels, cut at the borders of the image; L = 1 ppm, K1 = 0.01,
    K2 = 0.001.

    References
    ----------
    Milovic et al. 2025, 10.1002/mrm.30271.

    """
    inside = _inside(chi, truth, mask)

    def window_sum(x: np.ndarray) -> np.ndarray:
        return uniform_filter(x, XSIM_WINDOW, mode='constant')

    a, b = (np.asarray(x, dtype=np.float64) for x in (chi, truth))
    count = window_sum(np.ones_like(a))[inside]

    def window_mean(x: np.ndarray) -> np.ndarray:
        return window_sum(x)[inside] / count

    mean_a, mean_b = window_mean(a), window_mean(b)
    variances = window_mean(a * a) + window_mean(b * b) - mean_a**2 - mean_b**2
    covariance = window_mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + XSIM_LUMINANCE) / (mean_a**2 + mean_b**2 + XSIM_LUMINANCE)
    contrast = (2 * covariance + XSIM_CONTRAST) / (variances + XSIM_CONTRAST)
    return float(np.mean(luminance * contrast))


def region_errors(
    chi: np.ndarray, truth: np.ndarray, labels: np.ndarray, mask: np.ndarray
) -> dict[int, Region]:
    """Error of every labelled region inside the mask.

    Both maps are demeaned in the mask first, so that regions are compared on one reference.

    Parameters
    ----------
    chi, truth
        Susceptibility [ppm].
    labels
        Region numbers; zero is no region.
    mask
        Voxels to compare.

    Returns
    -------
    dict
        :class:`Region` of each label: voxels, mean of truth and of the map, mean error and the
        standard deviation of the error over its voxels [ppm].

    """
    inside = _inside(chi, truth, mask)
    expected, found = _demeaned(truth, inside), _demeaned(chi, inside)
    numbers = np.asarray(labels)[inside]
    regions = {}
    for label in np.unique(numbers[numbers != 0]):
        here = numbers == label
        error = found[here] - expected[here]
        regions[int(label)] = Region(
            int(here.sum()),
            float(expected[here].mean()),
            float(found[here].mean()),
            float(error.mean()),
            float(error.std()),
        )
    return regions

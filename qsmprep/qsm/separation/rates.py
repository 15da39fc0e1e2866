"""Relaxation rates, and what one ppm of sources adds to them."""

from __future__ import annotations

import numpy as np

R2PRIME_PER_PPM = 137.0
"""R2' of sources of either sign at 3 T [1/s per ppm]: 10.1016/j.neuroimage.2021.118371."""


R2STAR_PER_PPM = 274.0
"""R2* per ppm at 3 T, as if R2' were half of R2*: 10.3390/tomography8030127."""


R2_OF_TISSUE = (13.0, 3.0)
"""R2 of brain tissue at 3 T and how much it differs between tissues [1/s]: T2 of 60 to 100 ms."""


LEAST_SD = 0.5
"""Least standard deviation of a relaxation rate [1/s]."""


def at_field_strength(rate: float, field_strength_t: float) -> float:
    """Relaxation rate [1/s (per ppm)] at a field strength, in proportion to that at 3 T.

    Examples
    --------
    >>> at_field_strength(R2PRIME_PER_PPM, 1.5)
    68.5

    """
    return rate * field_strength_t / 3


def r2_at_field_strength(rate: float, field_strength_t: float) -> float:
    """R2 of tissue [1/s] at a field strength; it grows by 40 % of that at 3 T per 3 T.

    Examples
    --------
    >>> round(r2_at_field_strength(10.0, 7.0), 2)
    15.33

    """
    return rate * (0.6 + 0.4 * field_strength_t / 3)


def r2prime(r2star_hz: np.ndarray, r2_hz: np.ndarray) -> np.ndarray:
    """Reversible relaxation rate R2' = R2* - R2, at least 0 [1/s], where R2* and R2 are known.

    Examples
    --------
    >>> r2prime(np.array([20.0, 10.0, 0.0]), np.array([14.0, 12.0, 14.0])).tolist()
    [6.0, 0.0, 0.0]

    """
    known = (r2star_hz > 0) & (r2_hz > 0)
    return np.where(known, np.maximum(r2star_hz - r2_hz, 0), 0)


def r2star_sd(
    r2star_hz: np.ndarray, s0: np.ndarray, echo_times_s: tuple[float, ...], noise_sd: float
) -> np.ndarray:
    """Standard deviation of a fitted R2* [1/s], by the Cramer-Rao bound.

    Parameters
    ----------
    r2star_hz, s0
        The fit: rate [1/s], and magnitude at an echo time of zero.
    echo_times_s
        Echo times [s].
    noise_sd
        Noise of the real or imaginary part, in units of the magnitude.

    Examples
    --------
    >>> sd = r2star_sd(np.array([0.0]), np.array([100.0]), (0.0, 0.02), 1.0)
    >>> round(float(sd[0]), 3)
    0.707

    """
    total = first = second = np.zeros(np.shape(r2star_hz), dtype=np.float64)
    for te in echo_times_s:
        power = (s0 * np.exp(-r2star_hz * te)) ** 2
        total, first, second = total + power, first + power * te, second + power * te**2
    information = second - first**2 / np.maximum(total, 1e-30)
    return (noise_sd / np.sqrt(np.maximum(information, 1e-30))).astype(np.float32)

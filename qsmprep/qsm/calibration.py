"""What a field is worth: spectra of susceptibility and of its error, measured on the field itself.

The field in the mask is read as f = D x + h + e + n: susceptibility x of the power S(k), a smooth
remnant h of the background, a model error e of the power r S(k), and white noise n.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.cells import Cells
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.noise import even_weights, typical_noise
from qsmprep.qsm.operators import Dipole, even_image, even_spectrum, room_around
from qsmprep.qsm.periodogram import (
    CONSTANT,
    LEAST_POWER,
    NO_REMNANT,
    REFERENCE,
    Fit,
    Periodogram,
    remnant_power,
    tissue_power,
)
from qsmprep.qsm.posterior import FadingPosterior
from qsmprep.qsm.remnant import strongest_remnants
from qsmprep.qsm.streaks import doubts

OFF_CONE = 0.3
MOST_FREEDOM = 0.9
MOST_OUTSIDE = 0.7
STEPS = (8, 4)
REMOVALS = 6
UNCERTAIN = 0.25
LEAST_SHARE = 0.5
LEAST_TISSUE = 0.5
MOST_EVIDENCE = 5.0
ODDS = 9.0


@dataclass(frozen=True)
class Calibration:
    """Power per voxel of what makes a field, on the padded grid of a dipole operator [ppm^2].

    Parameters
    ----------
    field
        The field less what sources around the mask were found to add to it [ppm]: invert this one.
    dipole
        The dipole operator.
    susceptibility
        S(k) of the susceptibility.
    remnant
        Smooth part of the field that background removal left.
    noise
        Variance of the white part [ppm^2].
    error_ratio
        Power of the model error over that of susceptibility, r.
    error_share
        How far the spectra count, 0 to 1: the probability that the field has a model error.
    outside_share
        Expected power of sources just outside the mask over that of those inside, 0 to 1.
    known_noise
        Standard deviation of the noise [ppm] where it was given, else None.
    unexplained
        Variance that sources in the mask leave of the field [ppm^2], where it matters.
    weight
        Voxel weights, or None where nothing tells voxels apart.
    cells
        Measured and expected power, for a plot of how well the model fits.
    sources
        Spectrum of the map that leaves so much, before it fades at the mask: a start for others.
    background_ppm
        Root mean square of the background that was taken off the field.
    error_probability
        That of a model error: the share, but after background removal, where the share is one and
        an error is nine times as likely beforehand as none.

    """

    field: Tensor
    dipole: Dipole
    susceptibility: Tensor
    remnant: Tensor
    noise: float
    error_ratio: float = 0.0
    error_share: float = 0.0
    outside_share: float = 0.0
    known_noise: float | None = None
    unexplained: float = 0.0
    weight: Tensor | None = None
    cells: Cells | None = None
    sources: Tensor | None = None
    background_ppm: float = 0.0
    error_probability: float = 0.0

    @property
    def model_error(self) -> Tensor:
        """Power of all that is neither susceptibility nor white [ppm^2]."""
        return self.error_ratio * self.susceptibility + self.remnant

    @property
    def freedom(self) -> float:
        """How far the map is free outside the mask, 0 to 1.

        The square of the power: a little freedom costs an exact mask more than it gives one that is
        half a voxel off. Without a model error nothing determines the mean of a map wholly free.
        """
        return max(self.error_share, MOST_FREEDOM * self.outside_share**2)

    @property
    def outside_amplitude(self) -> float:
        """Amplitude of a map just outside the mask over that inside, before the scan, 0 to 0.7."""
        return MOST_OUTSIDE * self.outside_share

    def weights(self, mask: Tensor) -> Tensor:
        """Voxel weights, one in the mask where nothing tells voxels apart."""
        return mask.to(self.field.dtype) if self.weight is None else self.weight

    def white(self, least: float = 0.0) -> float:
        """Variance of the white part [ppm^2].

        Where the noise is known: it, or twice what sources leave, as far as the share is below
        one; and what the spectra show above it by the share.

        Parameters
        ----------
        least
            Least standard deviation [ppm].

        """
        white = self.noise
        if self.known_noise is not None:
            known, share = self.known_noise**2, self.error_share
            white = known + share * max(white - known, 0.0)
            white = max(white, (1 - share) * 2 * self.unexplained)
        return max(white, least**2)

    def seen_through(self, mask: Tensor) -> Calibration:
        """Calibration of the masked field, into which the remnant leaks through the mask's edge."""
        if not self.remnant.any():
            return self
        window = self.dipole.transform(mask.to(self.remnant.dtype)).abs().square()
        n0, _, n2 = self.dipole.padded_shape
        covariance = even_image(self.remnant, n2) * even_image(window / mask.sum(), n2)
        return replace(self, remnant=even_spectrum(covariance, n0).clamp(min=0))

    @property
    def local(self) -> Tensor:
        """Power of the field without what the background left of itself [ppm^2]."""
        explained = self.dipole.kernel.square() + self.error_ratio
        return explained * self.susceptibility + self.noise

    def record(self) -> dict[str, Any]:
        """What was estimated, for a sidecar: powers as standard deviations [ppm]."""
        k = REFERENCE
        return {
            'error_probability': self.error_probability,
            'error_share': self.error_share,
            'outside_share': self.outside_share,
            'error_ratio': self.error_ratio,
            'remnant_ppm': sqrt(float(self.remnant.mean())),
            'background_ppm': self.background_ppm,
            'white_noise_ppm': sqrt(self.noise),
            'misfit': 0.0 if self.cells is None else self.cells.misfit(),
        } | (
            {}
            if self.cells is None
            else {'chi_power_ppm2': self.cells.power_at(k), 'spectra': self.cells.profiles()}
        )


def calibrate(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    padding: float | tuple[float, ...] | None = None,
    noise: Tensor | None = None,
    magnitude: Tensor | None = None,
    error_share: float | None = None,
    after_background: bool = False,
) -> Calibration:
    r"""Calibration of a field.

    The periodogram of the tapered field is averaged over cells of \|k\| and \|D\|; its expectation
    is a sum of components of fixed shape and free power, each convolved with the spectrum of the
    taper, so that leakage is part of the model:

    .. math::
        (D^2 + r) \sum_p a_p (k^2 + 0.03^2)^{-p/2} + \sum_s h_s R_s(k) + n

    with p = 2, 3, 4, 6. The remnants R of the background are smooth fields (Gaussians in k of 6 to
    26 mm, and a constant) and those of white sources in three shells, up to 20 mm outside this
    mask. The powers and r maximise the Whittle likelihood under log-normal priors on r and on S at
    0.1 cycles/mm.

    How far the spectra count, from 0 to 1, is the probability that the field has a model error
    (:func:`~qsmprep.qsm.streaks.doubts`, which tells of sources just outside the mask as well).
    After background removal it is one, with smooth remnants but none of sources around the mask:
    low frequencies of the local field are gone with the background, which no streaks show; what
    they do show is kept for :func:`~qsmprep.qsm.inversion.tv.tv`. The error off the cone is 0.3
    times that on it.

    No cell counts for more than its shape is known, to 15 %, and frequencies that zero filling
    left empty for nothing. Elsewhere, and where they would be most of the fit, all remnants or the
    constant alone are part of the model where Schwarz's criterion admits them and the map that
    sources make of the field does not speak against them. They are then a model error, and p = 6,
    too like smooth ones, is left out beside these.
    The strongest are taken off (:mod:`~qsmprep.qsm.remnant`), fields of sources around the mask
    before smooth ones, and what is left is calibrated again, until that is less than 2 % of the
    field; a quarter of the posterior power of what was smooth stays. The share is then at least
    0.5, unless a constant was all.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm], zero outside the mask.
    mask
        Voxels of tissue.
    grid
        Their grid.
    padding
        Of the grid of the spectra; by default :func:`~qsmprep.qsm.operators.room_around`.
    noise
        Standard deviation of the field [ppm]; zero where nothing was measured.
    magnitude
        Magnitude [arbitrary]; where no noise is given it is taken as the inverse of the magnitude.
    error_share
        How far the spectra count, if it shall not be measured; sources outside are then none.
    after_background
        Whether background removal took part of the local field along.

    Raises
    ------
    ValueError
        If the field is zero everywhere in the mask, or the share is not between 0 and 1.

    References
    ----------
    Whittle 1953, 10.1007/BF02590998 (the likelihood of a power spectrum); Schwarz 1978,
    10.1214/aos/1176344136; dispersion: Wedderburn 1974, 10.1093/biomet/61.3.439; powers bounded by
    zero: Self and Liang 1987, 10.1080/01621459.1987.10478472.

    """
    if error_share is not None and not 0 <= error_share <= 1:
        raise ValueError(f'The error_share lies between 0 and 1, unlike {error_share}.')
    dipole = Dipole(
        grid, padding=padding or room_around(grid), device=field.device, dtype=field.dtype
    )
    relative = _noise_shape(mask, noise, magnitude)
    weight = mask.to(field.dtype) if relative is None else even_weights(relative, mask)
    parts = mask, dipole, noise, relative, weight, error_share, after_background
    calibration, periodogram, fit = _calibrate(field, *parts)
    least_share, left = 0.0, torch.zeros_like(calibration.remnant)
    for _ in range(0 if after_background else REMOVALS):
        local = calibration.local
        found = strongest_remnants(calibration.field, mask, local, periodogram, fit, weight)
        if found is None:
            break
        background, power = found
        left += UNCERTAIN * power
        if np.delete(fit.remnants, CONSTANT).any():
            least_share = LEAST_SHARE
        calibration, periodogram, fit = _calibrate(
            calibration.field - background, *parts, least_share=least_share, left=left
        )
    taken = (field - calibration.field)[mask]
    return replace(calibration, background_ppm=float(taken.square().mean().sqrt()))


def _noise_shape(mask: Tensor, noise: Tensor | None, magnitude: Tensor | None) -> Tensor | None:
    """Noise [ppm], or where only the magnitude is known its inverse; None where nothing is."""
    if noise is None and magnitude is not None:
        return torch.where(magnitude > 0, 1 / magnitude.clamp(min=1e-30), 0.0) * mask
    return noise


def _calibrate(
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    noise: Tensor | None,
    relative: Tensor | None,
    weight: Tensor,
    error_share: float | None,
    after_background: bool,
    *,
    least_share: float = 0.0,
    left: Tensor | float = 0.0,
) -> tuple[Calibration, Periodogram, Fit]:
    """Calibration of a field as it is, and the fit that it was made from.

    ``left`` is the power of what is left of remnants that were taken off [ppm^2].
    """
    known = None if noise is None else typical_noise(noise, mask)
    periodogram = Periodogram(field, mask, dipole, relative, after_background=after_background)
    tissue = periodogram.fit(None, remnants=NO_REMNANT)
    evidence, richer, kinds = periodogram.with_remnants(tissue)
    outside_share, probability = 0.0, error_share or 0.0
    remnants = after_background or evidence > 0
    settled = after_background and periodogram.tissue_share(richer) > LEAST_TISSUE
    if error_share is None or (remnants and not settled):
        doubt = doubts(
            field,
            mask,
            weight,
            dipole,
            partial(tissue_power, tissue),
            partial(remnant_power, richer) if remnants and not settled else None,
            tissue.white if known is None else known**2,
            outside=not after_background,
        )
        if not settled:
            remnants = min(evidence, MOST_EVIDENCE) + min(doubt.remnant, 0.0) > 0
        if error_share is None and after_background:
            error_share, probability = 1.0, ODDS * doubt.error / (1 + (ODDS - 1) * doubt.error)
            probability = round(probability, 1)
        elif error_share is None:
            error_share = probability = 1.0 if remnants else max(round(doubt.error, 1), least_share)
            outside_share = round(doubt.outside, 1)
    free = richer if remnants else tissue
    ratio = OFF_CONE * error_share * free.ratio
    fitted = periodogram.fit(ratio, remnants=kinds if remnants and error_share > 0 else NO_REMNANT)
    spectra = Calibration(
        field,
        dipole,
        periodogram.susceptibility(fitted),
        periodogram.remnant(fitted) + left,
        fitted.white,
        ratio,
        error_share,
        outside_share,
        known,
        cells=periodogram.cells(free),
        error_probability=probability,
    )
    if error_share < 1 or remnants:
        spectra = _with_sources(spectra, mask, periodogram, free, weight)
    if relative is None:
        return spectra, periodogram, fitted
    scale = 1.0 if known is not None else sqrt(spectra.noise) / typical_noise(relative, mask)
    weight = _voxel_weights(scale * relative, mask, spectra)
    return replace(spectra, weight=weight), periodogram, fitted


def _with_sources(
    spectra: Calibration, mask: Tensor, periodogram: Periodogram, fit: Fit, weight: Tensor
) -> Calibration:
    """Calibration with what twelve steps towards the best sources in the mask leave.

    A quarter of its variance is taken for noise where the spectra show less. Eight steps do where
    what they leave is too little to count, as it falls with every step.
    """
    field, dipole, known = spectra.field, spectra.dipole, spectra.known_noise
    power = periodogram.susceptibility(fit)
    white = fit.white if known is None else known**2
    white = max(white, LEAST_POWER * float((dipole.kernel.square() * power).max()))
    posterior = FadingPosterior(dipole, mask, 1 / white, power, weight)
    sources, found = None, spectra
    for steps in STEPS:
        sources = posterior.mean(field, start=sources, iterations=steps, tolerance=1e-2)
        residual = (field - posterior.field(sources)) * periodogram.taper
        left = float(residual.square().sum()) / periodogram.energy
        noise = max(spectra.noise, left / 4)
        found = replace(spectra, noise=noise, unexplained=left, sources=sources)
        if noise == spectra.noise and found.white() == spectra.white():
            break
    return found


def _voxel_weights(noise: Tensor, mask: Tensor, spectra: Calibration) -> Tensor:
    """Weights that even out the variance of noise and model error together.

    The model error is taken as equally strong everywhere: where it dominates the weights are one
    whatever the noise, and where the noise dominates they fall with its inverse.
    """
    measured = mask & (noise > 0)
    coloured = spectra.model_error.clone()
    coloured[0, 0, 0] = 0
    variance = noise.square()
    white = max(spectra.noise - float(variance[measured].median()), 0.0)
    total = variance + float(coloured.mean()) + spectra.error_share * white + 1e-12
    typical = total[measured].median()
    return torch.where(measured, (typical / total).sqrt().clamp(max=3.0), 0.0)

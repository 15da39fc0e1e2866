"""What a field says about susceptibility: voxel-wise noise and spectral model error."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from qsmprep.qsm.dipole import Dipole
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.posterior import PosteriorPrecision
from qsmprep.qsm.spectrum import Spectra, estimate_spectra

INCOHERENT = 0.25
LEAST_RELATIVE_NOISE = 1e-7


class Likelihood:
    r"""Gaussian likelihood of a field whose error is coloured and uneven.

    The weighted residual :math:`w (f - D x)` is taken as stationary with the spectrum N(k), which
    is calibrated on the field: the white noise found in it, and the share of the coloured model
    error (0.25) that acts as noise. The rest of that power is in phase with the field of the
    susceptibility. The share is empirical: against COSMOS in two people 0.2 to 0.4 is best, and it
    was not fitted closer than that. In a simulation without model error the coloured
    power is itself near zero, whatever the share.

    Without weights only the spectral part acts, over the whole padded grid, and the field outside
    the mask counts as the zero that it is given as. With weights, which are zero
    outside the mask, only what was measured counts.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm], zero outside the mask.
    dipole
        The dipole operator.
    spectra
        Spectra of susceptibility and error.
    weight
        Voxel weights w, or None for the spectral part alone.
    incoherent
        Share of the coloured model error that acts as noise.

    Attributes
    ----------
    error
        N(k) [ppm^2].
    prior
        S(k), the expected power of susceptibility [ppm^2].

    """

    def __init__(
        self,
        field: Tensor,
        dipole: Dipole,
        spectra: Spectra,
        weight: Tensor | None = None,
        *,
        incoherent: float = INCOHERENT,
    ) -> None:
        self.field, self.dipole, self.weight = field, dipole, weight
        error = incoherent * spectra.model_error + spectra.noise
        self.prior = spectra.susceptibility
        self.error = torch.maximum(error, LEAST_RELATIVE_NOISE * self.prior)
        self._whitening = self.error.rsqrt()

    def _residual(self, chi: Tensor) -> Tensor:
        """Residual w (f - D x) on the padded grid, as a half spectrum."""
        spectrum = self.dipole.kernel * self.dipole.transform(chi)
        if self.weight is None:
            return self.dipole.transform(self.field) - spectrum
        residual = self.weight * (self.field - self.dipole.inverse(spectrum))
        return self.dipole.transform(residual)

    def _to_padded(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfftn(spectrum, s=self.dipole.padded_shape)

    def whitened_residual(self, chi: Tensor) -> Tensor:
        """N^(-1/2) w (f - D x) on the padded grid; white, of unit variance where w acts."""
        return self._to_padded(self._whitening * self._residual(chi))

    def negative_log_likelihood(self, chi: Tensor) -> Tensor:
        """Half the squared norm of the whitened residual; can be differentiated."""
        return 0.5 * self.whitened_residual(chi).square().sum()

    def gradient(self, chi: Tensor) -> Tensor:
        """Gradient of :meth:`negative_log_likelihood`, of the shape of ``chi`` [1/ppm]."""
        precise = self._residual(chi) / self.error
        if self.weight is not None:
            precise = self.dipole.transform(self.weight * self.dipole.inverse(precise))
        return -self.dipole.inverse(self.dipole.kernel * precise)

    def expected_discrepancy(self) -> float:
        """Expected negative log-likelihood of the true map: half the number of measurements."""
        if self.weight is None:
            return 0.5 * float(np.prod(self.dipole.padded_shape))
        return 0.5 * float((self.weight > 0).sum())

    def prox(
        self,
        chi: Tensor,
        variance: Tensor | float,
        *,
        mask: Tensor | None = None,
        start: Tensor | None = None,
        iterations: int = 60,
        tolerance: float = 2e-3,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Tensor:
        """Minimiser of -log p(f|x) + 1/2 (x - chi)' Q^-1 (x - chi).

        Closed form with neither weights nor mask; else conjugate gradients.

        Parameters
        ----------
        chi
            Susceptibility [ppm] to stay close to.
        variance
            Q, a number or a spectrum on the padded grid [ppm^2].
        mask
            Voxels outside which x and ``chi`` are zero and, without weights, nothing was measured.
        start
            First guess of the iteration, by default ``chi``.
        iterations, tolerance, progress
            See :meth:`~qsmprep.qsm.posterior.PosteriorPrecision.solve`.

        """
        stiff = 1 / torch.as_tensor(variance)
        if self.weight is None and mask is None:
            kernel = self.dipole.kernel
            precision = kernel.square() / self.error + stiff
            pull = kernel * self._residual_closed(chi) / self.error / precision
            return chi + self.dipole.inverse(pull)
        within = torch.ones_like(self.field) if mask is None else mask
        precision = PosteriorPrecision(self.dipole, within, self.precision(), stiff, self.weight)
        target = precision.pull(self.field) + precision.inside * self.dipole.filter(chi, stiff)
        return precision.solve(
            target,
            start=chi if start is None else start,
            iterations=iterations,
            tolerance=tolerance,
            progress=progress,
        )

    def precision(self) -> Tensor | float:
        """1 / N(k) [1/ppm^2], as a number where the error is white."""
        lowest, highest = self.error.aminmax()
        return 1 / float(lowest) if lowest == highest else 1 / self.error

    def _residual_closed(self, chi: Tensor) -> Tensor:
        return self.dipole.transform(self.field) - self.dipole.kernel * self.dipole.transform(chi)

    def gain(self) -> Tensor:
        """Share of the power of susceptibility that the field determines, 0 to 1, on the grid."""
        signal = self.dipole.kernel.square() * self.prior
        return signal / (signal + self.error)

    def posterior_mean(self, mask: Tensor | None = None, *, iterations: int = 0) -> Tensor:
        """Wiener solution: the prox of zero with the prior S(k), in closed form [ppm].

        The closed form takes the field outside the mask as measured and zero. Each further
        iteration completes it there with the field of the solution, by the share
        :meth:`explained`, and solves again (expectation-maximisation). Voxel weights
        play no part.

        Parameters
        ----------
        mask
            Voxels that were measured; needed for iterations.
        iterations
            Number of completions.

        """
        kernel = self.dipole.kernel
        response = kernel * self.prior / (kernel.square() * self.prior + self.error)
        measured = self.dipole.transform(self.field)
        spectrum = response * measured
        if iterations:
            outside = self._outside(mask)
        for _ in range(iterations):
            missing = outside * self._to_padded(kernel * spectrum)
            spectrum = response * (measured + torch.fft.rfftn(missing))
        return self.dipole.inverse(spectrum)

    def _outside(self, mask: Tensor) -> Tensor:
        """Share by which the field is completed: zero in the mask, :meth:`explained` elsewhere."""
        outside = self.field.new_full(self.dipole.padded_shape, self.explained())
        n0, n1, n2 = mask.shape
        outside[:n0, :n1, :n2] *= ~mask
        return outside

    def explained(self) -> float:
        """Share of the field's power that the dipole model explains, without the lowest |k|."""
        use = self.dipole.wavenumber() > 0.03
        signal = (self.dipole.kernel.square() * self.prior)[use].sum()
        return float(signal / (signal + self.error[use].sum()))

    def posterior_sd(self) -> Tensor:
        """Standard deviation of susceptibility about the posterior mean (X, Y, Z) [ppm].

        The spectral part gives one number; weights scale the noise from voxel to
        voxel, as if they were constant over the reach of the filter.
        """
        signal = self.dipole.kernel.square() * self.prior
        if self.weight is None:
            weights, table = torch.ones(1, device=self.field.device), []
        else:
            top = float(self.weight.max())
            weights, table = torch.linspace(0, top, 17, device=self.field.device), []
        prior = self.prior.clone()
        prior[0, 0, 0] = 0
        for w in weights:
            power = prior * self.error / (signal * w**2 + self.error)
            table.append(self._mean_power(power).sqrt())
        table = torch.stack(table)
        if self.weight is None:
            return table.expand(self.field.shape).clone()
        position = self.weight / top * 16
        index = position.long().clamp(max=15)
        fraction = position - index
        return table[index] * (1 - fraction) + table[index + 1] * fraction

    def _mean_power(self, power: Tensor) -> Tensor:
        """Mean over the full spectrum of a half spectrum."""
        n = self.dipole.padded_shape[2]
        doubled = power[..., 1 : (n + 1) // 2].sum()
        return (power.sum() + doubled) / float(np.prod(self.dipole.padded_shape))


def build_likelihood(
    field_ppm: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    *,
    noise_ppm: np.ndarray | None = None,
    magnitude: np.ndarray | None = None,
    device: torch.device | str = 'cpu',
) -> Likelihood:
    """Likelihood of a local field, calibrated on it.

    Parameters
    ----------
    field_ppm
        Local field (X, Y, Z) [ppm].
    mask
        Voxels that were measured.
    grid
        Their grid.
    noise_ppm
        Standard deviation of the noise of the field [ppm], for voxel weights.
    magnitude
        Magnitude, whose inverse is proportional to that noise, where no noise map is given.
    device
        Torch device.

    Raises
    ------
    ValueError
        If shapes disagree or the field is zero everywhere in the mask.

    """
    mask = np.asarray(mask, dtype=bool)
    for name, image in (('field', field_ppm), ('noise', noise_ppm), ('magnitude', magnitude)):
        if image is not None and not image.shape == mask.shape == grid.shape:
            raise ValueError(
                f'The {name} {image.shape}, the mask {mask.shape} and the grid {grid.shape} must '
                'have one shape.'
            )
    dipole = Dipole(grid, device=device)
    field = torch.from_numpy(np.where(mask, field_ppm, 0).astype(np.float32)).to(device)
    inside = torch.from_numpy(mask).to(device)
    images = {}
    for name, image in (('noise', noise_ppm), ('magnitude', magnitude)):
        if image is not None:
            image = np.where(mask, image, 0).astype(np.float32)
            images[name] = torch.from_numpy(image).to(device)
    spectra, weight = calibrate(field, inside, dipole, **images)
    return Likelihood(field, dipole, spectra, weight)


def calibrate(
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    *,
    noise: Tensor | None = None,
    magnitude: Tensor | None = None,
) -> tuple[Spectra, Tensor | None]:
    """Spectra of a field and voxel weights, None where nothing tells voxels apart.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm].
    mask
        Voxels that were measured.
    dipole
        The dipole operator.
    noise
        Standard deviation of the field [ppm].
    magnitude
        Magnitude [arbitrary]; where no noise is given it is taken as the inverse of the magnitude,
        at the level that the spectra show.

    """
    if noise is None and magnitude is None:
        return estimate_spectra(field, mask, dipole), None
    if noise is None:
        noise = torch.where(magnitude > 0, 1 / magnitude.clamp(min=1e-30), 0.0) * mask
        spectra = estimate_spectra(field, mask, dipole, noise)
        noise = noise * (spectra.noise**0.5 / noise[noise > 0].median())
    else:
        spectra = estimate_spectra(field, mask, dipole, noise)
    return spectra, voxel_weights(noise, mask, spectra, dipole)


def voxel_weights(noise: Tensor, mask: Tensor, spectra: Spectra, dipole: Dipole) -> Tensor:
    """Weights that even out the variance of noise and model error together.

    The model error is taken as equally strong everywhere: where it dominates the weights are one
    whatever the noise, and where the noise dominates they fall with its inverse.

    Parameters
    ----------
    noise
        Standard deviation (X, Y, Z) [ppm]; where it is zero within the mask nothing was measured.
    mask
        Voxels that were measured.
    spectra, dipole
        Spectra and the operator on whose padded grid they are.

    """
    measured = mask & (noise > 0)
    coloured = INCOHERENT * spectra.model_error.clone()
    coloured[0, 0, 0] = 0
    variance = noise.square()
    white = max(spectra.noise - float(variance[measured].median()), 0.0)
    floor = float(coloured.mean()) + white + 1e-12
    total = variance + floor
    typical = total[measured].median()
    return torch.where(measured, (typical / total).sqrt().clamp(max=3.0), 0.0)

"""What a field says about susceptibility: voxel-wise noise and spectral model error."""

from __future__ import annotations

from math import prod

import torch
from torch import Tensor

from qsmprep.qsm.calibration import Calibration
from qsmprep.qsm.posterior import FadingPosterior, PosteriorPrecision

LEAST_RELATIVE_NOISE = 1e-7
FULL = 2.0


class Likelihood:
    r"""Gaussian likelihood of a field whose error is coloured and uneven.

    The weighted residual :math:`w (f - D x)` is taken as stationary with the spectrum N(k): model
    error, remnant of the background and white noise of a
    :class:`~qsmprep.qsm.calibration.Calibration`.

    Without weights only the spectral part acts, over the whole padded grid, and the field outside
    the mask counts as the zero that it is given as. With weights, which are zero
    outside the mask, only what was measured counts.

    Parameters
    ----------
    field
        Local field (X, Y, Z) [ppm], zero outside the mask.
    calibration
        Spectra of susceptibility and error, and the operator on whose grid they are.
    weight
        Voxel weights w, or None for the spectral part alone.
    least_noise
        Least standard deviation of the white part [ppm].

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
        calibration: Calibration,
        weight: Tensor | None = None,
        *,
        least_noise: float = 0.0,
    ) -> None:
        self.field, self.dipole, self.weight = field, calibration.dipole, weight
        error = calibration.model_error + calibration.white(least_noise)
        self.prior = calibration.susceptibility
        self.error = error.clamp(min=LEAST_RELATIVE_NOISE * float(self.prior.mean()))

    def _to_padded(self, spectrum: Tensor) -> Tensor:
        return torch.fft.irfftn(spectrum, s=self.dipole.padded_shape)

    def posterior(self, mask: Tensor, prior: Tensor | float) -> PosteriorPrecision:
        """Precision of a map that is zero outside a mask.

        Parameters
        ----------
        mask
            Voxels of the map; without weights, those that were measured too.
        prior
            Precision of the map before the scan, a spectrum on the padded grid or a number
            [1/ppm^2].

        """
        return PosteriorPrecision(self.dipole, mask, self.precision(), prior, self.weight)

    def fading(self, mask: Tensor, outside: float) -> FadingPosterior:
        """Posterior of a map of the prior S(k) that fades at the edge of a mask.

        Parameters
        ----------
        mask
            Voxels of tissue; without weights, those that were measured.
        outside
            Amplitude of the map outside the mask before the scan over that inside, 0 to 1.

        """
        return FadingPosterior(
            self.dipole, mask, self.precision(), self.prior, self.weight, outside=outside
        )

    def precision(self) -> Tensor | float:
        """1 / N(k) [1/ppm^2], as a number where the error is white."""
        lowest, highest = self.error.aminmax()
        return 1 / float(lowest) if lowest == highest else 1 / self.error

    def gain(self) -> Tensor:
        """Share of the power of susceptibility that the field determines, 0 to 1, on the grid."""
        signal = self.dipole.kernel.square() * self.prior
        return signal / (signal + self.error)

    def posterior_mean(self, mask: Tensor | None = None, *, iterations: int = 0) -> Tensor:
        """Wiener solution: the posterior mean under the prior S(k), in closed form [ppm].

        The closed form takes the field outside the mask as measured and zero. Each further
        iteration completes what was not :meth:`measured` with the field of the solution, and
        solves again (expectation-maximisation).

        Parameters
        ----------
        mask
            Voxels that were measured; needed for iterations.
        iterations
            Number of completions.

        """
        kernel = self.dipole.kernel
        response = kernel * self.prior / (kernel.square() * self.prior + self.error)
        if not iterations:
            return self.dipole.inverse(response * self.dipole.transform(self.field))
        if mask is None:
            raise ValueError('Completions need the mask of what was measured.')
        measured, field = self.measured(mask)
        spectrum = response * torch.fft.rfftn(field)
        for _ in range(iterations):
            missing = (1 - measured) * self._to_padded(kernel * spectrum)
            spectrum = response * torch.fft.rfftn(missing.add_(field))
        return self.dipole.inverse(spectrum)

    def measured(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Share of each voxel of the padded grid that needs no completion, and the field [ppm].

        In the mask a voxel was measured, or, where its noise is above twice the typical variance,
        to twice that over it; the field is scaled likewise. What was not measured is unknown as
        far as the dipole model explains the field, and counts as zero for the rest.

        Parameters
        ----------
        mask
            Voxels that were measured.

        """
        share = self.field.new_zeros(self.dipole.padded_shape)
        field = torch.zeros_like(share)
        n0, n1, n2 = mask.shape
        weight = 1.0 if self.weight is None else (FULL * self.weight.square()).clamp(max=1)
        share[:n0, :n1, :n2] = mask * weight
        field[:n0, :n1, :n2] = share[:n0, :n1, :n2] * self.field
        return 1 - self.explained() * (1 - share), field

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
        unseen = self.prior * self.error
        unseen[0, 0, 0] = 0
        # frequencies of which the half spectrum holds one of a pair
        unseen[..., 1 : (self.dipole.padded_shape[2] + 1) // 2] *= 2
        unseen /= prod(self.dipole.padded_shape)

        def spread(weight: float) -> Tensor:
            return (unseen / self.error.add(signal, alpha=weight**2)).sum().sqrt()

        if self.weight is None:
            return spread(1.0).expand(self.field.shape).clone()
        top = float(self.weight.max())
        table = torch.stack([spread(top * i / 16) for i in range(17)])
        position = self.weight / top * 16
        index = position.long().clamp(max=15)
        fraction = position - index
        return table[index] * (1 - fraction) + table[index + 1] * fraction

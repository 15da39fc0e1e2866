"""Exact posteriors of maps, where the field outside a mask is unknown."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from math import prod, sqrt

import torch
from torch import Tensor

from qsmprep.qsm.operators import Dipole, even_image, even_spectrum
from qsmprep.qsm.solvers import conjugate_gradients


class PosteriorPrecision:
    r"""Precision of a map x that is zero outside a mask, :math:`D w N^{-1} w D + Q^{-1}`.

    Systems are solved by conjugate gradients, preconditioned by the precision that a plane wave has
    within the mask: the mask spreads its power, so that waves on the cone of the dipole
    are not free, as they are for the spectra alone. Without that spreading the iteration goes
    through large errors on the cone, and takes about four times as many steps. To that is added its
    mean, times the square of the wavenumber over the highest: short waves, which make little of a
    map, then come last, and the same map takes three quarters to three fifths of the steps.

    A step takes three pairs of Fourier transforms for white noise, four for coloured noise.

    Parameters
    ----------
    dipole
        The dipole operator.
    mask
        Voxels of the map.
    data
        :math:`N^{-1}` [1/ppm^2], a spectrum on the padded grid, or a number for white noise.
    prior
        :math:`Q^{-1}` [1/ppm^2], a spectrum on the padded grid or a number.
    weight
        Voxel weights w, zero where nothing was measured; by default one in the mask.

    """

    def __init__(
        self,
        dipole: Dipole,
        mask: Tensor,
        data: Tensor | float,
        prior: Tensor | float,
        weight: Tensor | None = None,
    ) -> None:
        self.dipole, self.data, self.prior = dipole, data, prior
        self.inside = mask.to(dipole.dtype)
        self.weight = self.inside if weight is None else weight

    def data_term(self, field: Tensor) -> Tensor:
        """Right-hand side of a field (X, Y, Z) [ppm]: D w N^-1 w f in the mask [1/ppm]."""
        return self.inside * self.dipole.filter(self._weighted(field), self.dipole.kernel)

    def __call__(self, chi: Tensor) -> Tensor:
        """Apply to a map that is zero outside the mask [ppm]; the result is so too [1/ppm]."""
        dipole = self.dipole
        spectrum = dipole.transform(chi)
        precise = self._weighted(dipole.inverse(dipole.kernel * spectrum))
        total = dipole.transform(precise).mul_(dipole.kernel)
        total += spectrum.mul_(self.prior)
        return self.inside * dipole.inverse(total)

    def _weighted(self, field: Tensor) -> Tensor:
        if not isinstance(self.data, Tensor):
            return self._voxelwise * field
        return self.weight * self.dipole.filter(self.weight * field, self.data)

    @cached_property
    def _voxelwise(self) -> Tensor:
        return self.weight.square() * self.data

    @cached_property
    def smoothing(self) -> Tensor:
        """Inverse of the precision of plane waves that are cut to the mask."""
        return (self._of_waves(float(self.inside.sum())) + self.prior).reciprocal_()

    def _of_waves(self, volume: float) -> Tensor:
        """Precision of plane waves of a mean square of one over so many voxels, by the field."""
        dipole, (n0, _, n2) = self.dipole, self.dipole.padded_shape
        overlap = even_image(dipole.transform(self.inside).abs().square(), n2)
        spread = even_image(dipole.kernel.square() * self.data, n2) * overlap
        share = float(self.weight.square().sum() / volume / overlap[0, 0, 0])
        precision = even_spectrum(spread, n0).clamp_(min=0).mul_(share)
        squared = dipole.wavenumber().square_()
        return precision.add_(squared, alpha=float(precision.mean() / squared.max()))

    def solve(
        self,
        target: Tensor,
        *,
        start: Tensor | None = None,
        iterations: int,
        tolerance: float,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Tensor:
        """Map whose product with the precision is the target [ppm].

        Parameters
        ----------
        target
            Right-hand side [1/ppm], zero outside the mask.
        start
            First guess [ppm], by default zero.
        iterations, tolerance, progress
            See :func:`~qsmprep.qsm.solvers.conjugate_gradients`.

        """

        def smooth(image: Tensor) -> Tensor:
            return self.inside * self.dipole.filter(image, self.smoothing)

        return conjugate_gradients(
            self,
            target,
            start=None if start is None else self.inside * start,
            precondition=smooth,
            iterations=iterations,
            tolerance=tolerance,
            progress=progress,
        )


class FadingPosterior(PosteriorPrecision):
    r"""Posterior of a map x = B u that a stationary u of the power S makes, fading at the mask.

    B is one in the mask and less outside, so that the map is not drawn to zero at its edge, as one
    is that has to be smooth and zero outside at once. The unknowns are the Fourier coefficients of
    u over their standard deviations, a real tensor of the half spectrum with a last axis of two,
    whose precision is :math:`1 + S^{1/2} F B D w N^{-1} w D B F^{-1} S^{1/2}`.

    A step takes three pairs of Fourier transforms for white noise, four for coloured noise; the
    preconditioner, the precision of plane waves as of :class:`PosteriorPrecision`, takes none.

    Parameters
    ----------
    dipole, mask, data, weight
        See :class:`PosteriorPrecision`.
    power
        S [ppm^2], a spectrum on the padded grid.
    outside
        B outside the mask, 0 to 1; with 1 the map is stationary.

    """

    def __init__(
        self,
        dipole: Dipole,
        mask: Tensor,
        data: Tensor | float,
        power: Tensor,
        weight: Tensor | None = None,
        *,
        outside: float = 0.0,
    ) -> None:
        self._shape = tuple(slice(n) for n in mask.shape)
        weight = mask.to(dipole.dtype) if weight is None else weight
        if outside > 0:
            dipole = dipole.on_padded_grid()
            mask, weight = map(dipole.enlarged, (mask, weight))
        super().__init__(dipole, mask, data, 1.0, weight)
        self.inside = self.inside * (1 - outside) + outside
        # frequencies of which the half spectrum holds one of a pair
        pairs = torch.full_like(power[0, 0], sqrt(2))
        pairs[0] = 1
        if dipole.padded_shape[2] % 2 == 0:
            pairs[-1] = 1
        self._voxels, self.power = prod(dipole.padded_shape), power
        self._synthesis = (power * self._voxels).sqrt_().div_(pairs)
        self._analysis = (power / self._voxels).sqrt_().mul_(pairs)

    def data_term(self, field: Tensor) -> Tensor:
        """Right-hand side of a field (X, Y, Z) [ppm]."""
        field = self.dipole.enlarged(field)
        return self._coefficients(self.dipole.filter(self._weighted(field), self.dipole.kernel))

    def __call__(self, coefficients: Tensor) -> Tensor:
        """Apply to the coefficients of a map."""
        dipole = self.dipole
        field = dipole.forward(self.inside * self._image(coefficients))
        return coefficients + self._coefficients(dipole.forward(self._weighted(field)))

    def _image(self, coefficients: Tensor) -> Tensor:
        return self.dipole.inverse(self._synthesis * torch.view_as_complex(coefficients))

    def _coefficients(self, image: Tensor) -> Tensor:
        return torch.view_as_real(self.dipole.transform(self.inside * image).mul_(self._analysis))

    @cached_property
    def smoothing(self) -> Tensor:
        """Inverse of the precision of the coefficients, as of plane waves."""
        return self._of_waves(self._voxels).mul_(self.power).add_(1).reciprocal_()

    def mean(
        self,
        field: Tensor,
        *,
        start: Tensor | None = None,
        iterations: int,
        tolerance: float,
        progress: Callable[[int, int, float], None] | None = None,
    ) -> Tensor:
        """Spectrum of the mean of u, of which :meth:`map` makes the map.

        Parameters
        ----------
        field
            Local field (X, Y, Z) [ppm].
        start
            Spectrum of a first guess, by default zero.
        iterations, progress
            See :func:`~qsmprep.qsm.solvers.conjugate_gradients`.
        tolerance
            Error at which to stop, over the standard deviation of the posterior: root mean square
            over the voxels of the mask.

        """
        target, smooth = self.data_term(field), self.smoothing[..., None].mul
        tolerance *= float(self.weight.count_nonzero() / (target * smooth(target)).sum()) ** 0.5
        found = conjugate_gradients(
            self,
            target,
            start=None if start is None else torch.view_as_real(start / self._synthesis),
            precondition=smooth,
            iterations=iterations,
            tolerance=tolerance,
            progress=progress,
        )
        return self._synthesis * torch.view_as_complex(found)

    def map(self, spectrum: Tensor) -> Tensor:
        """Map (X, Y, Z) [ppm] of a spectrum of u."""
        return (self.inside * self.dipole.inverse(spectrum))[self._shape]

    def field(self, spectrum: Tensor) -> Tensor:
        """Field (X, Y, Z) [ppm] of the map inside and outside the mask."""
        return self.dipole.forward(self.inside * self.dipole.inverse(spectrum))[self._shape]

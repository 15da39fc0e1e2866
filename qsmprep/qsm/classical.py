"""Dipole inversions without training: division, closed-form Tikhonov, total variation."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, prod, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

from qsmprep.qsm.dipole import Dipole, frequencies
from qsmprep.qsm.grid import Grid

CONE = 0.05
FAR_FROM_CONE = 0.15
LEAKAGE_GAIN = 5.0
LEAST_ROUGHNESS = 1e-9


class Estimate(NamedTuple):
    """A susceptibility map [ppm], the values that were chosen on the scan, and its uncertainty.

    The uncertainty is a standard deviation (X, Y, Z) [ppm], None for methods that know none. The
    function gives susceptibility [ppm] on the product of three vectors of positions, in voxels
    from the centre of the first one; None for methods whose map is one of voxels.
    """

    chi: Tensor
    chosen: dict[str, float]
    sd: Tensor | None = None
    function: Callable[[list[Tensor]], Tensor] | None = None


def tkd(field: Tensor, mask: Tensor, grid: Grid, *, threshold: float = 0.25) -> Estimate:
    """Thresholded k-space division.

    Where the response is below the threshold it is replaced by the threshold of the same sign.
    Strong sources come out too weak by a few percent to a fifth; dividing by the height of the
    point spread function would undo that, but raises the error on every scan tried.

    Parameters
    ----------
    field
        Local field [ppm], zero outside the mask.
    mask
        Voxels of the map.
    grid
        Their grid.
    threshold
        Least response that is divided by, between 0 and 2/3.

    References
    ----------
    Shmueli et al. 2009, 10.1002/mrm.22135.

    """
    _check_range('threshold', threshold, 0, 2 / 3)
    dipole = Dipole(grid, device=field.device, dtype=field.dtype)
    response = dipole.kernel
    sign = torch.where(response < 0, -1.0, 1.0)
    inverse = sign / response.abs().clamp(min=threshold)
    return Estimate(dipole.filter(field, inverse) * mask, {})


def tikhonov(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    regularisation: float = 0.02,
    penalty: str = 'identity',
) -> Estimate:
    """Closed-form minimiser of ||D x - field||^2 + regularisation ||R x||^2.

    The mean over the padded grid, which the gradient leaves open, is zero.

    Parameters
    ----------
    field, mask, grid
        See :func:`tkd`.
    regularisation
        Weight of the penalty, above zero.
    penalty
        R: 'identity', or 'gradient' for differences between neighbours divided by their
        distance in units of the mean voxel edge.

    References
    ----------
    Kressler et al. 2010, 10.1109/TMI.2009.2023787; Bilgic et al. 2014, 10.1002/jmri.24365.

    """
    _check_range('regularisation', regularisation, 0)
    if penalty not in ('identity', 'gradient'):
        raise ValueError(f"The penalty is 'identity' or 'gradient', not {penalty!r}.")
    dipole = Dipole(grid, device=field.device, dtype=field.dtype)
    power = 1.0 if penalty == 'identity' else gradient_power(dipole)
    response = dipole.kernel / (dipole.kernel.square() + regularisation * power)
    response[0, 0, 0] = 0
    return Estimate(dipole.filter(field, response) * mask, {})


def tv(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    progress: Callable[[int, int, float], None] | None = None,
    regularisation: float | None = None,
    ridge: float | None = None,
    completion: float | None = None,
    tolerance: float = 1.5e-3,
    iterations: int = 80,
) -> Estimate:
    """Total variation by the alternating direction method of multipliers.

    Minimises, over maps x that are zero outside the mask,
    1/2 ||W (D x - field)||^2 + regularisation TV(x) + ridge/2 ||x||^2 with the isotropic total
    variation inside the mask. W is 1, and falls below it where the noise is above both its
    median and :func:`field_roughness` or, without a noise map, the magnitude is below its median.
    Outside the mask W^2 is 1 - completion, for a field of zero.

    The weights cost no inner iteration: the data term is replaced, around the current x, by its
    majoriser with W = 1 and the field W^2 field + (1 - W^2) D x, that is, unknown field is filled
    in with that of x. What is left is diagonal in k-space. In simulations both the completion
    and the map's zero outside the mask are needed: with x free there, the error of a head rose
    from 21 to 36 %. In vivo, where the field is not quite that of any x, completion spreads this
    error, and a field of zero outside served better. The three values that this takes are
    chosen on the field; they have been calibrated on simulated heads and two in vivo slabs.

    Parameters
    ----------
    field, mask, grid
        See :func:`tkd`.
    magnitude, noise
        Magnitude [arbitrary], standard deviation of the field [ppm]; the noise goes first.
    progress
        Called with the iteration, their greatest number, and the relative change of the map.
    regularisation
        Weight of the total variation [ppm]; differences are taken per mean voxel edge. By
        default 0.06 times the median noise or, without a noise map, 0.045 times
        :func:`field_roughness`, which also holds detail of the anatomy.
    ridge
        Weight of the squared map. By default 0.5 times :func:`model_error`: zero for a
        field that the dipole explains, as in simulations, and about 0.02 in vivo.
    completion
        How far the field outside the mask follows the map, 0 to 1. By default 1, falling to
        0 at a model error of 0.035.
    tolerance
        Relative change of the map in an iteration that ends them.
    iterations
        The most to take.

    References
    ----------
    Bilgic et al. 2014, 10.1002/mrm.25029; Milovic et al. 2018, 10.1002/mrm.27073.

    """
    # padding by 1.25 costs a third more and gave the same error within 0.1 %
    dipole = Dipole(grid, padding=1.1, device=field.device, dtype=field.dtype)
    roughness = field_roughness(field, mask)
    if regularisation is None and noise is None:
        regularisation = 0.045 * roughness
    elif regularisation is None:
        regularisation = 0.06 * max(float(noise[mask].median()), roughness / 4)
    error = model_error(field, mask, dipole) if ridge is None or completion is None else 0.0
    if ridge is None:
        ridge = 0.5 * error
    if completion is None:
        completion = 1 - min(error / 0.035, 1)
    _check_range('regularisation', regularisation, 0)
    if not ridge >= 0:
        raise ValueError(f'The ridge is not negative, unlike {ridge}.')
    if not 0 <= completion <= 1:
        raise ValueError(f'The completion lies between 0 and 1, unlike {completion}.')
    power = torch.where(
        mask, _data_weight(mask, magnitude, noise, roughness).square(), 1 - completion
    )
    chi = _TotalVariation(dipole, field, mask, power, regularisation, ridge).run(
        iterations, tolerance, progress
    )
    chosen = {'regularisation': regularisation, 'ridge': ridge, 'completion': completion}
    return Estimate(chi, chosen)


class _TotalVariation:
    """State of the alternating directions, in the increments that keep one pair of FFTs each."""

    def __init__(
        self,
        dipole: Dipole,
        field: Tensor,
        mask: Tensor,
        power: Tensor,
        regularisation: float,
        ridge: float,
    ) -> None:
        self.dipole, self.field, self.mask = dipole, field, mask
        self.power, self.ridge = power, ridge
        self.coupling = max(50 * regularisation, 2.5e-3)
        self.outside_coupling = max(self.coupling, 0.01)
        self.threshold = regularisation / self.coupling
        edge = prod(dipole.grid.voxel_size) ** (1 / 3)
        self.edges = [
            (mask.narrow(a, 0, n - 1) & mask.narrow(a, 1, n - 1)).to(field.dtype) * (edge / v)
            for a, (n, v) in enumerate(zip(mask.shape, dipole.grid.voxel_size, strict=True))
        ]
        self.duals = [torch.zeros_like(e) for e in self.edges]
        n0, n1, n2 = mask.shape
        self.outside = torch.ones(dipole.padded_shape, dtype=field.dtype, device=field.device)
        self.outside[:n0, :n1, :n2] -= mask.to(field.dtype)
        self.outside_dual = torch.zeros_like(self.outside)
        self.metric = 1 / (
            dipole.kernel.square()
            + self.coupling * gradient_power(dipole)
            + (self.outside_coupling + ridge)
        )

    def run(
        self,
        iterations: int,
        tolerance: float,
        progress: Callable[[int, int, float], None] | None,
    ) -> Tensor:
        """Iterate until the map stands still."""
        dipole, kernel = self.dipole, self.dipole.kernel
        spectrum = dipole.transform(torch.zeros_like(self.field))
        padded = torch.zeros_like(self.outside)
        chi = torch.zeros_like(self.field)
        for iteration in range(1, iterations + 1):
            residual = self.power * (self.field - dipole.inverse(kernel * spectrum))
            step = kernel * dipole.transform(residual)
            step += torch.fft.rfftn(self._image_step(padded))
            if self.ridge:
                step -= self.ridge * spectrum
            spectrum += step.mul_(self.metric)
            padded = torch.fft.irfftn(spectrum, s=dipole.padded_shape)
            previous, chi = chi, self._inside(padded)
            change = float((chi - previous).norm() / chi.norm().clamp(min=1e-12))
            if progress is not None:
                progress(iteration, iterations, change)
            if change < tolerance:
                break
        return chi

    def _inside(self, padded: Tensor) -> Tensor:
        n0, n1, n2 = self.mask.shape
        return padded[:n0, :n1, :n2] * self.mask

    def _image_step(self, padded: Tensor) -> Tensor:
        """Update both multipliers; the pull of both constraints on the map."""
        n0, n1, n2 = self.mask.shape
        image = padded[:n0, :n1, :n2]
        differences = [image.diff(dim=a).mul_(e) for a, e in enumerate(self.edges)]
        proposals = [g.add_(d) for g, d in zip(differences, self.duals, strict=True)]
        length = torch.zeros_like(self.field)
        for a, q in enumerate(proposals):
            length.narrow(a, 0, q.shape[a]).addcmul_(q, q)
        shrink = self.threshold / length.sqrt_().clamp_(min=self.threshold)
        outside = padded * self.outside
        self.outside_dual += outside
        pull = outside.add_(self.outside_dual).mul_(-self.outside_coupling)
        target = pull[:n0, :n1, :n2]
        for a, (q, e) in enumerate(zip(proposals, self.edges, strict=True)):
            length_a = q.shape[a]
            dual = q.mul_(shrink.narrow(a, 0, length_a))
            flow = (2 * dual - self.duals[a]).mul_(e).mul_(self.coupling)
            target.narrow(a, 0, length_a).add_(flow)
            target.narrow(a, 1, length_a).sub_(flow)
            self.duals[a] = dual
        return pull


def field_roughness(field: Tensor, mask: Tensor) -> float:
    """Robust noise of a field: median of its finest diagonal Haar detail over 0.6745.

    Includes what the anatomy adds at the scale of a voxel, about 1 ppb at 1 mm.

    References
    ----------
    Donoho and Johnstone 1994, 10.1093/biomet/81.3.425.

    """
    detail, inside = field, mask
    for axis, n in enumerate(field.shape):
        detail = detail.diff(dim=axis) / sqrt(2)
        inside = inside.narrow(axis, 0, n - 1) & inside.narrow(axis, 1, n - 1)
    values = detail[inside].abs()
    if not values.numel():
        return max(float(field[mask].std(correction=0)), LEAST_ROUGHNESS)
    return max(float(values.median()) / 0.6745, LEAST_ROUGHNESS)


def model_error(field: Tensor, mask: Tensor, dipole: Dipole) -> float:
    """Power of what no susceptibility can explain, over that of susceptibility, at large scales.

    On the cone, where the response is next to nothing, a field has power from three sources:
    model error (anisotropy, flow, background, phase errors), noise, and the mask, which spreads
    power from elsewhere. Up to 0.15 cycles/mm the noise is negligible, and what the mask does is
    seen on the masked field of a first, regularised map. Being too weak, that shows a part: in
    simulated heads the leakage was 2.6 to 4.6 times as large, and 5 times is taken off.

    Returns
    -------
    float
        Ratio of the power spectra of model error and susceptibility; 0 if none is found.

    """
    inside = mask.to(field.dtype)
    ratio = _cone_ratio(field, inside, dipole)
    response = dipole.kernel
    first = dipole.filter(field, response / (response.square() + 0.02)) * inside
    leakage = _cone_ratio(dipole.forward(first), inside, dipole)
    excess = ratio - LEAKAGE_GAIN * leakage
    if not excess > 0:
        return 0.0
    far = float(response[response.abs() > FAR_FROM_CONE].square().mean())
    return min(excess / (1 - min(ratio, 0.9)), 1.0) * far


def _cone_ratio(field: Tensor, inside: Tensor, dipole: Dipole) -> float:
    """Power on the cone over that far from it, averaged over shells up to 0.15 cycles/mm."""
    centred = (field - (field * inside).sum() / inside.sum()) * inside
    power = dipole.transform(centred).abs().square()
    wavenumber, response = dipole.wavenumber(), dipole.kernel.abs()
    ratios = []
    for low in (0.02, 0.05, 0.10):
        shell = (wavenumber >= low) & (wavenumber < low + 0.05)
        on, off = shell & (response < CONE), shell & (response > FAR_FROM_CONE)
        if on.any() and off.any():
            ratios.append(float(power[on].mean() / power[off].mean().clamp(min=1e-30)))
    return sum(ratios) / len(ratios) if ratios else 0.0


def _data_weight(
    mask: Tensor, magnitude: Tensor | None, noise: Tensor | None, roughness: float
) -> Tensor:
    """Voxel weights between 0 and 1."""
    inside = mask.to(torch.float32)
    if noise is not None:
        floor = noise[mask].median().square() + roughness**2
        return inside * (floor / (noise.square() + roughness**2)).sqrt().clamp(max=1)
    if magnitude is not None:
        middle = magnitude[mask].median().clamp(min=1e-12)
        return inside * (magnitude / middle).clamp(0, 1)
    return inside


def gradient_power(dipole: Dipole) -> Tensor:
    """Response of the summed squared forward differences, per mean voxel edge."""
    voxel_size = dipole.grid.voxel_size
    edge = prod(voxel_size) ** (1 / 3)
    k = frequencies(dipole.padded_shape, voxel_size, device=dipole.device, dtype=dipole.dtype)
    parts = zip(k, voxel_size, strict=True)
    return sum((2 * edge / v * torch.sin(pi * v * axis)).square() for axis, v in parts)


def _check_range(name: str, value: float, low: float, high: float = float('inf')) -> None:
    if not low < value < high:
        limits = f'between {low:g} and {high:.3g}' if high < float('inf') else f'above {low:g}'
        raise ValueError(f'The parameter {name} lies {limits}, unlike {value}.')

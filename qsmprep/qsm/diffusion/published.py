"""Diffusion-QSM and DM-QSM under the settings of their papers, on the prior of this package.

The field outside the mask is data of value zero, no voxel weighs more than another, and steps are
even in the index of a variance-preserving schedule, so that most lie at noise far above any map.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from qsmprep.qsm.diffusion.schedules import Denoise, VPSchedule
from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.solvers import Progress


@torch.no_grad()
def diffusion_qsm(
    denoise: Denoise,
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    steps: int = 200,
    late_steps: int = 10,
    repeats: int = 2,
    regularisation: float = 0.1,
) -> Tensor:
    """Ancestral sampling with data consistency at every step, and time travel.

    At each step the network's clean map is replaced by the minimiser of
    ||D x - field||^2 + regularisation ||x - clean||^2, in closed form since the weights are uniform
    (15 conjugate gradients, as published, give the same), and diffused to the next step. The
    last steps are each repeated: the corrected clean map is diffused back up and the step is taken
    again ("time travel and resampling").

    Parameters
    ----------
    denoise
        Clean map [ppm] of a noisy one and its noise level [ppm].
    field, mask, dipole
        Field [ppm], zero outside the mask; mask of the map; the operator.
    seed, progress, steps, late_steps, repeats
        See :func:`~qsmprep.qsm.diffusion.ancestral.diffusion_qsm`.
    regularisation
        Weight of the distance to the network's map.

    References
    ----------
    Zhang et al. 2025, 10.1109/TBME.2025.3605587.

    """
    schedule, generator = VPSchedule(scale_ppm=1.0), torch.Generator().manual_seed(seed)
    times = torch.linspace(0, schedule.steps - 1, steps).round().long().tolist()
    order = [
        n for n in range(steps - 1, -1, -1) for _ in range(1 + repeats * (1 <= n <= late_steps))
    ]
    x = _noise(field, generator)
    for count, n in enumerate(order, start=1):
        clean = schedule.denoised(denoise, x, times[n]).clamp(-1, 1)
        clean = closest(field, clean, dipole, regularisation)
        if progress is not None:
            residual = (dipole.forward(clean * mask) - field)[mask]
            progress(count, len(order), float(residual.norm() / field.norm()))
        if count == len(order):
            break
        if order[count] == n:
            x = schedule.diffuse(clean, _noise(field, generator), times[n])
        else:
            x = _ancestral(schedule, x, clean, times[n], times[n - 1], 1.0, generator)
    return clean * mask


def closest(field: Tensor, chi: Tensor, dipole: Dipole, regularisation: float) -> Tensor:
    """Closed-form minimiser of ||D x - field||^2 + regularisation ||x - chi||^2.

    The sums run over the padded grid, where the field counts as measured and zero wherever it is
    given as zero.

    Parameters
    ----------
    field
        Field [ppm].
    chi
        Susceptibility [ppm] to stay close to.
    dipole
        The operator D.
    regularisation
        Weight of the distance to ``chi``, above zero.

    """
    spectrum = dipole.kernel * dipole.transform(field) + regularisation * dipole.transform(chi)
    return dipole.inverse(spectrum / (dipole.kernel.square() + regularisation))


def dm_qsm(
    denoise: Denoise,
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    steps: int = 200,
    guidance: float = 0.5,
    threshold: float = 0.1,
) -> Tensor:
    """Posterior sampling with the gradient of the misfit to a truncated division.

    The field is divided by the dipole response, truncated at 0.1, and the map is guided to one
    whose field, divided likewise, is the same; see :func:`posterior_sampling`.

    Parameters
    ----------
    denoise, field, mask, dipole, seed, progress, steps
        See :func:`diffusion_qsm`; the network's map can be differentiated.
    guidance
        Step along the gradient, xi.
    threshold
        Least response that is divided by.

    References
    ----------
    Xiong et al., Proc. ISMRM 2024, 2821; posterior sampling: Chung et al. 2023,
    10.48550/arXiv.2209.14687.

    """
    sign = torch.where(dipole.kernel < 0, -1.0, 1.0)
    divide = sign / dipole.kernel.abs().clamp(min=threshold)
    response = divide * dipole.kernel

    def measure(chi: Tensor) -> Tensor:
        return mask * dipole.filter(mask * chi, response)

    chi = posterior_sampling(
        denoise,
        measure,
        mask * dipole.filter(field, divide),
        mask,
        guidance=guidance,
        steps=steps,
        seed=seed,
        progress=progress,
    )
    return chi * mask


def posterior_sampling(
    denoise: Denoise,
    measure: Callable[[Tensor], Tensor],
    measured: Tensor,
    support: Tensor,
    *,
    guidance: float,
    steps: int = 200,
    eta: float = 0.5,
    seed: int = 0,
    progress: Progress | None = None,
) -> Tensor:
    """Sample x with A(x) near y: each step goes down the gradient of ||y - A(x0(x_t))||^2.

    One network serves every task: A is the truncated dipole response for inversion (xi = 0.5), a
    loss of resolution for super-resolution (xi = 2), or both. The gradient goes through the
    network, whose gain at noise near the spread of the map would let the published step overshoot
    and grow from step to step; the step is at most the one that is best along the gradient.

    Parameters
    ----------
    denoise
        Clean map [ppm] of a noisy one and its noise level [ppm]; can be differentiated.
    measure
        Linear operator A on maps [ppm].
    measured
        What was measured, y.
    support
        Mask (X, Y, Z) of the map.
    guidance
        Factor xi, for maps in units of 0.15 ppm; the longest step.
    steps
        Steps of the schedule, evenly spaced over its 1000.
    eta
        Share of fresh noise in a step.
    seed
        Seed of the noise.
    progress
        Called with the step, their number, and the relative misfit.

    Returns
    -------
    Tensor
        Map [ppm] (X, Y, Z).

    """
    schedule, generator = VPSchedule(scale_ppm=0.15), torch.Generator().manual_seed(seed)
    times = torch.linspace(0, schedule.steps - 1, steps).round().long().tolist()
    x = _noise(support.to(measured.dtype), generator)
    for count, n in enumerate(reversed(range(steps)), start=1):
        x = x.detach().requires_grad_()
        denoised = schedule.denoised(denoise, x, times[n]) * support
        clean = denoised.detach().requires_grad_()
        misfit = (measured - measure(clean)).square().sum() / schedule.scale_ppm**2
        by_clean = torch.autograd.grad(misfit, clean)[0]
        gradient = torch.autograd.grad(denoised, x, by_clean)[0]
        gain = float(gradient.norm() / by_clean.norm().clamp(min=1e-12)) / schedule.scale_ppm
        step = min(guidance, 0.5 / max(gain, 1e-6) ** 2)
        clean = clean.detach().clamp(-schedule.scale_ppm * 10, schedule.scale_ppm * 10)
        if progress is not None:
            size = measured.square().sum() / schedule.scale_ppm**2
            progress(count, steps, (misfit.detach() / size).sqrt().item())
        if n:
            with torch.no_grad():
                x = _ancestral(schedule, x, clean, times[n], times[n - 1], eta, generator)
                x = x - step * gradient
    return clean


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like)


def _ancestral(
    schedule: VPSchedule,
    x: Tensor,
    clean: Tensor,
    step: int,
    following: int,
    eta: float,
    generator: torch.Generator,
) -> Tensor:
    """One step of DDIM (Song et al. 2021, 10.48550/arXiv.2010.02502, Eq. 12 and 16)."""
    now, then = float(schedule.alpha_bar(step)), float(schedule.alpha_bar(following))
    fresh = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
    eps = schedule.epsilon(x, clean, step)
    signal = then**0.5 / schedule.scale_ppm * clean
    return signal + (1 - then - fresh**2) ** 0.5 * eps + fresh * _noise(x, generator)

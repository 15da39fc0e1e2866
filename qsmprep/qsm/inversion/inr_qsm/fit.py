"""INR-QSM: sine networks of coordinates that explain the field of one subject."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, cos, pi, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from qsmprep.qsm.calibration import Calibration, calibrate
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.descent import check_loss, with_retries
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.inr_qsm.blocks import in_blocks
from qsmprep.qsm.inversion.inr_qsm.muon import Muon
from qsmprep.qsm.inversion.inr_qsm.published import UNIT_PPM, evaluate, fit_siren, network_map
from qsmprep.qsm.inversion.inr_qsm.siren import Siren, stacked
from qsmprep.qsm.inversion.penalty import edge_weights, edges_inside
from qsmprep.qsm.inversion.reliability import reweighted
from qsmprep.qsm.inversion.tv import tv
from qsmprep.qsm.noise import noise_level
from qsmprep.qsm.solvers import conjugate_gradients

Progress = Callable[[int, int, float], None]

PERCENTILES = (60.0, 95.0)
DIFFERENCE_PPM = 0.02
SOLUTIONS, ITERATIONS, TOLERANCE = 2, 30, 1e-4
LAYERS, FREQUENCY, FIRST_FREQUENCY = 5, 30.0, 100.0
PUBLISHED_WIDTH, MOST_VOXELS, WEIGHTS_PER_VOXEL = 512, 100_000, 2.5
HIDDEN_RATE, ADAM_RATE = 0.02 / FREQUENCY, 1e-3
LEAST_STEPS = 600
AT_ONCE = 64
"""Networks that an accelerator fits in one step: 60 MB each; one by one it waits for launches."""


def inr_qsm(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    magnitude: Tensor | None = None,
    noise: Tensor | None = None,
    progress: Progress | None = None,
    calibration: Calibration | None = None,
    seed: int = 0,
    published: bool = False,
    regularisation: float | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    width: int | None = None,
    error_share: float | None = None,
    warm_up: int = 5,
    gradient_weight: float = 1.0,
    compensate: bool = True,
) -> Estimate:
    r"""INR-QSM: sine networks fitted to the field, with edge-weighted squared differences.

    The loss is :math:`\|W (D x - f)\|^2 + \lambda \sum \omega |\nabla x|^2` of the whole volume.
    Its gradient with respect to the network's weights goes through that with respect to the map,
    which is quadratic: instead of following it in small steps, the map of the least loss is found
    by conjugate gradients (a Gauss-Newton step in function space), and the network is
    fitted to it in batches of voxels, hidden layers by Muon and the others by Adam. Where a mask
    has more than 100 000 voxels networks stand side by side, each for a block of fewer
    (:mod:`~qsmprep.qsm.inversion.inr_qsm.blocks`): one for all would be too small or too slow.
    Under the paper's settings the network does not converge in an hour on a CPU; so it does in
    minutes.

    What differs from the paper's settings, which ``published=True`` restores
    (:func:`~qsmprep.qsm.inversion.inr_qsm.published.fit_siren`): voxel weights and regularisation
    from the noise; physics of the whole volume in place of windows and phase compensation; edge
    weights between the 60th and 95th percentile of the map of
    :func:`~qsmprep.qsm.inversion.tv.tv`, once renewed; no term on differences of the field
    error; a network of 5 layers whose first one has finer waves. As far as the scan shows a model
    error, the map of :func:`~qsmprep.qsm.inversion.tv.tv` takes the place of that of the least
    loss: in vivo a closer fit explains the error.

    Parameters
    ----------
    field, mask, grid, magnitude, noise, calibration
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    progress
        Called with the epoch and their number, over all blocks, and the mean loss of the epoch.
    seed
        Of the initial weights and the order of the voxels.
    published
        Whether to fit window by window, as the paper does, within the means of a CPU.
    regularisation
        Weight of the squared differences; by default the variance of the noise over that of
        differences of 0.02 ppm (0.15 as published).
    epochs
        Passes over the voxels of the mask, by default 40 (20 with the paper's settings).
    learning_rate
        First rate of the hidden layers, by default 0.00067 (1e-5 as published). When the fit
        diverges it is tried again with a quarter.
    width
        Units of a hidden layer, by default as many as give a network 2.5 weights for each voxel
        of its block, 64 at least (512 as published).
    error_share
        See :func:`~qsmprep.qsm.inversion.tv.tv`.
    warm_up, gradient_weight, compensate
        Of the paper's settings alone, see
        :func:`~qsmprep.qsm.inversion.inr_qsm.published.fit_siren`.

    References
    ----------
    Zhang et al. 2024, 10.1016/j.media.2024.103173; Muon: Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon.

    """
    chosen: dict[str, Any] = {
        'regularisation': regularisation,
        'learning_rate': learning_rate or (1e-5 if published else HIDDEN_RATE),
        'epochs': epochs or (20 if published else 40),
        'error_share': 0.0,
    }
    if published:
        chosen['regularisation'] = 0.15 if regularisation is None else regularisation
        chosen['width'] = width or PUBLISHED_WIDTH
        network: nn.Module = fit_siren(
            field,
            mask,
            grid,
            regularisation=chosen['regularisation'],
            gradient_weight=gradient_weight,
            epochs=chosen['epochs'],
            warm_up=warm_up,
            learning_rate=chosen['learning_rate'],
            width=chosen['width'],
            compensate=compensate,
            seed=seed,
            progress=progress,
        )
    else:
        with torch.no_grad():
            wanted, found = _least_loss(
                field, mask, grid, magnitude, noise, calibration, regularisation, error_share
            )
        chosen |= found

        def fit(rate: float) -> tuple[nn.Module, dict[str, int]]:
            return _imitate(wanted, mask, grid, width, chosen['epochs'], rate, seed, progress)

        network, size = with_retries(fit, chosen['learning_rate'])
        chosen |= size

    @torch.no_grad()
    def function(positions: list[Tensor]) -> Tensor:
        values = evaluate(network, torch.cartesian_prod(*positions))
        return values.view([len(p) for p in positions])

    return Estimate(network_map(network, mask), chosen, function=function)


def _width(voxels: int) -> int:
    """Multiple of 64 that gives the hidden layers about WEIGHTS_PER_VOXEL weights a voxel."""
    return max(64 * round(sqrt(WEIGHTS_PER_VOXEL * voxels / (LAYERS - 2)) / 64), 64)


def _least_loss(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    magnitude: Tensor | None,
    noise: Tensor | None,
    calibration: Calibration | None,
    regularisation: float | None,
    error_share: float | None,
) -> tuple[Tensor, dict[str, float]]:
    """Map of the least loss [ppm], zero outside the mask, and what was chosen on the way."""
    calibration = calibration or calibrate(
        field, mask, grid, noise=noise, magnitude=magnitude, error_share=error_share
    )
    field, dipole = calibration.field, calibration.dipole
    first = tv(field, mask, grid, noise=noise, magnitude=magnitude, calibration=calibration)
    calibration = reweighted(calibration, first.chi, mask)
    share, power = calibration.error_share, calibration.weights(mask).square()
    inside = mask.to(field.dtype)
    level = noise_level(field, mask, calibration.known_noise, calibration.noise)
    if regularisation is None:
        regularisation = (level / DIFFERENCE_PPM) ** 2
    chosen = {'regularisation': regularisation, 'error_share': share}
    chi, edges = first.chi, edges_inside(mask, grid.voxel_size)
    target = inside * dipole.adjoint(power * field)
    for _ in range(SOLUTIONS if share < 1 else 0):
        weights = edge_weights(chi, edges, *PERCENTILES)

        def normal(x: Tensor, weights: list[Tensor] = weights) -> Tensor:
            data = dipole.adjoint(power * dipole.forward(x))
            return inside * (data + regularisation * _roughness_gradient(x, weights))

        chi = conjugate_gradients(
            normal, target, start=chi, iterations=ITERATIONS, tolerance=TOLERANCE
        )
    return (1 - share) * chi + share * first.chi, chosen


def _roughness_gradient(image: Tensor, weights: list[Tensor]) -> Tensor:
    """Half the gradient of the weighted sum of squared differences."""
    gradient = torch.zeros_like(image)
    for axis, weight in enumerate(weights):
        flow = image.diff(dim=axis) * weight
        gradient.narrow(axis, 0, flow.shape[axis]).sub_(flow)
        gradient.narrow(axis, 1, flow.shape[axis]).add_(flow)
    return gradient


def _imitate(
    wanted: Tensor,
    mask: Tensor,
    grid: Grid,
    width: int | None,
    epochs: int,
    rate: float,
    seed: int,
    progress: Progress | None,
) -> tuple[nn.Module, dict[str, int]]:
    """Fit a map [ppm]; return the function, the number of its networks and the greatest width."""
    generator = torch.Generator(wanted.device).manual_seed(seed)

    def build(places: Tensor) -> Siren:
        corner = places.amin(0)
        return Siren(
            Grid(tuple((places.amax(0) - corner + 1).tolist()), grid.voxel_size),
            corner=corner.tolist(),
            layers=LAYERS,
            width=width or _width(len(places)),
            frequency=FREQUENCY,
            first_frequency=FIRST_FREQUENCY,
            generator=generator,
        )

    function, parts = in_blocks(mask.nonzero(), MOST_VOXELS, build)
    power = wanted[mask].square().mean() / UNIT_PPM**2
    groups = list(_groups([network for network, _ in parts]))
    for number, group in enumerate(groups):
        networks, places = zip(*(parts[i] for i in group), strict=True)
        values = [wanted[tuple(p.T)] / UNIT_PPM for p in places]
        losses: list[Tensor] = []
        for error in _descend(networks, places, values, epochs, rate, generator):
            losses.append((error / power).cpu())
            for each in torch.stack(losses, 1).tolist():
                check_loss(each, rate)
            if progress is not None:
                mean = float(losses[-1].mean())
                progress(number * epochs + len(losses), len(groups) * epochs, mean)
    widest = max(len(network.weights[0]) for network, _ in parts)
    return function, {'networks': len(parts), 'width': widest}


def _groups(networks: Sequence[Siren]) -> Iterator[Sequence[int]]:
    """Numbers of networks of one width that are fitted at once."""
    widths = [len(network.weights[0]) for network in networks]
    most = 1 if networks[0].weights[0].device.type == 'cpu' else AT_ONCE
    for width in sorted(set(widths)):
        alike = [i for i, w in enumerate(widths) if w == width]
        yield from (alike[i : i + most] for i in range(0, len(alike), most))


def _descend(
    networks: Sequence[Siren],
    places: Sequence[Tensor],
    values: Sequence[Tensor],
    epochs: int,
    rate: float,
    generator: torch.Generator,
) -> Iterator[Tensor]:
    """Fit networks to values at voxels, a random batch of each a step; their errors by epoch."""
    weights, biases = stacked(networks)
    optimisers = [
        Muon(weights[1:-1], rate),
        torch.optim.Adam([weights[0], weights[-1], *biases], lr=ADAM_RATE, betas=(0.9, 0.99)),
    ]
    coordinates = [n.scaled(p.float()) for n, p in zip(networks, places, strict=True)]
    # smaller blocks are filled up with voxels that have no weight
    x, wanted, real = (
        torch.nn.utils.rnn.pad_sequence(list(each), batch_first=True)
        for each in (coordinates, values, [torch.ones_like(v) for v in values])
    )
    most = real.shape[1]
    steps = ceil(most / min(16 * weights[1].shape[1], 1 + most * epochs // LEAST_STEPS))
    row = torch.arange(len(networks), device=x.device)[:, None]
    for epoch in range(epochs):
        # these come last, and so lie evenly in what the steps take in turn
        draw = torch.rand(real.shape, generator=generator, device=x.device)
        order = (draw - real).argsort(1)
        x, wanted, real = x[row, order], wanted[row, order], real[row, order]
        errors = []
        for step in range(steps):
            done = (epoch + step / steps) / epochs
            for optimiser, first in zip(optimisers, (rate, ADAM_RATE), strict=True):
                optimiser.param_groups[0]['lr'] = first * (0.01 + 0.99 * (1 + cos(pi * done)) / 2)
                optimiser.zero_grad()
            batch, weight = slice(step, None, steps), real[:, step::steps]
            found = networks[0].values(x[:, batch], weights, biases)
            left = weight * (found - wanted[:, batch]).square()
            error = left.sum(1) / weight.sum(1).clamp(min=1)
            error.sum().backward()
            for optimiser in optimisers:
                optimiser.step()
            errors.append(error.detach())
        yield torch.stack(errors).mean(0)

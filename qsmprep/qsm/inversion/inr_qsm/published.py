"""INR-QSM under the settings of its paper: fitted window by window, with phase compensation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion.descent import check_loss, with_retries
from qsmprep.qsm.inversion.inr_qsm.siren import CHUNK, Siren
from qsmprep.qsm.inversion.inr_qsm.windows import (
    PublishedLoss,
    Window,
    WindowedDipole,
    draw_windows,
)
from qsmprep.qsm.inversion.penalty import edge_weights, edges_inside
from qsmprep.qsm.inversion.wiener import wiener
from qsmprep.qsm.operators import Dipole

UNIT_PPM = 0.1
WINDOW_MM = (96.0, 96.0, 48.0)
LEAST_TISSUE = 0.1
PERCENTILES = (50.0, 70.0)
PART = 2**20
UPDATE_EVERY = 5
LAST_RATE = 0.02
WARM_UP_BATCH = 512
WARM_UP_RATE = 5.0


def fit_siren(
    field: Tensor,
    mask: Tensor,
    grid: Grid,
    *,
    regularisation: float,
    gradient_weight: float,
    epochs: int,
    warm_up: int,
    learning_rate: float,
    width: int,
    compensate: bool = True,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
    initial_weights: dict[str, Tensor] | None = None,
) -> Siren:
    """Fit a sine network of 10 layers to the field in windows of 96 x 96 x 48 mm.

    From the field in a window that of the sources outside it is subtracted, as the map of the last
    update (every 5 epochs) predicts it.

    As published: network, windows, loss and its weights, edge weights, update of the compensation,
    Adam with a rate that falls exponentially from 1e-5 to 2e-7. Different, since the published 50
    epochs of windows at a third of their length see every voxel 1350 times: windows lie side by
    side, from a new random corner in every epoch; 20 epochs; and in place of another subject's
    weights a warm-up that fits the network, at five times the rate, to the map of
    :func:`~qsmprep.qsm.inversion.wiener.wiener`, which also stands in for FastQSM in the edge
    weights.

    Parameters
    ----------
    field, mask, grid
        See :func:`~qsmprep.qsm.inversion.tkd.tkd`.
    regularisation, gradient_weight
        Weights of the squared differences of the map and of the field error.
    epochs, warm_up
        Passes over the mask for the field and, before, for the initial map.
    learning_rate
        First rate of Adam in the fit. When it diverges it is tried again with a quarter.
    width
        Units of a hidden layer.
    compensate
        Whether to compensate the phase; without, the map shows what that is worth.
    seed
        Of the initial weights, the corners and the orders.
    progress
        Called with the epoch, their number (warm-up included), and the mean loss of the epoch in
        units of the mean squared field, or of the mean squared initial map.
    initial_weights
        State of a network that was fitted to another subject; takes the place of the warm-up.

    References
    ----------
    Zhang et al. 2024, 10.1016/j.media.2024.103173.

    """
    operator = WindowedDipole(Dipole(grid, device=field.device, dtype=field.dtype))
    start = wiener(field, mask, grid).chi
    edges = edges_inside(mask, grid.voxel_size)
    weights = edge_weights(start, edges, *PERCENTILES)
    weights = [w * e for w, e in zip(weights, edges, strict=True)]
    loss = PublishedLoss(operator, mask, weights, regularisation, gradient_weight)
    if initial_weights is not None:
        warm_up = 0

    def fit(rate: float) -> Siren:
        generator = torch.Generator(field.device).manual_seed(seed)
        network = Siren(grid, width=width, generator=generator)
        if initial_weights is not None:
            network.load_state_dict(initial_weights)
        run = _Run(network, generator, rate, warm_up + epochs, progress)
        run.imitate(start, mask, warm_up)
        run.explain(field, mask, loss, epochs, compensate)
        return network

    return with_retries(fit, learning_rate)


class _Run:
    """State of one fit: the network, its source of numbers, and what it reports."""

    def __init__(
        self,
        network: Siren,
        generator: torch.Generator,
        rate: float,
        total: int,
        progress: Callable[[int, int, float], None] | None,
    ) -> None:
        self.network, self.generator, self.rate = network, generator, rate
        self.total, self.progress, self.done = total, progress, 0

    def imitate(self, image: Tensor, mask: Tensor, epochs: int) -> None:
        """Fit an image, a random batch of voxels a step."""
        optimiser = torch.optim.Adam(self.network.parameters())
        places = mask.nonzero()
        wanted = image[mask] / UNIT_PPM
        power = wanted.square().mean()
        losses: list[float] = []
        for epoch in range(epochs):
            order = torch.randperm(len(places), generator=self.generator, device=places.device)
            errors = []
            for step, chosen in enumerate(order.split(WARM_UP_BATCH)):
                done = (epoch + step * WARM_UP_BATCH / len(places)) / epochs
                self._set_rate(optimiser, WARM_UP_RATE, done)
                error = (self.network(places[chosen].float()) - wanted[chosen]).square().mean()
                optimiser.zero_grad()
                error.backward()
                optimiser.step()
                errors.append(error.detach())
            self._report(losses, torch.stack(errors).mean() / power)

    def explain(
        self, field: Tensor, mask: Tensor, loss: PublishedLoss, epochs: int, compensate: bool
    ) -> None:
        """Fit a field, a window a step."""
        edges = loss.operator.dipole.grid.voxel_size
        size = [max(round(w / v), 1) for w, v in zip(WINDOW_MM, edges, strict=True)]
        optimiser = torch.optim.Adam(self.network.parameters())
        power = field[mask].square().mean()
        losses: list[float] = []
        for epoch in range(epochs):
            self._set_rate(optimiser, 1.0, epoch / epochs)
            if compensate and epoch % UPDATE_EVERY == 0:
                chi = network_map(self.network, mask)
                predicted = loss.operator.dipole.forward(chi)
            values = []
            for window in draw_windows(mask, size, LEAST_TISSUE, self.generator):
                target = field[window]
                if compensate:
                    target = target - loss.operator.compensation(chi, predicted, window)
                optimiser.zero_grad()
                values.append(self._backward(loss, target, mask, window))
                optimiser.step()
            self._report(losses, torch.stack(values).mean() / power)

    def _backward(
        self, loss: PublishedLoss, target: Tensor, mask: Tensor, window: Window
    ) -> Tensor:
        """Loss of a window; its gradient goes into the network.

        The network is evaluated twice, so that only a chunk is in memory at a time.
        """
        inside = mask[window]
        corner = torch.tensor([side.start for side in window], device=mask.device)
        places = (inside.nonzero() + corner).float()
        chi = torch.zeros_like(target)
        with torch.no_grad():
            chi[inside] = evaluate(self.network, places)
        value, gradient = loss(chi, target, window)
        by_value = UNIT_PPM * gradient[inside]
        for chunk, part in zip(places.split(CHUNK), by_value.split(CHUNK), strict=True):
            self.network(chunk).backward(part)
        return value

    def _set_rate(self, optimiser: torch.optim.Adam, factor: float, done: float) -> None:
        """Let the rate fall exponentially, to LAST_RATE of it where the share done is one."""
        optimiser.param_groups[0]['lr'] = factor * self.rate * LAST_RATE**done

    def _report(self, losses: list[float], loss: Tensor) -> None:
        self.done += 1
        losses.append(float(loss))
        check_loss(losses, self.rate)
        if self.progress is not None:
            self.progress(self.done, self.total, losses[-1])


def evaluate(network: nn.Module, places: Tensor) -> Tensor:
    """Susceptibility [ppm] at positions (N, 3), in parts that many networks share."""
    return UNIT_PPM * torch.cat([network(part) for part in places.split(PART)])


@torch.no_grad()
def network_map(network: nn.Module, mask: Tensor) -> Tensor:
    """Map [ppm] of a network (X, Y, Z), zero outside the mask."""
    chi = torch.zeros(mask.shape, device=mask.device)
    chi[mask] = evaluate(network, mask.nonzero().float())
    return chi

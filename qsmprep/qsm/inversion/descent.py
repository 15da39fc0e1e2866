"""Adam with an end in sight: rates, divergence, retries."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeVar

Result = TypeVar('Result')

ATTEMPTS = 3
RETRY_FACTOR = 0.25


class DivergenceError(ValueError):
    """A fit whose loss grows or is no number."""


def check_loss(losses: list[float], rate: float) -> None:
    """Raise DivergenceError unless the last loss is finite and not far above the first ten."""
    if not losses[-1] <= 10 * max(losses[:10]) or losses[-1] == inf:
        raise DivergenceError(
            f'The fit diverged at iteration {len(losses)} with a learning rate of {rate:g}: its '
            f'loss went from {losses[0]:.4g} to {losses[-1]:.4g}. Check the field and its noise '
            'for outliers, or lower the learning rate.'
        )


def with_retries(fit: Callable[[float], Result], rate: float) -> Result:
    """Result of a fit, tried again at a quarter of the learning rate when it diverges.

    Parameters
    ----------
    fit
        Called with the learning rate; starts afresh each time.
    rate
        The first learning rate.

    Raises
    ------
    DivergenceError
        If the third attempt diverges as well.

    """
    for _ in range(ATTEMPTS - 1):
        try:
            return fit(rate)
        except DivergenceError:
            rate *= RETRY_FACTOR
    return fit(rate)

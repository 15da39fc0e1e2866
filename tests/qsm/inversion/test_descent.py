"""Fits that diverge."""

import pytest

from qsmprep.qsm.inversion.descent import DivergenceError, check_loss, with_retries


def test_divergence_is_answered_with_a_lower_rate_then_an_error():
    tried = []

    def diverges_above(limit):
        def attempt(rate):
            tried.append(rate)
            check_loss([1.0, 2.0, 5.0 if rate <= limit else float('nan')], rate)
            return rate

        return attempt

    assert with_retries(diverges_above(0.1), 0.8) == pytest.approx(0.05)
    assert tried == pytest.approx([0.8, 0.2, 0.05])
    with pytest.raises(DivergenceError, match='diverged at iteration 3 .* 0.05'):
        with_retries(diverges_above(0.0), 0.8)
    with pytest.raises(DivergenceError, match='from 1 to inf'):
        check_loss([1.0, float('inf')], 0.1)

import numpy as np
import pytest

from qsmprep.qsm.relaxometry import fit_r2star, mean_magnitude

TIMES = (0.004, 0.012, 0.02, 0.028)


def decay(times, r2star, s0):
    return s0[..., None] * np.exp(-r2star[..., None] * np.array(times))


@pytest.fixture
def truth():
    rng = np.random.default_rng(0)
    shape = (12, 12, 12)
    return rng.uniform(5, 120, shape), rng.uniform(50, 200, shape)


@pytest.mark.parametrize('times', [TIMES, TIMES[:2], (0.003, 0.007, 0.02)])
def test_decay_without_noise_is_recovered(truth, times):
    r2star, s0 = truth
    mask = np.ones(r2star.shape, dtype=bool)
    mask[0] = False
    fit = fit_r2star(decay(times, r2star, s0).astype(np.float32), times, mask)
    np.testing.assert_allclose(fit.r2star_hz[mask], r2star[mask], rtol=1e-3)
    np.testing.assert_allclose(fit.t2star_s[mask], 1 / r2star[mask], rtol=1e-3)
    np.testing.assert_allclose(fit.s0[mask], s0[mask], rtol=1e-3)
    for values in (fit.r2star_hz, fit.t2star_s, fit.s0):
        assert values.dtype == np.float32
        assert not values[~mask].any()


def test_noisy_decay_is_unbiased_and_as_precise_as_the_bound():
    rng = np.random.default_rng(1)
    s0, rate, noise = np.full((20, 20, 20), 100.0), np.full((20, 20, 20), 40.0), 1.0
    samples = decay(TIMES, rate, s0) + noise * rng.standard_normal((20, 20, 20, 4))
    fit = fit_r2star(samples, TIMES, np.ones(s0.shape))
    times = np.array(TIMES)
    signal = np.exp(-40 * times)
    jacobian = np.stack([signal, -100 * times * signal], axis=1)
    bound = noise * np.sqrt(np.linalg.inv(jacobian.T @ jacobian)[1, 1])
    assert np.mean(fit.r2star_hz) == pytest.approx(40, abs=0.2)
    assert np.std(fit.r2star_hz) == pytest.approx(bound, rel=0.05)


def noisy_magnitude(times, rate, snr, coils, seed):
    """Root of the sum of squares over coils with a noise of 1; the SNR is that at TE 0."""
    rng = np.random.default_rng(seed)
    signal = snr / np.sqrt(coils) * np.exp(-rate * np.array(times))
    noise = rng.standard_normal((2, 20_000, len(times), coils))
    return np.sqrt(np.sum((signal[:, None] + noise[0]) ** 2 + noise[1] ** 2, axis=-1))


@pytest.mark.parametrize('coils', [1, 8])
def test_the_mean_of_a_magnitude_is_that_of_the_distribution(coils):
    magnitude = noisy_magnitude((0.0, 0.02, 0.2), 60, 6.0, coils, 2)
    signals = 6.0 * np.exp(-60 * np.array([0.0, 0.02, 0.2]))
    np.testing.assert_allclose(mean_magnitude(signals, coils), magnitude.mean(axis=0), rtol=0.01)


@pytest.mark.parametrize('times', [TIMES, (0.003, 0.007, 0.02, 0.024, 0.031)])
@pytest.mark.parametrize(
    ('rate', 'snr', 'coils'), [(120, 10, 1), (200, 10, 1), (120, 30, 1), (60, 20, 8)]
)
def test_the_noise_floor_does_not_slow_the_decay(times, rate, snr, coils):
    magnitude = noisy_magnitude(times, rate, snr, coils, 3).reshape(-1, 1, 1, len(times))
    mask = np.ones(magnitude.shape[:3])
    found = np.median(fit_r2star(magnitude, times, mask, 1.0, coils).r2star_hz)
    assert found == pytest.approx(rate, rel=0.06)


def test_odd_voxels_stay_finite():
    samples = np.zeros((4, 1, 1, 3))
    samples[1, 0, 0] = [1, 2, 3]
    samples[2, 0, 0] = [5, 0, 0]
    samples[3, 0, 0] = [np.nan, 5, 1]
    fit = fit_r2star(samples, (0.005, 0.01, 0.015), np.ones((4, 1, 1)))
    for values in (fit.r2star_hz, fit.t2star_s, fit.s0):
        assert np.isfinite(values).all()
        assert (values >= 0).all()
    assert fit.t2star_s.max() <= 0.5 + 1e-6


def test_one_echo_is_refused():
    with pytest.raises(ValueError, match='two or more echoes'):
        fit_r2star(np.ones((4, 4, 4, 1)), (0.005,), np.ones((4, 4, 4)))
    with pytest.raises(ValueError, match='increasing echo times'):
        fit_r2star(np.ones((4, 4, 4, 2)), (0.005, 0.001), np.ones((4, 4, 4)))

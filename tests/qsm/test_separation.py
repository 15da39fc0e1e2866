"""Susceptibility separation against truth: what both shares are is known everywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_fill_holes

from qsmprep.qsm.metrics import nrmse, xsim
from qsmprep.qsm.separation import separate
from qsmprep.qsm.separation.joint import _Shares
from qsmprep.qsm.separation.rates import R2PRIME_PER_PPM, r2prime, r2star_sd
from qsmprep.qsm.simulate import simulate_local_field

TIMES = (0.004, 0.012, 0.020, 0.028)


def relative(found, truth, mask):
    """Norm of the error over that of the truth, nothing taken off [%]."""
    return 100 * np.linalg.norm((found - truth)[mask]) / np.linalg.norm(truth[mask])


@pytest.fixture(scope='module')
def scan():
    sim = simulate_local_field(voxel_size=(4, 4, 4), seed=3, supersampling=(3, 3, 3))
    sd = np.where(sim.mask, r2star_sd(sim.r2star_hz, sim.magnitude, TIMES, 0.01), 0)
    noise = sd * np.random.default_rng(0).standard_normal(sd.shape)
    return replace(sim, r2star_hz=np.where(sim.mask, sim.r2star_hz + noise, 0)), sd


def run(scan, method, reversible=True, **parameters):
    sim, sd = scan
    rate = r2prime(sim.r2star_hz, sim.r2_hz) if reversible else sim.r2star_hz
    return separate(
        sim.measured_ppm, sim.chi, rate, sim.mask, sim.grid, method, field_strength_t=3.0,
        reversible=reversible, rate_sd_hz=sd, noise_ppm=sim.noise_ppm, **parameters,
    )  # fmt: skip


def test_the_shares_of_a_simulated_head_make_its_susceptibility_and_rate(scan):
    sim, _ = scan
    inside = sim.mask
    assert (sim.paramagnetic >= 0).all()
    assert (sim.diamagnetic <= 0).all()
    np.testing.assert_allclose(sim.paramagnetic + sim.diamagnetic, sim.chi, atol=1e-6)
    clean = simulate_local_field(voxel_size=(4, 4, 4), seed=3, supersampling=(3, 3, 3))
    reversible = R2PRIME_PER_PPM * (clean.paramagnetic - clean.diamagnetic)
    agrees = np.isclose(clean.r2star_hz - clean.r2_hz, reversible, atol=1e-3)[inside]
    assert agrees.mean() > 0.999, 'all but voxels that hold some bone'


def test_the_closed_form_is_exact_for_exact_maps(scan):
    sim, _ = scan
    rate = R2PRIME_PER_PPM * 7 / 3 * (sim.paramagnetic - sim.diamagnetic)
    found = separate(
        sim.measured_ppm, sim.chi, rate, sim.mask, sim.grid, 'closed-form', field_strength_t=7.0,
        reversible=True,
    )  # fmt: skip
    np.testing.assert_allclose(found.paramagnetic, sim.paramagnetic, atol=1e-6)
    np.testing.assert_allclose(found.diamagnetic, sim.diamagnetic, atol=1e-6)
    assert found.parameters == {'rate_per_ppm': pytest.approx(R2PRIME_PER_PPM * 7 / 3)}


@pytest.mark.parametrize('reversible', [True, False])
def test_the_joint_inversion_is_nearer_to_the_truth_than_the_closed_form(scan, reversible):
    """Though the closed form gets the true susceptibility here, and the joint one the field."""
    sim, _ = scan
    closed, joint = (run(scan, name, reversible) for name in ('closed-form', 'joint'))
    for share in ('paramagnetic', 'diamagnetic'):
        truth = getattr(sim, share)
        errors = [relative(getattr(x, share), truth, sim.mask) for x in (joint, closed)]
        assert errors[0] < (1.2 if reversible else 0.8) * errors[1]
        assert xsim(getattr(joint, share), truth, sim.mask) > (0.9 if reversible else 0.8)
    assert (joint.paramagnetic >= 0).all()
    assert (joint.diamagnetic <= 0).all()
    assert not joint.paramagnetic[~binary_fill_holes(sim.mask)].any()
    assert nrmse(joint.paramagnetic + joint.diamagnetic, sim.chi, sim.mask) < 30
    assert ('r2_hz' in joint.parameters) != reversible


def test_the_step_of_a_voxel_is_the_constrained_minimiser():
    generator = torch.Generator().manual_seed(0)
    shape = (6, 6, 6)
    both, net = (0.1 * torch.randn(shape, generator=generator) for _ in range(2))
    near = 0.1 * torch.randn((2, *shape), generator=generator)
    precision = 1e3 * torch.rand(shape, generator=generator)
    everywhere = torch.ones(shape, dtype=torch.bool)
    shares = _Shares(both, precision, everywhere, (1, 1, 1), 1.0)
    stiff, near_weight = 3e3, 2e3
    p, n = shares._descend(near, net, stiff, near_weight)

    def cost(p, n):
        data = precision * (p + n - both) ** 2 + stiff * (p - n - net) ** 2
        return data + near_weight * ((p - near[0]) ** 2 + (n - near[1]) ** 2)

    assert min(p.min(), n.min()) >= 0
    for dp in (-1e-3, 0, 1e-3):
        for dn in (-1e-3, 0, 1e-3):
            other = cost((p + dp).clamp(min=0), (n + dn).clamp(min=0))
            assert (cost(p, n) <= other + 1e-4).all()


def test_the_standard_deviation_of_r2star_is_that_of_repeated_fits():
    from qsmprep.qsm.relaxometry import fit_r2star

    rng, noise, rate = np.random.default_rng(1), 1.0, 25.0
    signal = 60 * np.exp(-rate * np.array(TIMES))
    samples = np.abs(
        signal + noise * (rng.normal(size=(4000, 1, 1, 4)) + 1j * rng.normal(size=(4000, 1, 1, 4)))
    )
    fit = fit_r2star(samples.astype(np.float32), TIMES, np.ones((4000, 1, 1)), noise)
    expected = r2star_sd(np.array(rate), np.array(60.0), TIMES, noise)
    assert fit.r2star_hz.std() == pytest.approx(float(expected), rel=0.08)


def test_what_cannot_be_separated_is_refused(scan):
    sim, _ = scan
    with pytest.raises(ValueError, match='mask is empty'):
        separate(
            sim.chi, sim.chi, sim.chi, 0 * sim.mask, sim.grid, field_strength_t=3.0,
            reversible=True,
        )  # fmt: skip
    with pytest.raises(ValueError, match='nowhere above zero'):
        separate(
            sim.chi, sim.chi, 0 * sim.chi, sim.mask, sim.grid, field_strength_t=3.0,
            reversible=True,
        )  # fmt: skip
    with pytest.raises(ValueError, match='no parameter'):
        run(scan, 'closed-form', variation=3.0)

"""Noise as a field shows it."""

import pytest
import torch

from qsmprep.qsm.noise import field_roughness


def test_roughness_is_the_noise_of_a_smooth_field():
    generator = torch.Generator().manual_seed(0)
    smooth = torch.linspace(-0.1, 0.1, 40).reshape(40, 1, 1).expand(40, 40, 40)
    field = smooth + 0.003 * torch.randn(40, 40, 40, generator=generator)
    mask = torch.ones(40, 40, 40, dtype=torch.bool)
    assert field_roughness(field, mask) == pytest.approx(0.003, rel=0.03)

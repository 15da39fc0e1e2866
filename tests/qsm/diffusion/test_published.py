"""Steps of the samplers under the settings of their papers."""

import torch

from qsmprep.qsm.diffusion.published import closest
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import Dipole


def test_the_closed_form_solves_its_normal_equations():
    generator = torch.Generator().manual_seed(5)
    dipole = Dipole(Grid((12, 12, 12)), padding=1, dtype=torch.float64)
    field, chi = torch.randn(2, 12, 12, 12, generator=generator, dtype=torch.float64)
    x = closest(field, chi, dipole, 0.2)
    gradient = dipole.adjoint(dipole.forward(x) - field) + 0.2 * (x - chi)
    assert gradient.abs().max() < 1e-10

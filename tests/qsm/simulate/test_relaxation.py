"""Sources and relaxation rates of a phantom, against the table of its tissues."""

import pytest
import torch

from qsmprep.qsm.separation.rates import R2PRIME_PER_PPM
from qsmprep.qsm.simulate.anatomy import Tissue
from qsmprep.qsm.simulate.relaxation import r2, r2star, sources
from qsmprep.qsm.simulate.susceptibility import tissue_table

LABELS = torch.tensor([int(Tissue.WHITE_MATTER), int(Tissue.CORTEX), int(Tissue.BONE)])
CHI = torch.tensor([0.04, -0.3, 0.1])


def test_both_shares_have_their_sign_and_make_the_susceptibility():
    positive, negative = sources(LABELS, CHI)
    assert positive.min() >= 0 >= negative.max()
    torch.testing.assert_close(positive + negative, CHI)
    # what is lower than the tissue's own share is diamagnetic in all
    assert (positive[1], negative[1]) == (0, CHI[1])
    assert negative[0] == tissue_table('diamagnetic')[Tissue.WHITE_MATTER]


def test_r2_grows_by_two_fifths_per_3_tesla():
    torch.testing.assert_close(r2(LABELS, 6.0), 1.4 * r2(LABELS, 3.0))


@pytest.mark.parametrize('field_strength_t', [1.5, 3.0, 7.0])
def test_both_shares_raise_r2star_in_proportion_to_the_field_strength(field_strength_t):
    positive, negative = sources(LABELS, CHI)
    added = r2star(LABELS, CHI, field_strength_t) - r2(LABELS, field_strength_t)
    expected = R2PRIME_PER_PPM * field_strength_t / 3 * (positive - negative)
    torch.testing.assert_close(added[:2], expected[:2])
    # bone's short signal is in its R2 alone
    assert added[2] == 0

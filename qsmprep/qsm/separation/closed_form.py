"""Both shares of susceptibility voxel by voxel."""

from __future__ import annotations

from torch import Tensor

from qsmprep.qsm.separation.rates import R2PRIME_PER_PPM, R2STAR_PER_PPM, at_field_strength
from qsmprep.qsm.separation.sources import Sources


def closed_form(sources: Sources) -> tuple[Tensor, Tensor, dict[str, float]]:
    r"""Both shares from the susceptibility map and the rate, voxel by voxel.

    .. math:: \chi^\pm = (R / r \pm \chi) / 2

    with r = 137 1/s per ppm at 3 T for R2' and 274 for R2*, in proportion to the field strength.
    A share of the wrong sign becomes zero. With R2* all irreversible relaxation counts as
    sources: R2*-QSM takes R2' for half of R2*, which holds for no tissue exactly.

    Parameters
    ----------
    sources
        What is known of the tissue.

    Returns
    -------
    positive, negative
        Size of both shares [ppm].
    constants
        The rate of one ppm.

    References
    ----------
    Shin et al. 2021, 10.1016/j.neuroimage.2021.118371; Dimov et al. 2022,
    10.3390/tomography8030127.

    """
    per_ppm = at_field_strength(
        R2PRIME_PER_PPM if sources.reversible else R2STAR_PER_PPM, sources.field_strength_t
    )
    both = sources.rate / per_ppm
    positive, negative = ((both + sign * sources.chi) / 2 for sign in (1, -1))
    return positive.clamp(min=0), negative.clamp(min=0), {'rate_per_ppm': per_ppm}

"""Field of sources around the brain that background removal left."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

from qsmprep.qsm.operators import Dipole
from qsmprep.qsm.posterior import PosteriorPrecision
from qsmprep.qsm.solvers import conjugate_gradients

STEPS = 100
TOLERANCE = 1e-3


def harmonic_remnant(
    field: Tensor,
    mask: Tensor,
    dipole: Dipole,
    error: Tensor,
    around: Tensor,
    variance: float,
    weight: Tensor,
) -> Tensor:
    """Most likely field of white sources around a mask, where all else is a coloured error.

    Projection onto dipole fields once more, but with what a calibration knows: the strength of the
    sources and the spectrum of the local field, which to this fit is an error. In the mask the
    field of such sources is harmonic.

    Solved by plain conjugate gradients, which begin with the strongest sources. Preconditioned by
    the diagonal, or by the precision of plane waves, they need up to three times as many steps.

    Parameters
    ----------
    field
        Local field and remnant (X, Y, Z) [ppm], zero outside the mask.
    mask
        Voxels of tissue.
    dipole
        The dipole operator.
    error
        Power of all other parts of the field on the padded grid [ppm^2].
    around
        Voxels of the padded grid in which the sources may lie.
    variance
        Variance of the sources before the scan [ppm^2].
    weight
        Voxel weights; zero where nothing was measured.

    Returns
    -------
    Tensor
        The field of these sources in the mask [ppm].

    References
    ----------
    Liu T et al. 2011, 10.1002/nbm.1670.

    """
    whole = dipole.on_padded_grid()
    precision = 1 / error
    precision[0, 0, 0] = 0
    n0, n1, n2 = mask.shape
    p0, p1, p2 = whole.padded_shape
    weight, field = (pad(image, (0, p2 - n2, 0, p1 - n1, 0, p0 - n0)) for image in (weight, field))
    posterior = PosteriorPrecision(whole, around, precision, 1 / variance, weight)
    target = posterior.data_term(field)
    sources = conjugate_gradients(posterior, target, iterations=STEPS, tolerance=TOLERANCE)
    return whole.forward(sources)[:n0, :n1, :n2] * mask

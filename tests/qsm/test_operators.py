"""The dipole against analytic fields, the coarse scanner against waves, both against adjoints."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy.ndimage import rotate

from qsmprep.qsm.grid import Grid
from qsmprep.qsm.operators import (
    Dipole,
    KSpaceCrop,
    dipole_kernel,
    even_image,
    even_spectrum,
)

PAIRS = [((24, 20, 18), (12, 20, 7)), ((15, 14, 13), (9, 14, 10)), ((16, 16, 15), (15, 11, 15))]


def coordinates(grid):
    """Position of every voxel relative to the centre of the grid [mm]."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * v for n, v in zip(grid.shape, grid.voxel_size, strict=True)
    ]
    return np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)


@cache
def sphere(shape, voxel_size, radius, samples=4):
    """Volume fraction of a centred sphere in every voxel."""
    fine = [
        ((np.arange(n * samples) - (n * samples - 1) / 2) * v / samples) ** 2
        for n, v in zip(shape, voxel_size, strict=True)
    ]
    inside = (sum(np.ix_(*fine)) < radius**2).astype(np.float32)
    n0, n1, n2 = shape
    return inside.reshape(n0, samples, n1, samples, n2, samples).mean(axis=(1, 3, 5))


def sphere_field(grid, radius):
    """Field of a sphere of 1 ppm in a Lorentz-corrected frame: zero inside, a dipole outside."""
    position = coordinates(grid)
    r = np.linalg.norm(position, axis=-1)
    cosine = position @ np.array(grid.b0_direction) / r
    return np.where(r > radius, (3 * cosine**2 - 1) / 3 * (radius / r) ** 3, 0), r


@pytest.mark.parametrize('direction', [(0, 0, 1), (0.3, -0.5, 0.8), (1, 0, 0)])
@pytest.mark.parametrize(
    ('shape', 'voxel_size'),
    [((64, 64, 64), (1, 1, 1)), ((72, 60, 36), (1, 1.2, 2)), ((81, 64, 70), (0.7, 1, 0.9))],
)
def test_sphere_has_the_analytic_field(shape, voxel_size, direction):
    grid = Grid(shape, voxel_size, direction)
    radius = 9.0
    chi = torch.tensor(sphere(shape, voxel_size, radius), dtype=torch.float32)
    field = Dipole(grid).forward(chi).numpy()
    truth, r = sphere_field(grid, radius)
    away = (r > radius + 2 * max(voxel_size)) & (r < 28)
    offset = np.mean(field[away] - truth[away])
    assert abs(offset) < 0.002
    assert np.std(field[away] - truth[away]) < 0.04 * np.std(truth[away])
    core = r < radius - 3 * max(voxel_size)
    assert np.abs(field[core]).max() < 0.03


def test_oblique_field_is_that_of_the_turned_head():
    rng = np.random.default_rng(3)
    x = coordinates(Grid((56, 56, 56)))
    amplitudes, widths = rng.normal(0, 0.1, 8), rng.uniform(2.5, 5, 8)
    blobs = zip(amplitudes, rng.uniform(-9, 9, (8, 3)), widths, strict=True)
    chi = sum(a * np.exp(-((x - c) ** 2).sum(-1) / (2 * s**2)) for a, c, s in blobs)
    angle = 30
    turned = rotate(chi, angle, axes=(1, 2), reshape=False, order=5)
    direction = (0, np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle)))
    straight = Dipole(Grid(chi.shape)).forward(torch.tensor(turned)).numpy()
    oblique = Dipole(Grid(chi.shape, (1, 1, 1), direction)).forward(torch.tensor(chi)).numpy()
    expected = rotate(oblique, angle, axes=(1, 2), reshape=False, order=5)
    opposite = rotate(
        Dipole(Grid(chi.shape, (1, 1, 1), direction * np.array([1, -1, 1])))
        .forward(torch.tensor(chi))
        .numpy(),
        angle,
        axes=(1, 2),
        reshape=False,
        order=5,
    )
    ball = np.linalg.norm(x, axis=-1) < 20
    spread = np.std(straight[ball])
    assert np.std((straight - expected)[ball]) < 0.01 * spread
    assert np.std((straight - opposite)[ball]) > 0.3 * spread


@pytest.mark.parametrize('shape', [(12, 15, 10), (11, 8, 9)])
def test_adjoint_and_symmetry(shape):
    generator = torch.Generator().manual_seed(0)
    dipole = Dipole(Grid(shape, (1, 1.3, 0.8), (0.4, 0.5, 0.7)), dtype=torch.float64)
    x, y = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    torch.testing.assert_close((dipole.forward(x) * y).sum(), (x * dipole.adjoint(y)).sum())


@pytest.mark.parametrize('shape', [(8, 6, 10), (7, 8, 6)])
def test_kernel_is_real_and_symmetric_at_nyquist(shape):
    kernel = dipole_kernel(shape, (1, 1, 1.5), (0.5, 0.5, 0.7), dtype=torch.float64)
    image = torch.fft.irfftn(kernel.to(torch.complex128), s=shape)
    mirrored = torch.roll(image.flip((0, 1, 2)), (1, 1, 1), (0, 1, 2))
    torch.testing.assert_close(image, mirrored)
    torch.testing.assert_close(torch.fft.rfftn(image).real, kernel)


@pytest.mark.parametrize('shape', [(8, 6, 10), (7, 8, 5)])
def test_even_images_are_transformed_by_half(shape):
    kernel = dipole_kernel(shape, (1, 1, 1.5), (0.5, 0.5, 0.7), dtype=torch.float64)
    image = torch.fft.irfftn(kernel.to(torch.complex128), s=shape)
    half = even_image(kernel, shape[2])
    torch.testing.assert_close(half, image[: shape[0] // 2 + 1])
    torch.testing.assert_close(even_spectrum(half, shape[0]), kernel)


def test_padding_keeps_the_ends_apart():
    shape = (48, 40, 44)
    grid = Grid(shape, (1, 1, 1), (0, 0.2, 0.98))
    chi = torch.zeros(shape)
    chi[2:5, 10:14, 20:24] = 1
    reference = Dipole(grid, padding=3).forward(chi)
    wrapped = torch.fft.irfftn(
        torch.fft.rfftn(chi) * dipole_kernel(shape, (1, 1, 1), grid.b0_direction), s=shape
    )
    far = torch.zeros(shape, dtype=torch.bool)
    far[:30] = True
    error = (Dipole(grid).forward(chi) - reference)[far]
    assert error.std() < 0.2 * (wrapped - reference)[far].std()


def test_single_precision_agrees_with_double():
    grid = Grid((40, 36, 30), (1, 1, 1.4), (0.1, 0.2, 0.9))
    chi = torch.randn(grid.shape, generator=torch.Generator().manual_seed(1))
    single = Dipole(grid).forward(chi)
    double = Dipole(grid, dtype=torch.float64).forward(chi.double())
    assert (single - double).abs().max() < 2e-6


def test_stacks_and_gradients():
    grid = Grid((10, 9, 8))
    dipole = Dipole(grid, dtype=torch.float64)
    stack = torch.randn(2, 3, *grid.shape, dtype=torch.float64, requires_grad=True)
    field = dipole.forward(stack)
    torch.testing.assert_close(field[1, 2], dipole.forward(stack[1, 2]))
    field.square().sum().backward()
    torch.testing.assert_close(stack.grad, 2 * dipole.adjoint(field.detach()))


def test_padding_below_one_is_refused():
    with pytest.raises(ValueError, match='at least 1'):
        Dipole(Grid((8, 8, 8)), padding=0.5)


@pytest.mark.parametrize(('fine', 'coarse'), PAIRS)
def test_adjoint_and_inverse_on_the_band(fine, coarse):
    generator = torch.Generator().manual_seed(0)
    operator = KSpaceCrop(fine, coarse)
    x, y = (torch.randn(2, *shape, generator=generator) for shape in (fine, coarse))
    left, right = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-4)
    measured = operator.forward(x)
    torch.testing.assert_close(operator.forward(operator.zero_filled(measured)), measured)
    torch.testing.assert_close(
        operator.forward(operator.adjoint(measured)), measured * operator.share
    )
    torch.testing.assert_close(operator.forward(torch.ones(fine)), torch.ones(coarse))


def test_a_wave_keeps_its_place_and_height():
    """A wave below the Nyquist frequency of both images is sampled where their voxels lie."""
    fine, coarse, length = (20, 8, 8), (13, 8, 8), 40.0

    def wave(n):
        centre = (torch.arange(n) + 0.5) * length / n
        return torch.cos(2 * torch.pi * 5 * centre / length + 0.3)[:, None, None].expand(n, 8, 8)

    operator = KSpaceCrop(fine, coarse)
    torch.testing.assert_close(operator.forward(wave(20)), wave(13), atol=1e-5, rtol=0)
    torch.testing.assert_close(operator.zero_filled(wave(13)), wave(20), atol=1e-5, rtol=0)


def test_the_band_is_what_the_crop_keeps():
    grid = Grid((24, 20, 18), (1, 1.5, 1))
    operator = KSpaceCrop(grid.shape, (12, 20, 9))
    dipole = Dipole(grid, padding=1.0)
    assert dipole.padded_shape == grid.shape
    x = torch.randn(grid.shape, generator=torch.Generator().manual_seed(0))
    kept = operator.zero_filled(operator.forward(x))
    torch.testing.assert_close(dipole.filter(x, operator.band(dipole)), kept, atol=1e-5, rtol=0)


def test_a_crop_does_not_enlarge():
    with pytest.raises(ValueError, match='fewer voxels'):
        KSpaceCrop((8, 8, 8), (8, 9, 8))

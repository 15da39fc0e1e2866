"""Maps in other spaces: where they land, and what happens at their edge."""

import nibabel as nb
import numpy as np
import pytest
from nitransforms.linear import load as load_linear

from qsmprep.interfaces.itk import (
    affine_transform,
    chain,
    matrix_of,
    read_transform,
    write_transform,
)
from qsmprep.interfaces.spaces import ResampleToSpace, template_grid
from qsmprep.qsm.simulate import rigid_transform

AFFINE = nb.affines.from_matvec(np.diag([2.0, 2.0, 2.5]), (-20, -22, -18))
MOVES = rigid_transform((7, -4, 10), (5, -3, 8))


def save(path, data, affine):
    """Write an image in scanner space."""
    image = nb.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.to_filename(path)
    return str(path)


@pytest.fixture
def ramp(tmp_path):
    """A map that is linear in scanner mm within a ball, zero outside; its mask; the transform."""
    shape = (22, 24, 20)
    places = np.moveaxis(np.indices(shape), 0, -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    mask = np.linalg.norm(places - places.reshape(-1, 3).mean(axis=0), axis=-1) < 15
    data = np.where(mask, 1 + 0.02 * places[..., 0] - 0.01 * places[..., 2], 0)
    return (
        save(tmp_path / 'map.nii', data.astype(np.float32), AFFINE),
        save(tmp_path / 'mask.nii', mask.astype(np.uint8), AFFINE),
        write_transform(affine_transform(MOVES), tmp_path / 'moves.txt'),
    )


def run(folder, ramp, monkeypatch, **inputs):
    """Resample onto a grid of 1.5 mm."""
    monkeypatch.chdir(folder)
    grid = nb.affines.from_matvec(np.diag([1.5, 1.5, 1.5]), (-30, -36, -25))
    reference = save(folder / 'reference.nii', np.zeros((48, 48, 44), np.float32), grid)
    found = ResampleToSpace(reference=reference, transforms=[ramp[2]], **inputs).run()
    image = nb.load(found.outputs.out_file)
    np.testing.assert_allclose(image.affine, grid)
    return image.get_fdata(), grid


def test_values_land_where_the_transform_says_and_the_edge_does_not_fade(
    tmp_path, ramp, monkeypatch
):
    data, grid = run(tmp_path, ramp, monkeypatch, in_file=ramp[0], mask=ramp[1])
    inside, _ = run(tmp_path, ramp, monkeypatch, in_file=ramp[1])
    assert set(np.unique(inside)) == {0, 1}
    assert (data[inside == 0] == 0).all()
    places = np.argwhere(inside) @ grid[:3, :3].T + grid[:3, 3]
    back = np.linalg.inv(MOVES)
    places = places @ back[:3, :3].T + back[:3, 3]
    expected = 1 + 0.02 * places[:, 0] - 0.01 * places[:, 2]
    error = np.abs(data[inside > 0] - expected)
    assert np.median(error) < 1e-3
    assert error.max() < 0.06
    volume = inside.sum() * 1.5**3
    assert abs(volume / (nb.load(ramp[1]).get_fdata().sum() * 10) - 1) < 0.02


def test_the_grid_of_the_template_is_that_of_templateflow():
    shape, affine = template_grid(2)
    assert shape == (97, 115, 97)
    np.testing.assert_allclose(affine @ (0, 0, 0, 1), (-96.5, -132.5, -78.5, 1))


def test_transforms_are_what_another_reader_of_itk_reads(tmp_path, ramp):
    other = load_linear(ramp[2], fmt='itk').matrix
    np.testing.assert_allclose(other, np.linalg.inv(MOVES), atol=1e-6)


def test_a_composite_in_hdf5_keeps_its_order(tmp_path):
    grow = np.diag([2.0, 2.0, 2.0, 1.0])
    both = chain([affine_transform(MOVES), affine_transform(grow)])
    path = write_transform(both, tmp_path / 'both.h5')
    np.testing.assert_allclose(matrix_of(read_transform(path)), grow @ MOVES, atol=1e-6)

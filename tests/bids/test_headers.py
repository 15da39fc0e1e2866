"""Files that are broken are refused, each with its reason."""

import gzip
import os
import re
import shutil

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.errors import InputError
from qsmprep.bids.headers import check_same_grid, inspect_image
from tests.bids.scans import DIM_BYTE, OFFSET_BYTE, SLOPE_BYTE, patch, the_error


def test_values_are_scaled_and_summarised(path):
    image = inspect_image(path)
    assert image.shape == (6, 5, 4)
    assert (image.minimum, image.maximum) == (-3.0, 56.5)
    assert (image.slope, image.intercept, image.integer) == (0.5, -3.0, False)
    assert image.warnings == ()
    np.testing.assert_array_equal(image.affine, np.diag([1, 1, 2, 1]))


def test_negative_slope_and_both_endiannesses(tmp_path):
    data = np.arange(-10, 54, dtype='>i2').reshape(4, 4, 4)
    header = nb.Nifti1Header(endianness='>')
    header.set_data_dtype('>i2')
    image = nb.Nifti1Image(data, np.eye(4), header)
    image.header.set_slope_inter(-2.0, 0.0)
    image.to_filename(tmp_path / 'image.nii')
    summary = inspect_image(tmp_path / 'image.nii')
    assert (summary.minimum, summary.maximum) == (-106.0, 20.0)


def test_large_files_are_read_in_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr('qsmprep.bids.headers.CHUNK_BYTES', 64)
    data = np.random.default_rng(0).normal(size=(9, 8, 7)).astype(np.float32)
    nb.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / 'image.nii.gz')
    summary = inspect_image(tmp_path / 'image.nii.gz')
    assert (summary.minimum, summary.maximum) == (float(data.min()), float(data.max()))


@pytest.mark.parametrize(('more', 'refused'), [(63, False), (64, True)])
@pytest.mark.parametrize('name', ['image.nii', 'image.nii.gz'])
def test_a_file_that_holds_another_slice_is_refused(tmp_path, name, more, refused):
    nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)).to_filename(tmp_path / 'x.nii')
    content = (tmp_path / 'x.nii').read_bytes() + bytes(more)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
    if not refused:
        assert inspect_image(tmp_path / name).maximum == 1
        return
    with pytest.raises(InputError, match='more than the 4 x 4 x 4 voxels that its header declares'):
        inspect_image(tmp_path / name)


def test_nifti_2_is_read(tmp_path):
    data = np.arange(64, dtype=np.float32).reshape(4, 4, 4)
    nb.Nifti2Image(data, np.eye(4)).to_filename(tmp_path / 'image.nii.gz')
    assert inspect_image(tmp_path / 'image.nii.gz').maximum == 63


@pytest.mark.parametrize(
    ('begin', 'command'),
    [
        ('/annex/objects/MD5E-s81--0a.nii.gz\n', 'datalad get'),
        ('version https://git-lfs.github.com/spec/v1\noid sha256:4d\nsize 81\n', 'git lfs pull'),
    ],
)
@pytest.mark.parametrize('name', ['image.nii', 'image.nii.gz'])
def test_content_that_was_not_fetched(tmp_path, name, begin, command):
    (tmp_path / name).write_text(begin)
    expected = rf'{re.escape(name)} stands for content .* not been fetched; .*{command}'
    with pytest.raises(InputError, match=expected):
        inspect_image(tmp_path / name)


def test_four_axes_get_a_hint(tmp_path):
    nb.Nifti1Image(np.ones((4, 4, 4, 3), np.float32), np.eye(4)).to_filename(tmp_path / 'x.nii')
    with pytest.raises(InputError, match=r'has 4 axes \(4 x 4 x 4 x 3\); .*split it'):
        inspect_image(tmp_path / 'x.nii')


def test_one_slice_is_no_volume(tmp_path):
    nb.Nifti1Image(np.ones((4, 4, 1), np.float32), np.eye(4)).to_filename(tmp_path / 'x.nii')
    with pytest.raises(InputError, match='shape 4 x 4 x 1; a volume'):
        inspect_image(tmp_path / 'x.nii')


@pytest.mark.parametrize(
    ('dtype', 'words'),
    [(np.complex64, 'real numbers are needed'), ([(c, 'u1') for c in 'RGB'], 'holds colours')],
)
def test_values_that_are_not_real(tmp_path, dtype, words):
    nb.Nifti1Image(np.zeros((4, 4, 4), dtype), np.eye(4)).to_filename(tmp_path / 'x.nii')
    with pytest.raises(InputError, match=words):
        inspect_image(tmp_path / 'x.nii')


def test_huge_claims_are_refused_before_reading(path):
    patch(path, DIM_BYTE + 2, 30000, 30000, 30000, form='<h')
    with pytest.raises(InputError, match='claims 30000 x 30000 x 30000 voxels'):
        inspect_image(path)


def test_no_more_is_decompressed_than_promised(path, monkeypatch):
    header_and_data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(header_and_data + bytes(50_000_000)))
    taken = []
    original = gzip.GzipFile.read
    monkeypatch.setattr(
        gzip.GzipFile,
        'read',
        lambda self, size=-1: taken.append(size) or original(self, size),
    )
    with pytest.raises(InputError, match='voxels that its header declares'):
        inspect_image(path)
    assert min(taken) > 0
    assert sum(taken) < 2000


@pytest.mark.parametrize('part', [0.0, 0.3, 0.7, 0.98])
def test_truncated_gzip(path, part):
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(InputError, match=r'image\.nii\.gz .*truncated or corrupt'):
        inspect_image(path)


def test_damaged_gzip_fails_its_checksum(path):
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match='truncated or corrupt'):
        inspect_image(path)


def test_truncated_without_compression(path, tmp_path):
    (tmp_path / 'x.nii').write_bytes(gzip.decompress(path.read_bytes())[:-6])
    with pytest.raises(InputError, match='6 bytes of data are missing'):
        inspect_image(tmp_path / 'x.nii')


def test_compression_against_the_name_is_reported(path, tmp_path):
    plain, packed = tmp_path / 'plain.nii.gz', tmp_path / 'packed.nii'
    plain.write_bytes(gzip.decompress(path.read_bytes()))
    shutil.copy(path, packed)
    with pytest.raises(InputError, match='is not compressed, though its name ends in .gz'):
        inspect_image(plain)
    with pytest.raises(InputError, match=r'is compressed \(gzip\), but named .nii'):
        inspect_image(packed)


def test_text_is_no_image(tmp_path):
    (tmp_path / 'x.nii').write_text('These are words, not voxels.\n' * 20)
    with pytest.raises(InputError, match='cannot be read as NIfTI'):
        inspect_image(tmp_path / 'x.nii')


@pytest.mark.parametrize('offset', [0.0, -8.0, 1e9, np.nan, np.inf])
def test_impossible_data_offset(path, offset):
    patch(path, OFFSET_BYTE, offset)
    with pytest.raises(InputError, match='repair vox_offset'):
        inspect_image(path)


def test_slope_of_zero_and_nan_mean_no_scaling(path):
    patch(path, SLOPE_BYTE, 0.0, 7.0)
    image = inspect_image(path)
    assert (image.minimum, image.maximum, image.integer) == (0, 119, True)
    patch(path, SLOPE_BYTE, np.nan, 0.0)
    image = inspect_image(path)
    assert (image.minimum, image.maximum) == (0, 119)
    assert 'scl_slope is not a number' in image.warnings[0]


@pytest.mark.parametrize('slope', [1e-30, 1e20])
def test_values_whose_squares_would_be_lost_are_refused(path, slope):
    patch(path, SLOPE_BYTE, slope, 0.0)
    with pytest.raises(InputError, match='holds values up to .* convert it again, or correct the'):
        inspect_image(path)


@pytest.mark.parametrize('scaling', [(np.inf, 0), (1, np.inf), (1, np.nan)])
def test_impossible_scaling(path, scaling):
    patch(path, SLOPE_BYTE, *scaling)
    with pytest.raises(InputError, match='scl_'):
        inspect_image(path)


def test_values_that_are_not_finite_are_counted(tmp_path):
    data = np.ones((4, 4, 4), np.float32)
    data[0, 0, :3] = np.nan, np.inf, -np.inf
    nb.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / 'x.nii')
    with pytest.raises(InputError, match='3 values that are not finite .* among 64'):
        inspect_image(tmp_path / 'x.nii')


def test_links_may_leave_the_dataset_but_must_lead_to_a_file(path, tmp_path):
    folder = tmp_path / 'dataset'
    folder.mkdir()
    link = folder / 'link.nii.gz'
    link.symlink_to(path)
    assert inspect_image(link).maximum == 56.5
    link.unlink()
    link.symlink_to(tmp_path / '.git' / 'annex' / 'gone')
    with pytest.raises(InputError, match='datalad get'):
        inspect_image(link)
    with pytest.raises(InputError, match='is no longer there'):
        inspect_image(folder / 'removed.nii')
    os.mkfifo(folder / 'pipe.nii')
    with pytest.raises(InputError, match='no regular file'):
        inspect_image(folder / 'pipe.nii')


def test_grids_must_agree(path, tmp_path):
    reference = inspect_image(path)
    nb.Nifti1Image(np.ones((6, 5, 3), np.float32), np.diag([1, 1, 2, 1])).to_filename(
        tmp_path / 'thin.nii'
    )
    with pytest.raises(InputError, match=r'thin\.nii has 6 x 5 x 3 voxels but image\.nii\.gz'):
        check_same_grid(inspect_image(tmp_path / 'thin.nii'), reference)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 0.01
    nb.Nifti1Image(np.ones((6, 5, 4), np.float32), affine).to_filename(tmp_path / 'moved.nii')
    with pytest.raises(InputError, match=r'differ in their affines by up to 0\.01'):
        check_same_grid(inspect_image(tmp_path / 'moved.nii'), reference)


def test_magnitude_and_phase_of_different_size(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-1_part-phase_MEGRE', change=lambda data: data[:, :, :-1])
    assert '12 x 10 x 7 voxels but sub-01_echo-1_part-mag_MEGRE' in the_error(tiny_dataset)


def test_echoes_on_different_grids(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-3_part-mag_MEGRE', affine=np.diag([2.0, 2.0, 2.1, 1.0]))
    assert 'differ in their affines' in the_error(tiny_dataset)


def test_four_dimensional_file(tiny_dataset):
    tiny_dataset.add(echo_times_s=(0.01,))
    for part in ('mag', 'phase'):
        tiny_dataset.edit_image(f'part-{part}_MEGRE', change=lambda x: np.stack([x, x], axis=-1))
    assert 'BIDS keeps each echo in a 3-D file of its own' in the_error(tiny_dataset)


def test_nan_in_the_phase(tiny_dataset):
    def spoil(data):
        data[:2, 0, 0] = np.nan
        return data

    tiny_dataset.add()
    tiny_dataset.edit_image('echo-2_part-phase_MEGRE', change=spoil)
    assert 'holds 2 values that are not finite' in the_error(tiny_dataset)


def test_empty_magnitude(tiny_dataset):
    tiny_dataset.add()
    tiny_dataset.edit_image('echo-2_part-mag_MEGRE', change=np.zeros_like)
    assert 'echo-2_part-mag_MEGRE.nii.gz holds one value alone, 0' in the_error(tiny_dataset)


def test_empty_real_part(tiny_dataset):
    tiny_dataset.add(parts=('real', 'imag'))
    tiny_dataset.edit_image('echo-2_part-real_MEGRE', change=np.zeros_like)
    assert 'holds one value alone' in the_error(tiny_dataset)


@pytest.mark.parametrize('axes', [1, 2])
def test_axes_of_length_one_get_a_hint(tiny_dataset, axes):
    tiny_dataset.add('sub-01')
    for path in sorted(tiny_dataset.root.rglob('*.nii.gz')):
        data = np.asarray(nb.load(path).dataobj)
        tiny_dataset.write_image(path, data.reshape(data.shape + (1,) * axes))
    error = the_error(tiny_dataset)
    assert '_MEGRE.nii' in error
    assert f'has {3 + axes} axes (12 x 10 x 8 x 1' in error
    assert 'squeeze_image' in error

"""``qsmprep-invert`` on a sphere, whose field is known in closed form."""

import json
import os
import shutil
import subprocess
import sys

import nibabel as nb
import numpy as np
import pytest

from qsmprep.cli.invert import main
from qsmprep.qsm.grid import Grid, ppm_to_hz
from qsmprep.qsm.simulate.acquisition import oblique_affine

CHI_PPM = 0.1
RADIUS_MM = 9.0
GRID = Grid((36, 40, 38), (1.0, 1.0, 1.2), (0.0, 0.6, 0.8))
"""Tilted so that the B0 direction of a straight image would be wrong."""
NO_ERROR = ('--parameter', 'error_share=0')
"""A sphere of 18 mm is too small for its streaks to tell that its field has no model error."""


@pytest.fixture(scope='module')
def sphere(tmp_path_factory):
    """Images of a sphere in an oblique B0: field in ppm and in Hz at 3 T, mask, and truth."""
    axes = [
        (np.arange(n) - (n - 1) / 2) * size
        for n, size in zip(GRID.shape, GRID.voxel_size, strict=True)
    ]
    position = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1)
    r = np.linalg.norm(position, axis=-1)
    cosine = position @ np.array(GRID.b0_direction) / r
    outside = CHI_PPM / 3 * (3 * cosine**2 - 1) * (RADIUS_MM / r) ** 3
    field = np.where(r > RADIUS_MM, outside, 0)
    noise = np.where(position[..., 0] > 0, 0.02, 0.01)
    folder = tmp_path_factory.mktemp('sphere')
    volumes = {
        'ppm': field,
        'hz': ppm_to_hz(field, 3.0),
        'mask': r < 16.5,
        'truth': CHI_PPM * (r < RADIUS_MM),
        'noise_ppm': noise,
        'noise_hz': ppm_to_hz(noise, 3.0),
        'magnitude': np.full(GRID.shape, 100.0),
        'other_shape': np.ones((8, 8, 8)),
        'empty': np.zeros(GRID.shape),
        'not_finite': np.where(r < 2, np.nan, field),
        'complex': field + 1j,
    }
    for name, volume in volumes.items():
        kind = np.complex64 if np.iscomplexobj(volume) else np.float32
        image = nb.Nifti1Image(volume.astype(kind), oblique_affine(GRID))
        nb.save(image, folder / f'{name}.nii.gz')
    moved = oblique_affine(GRID)
    moved[0, 3] += 5
    nb.save(nb.Nifti1Image((r < 16.5).astype(np.uint8), moved), folder / 'moved.nii.gz')
    nb.save(nb.Nifti1Image((r < 16.5).astype(np.uint8), np.eye(4)), folder / 'bare.nii.gz')
    return folder


def invert(folder, out, *options, field='ppm', mask='mask'):
    """Run the command; return the map."""
    images = [str(folder / f'{field}.nii.gz'), '--mask', str(folder / f'{mask}.nii.gz')]
    code = main([*images, '--output', str(out), '--device', 'cpu', *options])
    assert code == 0
    return np.array(nb.load(out).dataobj, dtype=np.float32)


def volume(folder, name):
    return nb.load(folder / f'{name}.nii.gz').get_fdata(dtype=np.float32)


def contrast(chi, folder):
    """Mean of the sphere, one voxel inside its edge, above that of its surroundings [ppm]."""
    truth, mask = volume(folder, 'truth') > 0, volume(folder, 'mask') > 0
    return chi[truth].mean() - chi[mask & ~truth].mean()


@pytest.mark.parametrize(
    ('method', 'least', 'options'),
    [('tkd', 0.7, ()), ('tikhonov', 0.5, ()), ('tv', 0.85, NO_ERROR)],
)
def test_the_sphere_comes_back(sphere, tmp_path, method, least, options):
    chi = invert(sphere, tmp_path / 'chi.nii.gz', '--method', method, *options)
    mask = volume(sphere, 'mask') > 0
    assert least * CHI_PPM < contrast(chi, sphere) < 1.1 * CHI_PPM
    assert np.corrcoef(chi[mask], volume(sphere, 'truth')[mask])[0, 1] > 0.85
    assert (chi[~mask] == 0).all()


@pytest.mark.parametrize('weighted', [False, True])
def test_hz_and_ppm_agree(sphere, tmp_path, weighted):
    def in_unit(name, *options):
        noise = ('--noise', str(sphere / f'noise_{name}.nii.gz')) if weighted else ()
        return invert(sphere, tmp_path / f'{name}.nii', *options, *noise, field=name)

    in_hz = in_unit('hz', '--field-units', 'Hz', '--b0', '3')
    np.testing.assert_allclose(in_unit('ppm'), in_hz, atol=1e-5)


def test_b0_points_where_the_affine_says(sphere, tmp_path):
    by_default = invert(sphere, tmp_path / 'a.nii.gz', '--method', 'tkd')
    direction = ('--b0-direction', '0', '0.6', '0.8')
    explicit = invert(sphere, tmp_path / 'b.nii.gz', '--method', 'tkd', *direction)
    np.testing.assert_allclose(by_default, explicit, atol=1e-6)
    straight = ('--b0-direction', '0', '0', '1')
    wrong = invert(sphere, tmp_path / 'c.nii.gz', '--method', 'tkd', *straight)
    assert contrast(wrong, sphere) < 0.6 * contrast(explicit, sphere)


def test_the_map_lies_where_the_field_lies(sphere, tmp_path):
    invert(sphere, tmp_path / 'new' / 'chi.nii', '--method', 'tkd')
    image = nb.load(tmp_path / 'new' / 'chi.nii')
    np.testing.assert_allclose(image.affine, oblique_affine(GRID), atol=1e-5)
    assert image.get_data_dtype() == np.float32


def test_the_sidecar_tells_how(sphere, tmp_path):
    magnitude = ('--magnitude', str(sphere / 'magnitude.nii.gz'))
    changed = ('--parameter', 'regularisation=0.001', '--seed', '7')
    invert(sphere, tmp_path / 'chi.nii.gz', '--method', 'tv', *magnitude, *changed, *NO_ERROR)
    sidecar = json.loads((tmp_path / 'chi.json').read_text())
    assert sidecar['Units'] == 'ppm'
    inversion = sidecar['DipoleInversion']
    assert inversion['Method'] == 'tv'
    assert inversion['regularisation'] == 0.001
    assert inversion['tolerance'] > 0
    assert (inversion['RandomSeed'], inversion['Device']) == (7, 'cpu')
    assert 0.9 < inversion['ExplainedFieldPower'] <= 1


def test_a_count_may_be_given(sphere, tmp_path):
    one = ('--method', 'tv', '--parameter', 'iterations=1', *NO_ERROR)
    chi = invert(sphere, tmp_path / 'chi.nii.gz', *one)
    settled = invert(sphere, tmp_path / 'b.nii.gz', '--method', 'tv', *NO_ERROR)
    errors = [abs(contrast(image, sphere) - CHI_PPM) for image in (chi, settled)]
    assert errors[0] > 2 * errors[1]


def test_a_file_that_is_no_image_ends_with_1_and_its_name(sphere, tmp_path, capsys):
    broken = tmp_path / 'broken.nii.gz'
    broken.write_text('no image')
    out = tmp_path / 'chi.nii.gz'
    mask = str(sphere / 'mask.nii.gz')
    assert main([str(broken), '--mask', mask, '--output', str(out)]) == 1
    assert 'broken.nii.gz' in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize('flag', ['--output', '--uncertainty'])
def test_a_folder_that_cannot_be_made_is_refused_before_the_inversion(
    sphere, tmp_path, capsys, flag
):
    (tmp_path / 'file').touch()
    options = ['--method', 'wiener', '--parameter', 'unknown=1', flag, tmp_path / 'file' / 'x.nii']
    arguments = [sphere / 'ppm.nii.gz', '-m', sphere / 'mask.nii.gz', '-o', tmp_path / 'chi.nii']
    assert main([str(argument) for argument in arguments + options]) == 1
    message = capsys.readouterr().err
    assert f'file cannot be made (file exists); choose another as {flag}.' in message


def test_larger_regularisation_gives_a_smaller_map(sphere, tmp_path):
    maps = [
        invert(sphere, tmp_path / 'chi.nii', '--method', 'tikhonov', '--parameter', setting)
        for setting in ('regularisation=0.01', 'regularisation=0.1')
    ]
    assert np.linalg.norm(maps[1]) < 0.8 * np.linalg.norm(maps[0])


@pytest.mark.parametrize(
    ('changes', 'options', 'message'),
    [
        ({}, ['--field-units', 'Hz'], 'belong together'),
        ({}, ['--b0', '3'], 'belong together'),
        ({}, ['--field-units', 'tesla'], 'invalid choice'),
        ({}, ['--method', 'magic'], 'invalid choice'),
        ({}, ['--parameter', 'threshold'], 'is not NAME=NUMBER'),
        ({}, ['--device', 'tpu'], 'is not auto, cpu or cuda'),
        ({}, ['--magnitude', 'nowhere.nii'], 'the file nowhere.nii does not exist'),
        ({'field': 'nowhere'}, [], 'nowhere.nii.gz does not exist'),
        ({'mask': 'nowhere'}, [], 'nowhere.nii.gz does not exist'),
        ({}, ['--output', 'chi.mat'], 'must end with .nii or .nii.gz'),
        ({}, ['--b0-direction', '0', '1'], 'expected 3 arguments'),
        ({}, ['--field-units', 'Hz', '--b0', '127.7'], 'no field strength of 0.05 to 21 T'),
        ({}, ['--field-units', 'Hz', '--b0', '-3'], 'no field strength of 0.05 to 21 T'),
        ({}, ['--seed', '-1'], 'no whole number'),
    ],
)
def test_wrong_arguments_end_with_2(sphere, tmp_path, capsys, changes, options, message):
    with pytest.raises(SystemExit) as ended:
        invert(sphere, tmp_path / 'chi.nii.gz', *options, **changes)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('changes', 'options', 'messages'),
    [
        ({'mask': 'other_shape'}, [], ['other_shape.nii.gz', '(8, 8, 8)', 'resample']),
        ({'mask': 'empty'}, [], ['mask is empty']),
        ({'mask': 'moved'}, [], ['moved.nii.gz has another affine', 'fslcpgeom']),
        ({'field': 'complex'}, [], ['complex.nii.gz holds complex numbers']),
        ({'field': 'not_finite'}, [], ['not finite']),
        ({}, ['--parameter', 'nonsense=1'], ["no parameter 'nonsense'", 'regularisation']),
        ({}, ['--b0-direction', '0', '0', '0'], ['B0 direction']),
        ({}, ['--device', 'cuda:99'], ['finds no such GPU']),
    ],
)
def test_wrong_input_ends_with_1(sphere, tmp_path, capsys, changes, options, messages):
    field, mask = changes.get('field', 'ppm'), changes.get('mask', 'mask')
    images = [str(sphere / f'{field}.nii.gz'), '--mask', str(sphere / f'{mask}.nii.gz')]
    assert main([*images, '--output', str(tmp_path / 'chi.nii.gz'), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith('qsmprep-invert: ')
    assert error.count('\n') == 1
    assert all(message in error for message in messages)
    assert not list(tmp_path.iterdir())


def test_help_takes_little_time_and_loads_nothing_heavy():
    code = (
        'import sys\n'
        'from qsmprep.cli.invert import main\n'
        'try: main(["--help"])\n'
        'except SystemExit: pass\n'
        'print("LOADED", sorted({"torch", "numpy", "nipype", "nibabel"} & set(sys.modules)))\n'
    )
    times = []
    for _ in range(3):
        before = os.times()
        done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
        after = os.times()
        spent = after.children_user + after.children_system
        times.append(spent - before.children_user - before.children_system)
    assert done.stdout.splitlines()[-1] == 'LOADED []'
    assert min(times) < 0.5


def test_a_mask_whose_header_states_nothing_is_taken_by_voxels(sphere, tmp_path):
    chi = invert(sphere, tmp_path / 'chi.nii.gz', '--method', 'tkd', mask='bare')
    assert contrast(chi, sphere) > 0.5 * CHI_PPM


def test_an_input_is_not_overwritten(sphere, tmp_path, capsys):
    field = tmp_path / 'field.nii.gz'
    shutil.copy(sphere / 'ppm.nii.gz', field)
    before = field.read_bytes()
    with pytest.raises(SystemExit, match='2'):
        main([str(field), '-m', str(sphere / 'mask.nii.gz'), '-o', str(field)])
    assert 'is an input, which would be lost' in capsys.readouterr().err
    assert field.read_bytes() == before


def test_a_field_in_another_unit_ends_with_1_and_its_map(sphere, tmp_path, capsys):
    out = tmp_path / 'chi.nii.gz'
    images = [str(sphere / 'hz.nii.gz'), '-m', str(sphere / 'mask.nii.gz'), '-o', str(out)]
    assert main([*images, '--method', 'tkd', '--device', 'cpu']) == 1
    said = capsys.readouterr().err
    assert 'Spread of susceptibility' in said
    assert 'Check --field-units' in said
    assert out.exists()

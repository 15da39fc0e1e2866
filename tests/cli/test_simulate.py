"""``qsmprep-simulate``: what it writes is valid BIDS and holds what was asked for."""

import json
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from qsmprep.cli.simulate import LESIONS, main
from qsmprep.interfaces.itk import matrix_of, read_transform, resample
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.simulate.lesions import LESIONS as KINDS
from qsmprep.training.heads import find_heads, read_head
from tests.whole_runs import errors_of


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp('simulated') / 'bids'
    options = '--voxel 5 5 6 --b0 7 --b0-direction 0 0.6 0.8 --tes 4 9 --snr 60 --seed 3'
    assert main([str(folder), *options.split()]) == 0
    return folder


def test_dataset_and_truth_are_valid(dataset):
    assert errors_of(dataset) == []
    assert errors_of(dataset / 'derivatives' / 'simulation') == []


def test_scan_can_be_read_back(dataset):
    anat = dataset / 'sub-01' / 'anat'
    phase = nib.load(anat / 'sub-01_echo-2_part-phase_MEGRE.nii.gz')
    values = phase.get_fdata()
    assert values.min() >= -np.pi - 1e-6
    assert values.max() < np.pi
    assert values.std() > 1
    grid = Grid.from_affine(phase.shape, phase.affine)
    np.testing.assert_allclose(grid.b0_direction, (0, 0.6, 0.8), atol=1e-5)
    np.testing.assert_allclose(grid.voxel_size, (5, 5, 6), rtol=1e-5)
    sidecar = json.loads((anat / 'sub-01_echo-2_part-phase_MEGRE.json').read_text())
    assert sidecar['EchoTime'] == pytest.approx(0.009)
    assert sidecar['MagneticFieldStrength'] == 7
    assert sidecar['ImagingFrequency'] == pytest.approx(298.04, abs=0.01)
    assert sidecar['Units'] == 'rad'


def test_truth_matches_the_scan(dataset):
    """Between the echoes the phase turns by 2 pi dTE times the true total field."""
    truth = dataset / 'derivatives' / 'simulation' / 'sub-01'
    anat = dataset / 'sub-01' / 'anat'
    first, second = (
        nib.load(anat / f'sub-01_echo-{n}_part-phase_MEGRE.nii.gz').get_fdata() for n in (1, 2)
    )
    total = nib.load(truth / 'fmap' / 'sub-01_desc-total_fieldmap.nii.gz').get_fdata()
    brain = nib.load(truth / 'anat' / 'sub-01_desc-brain_mask.nii.gz').get_fdata() > 0
    misfit = np.angle(np.exp(1j * (second - first - 2 * np.pi * 0.005 * total)))[brain]
    assert np.median(np.abs(misfit)) < 0.1
    chi = nib.load(truth / 'anat' / 'sub-01_Chimap.nii.gz').get_fdata()
    assert not chi[~brain].any()
    assert 0.01 < chi[brain].std() < 0.1


def test_full_folder_and_wrong_options_are_refused(dataset, tmp_path, capsys):
    words = ('--voxel 1 2', '--voxel 100', '--voxel nan', '--tes 8 4', '--tes 0.004 0.008')
    for options in ([str(dataset)], *([str(tmp_path / 'x'), *text.split()] for text in words)):
        with pytest.raises(SystemExit) as stop:
            main(options)
        assert stop.value.code == 2
    assert main([str(tmp_path / 'y'), '--labels', str(tmp_path / 'none')]) == 1
    assert 'label volume' in capsys.readouterr().err


def test_heads_are_turned_to_the_axes(tmp_path):
    labels = np.zeros((6, 8, 10), dtype=np.int16)
    labels[1, 2, 3] = 2
    affine = np.diag([-1.0, 1.0, 1.0, 1.0])
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / 'head.nii.gz')
    head = read_head(find_heads(tmp_path)[0])
    assert np.argwhere(head.labels).tolist() == [[4, 2, 3]]


def test_lesions_on_the_command_line_are_those_of_the_simulator():
    assert set(LESIONS) == set(KINDS)


def test_help_needs_no_torch():
    code = (
        'import sys; from qsmprep.cli.simulate import build_parser; build_parser().format_help(); '
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'nibabel')))"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


def test_labels_that_are_no_image_are_named(tmp_path, capsys):
    (tmp_path / 'labels.nii').write_text('x')
    assert main([str(tmp_path / 'out'), '--labels', str(tmp_path / 'labels.nii')]) == 1
    assert 'labels.nii' in capsys.readouterr().err


def test_a_file_as_output_is_named(tmp_path, capsys):
    (tmp_path / 'file').touch()
    with pytest.raises(SystemExit):
        main([str(tmp_path / 'file')])
    assert 'file is a file; name a new folder' in capsys.readouterr().err


def test_sessions_and_anatomy_are_valid(two_sessions):
    assert errors_of(two_sessions) == []
    errors = errors_of(two_sessions / 'derivatives' / 'fmriprep')
    assert {error['code'] for error in errors} <= {'NOT_INCLUDED', 'SIDECAR_KEY_REQUIRED'}


def test_the_true_transform_brings_the_brain_of_a_session_to_the_t1w(two_sessions):
    anatomy = two_sessions / 'derivatives' / 'fmriprep' / 'sub-01' / 'ses-1' / 'anat'
    brain = nib.load(anatomy / 'sub-01_ses-1_desc-brain_mask.nii.gz')
    inside = brain.get_fdata() > 0
    centre = brain.affine @ np.append(np.argwhere(inside).mean(axis=0), 1)
    for session in '12':
        folder = two_sessions / 'derivatives' / 'simulation' / 'sub-01' / f'ses-{session}' / 'anat'
        stem = f'sub-01_ses-{session}'
        mask = nib.load(folder / f'{stem}_desc-brain_mask.nii.gz')
        transform = read_transform(folder / f'{stem}_from-MEGRE_to-T1w_mode-image_xfm.txt')
        moves = matrix_of(transform)
        np.testing.assert_allclose(moves[:3, :3] @ moves[:3, :3].T, np.eye(3), atol=1e-9)
        assert np.abs(moves - np.eye(4)).max() > 0.5
        placed = resample(mask.get_fdata(), mask.affine, transform, brain.shape, brain.affine) > 0.5
        assert 2 * (placed & inside).sum() > 0.93 * (placed.sum() + inside.sum())
        own = moves @ mask.affine @ np.append(np.argwhere(mask.get_fdata()).mean(axis=0), 1)
        np.testing.assert_allclose(own, centre, atol=1.0)


def test_sessions_differ_in_noise_and_place_alone(two_sessions):
    truth = two_sessions / 'derivatives' / 'simulation' / 'sub-01'
    maps = [nib.load(truth / f'ses-{n}' / 'anat' / f'sub-01_ses-{n}_Chimap.nii.gz') for n in (1, 2)]
    np.testing.assert_array_equal(*(image.get_fdata() for image in maps))
    assert np.abs(maps[0].affine - maps[1].affine).max() > 0.1

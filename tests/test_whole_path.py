"""The command line from a dataset to maps and report, on real scans."""

import json
import os
import shutil
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from qsmprep.cli.run import main
from tests.whole_runs import run_apart, run_here, validate

DATA = Path(__file__).parent / 'data'


@pytest.fixture(scope='module')
def philips(tmp_path_factory):
    """Outputs of the default chain on a two-echo scan of a whole head."""
    folder = tmp_path_factory.mktemp('philips')
    out = folder / 'out'
    code = run_apart(
        DATA / 'philips', out, 'participant', '--work-dir', folder / 'work', '--output-echos'
    )
    return code, out


def test_a_real_scan_is_processed(philips):
    code, out = philips
    assert code == 0
    written = {str(p.relative_to(out)) for p in out.rglob('sub-01*') if p.is_file()}
    anat, fmap = 'sub-01/anat/sub-01', 'sub-01/fmap/sub-01'
    images = {
        f'{anat}_Chimap', f'{anat}_R2starmap', f'{anat}_T2starmap', f'{anat}_S0map',
        f'{anat}_desc-brain_mask', f'{anat}_desc-quality_mask', f'{anat}_desc-chi_mask',
        f'{anat}_desc-estimated_mask',
        f'{anat}_echo-1_part-phase_desc-unwrapped_MEGRE',
        f'{anat}_echo-2_part-phase_desc-unwrapped_MEGRE',
        f'{fmap}_desc-total_fieldmap', f'{fmap}_desc-noise_fieldmap',
        f'{fmap}_desc-local_fieldmap', f'{fmap}_magnitude',
    }  # fmt:skip
    expected = {f'{image}.nii.gz' for image in images} | {f'{image}.json' for image in images}
    panels = (
        'echoes', 'unwrapping', 'unwrapped', 'totalfield', 'mask', 'background', 'localfield',
        'chi', 'kspace', 'residual', 'r2star',
    )  # fmt:skip
    expected |= {f'sub-01/figures/sub-01_desc-{panel}_MEGRE.png' for panel in panels}
    expected |= {'sub-01.html', 'sub-01_viewer.html', 'logs/sub-01.json'}
    assert written == expected


def test_outputs_are_valid_bids(philips):
    validate(philips[1])


def test_the_map_is_a_map_of_susceptibility(philips):
    anat = philips[1] / 'sub-01' / 'anat'
    chi_image = nb.load(anat / 'sub-01_Chimap.nii.gz')
    chi = chi_image.get_fdata()
    mask = nb.load(anat / 'sub-01_desc-chi_mask.nii.gz').get_fdata() > 0
    source = nb.load(next((DATA / 'philips').rglob('*echo-1_part-phase_MEGRE.nii.gz')))
    np.testing.assert_allclose(chi_image.affine, source.affine, atol=1e-4)
    assert np.isfinite(chi).all()
    assert (chi[~mask] == 0).all()
    assert abs(chi[mask].mean()) < 1e-4
    assert 0.005 < chi[mask].std() < 0.15
    volume_ml = mask.sum() * np.prod(chi_image.header.get_zooms()) / 1000
    assert 900 < volume_ml < 1700


def test_sidecars_tell_all_that_was_done(philips):
    anat = philips[1] / 'sub-01' / 'anat'
    sidecar = json.loads((anat / 'sub-01_Chimap.json').read_text())
    assert sidecar['Units'] == 'ppm'
    assert sidecar['SkullStripped'] is True
    assert sidecar['EchoTime'] == [0.0023, 0.0046]
    assert sidecar['MagneticFieldStrength'] == pytest.approx(3.0, abs=0.01)
    assert {'qsmprep', 'torch', 'niimath'} <= set(sidecar['Software'])
    assert len(sidecar['Sources']) == 4
    assert all(source.startswith('bids:raw:sub-01/anat/') for source in sidecar['Sources'])
    assert sidecar['PhaseProcessing']['OffsetRemoval'] == 'MCPC-3D-S'
    assert sidecar['PhaseProcessing']['BipolarReadout'].startswith('unknown')
    assert json.loads((anat / 'sub-01_R2starmap.json').read_text())['Relaxometry']['NoiseSD'] > 0
    assert sidecar['Masking']['BrainExtraction']['Method'] == 'deepbet'
    assert sidecar['BackgroundFieldRemoval']['Method'] == 'pdf'
    inversion = sidecar['DipoleInversion']
    assert inversion['Method'] == 'tv'
    assert {'RandomSeed', 'Device'} <= set(inversion)
    assert len(inversion) > 4
    assert sidecar['Referencing']['ReferenceRegion'] == 'brain'
    assert sidecar['QualityMeasures']


def test_unwrapped_minus_wrapped_is_a_multiple_of_two_pi_after_one_offset(philips):
    anat = philips[1] / 'sub-01' / 'anat'
    brain = nb.load(anat / 'sub-01_desc-quality_mask.nii.gz').get_fdata() > 0
    remainders = []
    for echo in (1, 2):
        name = f'sub-01_echo-{echo}_part-phase_desc-unwrapped_MEGRE.nii.gz'
        unwrapped = nb.load(anat / name).get_fdata()
        raw = next((DATA / 'philips').rglob(f'*echo-{echo}_part-phase_MEGRE.nii.gz'))
        remainders.append(np.exp(1j * (nb.load(raw).get_fdata() - unwrapped))[brain])
    # The same phase offset was taken off both echoes.
    np.testing.assert_allclose(remainders[0], remainders[1], atol=5e-3)


def test_methods_text_cites_what_was_run(philips):
    text = (philips[1] / 'logs' / 'CITATION.md').read_text()
    assert 'ROMEO [Dymerska et al. 2021' in text
    assert 'MCPC-3D-S' in text
    assert '@' not in text


def test_nothing_written_names_a_folder_of_the_host(philips):
    out = philips[1]
    for path in [*out.rglob('*.json'), *out.glob('*.html')]:
        assert str(out.parent) not in path.read_text(), path


def test_group_level_gathers_the_quality_measures(philips, capsys):
    out = philips[1]
    assert main([str(DATA / 'philips'), str(out), 'group']) == 0
    header, row = (out / 'group_qsm.tsv').read_text().strip().splitlines()
    assert row.split('\t')[:3] == ['sub-01_MEGRE', 'sub-01', 'completed']
    assert len(header.split('\t')) > 8
    assert (out / 'group.html').is_file()


def test_reports_are_assembled_again(philips, capsys):
    out = philips[1]
    page = out / 'sub-01.html'
    before = page.read_text()
    page.unlink()
    assert main([str(DATA / 'philips'), str(out), 'participant', '--reports-only']) == 0
    assert page.read_text() == before


@pytest.fixture(scope='module')
def cohort(tmp_path_factory):
    """Outputs of a crop of three echoes, of its first echo alone, and of a copy cut off."""
    folder = tmp_path_factory.mktemp('cohort')
    dataset = Path(shutil.copytree(DATA / 'romeo', folder / 'data'))
    label = next(dataset.glob('sub-*')).name
    for other in ('sub-bad', 'sub-single'):
        shutil.copytree(dataset / label, dataset / other)
        for path in [p for p in (dataset / other).rglob('*') if p.is_file()]:
            path.rename(path.with_name(path.name.replace(label, other)))
    for path in (dataset / 'sub-single').rglob('*echo-[23]_*'):
        path.unlink()
    broken = next((dataset / 'sub-bad').rglob('*part-phase*.nii.gz'))
    os.truncate(broken, broken.stat().st_size // 2)
    code = run_here(dataset, folder / 'out', panels=['chi'])
    return code, folder / 'out', label, broken.name


def test_a_three_echo_crop_is_processed(cohort):
    _, out, label, _ = cohort
    assert json.loads((out / 'logs' / f'{label}.json').read_text())['errors'] == []
    anat = out / label / 'anat'
    mask = json.loads(next(anat.glob('*desc-brain_mask.json')).read_text())
    assert mask['Masking']['BrainExtraction']['Method'] == 'signal'
    chi = nb.load(next(anat.glob('*_Chimap.nii.gz'))).get_fdata()
    assert 0.005 < chi[chi != 0].std() < 0.2
    validate(out)


def test_one_echo_alone_is_processed(cohort):
    anat = cohort[1] / 'sub-single' / 'anat'
    assert list(anat.glob('*_Chimap.nii.gz'))
    assert not list(anat.glob('*_R2starmap.nii.gz'))


def test_one_bad_participant_does_not_stop_the_others(cohort):
    code, out, label, broken = cohort
    assert code == 1
    assert (out / label / 'anat').is_dir()
    record = json.loads((out / 'logs' / 'sub-bad.json').read_text())
    assert broken in record['acquisitions'][0]['error']
    assert (out / 'sub-bad.html').is_file()


@pytest.mark.parametrize('name', ['siemens_phasediff', 'ge_fieldmap'])
def test_data_without_phase_of_each_echo_are_explained(tmp_path, name):
    out = tmp_path / 'out'
    assert run_here(DATA / name, out) == 1
    record = json.loads(next((out / 'logs').glob('sub-*.json')).read_text())
    assert 'phase of each echo' in record['errors'][0]['message']
    assert 'phase of each echo' in next(out.glob('sub-*.html')).read_text()
    validate(out)


def test_a_node_that_dies_is_in_the_report(tiny_dataset, tmp_path):
    tiny_dataset.add()
    out = tmp_path / 'out'
    ignored = ('--ignore', 'brain-extraction', 'phase-quality')
    options = (*ignored, '--inversion-parameter', 'error_share=2')
    assert run_here(tiny_dataset.root, out, *options, panels=['chi']) == 1
    record = json.loads(next((out / 'logs').glob('sub-*.json')).read_text())
    assert record['acquisitions'][0]['status'] == 'failed'
    assert 'error_share lies between 0 and 1' in record['acquisitions'][0]['error']
    page = next(out.glob('sub-*.html')).read_text()
    assert 'error_share lies between 0 and 1' in page
    assert list(out.rglob('*desc-local_fieldmap.nii.gz'))
    assert json.loads((out / 'dataset_description.json').read_text())['DatasetType'] == 'derivative'


def test_dry_runs_write_no_maps(tmp_path):
    for flag in ('--dry-run', '--boilerplate-only'):
        out = tmp_path / flag
        assert run_here(DATA / 'romeo', out, flag) == 0
        assert (out / 'logs' / 'CITATION.md').is_file()
        assert not list(out.rglob('*.nii.gz'))


def test_an_unknown_participant_is_an_error(tmp_path, capsys, caplog):
    arguments = [str(DATA / 'romeo'), str(tmp_path / 'out'), 'participant', '-w', str(tmp_path)]
    assert main([*arguments, '--participant-label', 'nobody']) == 1
    assert 'nobody' in caplog.text


def test_simulated_heads_are_compared_with_their_truth(two_sessions, tmp_path):
    out = tmp_path / 'out'
    truth_set = two_sessions / 'derivatives' / 'simulation'
    options = ('--derivatives', f'truth={truth_set}', '--session-label', '1', '--ignore', 't1w')
    assert run_here(two_sessions, out, *options, panels=['chi', 'truth']) == 0
    assert (out / 'sub-01' / 'figures' / 'sub-01_ses-1_desc-truth_MEGRE.png').is_file()
    anat, stem = Path('sub-01', 'ses-1', 'anat'), 'sub-01_ses-1'
    chi = nb.load(out / anat / f'{stem}_Chimap.nii.gz').get_fdata()
    mask = nb.load(out / anat / f'{stem}_desc-chi_mask.nii.gz').get_fdata() > 0
    truth = nb.load(truth_set / anat / f'{stem}_Chimap.nii.gz').get_fdata()
    assert np.corrcoef(chi[mask], truth[mask])[0, 1] > 0.65
    brain = json.loads((out / anat / f'{stem}_desc-brain_mask.json').read_text())
    assert brain['Masking']['BrainExtraction']['Method'] == 'given'


def test_a_missing_command_has_its_exit_code(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv('PATH', str(tmp_path))
    arguments = [str(DATA / 'romeo'), str(tmp_path / 'out'), 'participant', '-w', str(tmp_path)]
    assert main([*arguments, '--write-graph']) == 127
    assert 'graphviz' in caplog.text

"""Uncertainty and the flags of sampling inversions, from the command line to the sidecar."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.phase_scale import InputOverrides
from qsmprep.cli.invert import main as invert_main
from qsmprep.cli.parser import parse_args
from qsmprep.interfaces.inversion import InvertDipole
from qsmprep.methods import INVERSIONS, Method
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.settings import Settings
from qsmprep.workflows.acquisition import init_acquisition_wf
from qsmprep.workflows.plan import Job

SHAPE = (24, 20, 16)


def sampler(field, mask, grid, *, prior: str | None = None, samples: int = 1):
    """Stand in for an inversion that samples; the map says what came in."""
    sd = None if samples == 1 else 0.01 * mask
    return Estimate(0 * field + 0.001 * samples * mask, {'prior_sha256': 'abc'}, sd)


@pytest.fixture
def with_sampler(monkeypatch):
    options = {'needs': ('prior',), 'gives': ('samples',)}
    monkeypatch.setitem(INVERSIONS, 'sampler', Method('sampler', sampler, '', 'a stub', **options))


@pytest.fixture
def scan(tmp_path, prior):
    """Local field [ppm], mask and a file of weights on disk."""
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, bool)
    mask[3:-3, 3:-3, 3:-3] = True
    volumes = {'field': 0.01 * rng.standard_normal(SHAPE) * mask, 'mask': mask.astype(np.uint8)}
    for name, volume in volumes.items():
        nb.save(nb.Nifti1Image(volume.astype(np.float32), np.eye(4)), tmp_path / f'{name}.nii.gz')
    (tmp_path / 'weights').mkdir()
    shutil.copy(prior, tmp_path / 'weights')
    return tmp_path


@pytest.mark.parametrize('method', ['tkd', 'tikhonov', 'tv', 'wiener'])
def test_what_is_promised_before_the_run_comes_true(scan, method):
    field = np.asarray(nb.load(scan / 'field.nii.gz').dataobj)
    mask = np.asarray(nb.load(scan / 'mask.nii.gz').dataobj) > 0
    given = invert(field, mask, Grid(SHAPE), method).sd_ppm is not None
    assert INVERSIONS[method].tells_uncertainty({}) is given


def test_samples_make_an_inversion_uncertain(with_sampler):
    assert INVERSIONS['sampler'].tells_uncertainty({'samples': 2})
    assert not INVERSIONS['sampler'].tells_uncertainty({})


@pytest.mark.parametrize('method', ['tkd', 'wiener'])
def test_the_node_writes_uncertainty_only_where_it_is_known(scan, method, monkeypatch):
    monkeypatch.chdir(scan)
    node = InvertDipole(
        field=scan / 'field.nii.gz', mask=scan / 'mask.nii.gz', field_strength_t=3.0, method=method
    )
    outputs = node.run().outputs
    if method == 'tkd':
        assert not (scan / 'uncertainty.nii').exists()
        assert 'Uncertainty' not in outputs.parameters
        return
    sd = np.asarray(nb.load(outputs.uncertainty).dataobj)
    mask = np.asarray(nb.load(scan / 'mask.nii.gz').dataobj) > 0
    assert (sd[mask] > 0).all()
    assert 'closed form' in outputs.parameters['Uncertainty']


def test_the_command_writes_mean_spread_and_the_name_of_the_prior(scan, with_sampler):
    code = invert_main([
        str(scan / 'field.nii.gz'), '--mask', str(scan / 'mask.nii.gz'), '--method', 'sampler',
        '--output', str(scan / 'chi.nii.gz'), '--uncertainty', str(scan / 'sd.nii.gz'),
        '--posterior-samples', '4', '--prior', str(scan / 'weights' / 'prior.safetensors'),
    ])  # fmt:skip
    assert code == 0
    assert nb.load(scan / 'chi.nii.gz').get_fdata().max() == pytest.approx(0.004)
    assert nb.load(scan / 'sd.nii.gz').get_fdata().max() == pytest.approx(0.01)
    record = json.loads((scan / 'sd.json').read_text())['DipoleInversion']
    assert record['prior'] == 'prior.safetensors'
    assert record['samples'] == 4
    assert record['prior_sha256'] == 'abc'
    assert record['Uncertainty'] == 'standard deviation over 4 posterior samples'


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--posterior-samples', '4'], 'the inversion tkd draws no samples; choose diffusion'),
        (['--prior', 'field.nii.gz'], 'the inversion tkd has no learned prior; choose diffusion'),
        (['--uncertainty', 'sd.nii.gz'], 'gives no uncertainty'),
    ],
)
def test_the_command_refuses_what_the_method_has_not(scan, options, message, capsys, monkeypatch):
    monkeypatch.chdir(scan)
    images = ['field.nii.gz', '--mask', 'mask.nii.gz', '--output', 'chi.nii.gz']
    assert invert_main([*images, '--method', 'tkd', *options]) == 1
    assert message in capsys.readouterr().err
    assert not (scan / 'chi.nii.gz').exists()


def test_the_flags_are_checked_before_a_run(scan, with_sampler, capsys):
    folders = [str(scan / 'weights'), str(scan / 'out'), 'participant', '-w', str(scan / 'work')]
    flags = ['--posterior-samples', '4', '--prior', str(scan / 'weights' / 'prior.safetensors')]
    _, settings = parse_args([*folders, *flags, '--inversion', 'sampler'])
    assert settings.processing.posterior_samples == 4
    assert Settings.from_toml(settings.to_toml()) == settings
    with pytest.raises(SystemExit):
        parse_args([*folders, *flags[:2], '--inversion', 'tkd'])
    message = capsys.readouterr().err
    assert '--posterior-samples: the inversion tkd draws no samples; choose ' in message
    assert 'sampler' in message


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        ({'inversion': 'tv'}, False),
        ({'inversion': 'wiener'}, True),
        ({'inversion': 'wiener', 'sloppy': True}, False),
        ({'inversion': 'sampler', 'posterior_samples': 3, 'prior': Path('/a/b')}, True),
    ],
)
def test_sink_and_panel_are_there_only_with_uncertainty(
    tiny_dataset, tmp_path, with_sampler, changes, expected
):
    tiny_dataset.add()
    found, _ = find_acquisitions(open_dataset(tiny_dataset.root), '01', [], None, InputOverrides())
    settings = Settings()
    settings = replace(settings, processing=replace(settings.processing, **changes))
    settings = replace(settings, outputs=replace(settings.outputs, output_dir=tmp_path / 'out'))
    workflow = init_acquisition_wf(job=Job(found[0], {}), settings=settings, device='cpu')
    nodes = workflow.list_node_names()
    assert ('outputs_wf.sink_uncertainty' in nodes) is expected
    assert ('reports_wf.draw_uncertainty' in nodes) is expected
    if changes['inversion'] == 'sampler':
        parameters = workflow.get_node('qsm_wf.inversion_wf.invert_dipole').inputs.method_parameters
        assert parameters == {'samples': 3, 'prior': '/a/b'}

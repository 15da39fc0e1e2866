"""Super-resolution from the command line to a valid derivative."""

from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
import torch

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.phase_scale import InputOverrides
from qsmprep.cli.parser import parse_args
from qsmprep.interfaces.superres import SuperResolve
from qsmprep.qsm.grid import Grid, ppm_to_hz
from qsmprep.qsm.operators import Dipole, KSpaceCrop
from qsmprep.settings import Settings
from qsmprep.workflows.acquisition import init_acquisition_wf
from qsmprep.workflows.plan import Job
from qsmprep.workflows.superres import init_superres_wf
from tests.whole_runs import run_here, validate

AFFINE = np.array([[0, 2.0, 0, -9], [1.5, 0, 0, 4], [0, 0, 3, 7], [0, 0, 0, 1]])


@pytest.fixture
def images(tmp_path, monkeypatch):
    """Coarse map [ppm], field [Hz] and mask of a ball, with axes that are swapped; paths."""
    monkeypatch.chdir(tmp_path)
    shape = (24, 20, 16)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing='ij')
    mask = x**2 + y**2 + z**2 < 0.7
    blob = np.exp(-((x - 0.2) ** 2 + (y + 0.1) ** 2 + z**2) / 0.05)
    chi = np.where(mask, 0.1 * blob - 0.01, 0)
    dipole = Dipole(Grid(shape, (1.5, 2.0, 3.0)))
    field = dipole.forward(torch.from_numpy(chi).float()).numpy()
    volumes = {'chi': chi, 'field': np.where(mask, ppm_to_hz(field, 3.0), 0), 'mask': mask}
    for name, volume in volumes.items():
        nb.save(nb.Nifti1Image(volume.astype(np.float32), AFFINE), tmp_path / f'{name}.nii.gz')
    return {name: tmp_path / f'{name}.nii.gz' for name in volumes}


def read(path):
    return np.asarray(nb.load(path).dataobj)


def test_the_node_refines_a_map_and_leaves_it_in_place(images, prior):
    outputs = SuperResolve(
        chi=images['chi'], mask=images['mask'], resolution='1.5', prior=prior
    ).run().outputs  # fmt:skip
    fine, chi, mask = read(outputs.chi), read(images['chi']), read(images['mask']) > 0
    assert fine.shape == (24, 27, 32)
    seen = KSpaceCrop(fine.shape, chi.shape).forward(torch.from_numpy(fine)).numpy()
    assert np.sqrt(np.mean((seen - chi)[mask] ** 2)) < 0.003
    centres_mm = []
    for path, image in ((outputs.chi, fine), (images['chi'], chi)):
        weight = np.clip(image - 0.03, 0, None)
        centre = np.average(np.argwhere(weight > 0), 0, weight[weight > 0])
        centres_mm.append(nb.affines.apply_affine(nb.load(path).affine, centre))
    assert np.abs(centres_mm[0] - centres_mm[1]).max() < 0.3
    assert outputs.parameters['VoxelSize'] == pytest.approx([1.5, 40 / 27, 1.5])
    assert outputs.parameters['RandomSeed'] == 0
    assert str(prior.parent) not in json.dumps(outputs.parameters)


def test_from_the_field_the_reference_is_that_of_the_map(images):
    outputs = SuperResolve(
        **images, noise=images['mask'], field_strength_t=3.0, resolution='iso'
    ).run().outputs  # fmt:skip
    fine, chi, mask = read(outputs.chi), read(images['chi']), read(images['mask']) > 0
    assert fine[fine != 0].mean() == pytest.approx(chi[mask].mean(), abs=1e-3)
    assert outputs.parameters['Source'] == 'local field'


def test_a_map_that_is_fine_enough_is_handed_on(images, prior):
    outputs = SuperResolve(
        chi=images['chi'], mask=images['mask'], resolution='3', prior=prior
    ).run().outputs  # fmt:skip
    np.testing.assert_array_equal(read(outputs.chi), read(images['chi']))
    assert outputs.parameters['Done'] is False


def test_the_source_shapes_the_graph(prior):
    def connected(source):
        workflow = init_superres_wf(
            resolution='iso', source=source, field_strength_t=3.0, prior=prior
        )
        graph, node = workflow._graph, workflow.get_node('super_resolve')
        data = graph.get_edge_data(workflow.get_node('inputnode'), node)['connect']
        return {target for _, target in data}, workflow.visit_desc()

    fields, text = connected('field')
    assert fields == {'chi', 'mask', 'field', 'field_mask', 'noise'}
    assert 'by dipole inversion and super-resolution in one' in text
    assert '[@edm]' in text
    assert connected('map')[0] == {'chi', 'mask'}


@pytest.mark.parametrize(
    ('resolution', 'label'), [('1', '1'), ('0.5', '0p5'), ('iso', None), ('2', None), (None, None)]
)
def test_a_finer_map_is_written_only_where_it_is_finer(tiny_dataset, tmp_path, resolution, label):
    """The voxels of the dataset are cubes of 2 mm."""
    tiny_dataset.add()
    found, _ = find_acquisitions(open_dataset(tiny_dataset.root), '01', [], None, InputOverrides())
    settings = Settings()
    settings = replace(
        settings,
        processing=replace(settings.processing, sr_resolution=resolution),
        outputs=replace(settings.outputs, output_dir=tmp_path / 'out'),
    )
    workflow = init_acquisition_wf(job=Job(found[0], {}), settings=settings, device='cpu')
    nodes = workflow.list_node_names()
    for name in ('superres_wf.super_resolve', 'outputs_wf.sink_chi_fine'):
        assert (name in nodes) is (label is not None)
    if label is not None:
        sink = workflow.get_node('outputs_wf.sink_chi_fine').inputs
        assert f'_res-{label}_' in sink.out_file
    metadata = workflow.get_node('outputs_wf.describe_chi').inputs.acquisition
    assert ('SuperResolution' in metadata) is (label is None and resolution is not None)


def test_flags_reach_the_settings(tmp_path, capsys, prior):
    (tmp_path / 'bids').mkdir()
    folders = [str(tmp_path / 'bids'), str(tmp_path / 'out'), 'participant', '-w', str(tmp_path)]
    flags = ['--sr-resolution', '0.50', '--sr-source', 'field', '--prior', str(prior)]
    _, settings = parse_args([*folders, '--inversion', 'tkd', *flags])
    assert settings.processing.sr_resolution == '0.5'
    assert settings.processing.sr_source == 'field'
    assert Settings.from_toml(settings.to_toml()) == settings
    for wrong in ('fine', '0', '-1', '0.01', '1e3'):
        with pytest.raises(SystemExit):
            parse_args([*folders, f'--sr-resolution={wrong}'])
        assert 'neither iso nor an edge' in capsys.readouterr().err


def test_map_uncertainty_and_finer_map_of_a_scan_are_valid_derivatives(
    tiny_dataset, tmp_path, prior
):
    tiny_dataset.affine = np.diag([2.0, 2.0, 3.0, 1.0])
    tiny_dataset.add()
    out = tmp_path / 'out'
    code = run_here(
        tiny_dataset.root, out, '--inversion', 'wiener', '--background', 'lbv',
        '--ignore', 'brain-extraction', 'phase-quality', 'relaxometry',
        '--sr-resolution', 'iso', '--prior', str(prior), '--device', 'cpu', '--nprocs', '1',
        panels=['chi', 'superres', 'uncertainty'],
    )  # fmt:skip
    assert code == 0
    anat = out / 'sub-01' / 'anat'
    fine = nb.load(anat / 'sub-01_res-iso_desc-sr_Chimap.nii.gz')
    assert fine.shape == (12, 10, 12)
    np.testing.assert_allclose(fine.affine[2], [0, 0, 2, -0.5])
    sidecar = json.loads((anat / 'sub-01_res-iso_desc-sr_Chimap.json').read_text())
    assert sidecar['Resolution'] == '2 x 2 x 2 mm, super-resolved from 2 x 2 x 3 mm'
    assert sidecar['SuperResolution']['Source'] == 'susceptibility map'
    assert sidecar['Units'] == 'ppm'
    spread = nb.load(anat / 'sub-01_desc-uncertainty_Chimap.nii.gz').get_fdata()
    mask = nb.load(anat / 'sub-01_desc-chi_mask.nii.gz').get_fdata() > 0
    assert (spread[mask] > 0).all()
    record = json.loads((anat / 'sub-01_desc-uncertainty_Chimap.json').read_text())
    assert 'closed form' in record['DipoleInversion']['Uncertainty']
    figures = {path.name for path in (out / 'sub-01' / 'figures').iterdir()}
    assert {f'sub-01_desc-{p}_MEGRE.png' for p in ('superres', 'uncertainty')} <= figures
    assert 'Karras' in (out / 'logs' / 'CITATION.md').read_text()
    validate(out)

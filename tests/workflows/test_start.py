"""Runs that start late give what the whole run gives, and refuse what does not fit."""

import json

import nibabel as nb
import numpy as np
import pytest

from tests.whole_runs import run_here

FIRST = {
    'unwrapped': 'fmap/sub-01_desc-total_fieldmap',
    'total-field': 'fmap/sub-01_desc-local_fieldmap',
    'local-field': 'anat/sub-01_Chimap',
    'chi': 'anat/sub-01_Chimap',
}
"""Start -> first map that is computed from what is given."""
SOURCES = {
    'unwrapped': 'anat/sub-01_echo-2_part-phase_desc-unwrapped_MEGRE.nii.gz',
    'total-field': 'fmap/sub-01_desc-total_fieldmap.nii.gz',
    'local-field': 'fmap/sub-01_desc-local_fieldmap.nii.gz',
    'chi': 'anat/sub-01_Chimap.nii.gz',
}


def run(root, out, *options):
    steps = ('brain-extraction', 'phase-quality', 'relaxometry')
    return run_here(root, out, '--ignore', *steps, '--sloppy', *options, panels=['chi'])


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """Folder of a whole run on a tiny dataset, and the dataset."""
    from tests.conftest import TinyDataset

    folder = tmp_path_factory.mktemp('start')
    TinyDataset(folder / 'tiny').add()
    assert run(folder / 'tiny', folder / 'whole', '--output-echos') == 0
    return folder / 'tiny', folder / 'whole'


def voxels(folder, name):
    return nb.load(folder / 'sub-01' / f'{name}.nii.gz').get_fdata()


@pytest.mark.parametrize('start', FIRST)
def test_a_run_on_the_own_intermediates_gives_the_same(whole, tmp_path, start):
    root, before = whole
    out = tmp_path / 'late'
    assert run(root, out, '--start-from', start, '-d', f'before={before}') == 0
    name = FIRST[start]
    np.testing.assert_allclose(voxels(out, name), voxels(before, name), atol=2e-4)
    sidecar = json.loads((out / 'sub-01' / f'{name}.json').read_text())
    assert f'bids:before:sub-01/{SOURCES[start]}' in sidecar['Sources']
    assert (out / 'sub-01.html').is_file()
    order = list(FIRST)
    has_total = (out / 'sub-01' / 'fmap' / 'sub-01_desc-total_fieldmap.nii.gz').exists()
    assert has_total == (order.index(start) <= order.index('total-field'))


def test_another_unit_is_converted_and_named_by_its_sidecar(whole, tmp_path):
    root, before = whole
    fmap = tmp_path / 'other' / 'sub-01' / 'fmap'
    fmap.mkdir(parents=True)
    image = nb.load(before / 'sub-01' / 'fmap' / 'sub-01_desc-local_fieldmap.nii.gz')
    data = image.get_fdata() * 2 * np.pi
    data[data == 0] = np.nan
    nb.save(
        nb.Nifti1Image(data.astype(np.float32), image.affine),
        fmap / 'sub-01_desc-local_fieldmap.nii',
    )
    (fmap / 'sub-01_desc-local_fieldmap.json').write_text('{"Units": "rad/s"}')
    out = tmp_path / 'late'
    given = ['-d', f'other={fmap.parents[1]}']
    assert run(root, out, '--start-from', 'local-field', *given) == 0
    name = 'fmap/sub-01_desc-local_fieldmap'
    np.testing.assert_allclose(voxels(out, name), voxels(before, name), atol=1e-3)


def test_what_is_not_there_is_asked_for(whole, tmp_path, caplog):
    root, _ = whole
    assert run(root, tmp_path / 'late', '--start-from', 'total-field') == 1
    assert 'no total field to start from' in caplog.text
    assert 'desc-total_fieldmap.nii.gz in fmap/' in caplog.text


def test_contrasts_that_need_a_field_are_refused_with_a_given_map(whole, tmp_path, capsys):
    root, _ = whole
    with pytest.raises(SystemExit) as stop:
        run(root, tmp_path / 'late', '--start-from', 'chi', '--contrasts', 'swi')
    assert stop.value.code == 2
    assert 'no local field' in capsys.readouterr().err


def test_unwrapped_echoes_must_have_the_echo_times_of_the_scan(whole, tmp_path, caplog):
    root, before = whole
    copy = tmp_path / 'copy' / 'sub-01' / 'anat'
    copy.mkdir(parents=True)
    for path in (before / 'sub-01' / 'anat').glob('*desc-unwrapped*'):
        text = path.read_bytes()
        if path.suffix == '.json':
            text = text.replace(b'"EchoTime": 0.01,', b'"EchoTime": 0.02,')
        (copy / path.name).write_bytes(text)
    options = ['--start-from', 'unwrapped', '-d', f'copy={tmp_path / "copy"}']
    assert run(root, tmp_path / 'late', *options) == 1
    assert 'has the EchoTime 0.02 s' in caplog.text

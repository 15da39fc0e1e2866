"""Contrasts from the command line: images, units and constants, and R2 maps that do not fit."""

import json

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.errors import InputError
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.maps import find_map
from tests.whole_runs import run_here, validate


def run(dataset, out, *options, **keywords):
    ignored = ('--ignore', 'brain-extraction', 'phase-quality')
    return run_here(dataset.root, out, *ignored, '--sloppy', *options, **keywords)


def give_r2(dataset, value=12.0, units='1/s', affine=None, shape=None):
    """A dataset with an R2 map of the participant; its folder."""
    root = dataset.root.parent / 'relaxation'
    data = np.full(shape or dataset.signal.shape, value, dtype=np.float32)
    path = root / 'sub-01' / 'anat' / 'sub-01_R2map.nii.gz'
    dataset.write_image(path, data, affine=affine)
    sidecar = {} if units is None else {'Units': units}
    path.with_name('sub-01_R2map.json').write_text(json.dumps(sidecar))
    return root


@pytest.fixture
def dataset(tiny_dataset):
    return tiny_dataset.add(echo_times_s=(0.004, 0.012, 0.02))


def test_all_contrasts_come_from_one_command(dataset, tmp_path):
    r2 = give_r2(dataset)
    out = tmp_path / 'out'
    options = ['--contrasts', 'swi', 'r2prime', 'chisep', '--derivatives', f'relax={r2}']
    assert run(dataset, out, *options, panels=['chi', 'swi', 'separation']) == 0
    anat = out / 'sub-01' / 'anat'
    found = {
        name: nb.load(anat / f'sub-01_{name}.nii.gz').get_fdata()
        for name in (
            'swi', 'minIP', 'R2primemap', 'R2starmap', 'desc-paramagnetic_Chimap',
            'desc-diamagnetic_Chimap', 'desc-chi_mask',
        )
    }  # fmt: skip
    inside = found['desc-chi_mask'] > 0
    expected = np.maximum(found['R2starmap'] - 12, 0) * (found['R2starmap'] > 0)
    np.testing.assert_allclose(found['R2primemap'], expected, atol=1e-4)
    assert (found['minIP'] <= found['swi'] + 1e-6).all()
    assert 0.7 < np.median(found['swi'][inside]) < 1.1
    assert found['desc-paramagnetic_Chimap'].min() == 0
    assert found['desc-diamagnetic_Chimap'].max() == 0
    sidecar = json.loads((anat / 'sub-01_desc-diamagnetic_Chimap.json').read_text())
    assert sidecar['Units'] == 'ppm'
    assert sidecar['SourceSeparation']['Rate'] == "R2'"
    assert sidecar['SourceSeparation']['RatePerPpmInHz'] == pytest.approx(137.0)
    assert 'bids:relax:sub-01/anat/sub-01_R2map.nii.gz' in sidecar['Sources']
    plain = json.loads((anat / 'sub-01_Chimap.json').read_text())
    assert not any('R2map' in source for source in plain['Sources'])
    swi = json.loads((anat / 'sub-01_swi.json').read_text())
    assert swi['SusceptibilityWeighting']['Strength'] == 4.0
    text = (out / 'logs' / 'CITATION.md').read_text()
    assert 'Eckstein' in text
    assert 'Shin' in text
    figures = {path.name for path in (out / 'sub-01' / 'figures').iterdir()}
    assert {'sub-01_desc-swi_MEGRE.png', 'sub-01_desc-separation_MEGRE.png'} <= figures
    validate(out)


def test_without_r2_the_sources_are_separated_by_r2star(dataset, tmp_path):
    out = tmp_path / 'out'
    options = ('--contrasts', 'chisep', '--separation', 'closed-form')
    assert run(dataset, out, *options, panels=['chi']) == 0
    sidecar = json.loads(
        (out / 'sub-01' / 'anat' / 'sub-01_desc-paramagnetic_Chimap.json').read_text()
    )
    assert sidecar['SourceSeparation']['Method'] == 'closed-form'
    assert sidecar['SourceSeparation']['RatePerPpmInHz'] == pytest.approx(274.0)
    assert not (out / 'sub-01' / 'anat' / 'sub-01_swi.nii.gz').exists()


def test_what_a_contrast_needs_is_asked_for(dataset, tmp_path, caplog):
    assert run(dataset, tmp_path / 'a', '--contrasts', 'r2prime') == 1
    assert 'R2map.nii.gz' in caplog.text
    caplog.clear()
    assert run(dataset, tmp_path / 'b', '--contrasts', 'chisep', '--ignore', 'relaxometry') == 1
    assert 'need R2*' in caplog.text


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'units': None}, 'states no Units'),
        ({'units': 'ms'}, "has the Units 'ms'"),
        ({'value': 0.0}, 'zero everywhere'),
        ({'value': 1.4e4}, 'more than any R2 has'),
        ({'value': 0.08}, 'less than any R2 has'),
        ({'value': np.nan}, 'zero everywhere'),
        ({'shape': (7, 8, 9)}, 'has 7 x 8 x 9 voxels'),
        ({'affine': np.diag([2.0, 2, 2.5, 1])}, 'another affine'),
    ],
)
def test_a_given_map_is_checked_like_input(dataset, change, message):
    root = give_r2(dataset, **change)
    (acquisition,), _ = find_acquisitions(open_dataset(dataset.root), '01')
    with pytest.raises(InputError, match=message) as error:
        find_map({'relax': root}, acquisition, 'r2')
    assert 'sub-01_R2map' in str(error.value)


def test_the_unit_of_a_given_map_is_read(dataset):
    root = give_r2(dataset, 0.012, '1/ms')
    (acquisition,), _ = find_acquisitions(open_dataset(dataset.root), '01')
    found, notes = find_map({'relax': root}, acquisition, 'r2')
    assert found.scale == 1000.0
    assert found.uris == ('bids:relax:sub-01/anat/sub-01_R2map.nii.gz',)
    assert not notes

"""The viewer holds what was written, and needs nothing but its folder."""

import json

import nibabel as nib
import numpy as np
import pytest

from qsmprep.reports.viewer import LAYERS, NIIVUE, write_viewers


@pytest.fixture
def results(tmp_path, head):
    """Outputs of one acquisition, one of which would lie outside of the folder."""
    chi, mask = head
    images = {
        'chi': chi,
        'local_field': 12 * chi,
        'fieldmap_magnitude': 300.0 * mask,
        'brain_mask': mask,
        'chi_mask': mask,
        'estimated_mask': 0 * mask,
    }
    outputs = {}
    (tmp_path / 'sub-01').mkdir()
    for key, data in images.items():
        outputs[key] = f'sub-01/{key}.nii.gz'
        image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), np.diag([1.5, 1, 2, 1]))
        nib.save(image, tmp_path / outputs[key])
    (tmp_path / 'sub-01' / 'chi.json').write_text('{"MagneticFieldStrength": 3}')
    outputs['r2star'] = '../outside.nii.gz'
    nib.save(image, tmp_path.parent / 'outside.nii.gz')
    record = {'acquisitions': [{'stem': 'sub-01_MEGRE', 'status': 'completed', 'outputs': outputs}]}
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / 'sub-01.json').write_text(json.dumps(record))
    return tmp_path


def test_what_is_shown_is_what_was_written(results):
    (page,) = write_viewers(results, '01')
    assert page == results / 'sub-01_viewer.html'
    assert sorted(path.name for path in (results / 'viewer').iterdir()) == [
        'LICENSE',
        f'niivue-{NIIVUE}.js',
    ]
    text = page.read_text()
    block = text.split('id="images">')[1].split('</script>')[0]
    layers = {layer['name']: layer for layer in json.loads(block)}
    # no empty mask, and nothing from outside of the folder
    assert set(layers) == set(LAYERS) - {'uncertainty', 'r2star', 'estimated_mask'}


def test_acquisitions_that_failed_have_no_viewer(results):
    path = results / 'logs' / 'sub-01.json'
    path.write_text(path.read_text().replace('completed', 'failed'))
    assert write_viewers(results, '01') == []
    assert not (results / 'viewer').exists()


def test_it_starts_without_a_network(results, browser):
    (page,) = write_viewers(results, '01')
    browser.open(page)
    browser.until('document.body.dataset.ready', limit_s=300)
    assert browser.evaluate('document.getElementById("problem").hidden')
    requests = [r['request']['url'] for r in browser.seen('Network.requestWillBeSent')]
    assert [url for url in requests if not url.startswith(('file:', 'data:', 'blob:'))] == []

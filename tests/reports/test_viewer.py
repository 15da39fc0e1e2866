"""The viewer draws, answers keys, and needs nothing but its folder."""

import json

import nibabel as nib
import numpy as np
import pytest

from qsmprep.reports.viewer import LAYERS, NIIVUE, write_viewers

ATTACK = '</script><script>window.hacked=1</script>'


@pytest.fixture
def results(tmp_path, head):
    """Outputs of one acquisition, whose names attack."""
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


def test_it_draws_and_answers_keys(results, browser, head):
    (page,) = write_viewers(results, '01')
    browser.open(page)
    browser.until('document.body.dataset.ready')
    assert browser.evaluate('document.getElementById("problem").hidden')
    requests = [r['request']['url'] for r in browser.seen('Network.requestWillBeSent')]
    assert [url for url in requests if not url.startswith(('file:', 'data:', 'blob:'))] == []
    assert [e['entry']['text'] for e in browser.seen('Log.entryAdded')] == []

    def told():
        return browser.evaluate(
            'Object.fromEntries([...document.querySelectorAll("#values tr")].map('
            'r => [r.cells[0].textContent, r.cells[1].textContent.replace("\\u2212", "-")]))'
        )

    def press(key):
        for kind in ('keyDown', 'keyUp'):
            browser.ask('Input.dispatchKeyEvent', type=kind, key=key)

    browser.evaluate('document.getElementById("canvas").focus()')
    before = told()['Position']
    press('PageUp')
    place = 'document.querySelector("#values td").textContent'
    browser.until(f'{place} !== {json.dumps(before)}')
    after = browser.evaluate(place)
    x, y, z = (float(v) for v in after.replace('\u2212', '-').removesuffix(' mm').split(','))
    voxel = tuple(round(v / edge) for v, edge in zip((x, y, z), (1.5, 1, 2), strict=True))
    value = float(told()['Susceptibility'].removesuffix(' ppm'))
    assert value == pytest.approx(float(head[0][voxel]), abs=6e-4)
    press('1')
    assert browser.evaluate('document.querySelector("#layers input").checked')
    picture = np.frombuffer(browser.picture(), dtype=np.uint8)
    assert len(picture) > 8000, 'nothing is drawn'

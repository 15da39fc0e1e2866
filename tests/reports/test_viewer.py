"""The viewer holds what was written, and needs nothing but its folder."""

import base64
import gzip
import json

import nibabel as nib
import numpy as np
import pytest

from qsmprep.bids.derivatives import io_spec
from qsmprep.reports import layers
from qsmprep.reports.layers import LAYERS
from qsmprep.reports.viewer import NIIVUE, write_viewers


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
    regions = np.where(head[1], 3, 0)
    regions[:12][head[1][:12]] = 103
    (tmp_path / 'sub-01').mkdir()
    for key, data in images.items():
        outputs[key] = f'sub-01/{key}.nii.gz'
        image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), np.diag([1.5, 1, 2, 1]))
        nib.save(image, tmp_path / outputs[key])
    (tmp_path / 'sub-01' / 'chi.json').write_text('{"MagneticFieldStrength": 3}')
    outputs['chi'] = 'sub-01/sub-01_Chimap.nii.gz'
    (tmp_path / 'sub-01' / 'chi.nii.gz').rename(tmp_path / outputs['chi'])
    (tmp_path / 'sub-01' / 'chi.json').rename(tmp_path / 'sub-01' / 'sub-01_Chimap.json')
    image = nib.Nifti1Image(regions.astype(np.float32), np.diag([1.5, 1, 2, 1]))
    nib.save(image, tmp_path / 'sub-01' / 'sub-01_seg-CIT168_dseg.nii.gz')
    (tmp_path / 'sub-01' / 'sub-01_seg-CIT168_dseg.tsv').write_text(
        'index\tname\themisphere\n3\tred <nucleus>\tL\n103\tred <nucleus>\tR\n'
    )
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
    assert list(layers) == [
        'fieldmap_magnitude', 'local_field', 'chi', 'brain_mask', 'chi_mask', 'regions_CIT168',
    ]  # fmt: skip
    names = layers['regions_CIT168']['table']['labels']
    assert names == ['', 'red <nucleus>, left', 'red <nucleus>, right']
    stored = {key: _unpack(layer['data']) for key, layer in layers.items()}
    whole = nib.load(results / 'sub-01' / 'sub-01_Chimap.nii.gz')
    found = stored['chi']
    start = np.linalg.inv(whole.affine) @ found.affine[:, 3]
    box = tuple(slice(int(a), int(a) + n) for a, n in zip(start, found.shape, strict=False))
    np.testing.assert_allclose(found.get_fdata(), whole.get_fdata()[box], atol=0.00101)
    assert np.count_nonzero(found.get_fdata()) > 0.9 * np.count_nonzero(whole.get_fdata())
    local = nib.load(results / 'sub-01' / 'local_field.nii.gz').get_fdata()[box]
    ppm = stored['local_field'].get_fdata()
    np.testing.assert_allclose(ppm, local / (3 * 42.577478518), atol=0.000251)
    assert np.unique(stored['regions_CIT168'].get_fdata()).tolist() == [0, 1, 2]


def test_steps_become_larger_where_a_page_would_be_too_large(results, monkeypatch):
    def read():
        (page,) = write_viewers(results, '01')
        block = page.read_text().split('id="images">')[1].split('</script>')[0]
        return {layer['name']: layer for layer in json.loads(block)}

    usual = read()
    size = sum(len(layer['data']) for layer in usual.values())
    monkeypatch.setattr(layers, 'LARGEST_MB', 0.97e-6 * size)
    small = read()
    assert sum(len(layer['data']) for layer in small.values()) <= 0.97 * size
    factor = small['chi']['step'] / usual['chi']['step']
    assert factor in layers.LARGER[1:]
    for name, layer in small.items():
        kept = layer['mask']
        assert layer['step'] == pytest.approx(usual[name]['step'] * (1 if kept else factor))
        before, after = _unpack(usual[name]['data']), _unpack(layer['data'])
        most = 0 if kept else 0.5 * (layer['step'] + usual[name]['step'])
        difference = np.abs(after.get_fdata() - before.get_fdata())
        assert difference.max() <= most + 1e-6 * before.get_fdata().max()


def test_every_layer_is_an_output():
    assert set(LAYERS) <= set(io_spec()['derivatives'])


def _unpack(data):
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(data)))


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


def test_the_value_under_the_crosshair_is_that_of_the_map(results, browser):
    (page,) = write_viewers(results, '01')
    browser.open(page)
    browser.until('document.body.dataset.ready', limit_s=300)
    cell = '[...document.querySelectorAll("#values tr")].find(r => r.textContent.startsWith({}))'
    text_of = cell + '.querySelector("td").textContent'
    chi = nib.load(results / 'sub-01' / 'sub-01_Chimap.nii.gz')
    browser.evaluate('document.getElementById("canvas").focus()')
    for keys in (['ArrowRight'] * 3, ['ArrowUp', 'PageUp', 'ArrowUp'], ['ArrowLeft', 'PageDown']):
        browser.press(*keys)
        place = browser.evaluate(text_of.format('"Position"')).replace('\u2212', '-')
        position = [float(x) for x in place.removesuffix(' mm').split(', ')]
        index = np.linalg.inv(chi.affine) @ [*position, 1]
        value = chi.get_fdata()[tuple(np.rint(index[:3]).astype(int))]
        text = browser.evaluate(text_of.format('"Susceptibility"'))
        assert text.endswith(' ppm')
        assert float(text.removesuffix(' ppm').replace('\u2212', '-')) == pytest.approx(
            value, abs=0.00101
        )
        side = 'left' if index[0] > 11.5 else 'right'
        assert browser.evaluate(text_of.format('"Regions"')) == f'red <nucleus>, {side}'


@pytest.mark.parametrize(('value', 'word'), [(-0.6, 'Diamagnetic'), (0.6, 'Paramagnetic')])
def test_the_sign_of_a_dark_spot_is_reported(results, browser, value, word):
    path = results / 'sub-01' / 'sub-01_Chimap.nii.gz'
    chi = nib.load(path)
    values = np.clip(chi.get_fdata(dtype=np.float32), -0.05, 0.05)
    middle = [n // 2 for n in chi.shape]
    values[tuple(slice(n - 1, n + 2) for n in middle)] = value
    nib.save(nib.Nifti1Image(values, chi.affine), path)
    estimated = np.zeros(chi.shape, np.float32)
    estimated[tuple(middle)] = 1
    nib.save(nib.Nifti1Image(estimated, chi.affine), results / 'sub-01' / 'estimated_mask.nii.gz')
    (page,) = write_viewers(results, '01')
    browser.open(page)
    browser.until('document.body.dataset.ready', limit_s=300)
    place = (chi.affine @ [*middle, 1])[:3].tolist()
    sign = f'(tellSign({place}), document.getElementById("sign").textContent)'
    assert word in browser.evaluate(sign)
    assert 'no field of its own' in browser.evaluate(sign)
    far = (chi.affine @ [*(n - 8 for n in middle), 1])[:3].tolist()
    assert 'No sign stands out' in browser.evaluate(sign.replace(str(place), str(far)))


def test_keys_choose_layer_window_planes_and_masks(results, browser):
    (page,) = write_viewers(results, '01')
    browser.open(page)
    browser.until('document.body.dataset.ready', limit_s=300)
    browser.evaluate('document.getElementById("canvas").focus()')
    chosen = '[...document.querySelectorAll("[name=layers]")].findIndex(e => e.checked)'
    window = '[document.getElementById("low").value, document.getElementById("high").value]'
    masks = '[...document.querySelectorAll("[name=masks]")].filter(e => e.checked).length'
    assert browser.evaluate(chosen) == 2
    assert browser.evaluate(window) == ['-0.1', '0.1']
    browser.press('+')
    assert browser.evaluate(window) == ['-0.08', '0.08']
    browser.press('2')
    assert browser.evaluate(chosen) == 1
    assert browser.evaluate(window) == ['-0.05', '0.05']
    browser.press('m')
    assert browser.evaluate(masks) == 3
    browser.press('v')
    assert browser.evaluate('document.getElementById("view").value') == 'axial'

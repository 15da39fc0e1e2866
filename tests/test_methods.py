"""The tables of methods: one entry makes a method usable, and none of them promises too much."""

import importlib.util
import inspect
import json
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from qsmprep.interfaces import images
from qsmprep.methods import (
    BACKGROUNDS,
    INVERSIONS,
    KINDS,
    MASKS,
    SCAN,
    UNWRAPPINGS,
    Method,
    choose,
)
from qsmprep.qsm.grid import hz_to_ppm
from qsmprep.qsm.inversion import invert
from qsmprep.qsm.inversion.estimate import Estimate
from qsmprep.qsm.inversion.tkd import tkd
from tests.whole_runs import run_here

DOCS = Path(__file__).parent.parent / 'docs'
EVERY = [
    pytest.param(method, id=f'{kind}-{name}')
    for kind, table in KINDS.items()
    for name, method in table.items()
]


def damped(field, mask, grid, *, share: float = 0.5):
    """Toy inversion: a share of what TKD gives."""
    return Estimate(share * tkd(field, mask, grid).chi, {})


def demeaned(total_field, mask, grid, tissue, *, offset_hz: float = 0.0):
    """Toy background removal: the mean is the background."""
    return np.where(mask, total_field - total_field[mask].mean() + offset_hz, 0), mask


def bright(magnitude):
    """Toy mask: what is brighter than the mean."""
    return magnitude > magnitude.mean()


def wrapped(phase, grid):
    """Toy unwrapping: the phase as it is."""
    return phase


def test_new_methods_are_usable_from_the_command_line(tiny_dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(INVERSIONS, 'damped', Method('damped', damped, '', 'a damped map'))
    monkeypatch.setitem(BACKGROUNDS, 'demeaned', Method('demeaned', demeaned, '', 'its mean'))
    monkeypatch.setitem(MASKS, 'bright', Method('bright', bright, '', 'Bright voxels were taken'))
    monkeypatch.setitem(UNWRAPPINGS, 'wrapped', Method('wrapped', wrapped, '', 'nothing'))
    tiny_dataset.add()
    out = tmp_path / 'out'
    code = run_here(
        tiny_dataset.root, out, '--ignore', 'phase-quality',
        '--unwrapping', 'wrapped', '--brain-extraction', 'bright',
        '--background', 'demeaned', '--background-parameter', 'offset_hz=1.5',
        '--inversion', 'damped', '--inversion-parameter', 'share=0.75', '--reference', 'none',
        panels=['chi'],
    )  # fmt:skip
    assert code == 0
    sidecar = json.loads((out / 'sub-01' / 'anat' / 'sub-01_Chimap.json').read_text())
    assert sidecar['Masking']['BrainExtraction']['Method'] == 'bright'
    assert sidecar['BackgroundFieldRemoval']['Method'] == 'demeaned'
    assert sidecar['BackgroundFieldRemoval']['offset_hz'] == 1.5
    assert sidecar['DipoleInversion']['share'] == 0.75
    chi, field, noise, mask = (
        images.read(out / 'sub-01' / f'{name}.nii.gz')
        for name in (
            'anat/sub-01_Chimap', 'fmap/sub-01_desc-local_fieldmap',
            'fmap/sub-01_desc-noise_fieldmap', 'anat/sub-01_desc-chi_mask',
        )
    )  # fmt: skip
    grid = images.read_grid(out / 'sub-01' / 'anat' / 'sub-01_Chimap.nii.gz')
    field, noise = (hz_to_ppm(image, 3.0) for image in (field, noise))
    whole = invert(field, mask, grid, 'tkd', noise_ppm=noise).chi_ppm
    np.testing.assert_allclose(chi, 0.75 * whole, atol=1e-6)
    text = (out / 'logs' / 'CITATION.md').read_text()
    for sentence in ('Bright voxels were taken', 'removed with its mean', 'a damped map'):
        assert sentence in text


@pytest.mark.parametrize('method', EVERY)
def test_an_entry_can_be_loaded_and_tells_its_inputs(method):
    arguments = inspect.signature(method.load()).parameters
    inputs = {name for name in ('noise', 'magnitude') if name in arguments}
    if 'prior' in arguments:
        inputs.add('prior')
    if method.name != 'romeo' and method not in MASKS.values():
        assert inputs == set(method.needs)
    assert ('samples' in arguments) == ('samples' in method.gives)
    assert not SCAN & method.parameters().keys()


@pytest.mark.parametrize('method', EVERY)
def test_an_entry_cites_what_the_bibliography_has(method):
    bibliography = files('qsmprep.data').joinpath('boilerplate.bib').read_text()
    cited = re.findall(r'@(\w+)', method.sentence)
    for key in cited + ([method.citation] if method.citation else []):
        assert f'{{{key},' in bibliography
    assert method.citation in (*cited, '')


def test_an_unknown_method_is_answered_with_the_choices():
    with pytest.raises(ValueError, match='no background removal .magic.; choose one of pdf, '):
        choose('background removal', 'magic')


def test_the_tables_in_the_documents_are_those_of_the_code():
    spec = importlib.util.spec_from_file_location('tables', DOCS / 'tables.py')
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for path in DOCS.glob('*.md'):
        text = path.read_text()
        assert tables.renew(text) == text, f'{path}: run python docs/tables.py'

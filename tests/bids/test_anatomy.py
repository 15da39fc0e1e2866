"""Which T1-weighted image an acquisition gets, and what belongs to it."""

import json
from dataclasses import dataclass, field

import nibabel as nb
import numpy as np
import pytest

from qsmprep.bids.anatomy import find_anatomy
from qsmprep.bids.layout import open_dataset


@dataclass
class Scan:
    """What of an acquisition is asked for."""

    subject: str = '01'
    session: str | None = '2'
    stem: str = 'sub-01_ses-2_MEGRE'
    entities: dict = field(default_factory=dict)


@pytest.fixture
def place(tmp_path):
    """Return a function that writes small images below a dataset."""
    (tmp_path / 'raw').mkdir()
    description = {'Name': 'a', 'BIDSVersion': '1.10.0'}
    (tmp_path / 'raw' / 'dataset_description.json').write_text(json.dumps(description))

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith('.nii.gz'):
                data = np.random.default_rng(0).integers(0, 99, (6, 6, 6)).astype(np.int16)
                image = nb.Nifti1Image(data, np.eye(4))
                image.set_sform(np.eye(4), 1)
                image.to_filename(path)
            else:
                path.write_text('index\tname\n11\tLeft-Caudate\n')
        return tmp_path

    return write


def find(root, scan=None, **derivatives):
    """Anatomy of an acquisition."""
    roots = {name: root / name for name in derivatives}
    return find_anatomy(open_dataset(root / 'raw'), roots, scan or Scan())


def test_the_own_session_comes_first_then_another_one(place):
    root = place('raw/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz')
    anatomy, passed_over = find(root)
    assert anatomy.t1w.name == 'sub-01_ses-1_T1w.nii.gz'
    assert 'another session' in anatomy.warnings[0]
    assert passed_over == []
    place('raw/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz')
    anatomy, _ = find(root)
    assert anatomy.uri == 'bids:raw:sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz'
    assert anatomy.warnings == ()


def test_a_preprocessed_image_brings_what_lies_beside_it(place):
    stem = 'fmriprep/sub-01/anat/sub-01_'
    root = place(
        'raw/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz',
        f'{stem}desc-preproc_T1w.nii.gz',
        f'{stem}space-MNI152NLin2009cAsym_desc-preproc_T1w.nii.gz',
        f'{stem}desc-brain_mask.nii.gz',
        f'{stem}space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz',
        f'{stem}desc-aseg_dseg.nii.gz',
        f'{stem}dseg.nii.gz',
        f'{stem}space-MNI152NLin2009cAsym_dseg.nii.gz',
        f'{stem}from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.h5',
        f'{stem}from-MNI152NLin2009cAsym_to-T1w_mode-image_xfm.h5',
        'fmriprep/desc-aseg_dseg.tsv',
    )
    anatomy, _ = find(root, fmriprep=True)
    assert anatomy.t1w.name == 'sub-01_desc-preproc_T1w.nii.gz'
    assert anatomy.brain_mask.name == 'sub-01_desc-brain_mask.nii.gz'
    assert {x.name: dict(x.names) for x in anatomy.segmentations} == {
        'aseg': {11: 'Left-Caudate'},
        'tissues': {},
    }
    assert anatomy.to_template.name.startswith('sub-01_from-T1w_to-MNI')
    assert anatomy.from_template.name.startswith('sub-01_from-MNI')


def test_an_image_that_cannot_be_read_is_passed_over_by_name(place):
    root = place('raw/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz')
    broken = root / 'raw/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz'
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b'no image')
    anatomy, passed_over = find(root)
    assert anatomy.t1w.name == 'sub-01_ses-1_T1w.nii.gz'
    assert 'sub-01_ses-2_T1w.nii.gz' in passed_over[0]


def test_a_participant_without_has_none(place):
    assert find(place('raw/sub-02/anat/sub-02_T1w.nii.gz')) == (None, [])


def rewrite(path, change):
    """Replace the values of an image."""
    image = nb.load(path)
    data = change(np.asarray(image.dataobj, dtype=np.float32))
    nb.save(nb.Nifti1Image(data.astype(np.float32), image.affine), path)


def test_an_empty_image_is_passed_over(place):
    root = place('raw/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz')
    rewrite(root / 'raw/sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz', np.zeros_like)
    anatomy, passed_over = find(root)
    assert anatomy is None
    assert 'holds one value alone, 0' in passed_over[0]


def test_probabilities_are_no_segmentation(place):
    stem = 'fmriprep/sub-01/anat/sub-01_'
    root = place(
        f'{stem}desc-preproc_T1w.nii.gz', f'{stem}desc-aseg_dseg.nii.gz', f'{stem}dseg.nii.gz'
    )
    rewrite(root / f'{stem}dseg.nii.gz', lambda labels: 0.37 * labels)
    anatomy, passed_over = find(root, fmriprep=True)
    assert [x.name for x in anatomy.segmentations] == ['aseg']
    assert 'sub-01_dseg.nii.gz holds values that are no whole numbers' in passed_over[0]

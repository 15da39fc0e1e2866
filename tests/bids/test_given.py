"""Masks from elsewhere: fMRIPrep, FSL, SynthStrip, HD-BET, AFNI, SPM, and by hand."""

import os
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.errors import InputError
from qsmprep.bids.given import find_given
from qsmprep.bids.layout import open_dataset
from qsmprep.bids.masks import inspect_mask, place_mask
from qsmprep.bids.notes import Doubt

from .conftest import save

BRAIN_ML = (250.0, 2500.0)


def acquisition_of(head):
    (found,), _ = find_acquisitions(open_dataset(head.root), '01')
    return found


def use(head, path, **keywords):
    """Mask on the grid of the echoes, its overlap with the truth (Dice), and warnings."""
    acquisition = acquisition_of(head)
    given = inspect_mask(path, 'bids:masks:x', acquisition, BRAIN_ML)
    placed = place_mask(
        path, given.threshold, given.by_voxels, acquisition.shape, np.array(acquisition.affine)
    )
    truth = np.asarray(head.brain.dataobj) > 0
    dice = 2 * (placed & truth).sum() / (placed.sum() + truth.sum())
    return dice, ' '.join(given.warnings)


def brain_of(head):
    return np.asarray(head.brain.dataobj) > 0


def test_echoes_and_masks_may_be_nifti_2(head):
    path = head.give_mask(brain_of(head).astype(np.uint8))
    for file in (path, head.image(1, 'mag')):
        image = nb.load(file)
        second = nb.Nifti2Image(np.asarray(image.dataobj), image.affine)
        second.set_sform(image.affine, 1)
        nb.save(second, file)
    assert use(head, path) == (1.0, '')


@pytest.mark.parametrize(
    'write',
    [
        lambda brain: brain.astype(np.uint8),
        lambda brain: brain.astype(np.float64),
        lambda brain: 255 * brain.astype(np.uint8),
        lambda brain: 1000 * brain.astype(np.float32),
        lambda brain: brain[..., None].astype(np.int16),
        lambda brain: brain[..., None, None].astype(np.int16),
    ],
    ids=['bytes', 'doubles', '255', '1000', 'fourth axis', 'fifth axis'],
)
def test_masks_of_all_types_are_the_mask_that_they_are(head, write):
    assert use(head, head.give_mask(write(brain_of(head)))) == (1.0, '')


def test_header_scaling_is_applied(head):
    path = head.give_mask(brain_of(head))
    save(path, 100 * brain_of(head).astype(np.int16), head.brain.affine, 0.01)
    assert use(head, path) == (1.0, '')


def test_probabilities_are_cut_at_one_half(head):
    soft = gaussian_filter(brain_of(head).astype(np.float32), 1.0)
    dice, warned = use(head, head.give_mask(soft))
    assert dice > 0.97
    assert 'holds probabilities' in warned
    assert 'cut at one half' in warned


def test_not_a_number_is_outside(head):
    data = np.where(brain_of(head), 1.0, np.nan).astype(np.float32)
    dice, warned = use(head, head.give_mask(data))
    assert dice == 1.0
    assert 'not finite' in warned


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (np.zeros_like, 'values from 0 to 0; a mask has 0 outside'),
        (lambda brain: np.full_like(brain, np.nan), 'holds no finite value'),
        (lambda brain: brain - 1, 'values from -1 to 0'),
        (lambda brain: brain * np.arange(brain.size).reshape(brain.shape), 'more than two values'),
        (lambda brain: 0.3 * brain, 'probabilities of 0.3|'),
        (lambda brain: np.stack([brain, brain], axis=-1), 'is one volume of numbers'),
        (lambda brain: brain[:, :, :1], 'a mask is one volume'),
        (lambda brain: brain * (1 + 1j), 'a mask is one volume of numbers'),
    ],
    ids=[
        'empty',
        'not a number',
        'negative',
        'labels',
        'weak',
        'two volumes',
        'one slice',
        'complex',
    ],
)
def test_what_is_no_mask_is_refused_with_a_way_out(head, write, message):
    data = write(brain_of(head).astype(np.float32))
    path = head.give_mask(data.astype(np.complex64) if np.iscomplexobj(data) else data)
    if message.endswith('|'):
        path = head.give_mask(gaussian_filter(data, 1.0))
        message = 'none is above one half'
    with pytest.raises(InputError, match=message) as error:
        use(head, path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    'affine_of',
    [
        lambda affine: np.eye(4),
        lambda affine: np.diag([6.0, 6.0, 6.0, 1.0]),
    ],
    ids=['identity', 'origin in the corner'],
)
def test_a_mask_without_a_header_is_taken_by_voxels(head, affine_of):
    dice, warned = use(head, head.give_mask(brain_of(head), affine_of(head.brain.affine)))
    assert dice == 1.0
    assert 'an affine that does not state where it lies; it is taken voxel by voxel' in warned


def test_no_orientation_at_all_is_taken_by_voxels(head):
    path = head.give_mask(brain_of(head))
    image = nb.load(path)
    image = nb.Nifti1Image(np.asarray(image.dataobj), None, image.header)
    image.header['sform_code'] = image.header['qform_code'] = 0
    image.to_filename(path)
    dice, warned = use(head, path)
    assert dice == 1.0
    assert 'voxel by voxel' in warned


@pytest.mark.parametrize('shift_mm', [12.0, 30.0])
def test_the_same_matrix_at_a_place_that_may_be_right_is_refused(head, shift_mm):
    affine = head.brain.affine.copy()
    affine[0, 3] += shift_mm
    path = head.give_mask(brain_of(head), affine)
    with pytest.raises(InputError, match=r'another affine .*fslcpgeom .*resample it') as error:
        use(head, path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize('shift_mm', [120.0, 400.0])
def test_the_same_matrix_at_an_impossible_place_is_taken_by_voxels(head, shift_mm):
    affine = head.brain.affine.copy()
    affine[0, 3] += shift_mm
    dice, warned = use(head, head.give_mask(brain_of(head), affine))
    assert dice == 1.0
    assert 'another affine' in warned


def test_a_mask_with_axes_turned_is_placed_by_its_affine(head):
    turned = nb.as_closest_canonical(head.brain)
    data, affine = np.asarray(turned.dataobj)[::-1, :, ::-1] > 0, turned.affine.copy()
    n = data.shape
    affine[:3, 3] += affine[:3, 0] * (n[0] - 1) + affine[:3, 2] * (n[2] - 1)
    affine[:3, 0] *= -1
    affine[:3, 2] *= -1
    assert use(head, head.give_mask(data, affine)) == (1.0, '')


def test_a_mask_of_a_finer_image_is_resampled_and_told(head):
    fine = np.kron(brain_of(head), np.ones((2, 2, 2))) > 0
    affine = head.brain.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, 0.5)
    dice, warned = use(head, head.give_mask(fine, affine))
    assert dice > 0.9
    assert 'has another grid than the echoes' in warned


def test_a_mask_of_another_head_position_is_refused(head):
    affine = head.brain.affine @ np.diag([0.5, 0.5, 0.5, 1.0])
    affine[2, 3] += 130.0
    fine = np.kron(brain_of(head), np.ones((2, 2, 2))) > 0
    path = head.give_mask(fine, affine)
    with pytest.raises(InputError, match=r'does not lie on the echoes.*scanner space'):
        use(head, path)


@pytest.mark.parametrize('everywhere', [True, False])
def test_the_background_as_the_mask_is_refused(head, everywhere):
    path = head.give_mask(~brain_of(head) | everywhere)
    with pytest.raises(InputError, match='lies over the signal of the echoes with [0-9]+ % of'):
        use(head, path)


@pytest.mark.parametrize(('keep', 'said'), [(2, 'has a volume of'), (None, '')])
def test_an_absurd_volume_is_reported(head, keep, said):
    brain = brain_of(head)
    if keep:
        centre = [int(x.mean()) for x in np.nonzero(brain)]
        small = np.zeros_like(brain)
        small[tuple(slice(c - keep, c + keep) for c in centre)] = True
        brain &= small
    warned = use(head, head.give_mask(brain))[1]
    assert (said in warned) if said else (warned == '')


@pytest.mark.parametrize(('scale', 'doubted'), [(1.0, True), (0.3, False)])
def test_a_part_of_a_head_is_doubted_and_a_small_animal_is_not(head, scale, doubted):
    brain = brain_of(head)
    brain[:, :, int(np.nonzero(brain)[2].mean()) :] = False
    brain[: int(np.nonzero(brain)[0].mean())] = False
    brain[:, : int(np.nonzero(brain)[1].mean())] = False
    path = head.give_mask(brain)
    for file in (path, *head.root.rglob('sub-01*_MEGRE.nii.gz')):
        image = nb.load(file)
        save(file, np.asarray(image.dataobj), np.diag([scale] * 3 + [1.0]) @ image.affine)
    given = inspect_mask(path, 'bids:masks:x', acquisition_of(head), BRAIN_ML)
    (said,) = [text for text in given.warnings if 'a human brain has' in text]
    assert isinstance(said, Doubt) is doubted
    assert ('part of a head' in said) is doubted


def test_a_damaged_mask_is_named(head):
    path = head.give_mask(brain_of(head))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match='truncated or corrupt'):
        use(head, path)
    path.write_text('no image')
    with pytest.raises(InputError, match='cannot be read as NIfTI'):
        use(head, path)
    path.unlink()
    path.symlink_to('../../.git/annex/objects/x')
    with pytest.raises(InputError, match='datalad get'):
        use(head, path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InputError, match='no regular file'):
        use(head, path)


def rename_session(head, label='test'):
    subject = head.root / 'sub-01'
    (subject / f'ses-{label}').mkdir()
    anat = (subject / 'anat').rename(subject / f'ses-{label}' / 'anat')
    for path in list(anat.iterdir()):
        path.rename(path.with_name(path.name.replace('sub-01_', f'sub-01_ses-{label}_')))


def find(head, *, name='masks'):
    root = head.root.parent / 'masks'
    root.mkdir(exist_ok=True)
    path, uri, warnings = find_given({name: root}, acquisition_of(head), 'desc-brain_mask')
    return path and path.relative_to(root).as_posix(), uri, ' '.join(warnings)


def test_functional_masks_and_those_of_other_sessions_do_not_count(head):
    rename_session(head)
    brain = brain_of(head)
    for name, folder in (
        ('sub-01_ses-test_task-rest_desc-brain_mask', 'sub-01/ses-test/func'),
        ('sub-01_ses-retest_desc-brain_mask', 'sub-01/ses-retest/anat'),
        ('sub-01_space-MNI152NLin2009cAsym_desc-brain_mask', 'sub-01/anat'),
        ('sub-01_ses-test_desc-brain_mask', 'sub-01/ses-test/fmap'),
        ('sub-01_ses-test_desc-brain_mask', 'sub-01/ses-test/anat/old'),
    ):
        head.give_mask(brain, name=name, folder=folder)
    assert find(head)[0] is None
    head.give_mask(brain)
    path, uri, warned = find(head)
    assert path == 'sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    assert uri == 'bids:masks:sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    assert 'belongs to no session; that it lies in the scanner space of ses-test' in warned
    head.give_mask(brain, name='sub-01_ses-test_desc-brain_mask', folder='sub-01/ses-test/anat')
    assert find(head)[0] == 'sub-01/ses-test/anat/sub-01_ses-test_desc-brain_mask.nii.gz'


@pytest.mark.parametrize(
    'label', ['run-1', 'acq-mprage', 'space-T1w', 'task-rest', 'res-2', 'hemi-L']
)
def test_an_entity_that_the_acquisition_lacks_is_a_contradiction_and_reported(head, label):
    head.give_mask(brain_of(head), name=f'sub-01_{label}_desc-brain_mask')
    path, _, warned = find(head)
    assert path is None
    assert f'it has {label}, where the acquisition has none' in warned
    assert 'name it without that label' in warned


def test_a_mask_that_was_made_of_one_echo_is_that_of_the_acquisition(head):
    head.give_mask(brain_of(head), name='sub-01_echo-1_part-mag_desc-brain_mask')
    assert find(head)[0] == 'sub-01/anat/sub-01_echo-1_part-mag_desc-brain_mask.nii.gz'
    head.give_mask(brain_of(head))
    path, _, warned = find(head)
    assert path == 'sub-01/anat/sub-01_desc-brain_mask.nii.gz'
    assert 'though sub-01_echo-1_part-mag_desc-brain_mask.nii.gz fits as well' in warned


def test_of_two_masks_that_fit_the_one_that_is_used_is_reported(head):
    path = head.give_mask(brain_of(head))
    nb.save(nb.load(path), str(path).removesuffix('.gz'))
    found, _, warned = find(head)
    assert found == 'sub-01/anat/sub-01_desc-brain_mask.nii'
    assert 'is used, though sub-01_desc-brain_mask.nii.gz fits as well' in warned


def test_names_of_datasets_with_spaces_are_links(head):
    head.give_mask(brain_of(head))
    assert find(head, name='my masks')[1].startswith('bids:mymasks:sub-01/anat/')


def test_a_mask_tells_what_it_was_made_from(head):
    path = head.give_mask(brain_of(head))
    sidecar = path.with_name(path.name.partition('.')[0] + '.json')
    sidecar.write_text('{"RawSources": ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]}')
    _, warned = use(head, path)
    assert 'made from T1w' in warned
    sidecar.write_text('{"Sources": ["bids:raw:sub-01/anat/sub-01_echo-1_part-mag_MEGRE.nii.gz"]}')
    assert use(head, path) == (1.0, '')


def test_a_mask_of_another_session_is_refused_by_its_sources(head):
    path = head.give_mask(brain_of(head))
    sidecar = path.with_name(path.name.partition('.')[0] + '.json')
    sidecar.write_text('{"Sources": ["bids::sub-01/ses-b/anat/sub-01_ses-b_T1w.nii.gz"]}')
    acquisition = replace(acquisition_of(head), session='a')
    with pytest.raises(InputError, match='made from ses-b, as its sidecar states'):
        inspect_mask(path, 'bids:masks:x', acquisition)

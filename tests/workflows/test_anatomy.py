"""From wrapped phase and a T1-weighted image to maps in other spaces and a table of regions."""

import csv
import json
import shutil

import nibabel as nb
import numpy as np
import pytest

from qsmprep.cli.run import main
from qsmprep.interfaces.brains import load_atlas, load_template
from qsmprep.interfaces.itk import (
    affine_transform,
    chain,
    matrix_of,
    read_transform,
    resample,
    write_transform,
)
from qsmprep.qsm.registration import distance_mm
from tests.whole_runs import run_here

NAME = 'sub-01_ses-2'


@pytest.fixture(scope='module')
def results(two_sessions, tmp_path_factory):
    """Folders of a dataset of two sessions, and of what one command makes of the second one."""
    folder = tmp_path_factory.mktemp('anatomy')
    shutil.copytree(two_sessions, folder / 'bids')
    anat = folder / 'bids/derivatives/fmriprep/sub-01/ses-1/anat'
    brain = nb.load(anat / 'sub-01_ses-1_desc-brain_mask.nii.gz')
    template = load_template()
    centre = brain.affine @ (*np.argwhere(brain.get_fdata()).mean(axis=0), 1)
    moves = np.eye(4)
    moves[:3, 3] = template.points().mean(axis=0) - centre[:3]
    for way, matrix in (('from-T1w_to-{}', moves), ('from-{}_to-T1w', np.linalg.inv(moves))):
        name = f'sub-01_ses-1_{way.format("MNI152NLin2009cAsym")}_mode-image_xfm.h5'
        write_transform(chain([affine_transform(matrix)]), anat / name)
    code = run_here(
        folder / 'bids', folder / 'out',
        '--derivatives', f'fmriprep={folder}/bids/derivatives/fmriprep',
        f'truth={folder}/bids/derivatives/simulation', '--session-label', '2', '--sloppy',
        '--output-spaces', 'T1w', 'MNI152NLin2009cAsym:res-2', '--nprocs', '1',
        panels=['chi', 'truth'],
    )  # fmt: skip
    assert code == 0
    return folder, folder / 'out/sub-01/ses-2/anat', moves


def load(path):
    """Voxels and affine."""
    image = nb.load(path)
    return image.get_fdata(), image.affine


def test_the_transform_found_is_the_known_one(results):
    folder, anat, _ = results
    truth = folder / 'bids/derivatives/simulation/sub-01/ses-2/anat'
    ending = 'from-MEGRE_to-T1w_mode-image_xfm.txt'
    found, known = (matrix_of(read_transform(f / f'{NAME}_{ending}')) for f in (anat, truth))
    mask, affine = load(truth / f'{NAME}_desc-brain_mask.nii.gz')
    points = np.argwhere(mask > 0) @ affine[:3, :3].T + affine[:3, 3]
    assert distance_mm(np.eye(4), known, points) > 5
    assert distance_mm(found, known, points) < 1.5
    back = matrix_of(read_transform(anat / f'{NAME}_from-T1w_to-MEGRE_mode-image_xfm.txt'))
    np.testing.assert_allclose(back @ found, np.eye(4), atol=1e-9)


def test_without_the_anatomy_all_maps_are_the_same_to_the_bit(results, tmp_path):
    folder, anat, _ = results
    code = run_here(
        folder / 'bids', tmp_path / 'out',
        '--derivatives', f'truth={folder}/bids/derivatives/simulation', '--session-label', '2',
        '--sloppy', '--ignore', 't1w', '--nprocs', '1', '--no-viewer', panels=['chi', 'truth'],
    )  # fmt: skip
    assert code == 0
    plain = sorted((tmp_path / 'out/sub-01/ses-2').glob('[af]*/*.nii.gz'))
    assert len(plain) >= 10
    for path in plain:
        other = anat.parent / path.parent.name / path.name
        assert path.read_bytes() == other.read_bytes(), path.name


def test_maps_lie_on_the_grids_of_the_other_spaces(results):
    folder, anat, moves = results
    chi, affine = load(anat / f'{NAME}_Chimap.nii.gz')
    mask, _ = load(anat / f'{NAME}_desc-chi_mask.nii.gz')
    to_t1w = read_transform(anat / f'{NAME}_from-MEGRE_to-T1w_mode-image_xfm.txt')
    t1w, grid = load(folder / 'bids/sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz')
    for space, transform, shape in (
        ('space-T1w', to_t1w, t1w.shape),
        (
            'space-MNI152NLin2009cAsym_res-2',
            chain([to_t1w, affine_transform(moves)]),
            (97, 115, 97),
        ),
    ):
        placed, target = load(anat / f'{NAME}_{space}_Chimap.nii.gz')
        inside, _ = load(anat / f'{NAME}_{space}_desc-chi_mask.nii.gz')
        assert placed.shape == shape
        assert (placed[inside == 0] == 0).all()
        linear = resample(chi * mask, affine, transform, shape, target)
        deep = resample(mask, affine, transform, shape, target) > 0.999
        assert np.corrcoef(placed[deep], linear[deep])[0, 1] > 0.95
        sidecar = json.loads((anat / f'{NAME}_{space}_Chimap.json').read_text())
        assert sidecar['Units'] == 'ppm'
        assert sidecar['SpatialReference']
        assert sidecar['Sources'] == [f'bids::sub-01/ses-2/anat/{NAME}_Chimap.nii.gz']
    np.testing.assert_allclose(nb.load(anat / f'{NAME}_space-T1w_Chimap.nii.gz').affine, grid)


def test_the_tables_hold_what_the_maps_hold_in_their_regions(results):
    _, anat, _ = results
    maps = {name: load(anat / f'{NAME}_{name}.nii.gz')[0] for name in ('Chimap', 'R2starmap')}
    mask = load(anat / f'{NAME}_desc-chi_mask.nii.gz')[0] > 0
    for segmentation in ('aseg', 'CIT168'):
        labels, _ = load(anat / f'{NAME}_seg-{segmentation}_dseg.nii.gz')
        with (anat / f'{NAME}_seg-{segmentation}_regions.tsv').open() as stream:
            rows = list(csv.DictReader(stream, delimiter='\t'))
        assert {row['map'] for row in rows} == set(maps)
        sidecar = json.loads((anat / f'{NAME}_seg-{segmentation}_regions.json').read_text())
        assert set(rows[0]) < set(sidecar)
        for row in rows:
            if row['map'] != 'Chimap' or float(row['erosion_mm']) or row['median'] == 'n/a':
                continue
            numbers = [int(n) for n in row['label'].split('+')]
            values = maps['Chimap'][np.isin(labels, numbers) & mask]
            assert len(values) == int(row['voxels'])
            assert float(row['median']) == pytest.approx(np.median(values), abs=1e-6)
            assert row['reference'] == 'brain'
    names = {row['name'] for row in rows}
    assert {'putamen', 'globus pallidus', 'red nucleus'} <= names


def test_labels_of_the_atlas_pass_the_given_transform(results):
    _, anat, moves = results
    labels, affine = load(anat / f'{NAME}_seg-CIT168_dseg.nii.gz')
    atlas, place = load_atlas()
    back = matrix_of(read_transform(anat / f'{NAME}_from-T1w_to-MEGRE_mode-image_xfm.txt'))
    for number in (1, 101):
        found = affine @ (*np.argwhere(labels == number).mean(axis=0), 1)
        centre = place @ (*np.argwhere(atlas == number).mean(axis=0), 1)
        np.testing.assert_allclose(found, back @ np.linalg.inv(moves) @ centre, atol=2.0)
    assert not list(anat.glob('*from-T1w_to-MNI*'))


def test_the_report_shows_registration_and_regions(results):
    folder, _, _ = results
    page = (folder / 'out' / 'sub-01.html').read_text()
    for title in ('Registration to the T1-weighted image', 'Regions of the atlas'):
        assert title in page
    assert main([str(folder / 'bids'), str(folder / 'out'), 'group']) == 0
    table = (folder / 'out' / 'group_regions.tsv').read_text().splitlines()
    assert table[0].startswith('participant_id\tsession_id\tacquisition\tsegmentation\tlabel')
    assert any(line.startswith('sub-01\tses-2\tsub-01_ses-2\tCIT168\t') for line in table)
    assert 'regions-title' in (folder / 'out' / 'group.html').read_text()

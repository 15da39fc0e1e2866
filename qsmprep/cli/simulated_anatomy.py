"""T1-weighted images of simulated participants, and what fMRIPrep would make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt

import qsmprep
from qsmprep.bids.derivatives import BIDS_VERSION, CODE_URL, write_json
from qsmprep.cli.simulated_files import subject_folder, write_image
from qsmprep.interfaces.itk import affine_transform, chain, write_transform
from qsmprep.qsm.simulate import LabelledHead, T1wImage, Tissue
from qsmprep.qsm.simulate.nuclei import atlas_to_head

ASEG = {
    Tissue.WHITE_MATTER: ('Cerebral-White-Matter', 2, 41),
    Tissue.CORTEX: ('Cerebral-Cortex', 3, 42),
    Tissue.VENTRICLE: ('Lateral-Ventricle', 4, 43),
    Tissue.CEREBELLAR_WHITE_MATTER: ('Cerebellum-White-Matter', 7, 46),
    Tissue.DENTATE: ('Cerebellum-White-Matter', 7, 46),
    Tissue.CEREBELLAR_CORTEX: ('Cerebellum-Cortex', 8, 47),
    Tissue.THALAMUS: ('Thalamus', 10, 49),
    Tissue.CAUDATE: ('Caudate', 11, 50),
    Tissue.PUTAMEN: ('Putamen', 12, 51),
    Tissue.PALLIDUM: ('Pallidum', 13, 52),
    Tissue.HIPPOCAMPUS: ('Hippocampus', 17, 53),
    Tissue.AMYGDALA: ('Amygdala', 18, 54),
    Tissue.ACCUMBENS: ('Accumbens-area', 26, 58),
    Tissue.VENTRAL_DIENCEPHALON: ('VentralDC', 28, 60),
    Tissue.RED_NUCLEUS: ('VentralDC', 28, 60),
    Tissue.SUBSTANTIA_NIGRA: ('VentralDC', 28, 60),
    Tissue.SUBTHALAMIC_NUCLEUS: ('VentralDC', 28, 60),
    Tissue.BRAINSTEM: ('Brain-Stem', 16, 16),
    Tissue.CSF: ('CSF', 24, 24),
}
"""Name and number, left and right, by which FreeSurfer knows a tissue."""
SULCI_MM = 8.0
"""Half the width of the widest sulci that a brain mask of fMRIPrep closes."""


def write_t1w(t1w: T1wImage, folder: Path, name: str) -> None:
    """
    Write a T1-weighted image of the raw dataset.

    Parameters
    ----------
    t1w
        The image.
    folder
        Root of the dataset.
    name
        ``sub-<label>`` or ``sub-<label>_ses-<label>``.

    """
    path = folder / subject_folder(name) / 'anat' / f'{name}_T1w'
    write_image(t1w.image, t1w.affine, path.with_suffix('.nii.gz'))
    write_json(path.with_suffix('.json'), {'Manufacturer': 'qsmprep', 'MRAcquisitionType': '3D'})


def write_fmriprep(t1w: T1wImage, head: LabelledHead | None, folder: Path, name: str) -> None:
    """
    Write what fMRIPrep would make of a T1-weighted image: mask, segmentation, transforms.

    Parameters
    ----------
    t1w
        The image.
    head
        Its head; with nuclei, the atlas that they come from gives the transform to the template.
    folder
        Root of the derivatives.
    name
        See :func:`write_t1w`.

    """
    anat = folder / subject_folder(name) / 'anat'
    anat.mkdir(parents=True, exist_ok=True)
    generated = {'Name': 'fmriprep', 'Description': 'as fMRIPrep names its outputs, simulated'}
    write_json(
        folder / 'dataset_description.json',
        {
            'Name': 'Simulated anatomy',
            'BIDSVersion': BIDS_VERSION,
            'DatasetType': 'derivative',
            'License': 'CC0',
            'GeneratedBy': [{**generated, 'Version': qsmprep.__version__, 'CodeURL': CODE_URL}],
        },
    )
    for ending, data in (
        ('desc-preproc_T1w', t1w.image),
        ('desc-brain_mask', closed_brain(t1w.brain, t1w.affine).astype(np.uint8)),
        ('desc-aseg_dseg', _aseg(t1w)),
    ):
        write_image(data, t1w.affine, anat / f'{name}_{ending}.nii.gz')
    write_json(anat / f'{name}_desc-preproc_T1w.json', {'SkullStripped': False})
    write_json(anat / f'{name}_desc-brain_mask.json', {'Type': 'Brain'})
    rows = {(n, f'{side}{title}') for title, left, right in ASEG.values() for n, side in (
        (left, '' if left == right else 'Left-'), (right, '' if left == right else 'Right-')
    )}  # fmt:skip
    table = ['index\tname', *(f'{number}\t{title}' for number, title in sorted(rows))]
    (folder / 'desc-aseg_dseg.tsv').write_text('\n'.join(table) + '\n')
    if head is None or head.nuclei is None:
        return
    moves = np.linalg.inv(atlas_to_head(head)) @ t1w.head_affine @ np.linalg.inv(t1w.affine)
    for way, matrix in (
        ('from-T1w_to-MNI152NLin2009cAsym', moves),
        ('from-MNI152NLin2009cAsym_to-T1w', np.linalg.inv(moves)),
    ):
        path = anat / f'{name}_{way}_mode-image_xfm.h5'
        write_transform(chain([affine_transform(matrix)]), path)


def closed_brain(brain: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """A brain with the fluid of its sulci and cisterns, as fMRIPrep's masks hold it."""
    size = np.linalg.norm(affine[:3, :3], axis=0)
    wide = distance_transform_edt(~brain, sampling=size) <= SULCI_MM
    return binary_fill_holes(distance_transform_edt(wide, sampling=size) > SULCI_MM)


def _aseg(t1w: T1wImage) -> np.ndarray:
    """Tissues under the numbers of FreeSurfer."""
    brain = np.argwhere(t1w.brain)
    along = t1w.head_affine[0, :3]
    middle = np.median(brain @ along)
    grid = np.indices(t1w.labels.shape).reshape(3, -1)
    right = (along @ grid).reshape(t1w.labels.shape) > middle
    table = np.zeros((2, len(Tissue)), np.int16)
    for tissue, (_, *numbers) in ASEG.items():
        table[:, tissue] = numbers
    return table[right.astype(int), t1w.labels]

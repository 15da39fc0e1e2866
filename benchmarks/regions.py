"""Medians of regions through the whole chain, from wrapped phase to the table, against the truth.

A head is simulated as a BIDS dataset with a T1-weighted image in a place of its own and what
fMRIPrep would make of it. qsmprep runs with fMRIPrep's transforms to the template, with its own
deformable registration, and once more from the true local field. Each error is divided: what a map
from the true local field errs within the true region (inversion), what it errs more from wrapped
phase (fields), and what the true map changes where the region is misplaced (place).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nb
import numpy as np
from measure import Table

from qsmprep.interfaces.itk import matrix_of, read_transform
from qsmprep.qsm.registration import distance_mm, overlap
from qsmprep.qsm.simulate import Tissue

NUCLEI = {
    'caudate nucleus': (Tissue.CAUDATE,),
    'putamen': (Tissue.PUTAMEN,),
    'globus pallidus': (Tissue.PALLIDUM,),
    'nucleus accumbens': (Tissue.ACCUMBENS,),
    'red nucleus': (Tissue.RED_NUCLEUS,),
    'substantia nigra': (Tissue.SUBSTANTIA_NIGRA,),
    'subthalamic nucleus': (Tissue.SUBTHALAMIC_NUCLEUS,),
}
"""Region of the atlas -> tissues of the simulated head."""
LARGE = ('caudate nucleus', 'putamen', 'globus pallidus', 'nucleus accumbens')
"""Nuclei that have a place and shape of their own in a segmented head. The others the simulator
places by an affine from the atlas, which it gives for fMRIPrep's transform: that is right for them
alone. Images, in which they have no border, can be registered for the large ones alone."""
ATLAS = {
    'caudate nucleus': (2, 102),
    'putamen': (1, 101),
    'globus pallidus': (5, 6, 105, 106),
    'nucleus accumbens': (3, 103),
    'red nucleus': (8, 108),
    'substantia nigra': (7, 9, 107, 109),
    'subthalamic nucleus': (16, 116),
}
ASEG = {
    'Caudate': ((11, 50), (Tissue.CAUDATE,)),
    'Putamen': ((12, 51), (Tissue.PUTAMEN,)),
    'Pallidum': ((13, 52), (Tissue.PALLIDUM,)),
    'Thalamus': ((10, 49), (Tissue.THALAMUS,)),
    'Hippocampus': ((17, 53), (Tissue.HIPPOCAMPUS,)),
    'Accumbens-area': ((26, 58), (Tissue.ACCUMBENS,)),
    'Cerebral-White-Matter': ((2, 41), (Tissue.WHITE_MATTER,)),
    'Cerebral-Cortex': ((3, 42), (Tissue.CORTEX,)),
}
COLUMNS = (
    'placed by',
    'region',
    'truth [ppb]',
    'table [ppb]',
    'error [ppb]',
    'inversion [ppb]',
    'fields [ppb]',
    'place [ppb]',
    'Dice',
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--out', type=Path, required=True, help='folder for dataset, results and table')
    add('--labels', type=Path, required=True, help='label volume of a head')
    add('--nuclei', type=Path, required=True, help='CIT168 label volume')
    add('--voxel', type=float, default=2.0, help='voxel size of the echoes [mm]')
    add('--t1w', type=float, default=1.5, help='voxel size of the T1-weighted image [mm]')
    add('--sessions', type=int, default=2, help='sessions; the T1-weighted image is in the first')
    add('--seed', type=int, default=1)
    return parser


def run(*command: object) -> None:
    """Run a command of qsmprep."""
    subprocess.run([Path(sys.executable).with_name(str(command[0])), *map(str, command[1:])],
                   check=True)  # fmt:skip


def main() -> None:
    """Simulate, run, compare."""
    args = build_parser().parse_args()
    bids, derivatives = args.out / 'bids', args.out / 'bids' / 'derivatives'
    if not bids.exists():
        run('qsmprep-simulate', bids, '--labels', args.labels, '--nuclei', args.nuclei, '--voxel',
            args.voxel, '--t1w', args.t1w, '--fmriprep', '--sessions', args.sessions, '--seed',
            args.seed, '--tes', 4, 12, 20)  # fmt:skip
        shutil.copytree(derivatives / 'fmriprep', derivatives / 'smriprep')
        for path in (derivatives / 'smriprep').rglob('*.h5'):
            path.unlink()
    table = Table('Medians of regions, from wrapped phase to the table', COLUMNS, [])
    session = f'ses-{args.sessions}' if args.sessions > 1 else ''
    name = '_'.join(part for part in ('sub-01', session) if part)
    chosen = ['--session-label', args.sessions] if session else []
    options = ['-w', args.out / 'work', '--nprocs', 1, '--skip-bids-validation', *chosen]
    simulation = derivatives / 'simulation'
    for kind, title in (('fmriprep', "fMRIPrep's transforms"), ('smriprep', 'own registration')):
        out = args.out / kind
        given = [f'{kind}={derivatives / kind}', f'truth={simulation}']
        run('qsmprep', bids, out, 'participant', '--derivatives', *given, *options)
        folder = out / 'sub-01' / session / 'anat'
        if kind == 'fmriprep':
            give_true_field(args.out / 'given', simulation, out, f'sub-01/{session}/fmap/{name}')
            run('qsmprep', bids, args.out / 'local', 'participant', '--start-from', 'local-field',
                '--ignore', 't1w', '-d', f'given={args.out / "given"}', *options)  # fmt:skip
            inverted = args.out / 'local' / 'sub-01' / session / 'anat'
        truth = simulation / 'sub-01' / session / 'anat'
        ending = 'from-MEGRE_to-T1w_mode-image_xfm.txt'
        both = [matrix_of(read_transform(f / f'{name}_{ending}')) for f in (folder, truth)]
        brain = nb.load(truth / f'{name}_desc-brain_mask.nii.gz')
        points = np.argwhere(brain.get_fdata() > 0) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
        print(f'rigid registration: {distance_mm(*both, points):.2f} mm from the known one')
        folders = (folder, inverted, truth)
        nuclei = {
            key: (ATLAS[key], NUCLEI[key])
            for key in NUCLEI
            if (key in LARGE) == (kind == 'smriprep')
        }
        compare(table, title, folders, name, 'CIT168', nuclei)
        if kind == 'fmriprep':
            compare(table, 'aseg', folders, name, 'aseg', ASEG)
    table.write(args.out, 'regions')


def give_true_field(given: Path, simulation: Path, measured: Path, name: str) -> None:
    """A derivatives dataset of the true local field, the noise that a scan gave, and its mask."""
    shutil.rmtree(given, ignore_errors=True)
    shutil.copytree(simulation, given)
    for suffix in ('.nii.gz', '.json'):
        noise = f'{name}_desc-noise_fieldmap{suffix}'
        shutil.copy(measured / noise, given / noise)


def compare(
    table: Table, title: str, folders: tuple[Path, ...], name: str, seg: str, regions: dict
) -> None:
    """Enter regions of a segmentation, both sides together; folders: run, inversion, truth."""
    folder, inverted, truth = folders

    def load(place: Path, ending: str) -> np.ndarray:
        return nb.load(place / f'{name}_{ending}.nii.gz').get_fdata()

    chi, mask = 1000 * load(folder, 'Chimap'), load(folder, 'desc-chi_mask') > 0
    true, alone = 1000 * load(truth, 'Chimap'), 1000 * load(inverted, 'Chimap')
    for values in (true, alone):
        values -= values[mask].mean()
    tissues, labels = load(truth, 'desc-tissues_dseg'), load(folder, f'seg-{seg}_dseg')
    for region, (numbers, kinds) in regions.items():
        placed = np.isin(labels, numbers) & mask
        real = np.isin(tissues, [int(kind) for kind in kinds]) & mask
        if not placed.any() or not real.any():
            continue
        sources = true[real], chi[placed], alone[real], chi[real], true[placed]
        expected, found, alone_in_place, in_place, moved = map(np.median, sources)
        table.add(
            title,
            region,
            f'{expected:.0f}',
            f'{found:.0f}',
            f'{found - expected:+.1f}',
            f'{alone_in_place - expected:+.1f}',
            f'{in_place - alone_in_place:+.1f}',
            f'{moved - expected:+.1f}',
            f'{overlap(placed, real):.2f}',
        )


if __name__ == '__main__':
    main()

"""``qsmprep-simulate``: a BIDS dataset of simulated scans, and its truth."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import TYPE_CHECKING

import qsmprep
from qsmprep.bids.derivatives import BIDS_VERSION, CODE_URL, write_json
from qsmprep.cli.arguments import Parser, path_of_file, torch_device
from qsmprep.cli.simulated_files import subject_folder, write_image

if TYPE_CHECKING:
    from qsmprep.qsm.simulate import LabelledHead, Scan

TURN_DEG = ((0.0, 0.0, 0.0), (9.0, -3.0, 0.0), (-6.0, 5.0, 0.0))
"""How the head is turned against the first session, by turns [degrees]."""
COARSEST_MM = 12.0
"""Largest voxel: a head is 15 of them wide."""
SHORTEST_MS = 0.05
"""Last echo time below which the numbers are seconds."""
LESIONS = ('calcification', 'haemorrhage', 'microbleeds', 'ms')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qsmprep-simulate``."""
    parser = Parser(
        prog='qsmprep-simulate',
        usage='%(prog)s OUTPUT_DIR [options]',
        description='Write a BIDS dataset of simulated multi-echo gradient-echo scans, with the '
        'true susceptibility, fields, masks and R2* under derivatives/simulation.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('output_dir', type=Path, help='new folder for the dataset')
    parser.add_argument('--version', action='version', version=f'qsmprep v{qsmprep.__version__}')
    parser.add_argument(
        '--subjects', type=int, default=1, metavar='N', help='number of participants'
    )
    _add_scan_options(parser.add_argument)
    _add_head_options(parser.add_argument)
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the first participant; counted up'
    )
    parser.add_argument(
        '--device', type=torch_device, default='cpu', help='auto, cpu or cuda[:INDEX]'
    )
    return parser


def _add_scan_options(add: Callable[..., argparse.Action]) -> None:
    """Voxels, field and echoes, noise, what scanners do besides."""
    add(
        '--voxel',
        type=float,
        nargs='+',
        default=[1.0],
        metavar='MM',
        help='voxel size: one edge length or three [mm]',
    )
    add('--b0', type=float, default=3.0, metavar='T', help='field strength [T]')
    add(
        '--b0-direction',
        type=float,
        nargs=3,
        action='append',
        metavar=('X', 'Y', 'Z'),
        help='direction of B0 in the frame of the image, 0 0 1 by default; the affine is turned to '
        'match. Given several times, each is a run of one session, for COSMOS',
    )
    add(
        '--tes',
        type=float,
        nargs='+',
        default=[4.0, 12.0, 20.0, 28.0],
        metavar='MS',
        help='echo times [ms]',
    )
    add(
        '--snr',
        type=float,
        default=100.0,
        help='mean magnitude of the first echo in the brain over the SD of the noise of the real '
        'channel',
    )
    add('--lesions', nargs='+', default=[], choices=LESIONS, help='lesions of each participant')
    add(
        '--bipolar',
        type=float,
        default=0.0,
        metavar='RAD',
        help='phase across the image that every second echo gains by a bipolar readout [rad]',
    )
    add(
        '--alternate-slices',
        action='store_true',
        help='turn the phase of every second slice by pi, as in some GE exports',
    )


def _add_head_options(add: Callable[..., argparse.Action]) -> None:
    """Heads, positions and T1-weighted images."""
    add(
        '--labels',
        type=Path,
        metavar='PATH',
        help='label volume with FreeSurfer labels of a whole head, or a folder of them, used in '
        'turn; without it the head is analytic',
    )
    add(
        '--nuclei',
        type=path_of_file,
        metavar='FILE',
        help='CIT168 label volume in MNI space, for red nucleus, substantia nigra and '
        'subthalamic nucleus in the heads of --labels',
    )
    add(
        '--sessions',
        type=int,
        default=1,
        metavar='N',
        help='scans of each participant, in turned positions; more than one get ses- labels',
    )
    add(
        '--t1w',
        type=float,
        metavar='MM',
        help='add a T1-weighted image of that voxel size to the first session, the head in another '
        'place of the scanner; the true transform lies beside the truth',
    )
    add(
        '--fmriprep',
        action='store_true',
        help='write derivatives/fmriprep too: the T1-weighted image with its brain mask and '
        'segmentation and, with --nuclei, its transform to the template, as fMRIPrep names them',
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = build_parser()
    args = parser.parse_args(argv)
    args.b0_direction = args.b0_direction or [[0.0, 0.0, 1.0]]
    _check(parser, args)

    from nibabel.filebasedimages import ImageFileError

    from qsmprep.cli.device import resolve_device
    from qsmprep.training.heads import find_heads

    try:
        args.device = resolve_device(args.device)
        heads = find_heads(args.labels)
        write_dataset(args, heads)
    except (OSError, ValueError, ImageFileError) as error:
        print(f'qsmprep-simulate: {error}', file=sys.stderr)
        return 1
    return 0


def _check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse numbers and folders that cannot be used."""
    if len(args.voxel) not in (1, 3):
        parser.error(f'--voxel takes one edge length or three, not {len(args.voxel)}')
    if not all(0 < x < math.inf for x in (*args.voxel, *args.tes, args.b0, args.snr)):
        parser.error('--voxel, --tes, --b0 and --snr are positive numbers')
    if max(args.voxel) > COARSEST_MM:
        parser.error(f'--voxel is {COARSEST_MM:g} mm at most, or the head has no shape')
    if any(late <= early for early, late in pairwise(args.tes)):
        parser.error('--tes: each echo comes after the one before')
    if max(args.tes) < SHORTEST_MS:
        parser.error('--tes are milliseconds, these look like seconds')
    if not all(any(direction) for direction in args.b0_direction):
        parser.error('--b0-direction needs a length above zero')
    if args.subjects < 1:
        parser.error('--subjects is at least 1')
    if args.sessions < 1 or (args.t1w is not None and args.t1w <= 0):
        parser.error('--sessions is at least 1, and --t1w a positive number')
    if args.fmriprep and args.t1w is None:
        parser.error('--fmriprep needs --t1w')
    if args.output_dir.is_file():
        parser.error(f'{args.output_dir} is a file; name a new folder')
    if args.output_dir.exists() and any(args.output_dir.iterdir()):
        parser.error(f'{args.output_dir} is not empty; name a new folder')


def write_dataset(args: argparse.Namespace, heads: list[Path]) -> None:
    """Simulate all participants and write the dataset."""
    from qsmprep.qsm.simulate import rigid_transform, simulate_head
    from qsmprep.training.heads import read_head

    truth = args.output_dir / 'derivatives' / 'simulation'
    _write_descriptions(args.output_dir, truth)
    labels = [f'{n:02d}' for n in range(1, args.subjects + 1)]
    rows = ['participant_id', *(f'sub-{label}' for label in labels)]
    (args.output_dir / 'participants.tsv').write_text('\n'.join(rows) + '\n')
    for number, label in enumerate(labels):
        head = read_head(heads[number % len(heads)], args.nuclei) if heads else None
        seed = args.seed + number
        scans = {}
        visits = product(range(args.sessions), args.b0_direction)
        for repeat, (visit, b0_direction) in enumerate(visits):
            name = f'sub-{label}' if args.sessions == 1 else f'sub-{label}_ses-{visit + 1}'
            if len(args.b0_direction) > 1:
                name += f'_run-{repeat % len(args.b0_direction) + 1}'
            turn = rigid_transform(TURN_DEG[visit % len(TURN_DEG)])[:3, :3]
            scan = simulate_head(
                head,
                voxel_size=args.voxel * 3 if len(args.voxel) == 1 else args.voxel,
                field_strength_t=args.b0,
                b0_direction=(turn @ b0_direction).tolist(),
                echo_times_s=[te / 1000 for te in args.tes],
                snr=args.snr,
                lesions=args.lesions,
                seed=seed,
                repeat=repeat,
                device=args.device,
                bipolar_rad=args.bipolar,
                alternate_slices=args.alternate_slices,
            )
            write_scan(scan, args.output_dir, name, seed)
            write_truth(scan, truth, name)
            scans[name] = scan
        if args.t1w is not None:
            _write_anatomy(args, head, scans, seed)


def _write_anatomy(
    args: argparse.Namespace, head: LabelledHead | None, scans: dict[str, Scan], seed: int
) -> None:
    """Write the T1-weighted image of a participant and what is made of it."""
    import numpy as np

    from qsmprep.cli.simulated_anatomy import write_fmriprep, write_t1w
    from qsmprep.interfaces.itk import affine_transform, write_transform
    from qsmprep.qsm.simulate import rigid_transform, simulate_t1w

    draw = np.random.default_rng(seed).uniform(-1, 1, 6)
    position = rigid_transform(8 * draw[:3], 12 * draw[3:])
    t1w = simulate_t1w(head, voxel_size=(args.t1w,) * 3, position=position, seed=seed)
    name = next(iter(scans))
    write_t1w(t1w, args.output_dir, name)
    for scanned, scan in scans.items():
        moves = t1w.affine @ np.linalg.inv(t1w.head_affine)
        moves = moves @ scan.head_affine @ np.linalg.inv(scan.affine)
        folder = args.output_dir / 'derivatives' / 'simulation' / subject_folder(scanned) / 'anat'
        path = folder / f'{scanned}_from-MEGRE_to-T1w_mode-image_xfm.txt'
        write_transform(affine_transform(moves), path)
    if args.fmriprep:
        write_fmriprep(t1w, head, args.output_dir / 'derivatives' / 'fmriprep', name)


def _write_descriptions(raw: Path, truth: Path) -> None:
    truth.mkdir(parents=True, exist_ok=True)
    software = {'Version': qsmprep.__version__, 'CodeURL': CODE_URL}
    write_json(
        raw / 'dataset_description.json',
        {
            'Name': 'Simulated multi-echo gradient-echo scans',
            'BIDSVersion': BIDS_VERSION,
            'DatasetType': 'raw',
            'License': 'CC0',
            'GeneratedBy': [{'Name': 'qsmprep-simulate', **software}],
        },
    )
    (raw / 'README').write_text(
        'Heads and scans of formulas, written by qsmprep-simulate. The truth lies under\n'
        'derivatives/simulation: susceptibility (ppm, zero near that of CSF), fields (Hz), R2*\n'
        '(1/s), brain masks and tissues.\n'
    )
    write_json(
        truth / 'dataset_description.json',
        {
            'Name': 'Truth of simulated scans',
            'BIDSVersion': BIDS_VERSION,
            'DatasetType': 'derivative',
            'License': 'CC0',
            'GeneratedBy': [{'Name': 'simulation', 'Description': 'qsmprep-simulate', **software}],
            'SourceDatasets': [{'URL': '../..'}],
        },
    )
    (truth / 'README').write_text('Truth of the simulated scans of the dataset above.\n')
    from qsmprep.qsm.simulate import Tissue

    rows = ['index\tname', *(f'{int(t)}\t{t.name.lower().replace("_", " ")}' for t in Tissue)]
    (truth / 'desc-tissues_dseg.tsv').write_text('\n'.join(rows) + '\n')


def write_scan(scan: Scan, folder: Path, name: str, seed: int) -> None:
    """Write the echoes of a scan as 16-bit magnitude (arbitrary) and phase (rad) with sidecars.

    Parameters
    ----------
    scan
        The scan.
    folder
        Root of the dataset.
    name
        ``sub-<label>[_ses-<label>][_run-<index>]``.
    seed
        Recorded in the sidecars.

    """
    import numpy as np

    from qsmprep.qsm.grid import ppm_to_hz

    anat = folder / subject_folder(name) / 'anat'
    anat.mkdir(parents=True, exist_ok=True)
    common = {
        'Manufacturer': 'qsmprep',
        'MagneticFieldStrength': scan.field_strength_t,
        'ImagingFrequency': float(ppm_to_hz(1.0, scan.field_strength_t)),
        'MRAcquisitionType': '3D',
        'ScanningSequence': 'GR',
        'PulseSequenceType': 'Multi-echo gradient echo',
        'SimulationSeed': seed,
    }
    peak = float(scan.magnitude.max())
    for echo, te in enumerate(scan.echo_times_s):
        for part, data, slope, units in (
            ('mag', scan.magnitude, peak / 32767, 'arbitrary'),
            ('phase', scan.phase, math.pi / 32768, 'rad'),
        ):
            stem = anat / f'{name}_echo-{echo + 1}_part-{part}_MEGRE'
            stored = np.clip(np.rint(data[..., echo] / slope), -32768, 32767).astype(np.int16)
            write_image(stored, scan.affine, stem.with_suffix('.nii.gz'), slope)
            sidecar = {'EchoTime': te, 'EchoNumber': echo + 1, 'Units': units, **common}
            write_json(stem.with_suffix('.json'), sidecar)


def write_truth(scan: Scan, folder: Path, name: str) -> None:
    """Write the truth of a scan as BIDS derivatives.

    Parameters
    ----------
    scan
        The scan.
    folder
        Root of the derivatives.
    name
        ``sub-<label>`` or ``sub-<label>_ses-<label>``.

    """
    subject = folder / subject_folder(name)
    reference = {'ReferenceRegion': 'none: zero is the susceptibility of the tissue reference'}
    field = {'SkullStripped': False, 'MagneticFieldStrength': scan.field_strength_t}
    for ending, data, sidecar in (
        ('anat/{}_Chimap', scan.chi * scan.brain, {'Units': 'ppm', **reference}),
        ('anat/{}_desc-paramagnetic_Chimap', scan.paramagnetic * scan.brain, {'Units': 'ppm'}),
        ('anat/{}_desc-diamagnetic_Chimap', scan.diamagnetic * scan.brain, {'Units': 'ppm'}),
        ('anat/{}_R2starmap', scan.r2star_hz * scan.brain, {'Units': '1/s'}),
        ('anat/{}_R2map', scan.r2_hz * scan.brain, {'Units': '1/s'}),
        ('anat/{}_desc-brain_mask', scan.brain.astype('u1'), {'Type': 'Brain'}),
        ('anat/{}_desc-tissues_dseg', scan.labels, None),
        ('fmap/{}_desc-local_fieldmap', scan.local_field_hz, {'Units': 'Hz'}),
        ('fmap/{}_desc-total_fieldmap', scan.total_field_hz, {'Units': 'Hz', **field}),
        ('fmap/{}_magnitude', scan.magnitude[..., 0], {'SkullStripped': False}),
    ):
        path = subject / ending.format(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(data, scan.affine, path.with_suffix('.nii.gz'))
        if sidecar is not None:
            write_json(path.with_suffix('.json'), {'SkullStripped': True, **sidecar})


if __name__ == '__main__':
    sys.exit(main())

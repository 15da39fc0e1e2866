"""Heads as they are: lesions, implants, strong fields, odd geometry; field and map, by stages.

Each case is a simulated scan that runs through the graph, from wrapped phase to the referenced map,
with its true brain mask given. Maps are scored by the scorer of QSM-CI over the whole true brain;
a lesion by its mean and its volume, both relative to the truth. Where the mask of a segmented head
cuts through bone or air, a few voxels hold up to half of the power of the truth: *whole voxels*
is the NRMSE without them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table
from nipype import config, logging
from nipype.interfaces.io import ExportFile
from nipype.pipeline import engine as pe
from pathology_cases import CASES, simulate
from qsm_ci.qsm_eval import score_arrays
from scipy import ndimage

from qsmprep.cli.simulate import write_scan
from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO
from qsmprep.qsm.simulate import Scan
from qsmprep.training.heads import find_heads, read_head
from qsmprep.workflows.qsm import init_qsm_wf

OUTPUTS = ('chi', 'chi_mask', 'reliable_mask', 'total_field', 'local_field', 'local_noise')
COLUMNS = (
    'case',
    'NRMSE [%]',
    'XSIM',
    'whole voxels [%]',
    'rest of the brain [%]',
    'lesion mean [ppm]',
    'of the truth [%]',
    'volume [%]',
    'total field [ppb]',
    'local field [%]',
    'brain kept [%]',
)
SURROUNDINGS_MM = 6.0
"""What lies farther than this from a lesion is the rest of the brain."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'labels', out='folder for tables and pictures')
    add = parser.add_argument
    add('--voxel', type=float, default=2.0, help='edge of a voxel [mm]')
    add('--cases', nargs='+', default=list(CASES), metavar='CASE', help='some of the cases')
    add('--seed', type=int, default=0, help='of the first case; counted up')
    add('--background', default='pdf', help='background field removal')
    add('--inversion', default='tv', help='dipole inversion')
    return parser


def run_chain(scan: Scan, work: Path, background: str, inversion: str) -> dict[str, np.ndarray]:
    """Images that the graph makes of a scan."""
    config.update_config({'logging': {'workflow_level': 'ERROR', 'interface_level': 'ERROR'}})
    logging.update_logging(config)
    write_scan(scan, work / 'bids', 'sub-01', seed=0)
    mask = work / 'brain.nii.gz'
    nb.save(nb.Nifti1Image(scan.brain.astype(np.uint8), scan.affine), mask)
    workflow = init_qsm_wf(
        echo_times_s=scan.echo_times_s,
        field_strength_t=scan.field_strength_t,
        phase_range=(-np.pi, np.pi),
        brain_extraction='given',
        background=background,
        inversion=inversion,
        relaxometry=False,
    )
    inputs = workflow.get_node('inputnode').inputs
    for part, key in (('magnitude', 'mag'), ('phase', 'phase')):
        files = sorted(map(str, (work / 'bids').rglob(f'*part-{key}*.nii.gz')))
        setattr(inputs, f'{part}_files', files)
    inputs.brain_mask = str(mask)
    for key in OUTPUTS:
        export = pe.Node(ExportFile(out_file=str(work / f'{key}.nii'), clobber=True), f'to_{key}')
        workflow.connect(workflow.get_node('outputnode'), key, export, 'in_file')
    workflow.base_dir = str(work)
    workflow.run()
    return {key: np.asarray(nb.load(work / f'{key}.nii').dataobj) for key in OUTPUTS}


def measure_case(
    scan: Scan,
    lesion: np.ndarray,
    whole: np.ndarray,
    images: dict[str, np.ndarray],
    scale: float,
) -> list[float]:
    """Columns of the table after the first."""
    brain, truth = scan.brain, (scan.chi * scan.brain).astype(np.float64)
    chi = images['chi'].astype(np.float64)
    metrics, _ = score_arrays(chi, truth, brain.astype(np.uint8), 'chi')
    size = [v / scale for v in scan.grid.voxel_size]
    distance = ndimage.distance_transform_edt(~lesion, sampling=size)
    rest = brain & (distance > SURROUNDINGS_MM)
    shell = brain & (distance > SURROUNDINGS_MM) & (distance < 2 * SURROUNDINGS_MM)
    excess, expected = (m[lesion].mean() - np.median(m[shell]) for m in (chi, truth))
    sign, near = np.sign(expected), brain & (distance <= SURROUNDINGS_MM)
    volumes = [
        np.count_nonzero(near & (sign * (m - np.median(m[shell])) > 0.5 * abs(expected)))
        for m in (chi, truth)
    ]
    to_ppb = 1000 / (PROTON_GYROMAGNETIC_RATIO * scan.field_strength_t)
    reliable = (images['reliable_mask'] > 0) & (distance > 0)
    total = (images['total_field'] - scan.total_field_hz)[reliable] * to_ppb
    kept = (images['local_noise'] > 0) & (images['local_field'] != 0) & (distance > 0)
    local = (images['local_field'] - scan.local_field_hz)[kept]
    return [
        metrics['nrmse'],
        metrics['xsim'],
        relative_error(chi, truth, whole),
        relative_error(chi, truth, rest),
        excess,
        100 * excess / expected,
        100 * volumes[0] / max(volumes[1], 1),
        float(np.std(total - np.median(total))),
        float(100 * np.std(local) / np.std(scan.local_field_hz[kept])),
        float(100 * np.count_nonzero((chi != 0) & brain) / np.count_nonzero(brain)),
    ]


def relative_error(image: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    """NRMSE [%] about the means."""
    a, b = (i[where] - i[where].mean() for i in (image, truth))
    return float(100 * np.linalg.norm(a - b) / np.linalg.norm(b))


def draw(scan: Scan, lesion: np.ndarray, images: dict[str, np.ndarray], path: Path) -> None:
    """Three sections through the lesion: true and found field, true and found map."""
    from matplotlib.figure import Figure

    centre = [int(round(c)) for c in ndimage.center_of_mass(lesion)]
    limits_hz = 0.08 * PROTON_GYROMAGNETIC_RATIO * scan.field_strength_t
    rows = {
        'local field, true': (scan.local_field_hz, limits_hz),
        'local field': (images['local_field'], limits_hz),
        'map, true': (scan.chi * scan.brain, 0.2),
        'map': (images['chi'], 0.2),
        'map, wide': (images['chi'], 1.5),
    }
    figure = Figure(figsize=(9, 3 * len(rows)))
    for row, (name, (image, limit)) in enumerate(rows.items()):
        for axis in range(3):
            axes = figure.add_subplot(len(rows), 3, 3 * row + axis + 1)
            section = np.take(image, centre[axis], axis).T
            others = [v for a, v in enumerate(scan.grid.voxel_size) if a != axis]
            axes.imshow(
                section,
                'gray',
                origin='lower',
                vmin=-limit,
                vmax=limit,
                aspect=others[1] / others[0],
            )
            axes.set_title(f'{name} +-{limit:.3g}', fontsize=8)
            axes.axis('off')
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def work_on(name: str, head_file: Path | None, seed: int, args: argparse.Namespace) -> list[float]:
    """Simulate, run and measure one case."""
    torch.set_num_threads(1)
    case = CASES[name]
    head = None if head_file is None else read_head(head_file)
    scan, lesion, whole = simulate(case, head, args.voxel, seed)
    folder = Path(tempfile.mkdtemp())
    try:
        images = run_chain(scan, folder, args.background, args.inversion)
    finally:
        shutil.rmtree(folder)
    draw(scan, lesion, images, args.out / f'{name.replace(" ", "_").replace(",", "")}.png')
    return measure_case(scan, lesion, whole, images, case.scale)


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'
    args.out.mkdir(parents=True, exist_ok=True)
    heads = find_heads(args.labels)
    kind = 'analytic heads' if not heads else f'{len(heads)} segmented heads'
    table = Table(
        f'Heads as they are: {kind}, {args.voxel:g} mm, {args.background} + {args.inversion}',
        COLUMNS,
        [],
    )
    context = multiprocessing.get_context('spawn')
    for number, name in enumerate(args.cases):
        head = heads[number % len(heads)] if heads else None
        with context.Pool(1) as pool:
            table.add(name, *pool.apply(work_on, (name, head, args.seed + number, args)))
    add_summary(table)
    table.write(args.out, 'pathology')


def add_summary(table: Table) -> None:
    """Median and worst of each column; of percentages of the truth, the farthest from 100."""
    columns = list(zip(*table.rows, strict=True))
    worst: dict[str, Callable] = {
        'XSIM': min,
        'brain kept [%]': min,
        'of the truth [%]': lambda v: max(v, key=lambda x: abs(x - 100)),
        'volume [%]': lambda v: max(v, key=lambda x: abs(x - 100)),
    }
    hidden = table.columns.index('lesion mean [ppm]')
    medians = [statistics.median(c) for c in columns[1:]]
    worsts = [
        worst.get(name, max)(c) for name, c in zip(table.columns[1:], columns[1:], strict=True)
    ]
    for row in (medians, worsts):
        row[hidden - 1] = None
    table.add('median', *medians)
    table.add('worst', *worsts)


if __name__ == '__main__':
    main()

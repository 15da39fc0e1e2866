"""Heads as they are: lesions, implants, strong fields, odd geometry; field and map, by stages.

Each case is a simulated scan that runs through the graph, from wrapped phase to the referenced map,
with its true brain mask given. Maps are scored by the scorer of QSM-CI over the whole true brain;
a lesion by its mean and its volume, both relative to the truth.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from measure import Table
from nipype import config, logging
from nipype.interfaces.io import ExportFile
from nipype.pipeline import engine as pe
from qsm_ci.qsm_eval import score_arrays
from scipy import ndimage

from qsmprep.cli.simulate import write_scan
from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO
from qsmprep.qsm.simulate import Phantom, Scan, Tissue
from qsmprep.qsm.simulate import _field_of_view as field_of_view
from qsmprep.qsm.simulate.acquisition import scan as scan_phantom
from qsmprep.qsm.simulate.anatomy import Axes
from qsmprep.qsm.simulate.susceptibility import block_mean, majority, make_phantom
from qsmprep.training.heads import find_heads, read_head
from qsmprep.workflows.qsm import init_qsm_wf

OUTPUTS = ('chi', 'chi_mask', 'reliable_mask', 'total_field', 'local_field', 'local_noise')
COLUMNS = (
    'case',
    'NRMSE [%]',
    'XSIM',
    'rest of the brain [%]',
    'lesion mean [ppm]',
    'of the truth [%]',
    'volume [%]',
    'total field [ppb]',
    'local field [%]',
    'brain kept [%]',
)
ECHO_TIMES_S = {3.0: (0.004, 0.012, 0.020, 0.028), 7.0: (0.003, 0.008, 0.013, 0.018)}
SURROUNDINGS_MM = 6.0
"""What lies farther than this from a lesion is the rest of the brain."""


@dataclass(frozen=True)
class Ball:
    """A ball of one tissue.

    Parameters
    ----------
    radius_mm
        Radius [mm].
    chi_ppm
        Susceptibility [ppm].
    tissue
        Gives signal and relaxation.

    """

    radius_mm: float
    chi_ppm: float
    tissue: Tissue


CALCIFICATION = (Ball(4.0, -3.0, Tissue.CALCIFICATION),)
HAEMORRHAGE = (Ball(6.0, 1.0, Tissue.HAEMORRHAGE),)
CAVERNOMA = (Ball(8.0, 1.2, Tissue.HAEMORRHAGE), Ball(5.0, 0.3, Tissue.MICROBLEED))
VEINS = (Ball(2.0, 0.35, Tissue.VEIN),)
CAVITY = (Ball(16.0, 0.0, Tissue.CSF),)
IMPLANT = (Ball(4.0, 30.0, Tissue.AIR),)
AIR = (Ball(12.0, 9.4, Tissue.AIR),)


@dataclass(frozen=True)
class Case:
    """A head and how it is scanned.

    Parameters
    ----------
    lesion
        Balls about one centre, the larger ones first.
    place
        Where the centre lies: ``'deep'``, ``'surface'`` (within the brain), ``'skull'`` or
        ``'base'`` (just outside).
    length_mm
        Drawn out to a rod along the head's long axis [mm].
    other
        A further object, which is not scored: its balls and its place.
    cavities_ppm
        Susceptibility of the air cavities of the skull [ppm].
    field_strength_t, snr, b0_direction
        Of the scan.
    stretch
        Factors on the voxel size.
    slab_mm
        Height of the field of view; None for the whole head.
    scale
        Size of the head, and of its voxels, relative to those of an adult.

    """

    lesion: tuple[Ball, ...] = HAEMORRHAGE
    place: str = 'deep'
    length_mm: float = 0.0
    other: tuple[tuple[Ball, ...], str] | None = None
    cavities_ppm: float = 9.4
    field_strength_t: float = 3.0
    snr: float = 100.0
    b0_direction: tuple[float, float, float] = (0.0, 0.0, 1.0)
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
    slab_mm: float | None = None
    scale: float = 1.0


CASES: dict[str, Case] = {
    'calcification': Case(CALCIFICATION),
    'calcification at the surface': Case(CALCIFICATION, 'surface'),
    'calcification, 7 T': Case(CALCIFICATION, field_strength_t=7.0),
    'haemorrhage, deep': Case(),
    'haemorrhage at the surface': Case(place='surface'),
    'cavernoma': Case(CAVERNOMA),
    'large vein': Case(VEINS, length_mm=50.0),
    'resection cavity': Case(CAVITY, 'surface'),
    'implant in the skull': Case(other=(IMPLANT, 'skull')),
    'strong sinus field': Case(other=(AIR, 'base')),
    'weak sinus field': Case(cavities_ppm=3.0),
    'haemorrhage, 7 T': Case(field_strength_t=7.0),
    'SNR 30': Case(snr=30.0),
    'oblique, 20 degrees': Case(b0_direction=(0.0, 0.342, 0.940)),
    'oblique, 45 degrees': Case(b0_direction=(0.5, 0.5, 0.7071)),
    'thick slices': Case(stretch=(0.8, 0.8, 1.6)),
    'slab': Case(slab_mm=60.0),
    'small brain': Case(scale=0.1),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--out', type=Path, required=True, help='folder for tables and pictures')
    add('--labels', type=Path, help='label volumes of heads, used in turn; analytic without')
    add('--voxel', type=float, default=2.0, help='edge of a voxel [mm]')
    add('--cases', nargs='+', default=list(CASES), metavar='CASE', help='some of the cases')
    add('--seed', type=int, default=0, help='of the first case; counted up')
    add('--background', default='pdf', help='background field removal')
    add('--inversion', default='tv', help='dipole inversion')
    return parser


def find_centre(phantom: Phantom, place: str, radius_mm: float, draw: float) -> np.ndarray:
    """Head coordinates of a place [mm]; ``draw`` from 0 to 1 picks one of those that fit."""
    mask, size = phantom.mask.numpy(), phantom.axes.voxel_size
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=size)[1:-1, 1:-1, 1:-1]
    outside = ndimage.distance_transform_edt(~mask, sampling=size)
    z = phantom.axes.coordinates(2).numpy()
    middle = float(np.median(z[np.nonzero(mask)[2]]))
    upper = np.broadcast_to(z > middle, mask.shape)
    white = phantom.labels.numpy() == int(Tissue.WHITE_MATTER)
    fits = {
        'deep': white & (inside > 12 + radius_mm) & (abs(z - middle) < 25),
        'surface': upper & (abs(inside - radius_mm - 1) < 2),
        'skull': upper & (abs(outside - radius_mm - 3) < 2),
        'base': ~upper & (abs(outside - radius_mm - 4) < 2) & (z > middle - 60),
    }[place]
    if place == 'base':
        y = phantom.axes.coordinates(1).numpy()[None, :, None]
        fits &= y > np.quantile(y, 0.6)
    found = np.argwhere(fits)
    index = found[int(draw * len(found))]
    return np.array([float(phantom.axes.coordinates(a)[i]) for a, i in enumerate(index)])


def paint(phantom: Phantom, balls: Sequence[Ball], centre: np.ndarray, length_mm: float) -> None:
    """Paint balls, drawn out along y, on the fine grid of a phantom, in place."""
    fine = phantom.axes.finer(phantom.factors)
    offsets = [fine.coordinates(a) - float(centre[a]) for a in range(3)]
    offsets[1] = (offsets[1].abs() - length_mm / 2).clamp(min=0)
    x, y, z = (o.reshape([-1 if b == a else 1 for b in range(3)]) for a, o in enumerate(offsets))
    distance = (x**2 + y**2 + z**2).sqrt()
    for ball in balls:
        inside = distance < ball.radius_mm
        phantom.chi_fine[inside] = ball.chi_ppm
        phantom.labels_fine[inside] = int(ball.tissue)


def simulate(case: Case, head, voxel_mm: float, seed: int) -> tuple[Scan, np.ndarray]:
    """Scan of a case, and the lesion's voxels."""
    size = tuple(voxel_mm * s for s in case.stretch)
    axes = field_of_view(head, size, None, True, 'cpu')
    if case.slab_mm is not None:
        shape = (*axes.shape[:2], 4 * round(case.slab_mm / size[2] / 4))
        axes = Axes(shape, size, (*axes.centre[:2], 10.0))
    generator = torch.Generator().manual_seed(seed)
    factors = [max(2, round(v)) for v in size]
    phantom = make_phantom(head, axes, factors=factors, generator=generator)
    air, _ = ndimage.label(phantom.labels_fine.numpy() == int(Tissue.AIR))
    phantom.chi_fine[torch.from_numpy((air > 0) & (air != air[0, 0, -1]))] = case.cavities_ppm
    draws = torch.rand(2, generator=generator).tolist()
    healthy = phantom.chi_fine.clone()
    places = [(case.lesion, case.place, case.length_mm)]
    if case.other is not None:
        places.insert(0, (*case.other, 0.0))
    for (balls, place, length_mm), draw in zip(places, draws[-len(places) :], strict=True):
        healthy.copy_(phantom.chi_fine)
        centre = find_centre(phantom, place, balls[0].radius_mm, draw)
        paint(phantom, balls, centre, length_mm)
    changed = block_mean((healthy != phantom.chi_fine).float(), phantom.factors) > 0.5
    phantom = replace(
        phantom,
        labels=majority(phantom.labels_fine, phantom.factors),
        chi=block_mean(phantom.chi_fine, phantom.factors),
    )
    scan = scan_phantom(
        phantom,
        field_strength_t=case.field_strength_t,
        b0_direction=case.b0_direction,
        echo_times_s=ECHO_TIMES_S[case.field_strength_t],
        snr=case.snr,
        generator=generator,
    )
    affine = scan.affine @ np.diag([case.scale] * 3 + [1.0])
    affine[:3, 3] = scan.affine[:3, 3] * case.scale
    grid = replace(scan.grid, voxel_size=tuple(case.scale * v for v in size))
    return replace(scan, affine=affine, grid=grid), changed.numpy() & scan.brain


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
    scan: Scan, lesion: np.ndarray, images: dict[str, np.ndarray], scale: float
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
    scan, lesion = simulate(case, head, args.voxel, seed)
    folder = Path(tempfile.mkdtemp())
    try:
        images = run_chain(scan, folder, args.background, args.inversion)
    finally:
        shutil.rmtree(folder)
    draw(scan, lesion, images, args.out / f'{name.replace(" ", "_").replace(",", "")}.png')
    return measure_case(scan, lesion, images, case.scale)


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

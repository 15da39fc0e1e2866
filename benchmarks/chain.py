"""Cost and error of every stage, from wrapped phase to susceptibility, on a simulated head.

Stages are the nodes of the graph, run one by one, each in a process of its own, files included.
Fields and maps are scored by the scorer of QSM-CI over the whole true brain.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from arguments import benchmark_parser
from measure import QUICK_METHODS, Cost, Table, measure, measure_command
from qsm_ci.qsm_eval import score_arrays

from qsmprep.cli.simulate import write_scan
from qsmprep.interfaces import images
from qsmprep.interfaces.background import RemoveBackground
from qsmprep.interfaces.inversion import InvertDipole
from qsmprep.interfaces.mask import ExtractBrain, TrustPhase
from qsmprep.interfaces.phase import (
    CombineEchoes,
    PhaseDifference,
    PrepareEchoes,
    RemovePhaseOffset,
    Romeo,
)
from qsmprep.interfaces.relaxometry import FitRelaxation

# Libraries that the nodes import when they run are loaded here, before anything is measured.
from qsmprep.methods import BACKGROUNDS
from qsmprep.qsm import mask, phase, relaxometry  # noqa: F401
from qsmprep.qsm.simulate import Scan, simulate_head
from qsmprep.settings import Settings
from qsmprep.training.heads import find_heads, read_head

SUBMISSION = Path(__file__).parent / 'qsm_ci' / 'qsmprep-end-to-end' / 'run.sh'
COST = ('CPU [s]', 'wall [s]', 'peak [GB]')
SCORE = ('NRMSE [%]', 'HFEN [%]', 'XSIM', 'brain kept [%]')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'labels')
    add = parser.add_argument
    add('--shape', type=int, nargs=3, default=(160, 200, 176), help='voxels along the axes')
    add('--voxel', type=float, nargs=3, default=(1.0, 1.0, 1.0), help='voxel size [mm]')
    add('--b0', type=float, default=3.0, help='field strength [T]')
    add('--tes', type=float, nargs='+', default=(4.0, 12.0, 20.0, 28.0), help='echo times [ms]')
    add('--snr', type=float, default=100.0, help='of the first echo')
    add('--seed', type=int, default=0, help='of the simulation')
    add('--repeats', type=int, default=1, help='costs are the medians of so many runs')
    add('--inversions', nargs='+', default=QUICK_METHODS, metavar='METHOD', help='to run')
    add('--threads', type=int, default=1, help='threads of each stage')
    return parser


@dataclass
class Bench:
    """A simulated scan on disk, and how to run nodes on it.

    Parameters
    ----------
    scan
        The scan and its truth.
    work
        Folder for intermediate files.
    repeats
        Runs of each node.

    """

    scan: Scan
    work: Path
    repeats: int

    def run(self, name: str, interface: type, **inputs) -> tuple[dict, Cost]:
        """Run a node; return its outputs and its cost."""
        folder = self.work / name
        folder.mkdir()
        return measure(run_node, interface, inputs, folder, repeats=self.repeats)

    def write(self, data: np.ndarray, name: str) -> str:
        """Write a volume on the grid of the scan."""
        path = self.work / name
        nb.save(nb.Nifti1Image(data, self.scan.affine), path)
        return str(path)

    def score(self, data: np.ndarray, truth: np.ndarray, kind: str) -> list[float]:
        """Return the columns ``SCORE`` for a field (no HFEN) or a susceptibility map."""
        metrics, _ = score_arrays(data, truth, self.scan.brain.astype(np.uint8), kind)
        kept = 100 * metrics['coverage']
        return [metrics['nrmse'], metrics.get('hfen'), metrics['xsim'], kept]


def run_node(interface: type, inputs: dict, folder: Path) -> dict:
    """Outputs of an interface that runs in a folder."""
    return interface(**inputs).run(cwd=str(folder)).outputs.get()


def prepare(bench: Bench) -> tuple[dict, list[float]]:
    """Write the scan as a BIDS dataset; return inputs of the first node and echo times [s]."""
    write_scan(bench.scan, bench.work / 'bids', 'sub-01', seed=0)
    parts = {
        f'{part}_files': sorted(map(str, (bench.work / 'bids').rglob(f'*part-{key}*.nii.gz')))
        for part, key in (('magnitude', 'mag'), ('phase', 'phase'))
    }
    times = list(bench.scan.echo_times_s)
    return {**parts, 'phase_range': (-np.pi, np.pi), 'echo_times_s': times}, times


def map_field(bench: Bench, table: Table) -> dict[str, str]:
    """Run the stages up to the reliable mask; return the files that later stages need."""
    inputs, times = prepare(bench)
    scan = bench.scan
    echoes, cost = bench.run('prepare', PrepareEchoes, **inputs)
    table.add('scaling of the phase', *row(cost))
    both = {'magnitude': echoes['magnitude'], 'phase': echoes['phase']}
    brain = bench.write(scan.brain.astype(np.uint8), 'brain.nii')
    difference, cost = bench.run('difference', PhaseDifference, **both, mask=brain)
    table.add('phase difference', *row(cost))
    unwrapped, cost = bench.run(
        'unwrap_difference',
        Romeo,
        phase=difference['difference'],
        magnitude=difference['weight'],
        quality_map=False,
    )
    table.add('unwrapping of the difference (ROMEO)', *row(cost))
    offset, cost = bench.run(
        'offset',
        RemovePhaseOffset,
        **both,
        mask=brain,
        unwrapped_difference=unwrapped['unwrapped'],
        echo_times_s=times,
    )
    table.add('phase offset (MCPC-3D-S)', *row(cost))
    romeo, cost = bench.run(
        'romeo',
        Romeo,
        phase=offset['phase'],
        magnitude=echoes['magnitude'],
        echo_times_s=times,
    )
    table.add('unwrapping of the echoes (ROMEO)', *row(cost))
    combined, cost = bench.run(
        'combine',
        CombineEchoes,
        unwrapped=romeo['unwrapped'],
        magnitude=echoes['magnitude'],
        echo_times_s=times,
    )
    error_hz = images.read(combined['field']) - scan.total_field_hz
    table.add(
        'combination of the echoes', *row(cost, rms(error_hz[scan.brain]), 'RMSE [Hz], brain')
    )
    reliable, cost = bench.run(
        'reliable',
        TrustPhase,
        brain=brain,
        quality=romeo['quality'],
        unwrapped=combined['unwrapped'],
        magnitude=echoes['magnitude'],
        echo_times_s=times,
    )
    trusted = images.read(reliable['mask'], bool)
    kept = 100 * trusted.sum() / scan.brain.sum()
    error = rms(error_hz[trusted])
    table.add('mask of reliable phase', *row(cost, error, 'RMSE [Hz], inside'), kept)
    return {
        'magnitude': echoes['magnitude'],
        'combined_magnitude': echoes['combined_magnitude'],
        'field': combined['field'],
        'noise': combined['noise'],
        'mask': reliable['mask'],
        'tissue': reliable['tissue'],
        'brain': brain,
    }


def row(cost: Cost, error: float | None = None, measure_name: str | None = None) -> list:
    """Cells of a stage after its name."""
    return [cost.cpu_s, cost.wall_s, cost.peak_gb, error, measure_name]


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def other_maps(bench: Bench, table: Table, files: dict[str, str]) -> None:
    """Brain extraction and relaxometry: stages that susceptibility does not wait for."""
    scan = bench.scan
    extracted, cost = bench.run('extract', ExtractBrain, magnitude=files['magnitude'])
    found = images.read(extracted['mask'], bool)
    dice = 2 * np.sum(found & scan.brain) / (found.sum() + scan.brain.sum())
    table.add('brain extraction (deepbet)', *row(cost, float(dice), 'Dice'))
    fitted, cost = bench.run(
        'relaxation',
        FitRelaxation,
        magnitude=files['magnitude'],
        mask=files['brain'],
        echo_times_s=list(scan.echo_times_s),
    )
    error = images.read(fitted['r2star']) - scan.r2star_hz
    median = float(np.median(np.abs(error[scan.brain])))
    table.add('R2* (nonlinear least squares)', *row(cost, median, 'median absolute error [1/s]'))


def remove_backgrounds(bench: Bench, table: Table, files: dict[str, str]) -> dict[str, dict]:
    """Run every background removal; return their outputs, and the truth as one of them."""
    scan = bench.scan
    truth = bench.write(scan.local_field_hz, 'truth.nii')
    removed = {'true local field': {'field': truth, 'mask': files['brain']}}
    for method in BACKGROUNDS:
        removed[method], cost = bench.run(
            f'background_{method}',
            RemoveBackground,
            **{name: files[name] for name in ('field', 'mask', 'noise')},
            brain=files['tissue'],
            method=method,
        )
        local = images.read(removed[method]['field'])
        nrmse, _, xsim, kept = bench.score(local, scan.local_field_hz, 'field')
        table.add(f'background removal: {method}', *row(cost, nrmse, 'NRMSE [%]'), kept, xsim)
    return removed


def invert_all(
    bench: Bench, files: dict[str, str], removed: dict[str, dict], methods: Sequence[str]
) -> Table:
    """Run inversions on every local field."""
    scan = bench.scan
    table = Table(
        'Every background removal x inversion', ('local field', 'inversion', *SCORE, *COST), []
    )
    truth = (scan.chi * scan.brain).astype(np.float64)
    for background, outputs in removed.items():
        weights = {}
        if background in BACKGROUNDS:
            weights = {'magnitude': files['combined_magnitude'], 'noise': outputs['noise']}
            weights |= {'total_noise': files['noise'], 'after_background': True}
            weights |= {'tissue': outputs['tissue']}
        for method in methods:
            inverted, cost = bench.run(
                f'chi_{background}_{method}'.replace(' ', '-'),
                InvertDipole,
                field=outputs['field'],
                mask=outputs['mask'],
                field_strength_t=scan.field_strength_t,
                method=method,
                **weights,
            )
            score = bench.score(images.read(inverted['chi']), truth, 'chi')
            table.add(background, method, *score, cost.cpu_s, cost.wall_s, cost.peak_gb)
    return table


def add_default(stages: Table, inversions: Table) -> None:
    """Repeat the default inversion after the default background removal among the stages."""
    default = Settings().processing
    for background, method, nrmse, _, xsim, kept, *cost in inversions.rows:
        if (background, method) == (default.background, default.inversion):
            stages.add(
                f'inversion after {background}: {method}', *cost, nrmse, 'NRMSE [%]', kept, xsim
            )


def whole_chain(bench: Bench, table: Table) -> None:
    """Run the default chain as one command, the brain mask given, and score its map."""
    scan, folder = bench.scan, bench.work / 'qsm_ci'
    folder.mkdir()
    for name, data in (
        ('phase', scan.phase),
        ('magnitude', scan.magnitude),
        ('mask', scan.brain.astype(np.uint8)),
    ):
        bench.write(data, f'qsm_ci/{name}.nii.gz')
    parameters = {
        'TE': scan.echo_times_s,
        'B0': scan.field_strength_t,
        'B0_dir': scan.grid.b0_direction,
        'voxel_size': scan.grid.voxel_size,
    }
    (folder / 'params.json').write_text(json.dumps(parameters))
    cost = measure_command(['bash', SUBMISSION, folder, folder], repeats=bench.repeats)
    chi = images.read(folder / 'chimap.nii.gz')
    nrmse, _, xsim, kept = bench.score(chi, scan.chi.astype(np.float64), 'chi')
    table.add('default chain, one command', *row(cost, nrmse, 'NRMSE [%]'), kept, xsim)


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    # The submission calls python3: let it be this one.
    os.environ['PATH'] = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    heads = find_heads(args.labels)
    scan = simulate_head(
        read_head(heads[0]) if heads else None,
        shape=args.shape,
        voxel_size=args.voxel,
        field_strength_t=args.b0,
        echo_times_s=[te / 1000 for te in args.tes],
        snr=args.snr,
        seed=args.seed,
    )
    head = heads[0].name.split('.')[0] if heads else 'analytic'
    size = 'x'.join(map(str, args.shape))
    title = f'{size}, {len(args.tes)} echoes, {args.b0:g} T, SNR {args.snr:g}, head {head}'
    stages = Table(
        f'Stages, {title}', ('stage', *COST, 'error', 'measure', 'brain kept [%]', 'XSIM'), []
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(scan, Path(folder), args.repeats)
        files = map_field(bench, stages)
        removed = remove_backgrounds(bench, stages, files)
        inversions = invert_all(bench, files, removed, args.inversions)
        add_default(stages, inversions)
        whole_chain(bench, stages)
        other_maps(bench, stages, files)
    stages.write(args.out, 'chain')
    inversions.title += f', {title}'
    inversions.write(args.out, 'chain_inversions')


if __name__ == '__main__':
    main()

"""Bounds of quality measures from a physical model: fields of heads that no other script uses.

    python benchmarks/report_bounds.py --out FOLDER --labels FOLDER

Each head, in a direction of its own, gives its true fields at 3 T: the coarse over the fine waves
of the total field and of the local field alone, which is all that a high-pass filter can leave;
the volume whose phase is too steep to be trusted where the first echo is early, and where it is
a single late one; the middle of the local field, and the angle between B0 and the direction that
fits it best; the rise of R2* with its own susceptibility, and with that of the head before; and
what changes the phase between two echoes, as a spread [ppm] and as the share of its variance that
neighbours do not have in common.
"""

from __future__ import annotations

import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table

from qsmprep.bids.plausibility import between_echoes
from qsmprep.qsm.grid import PROTON_GYROMAGNETIC_RATIO, Grid, depth_mm, hz_to_ppm
from qsmprep.qsm.mask import reliable_mask
from qsmprep.qsm.simulate import Scan, simulate_head
from qsmprep.reports.consistency import b0_angle_deg, coarse_to_fine, relaxation_per_chi
from qsmprep.reports.measure import RIM_MM
from qsmprep.training.heads import find_heads, read_head

SEED = 8000
VOXEL_MM = (2.0, 2.0, 2.0)
ECHO_TIMES_S = (0.005, 0.02)
FIELD_T = 3.0


def steep_ml(scan: Scan, echo_time_s: float) -> float:
    """Volume of the brain whose phase cannot be trusted at an echo time [ml]."""
    phase = 2 * np.pi * echo_time_s * scan.total_field_hz
    kept = reliable_mask(scan.brain, np.ones(scan.brain.shape), VOXEL_MM, phase)
    return float((scan.brain & ~kept).sum() * scan.grid.voxel_volume_ml)


def middle_ppb(scan: Scan) -> float:
    """Middle of the local field, as the report has it [ppb]."""
    deep = scan.brain & (depth_mm(scan.brain, VOXEL_MM) > RIM_MM)
    middle_hz = np.ptp(np.percentile(scan.local_field_hz[deep], [16, 84])) / 2
    return 1000 * float(hz_to_ppm(middle_hz, FIELD_T))


def angle_told(scan: Scan, off_deg: float) -> float:
    """Angle that the report tells of a direction of B0 that is off by another one [degrees]."""
    b0 = np.array(scan.grid.b0_direction)
    across = np.cross(b0, np.eye(3)[np.argmin(np.abs(b0))])
    across /= np.linalg.norm(across)
    turned = np.cos(np.radians(off_deg)) * b0 + np.sin(np.radians(off_deg)) * across
    grid = Grid(scan.grid.shape, scan.grid.voxel_size, tuple(turned.tolist()))
    return b0_angle_deg(scan.local_field_hz, scan.brain, grid)[0]


def rise(scan: Scan, other: Scan | None) -> float:
    """Rise of R2* with the susceptibility of a head, its centre moved there; NaN without one."""
    if other is None:
        return float('nan')
    chi, inside = np.zeros(scan.brain.shape), np.zeros(scan.brain.shape, dtype=bool)
    both = tuple(slice(min(sizes)) for sizes in zip(chi.shape, other.brain.shape, strict=True))
    chi[both], inside[both] = other.chi[both], other.brain[both]
    centres = (np.argwhere(mask).mean(axis=0) for mask in (scan.brain, inside))
    shift = tuple(int(n) for n in np.rint(np.subtract(*centres)))
    chi, inside = (np.roll(x, shift, (0, 1, 2)) for x in (chi, inside))
    return relaxation_per_chi(scan.r2star_hz, chi, scan.brain & inside, FIELD_T)


def between(scan: Scan) -> tuple[float, float]:
    """Spread between two echoes [ppm], and the share of it that neighbours do not share."""
    signals = [
        np.stack([z[:-1].ravel(), z[1:].ravel()], axis=1)
        for z in np.moveaxis(scan.magnitude * np.exp(1j * scan.phase), 3, 0)
    ]
    apart_s = ECHO_TIMES_S[1] - ECHO_TIMES_S[0]
    spread_rad, share = between_echoes(*signals)
    return spread_rad / (2 * np.pi * PROTON_GYROMAGNETIC_RATIO * FIELD_T * apart_s), share


def main() -> None:
    """Measure all heads; write the table."""
    args = benchmark_parser(__doc__, 'labels', out='folder for the table').parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    columns = ['head', 'total field', 'local field']
    columns += [f'steep at {1000 * te:g} ms [ml]' for te in ECHO_TIMES_S]
    columns += ['middle [ppb]', 'told of 0 degrees', 'of 15', 'R2* with chi', 'with another chi']
    columns += ['between echoes [ppm]', 'not shared']
    table = Table('Fields of heads at 3 T', columns, [])
    values, before = [], None
    for number, path in enumerate([None, *find_heads(args.labels)]):
        tilt = np.random.default_rng(SEED + number).normal(0, 0.25, 2)
        direction = np.array([*tilt, 1.0]) / np.linalg.norm([*tilt, 1.0])
        scan = simulate_head(
            read_head(path, None) if path else None,
            voxel_size=VOXEL_MM,
            b0_direction=direction.tolist(),
            echo_times_s=ECHO_TIMES_S,
            seed=SEED + number,
            supersampling=(1, 1, 1),
        )
        fields = scan.total_field_hz, scan.local_field_hz
        row = [coarse_to_fine(field, scan.brain, scan.grid) for field in fields]
        row += [steep_ml(scan, echo_time_s) for echo_time_s in ECHO_TIMES_S]
        row += [middle_ppb(scan), *(angle_told(scan, off) for off in (0, 15))]
        row += [rise(scan, scan), rise(scan, before), *between(scan)]
        before = scan
        values.append(row)
        table.add(path.name.partition('.')[0] if path else 'analytic', *row)
    for name, statistic in (('least', np.nanmin), ('median', np.nanmedian), ('largest', np.nanmax)):
        table.add(name, *statistic(np.array(values, dtype=float), axis=0))
    table.write(args.out, 'bounds')


if __name__ == '__main__':
    main()

"""Bounds of quality measures from a physical model: fields of heads that no other script uses.

    python benchmarks/report_bounds.py --out FOLDER --labels FOLDER

Each head, in a direction of its own, gives its true fields at 3 T: the coarse over the fine waves
of the total field and of the local field alone, which is all that a high-pass filter can leave;
and the volume whose phase is too steep to be trusted where the first echo is early, and where it is
a single late one.
"""

from __future__ import annotations

import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table

from qsmprep.qsm.mask import reliable_mask
from qsmprep.qsm.simulate import Scan, simulate_head
from qsmprep.reports.consistency import coarse_to_fine
from qsmprep.training.heads import find_heads, read_head

SEED = 8000
VOXEL_MM = (2.0, 2.0, 2.0)
ECHO_TIMES_S = (0.005, 0.02)


def steep_ml(scan: Scan, echo_time_s: float) -> float:
    """Volume of the brain whose phase cannot be trusted at an echo time [ml]."""
    phase = 2 * np.pi * echo_time_s * scan.total_field_hz
    kept = reliable_mask(scan.brain, np.ones(scan.brain.shape), VOXEL_MM, phase)
    return float((scan.brain & ~kept).sum() * scan.grid.voxel_volume_ml)


def main() -> None:
    """Measure all heads; write the table."""
    args = benchmark_parser(__doc__, 'labels', out='folder for the table').parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    columns = ['head', 'total field', 'local field']
    columns += [f'steep at {1000 * te:g} ms [ml]' for te in ECHO_TIMES_S]
    table = Table('Fields of heads at 3 T', columns, [])
    values = []
    for number, path in enumerate([None, *find_heads(args.labels)]):
        tilt = np.random.default_rng(SEED + number).normal(0, 0.25, 2)
        direction = np.array([*tilt, 1.0]) / np.linalg.norm([*tilt, 1.0])
        scan = simulate_head(
            read_head(path, None) if path else None,
            voxel_size=VOXEL_MM,
            b0_direction=direction.tolist(),
            echo_times_s=ECHO_TIMES_S[:1],
            seed=SEED + number,
            supersampling=(1, 1, 1),
        )
        fields = scan.total_field_hz, scan.local_field_hz
        row = [coarse_to_fine(field, scan.brain, scan.grid) for field in fields]
        row += [steep_ml(scan, echo_time_s) for echo_time_s in ECHO_TIMES_S]
        values.append(row)
        table.add(path.name.partition('.')[0] if path else 'analytic', *row)
    for name, statistic in (('least', np.min), ('median', np.median), ('largest', np.max)):
        table.add(name, *statistic(values, axis=0))
    table.write(args.out, 'bounds')


if __name__ == '__main__':
    main()

"""Susceptibility separation against known sources: the joint inversion beside the closed form.

    python benchmarks/separation.py [--voxel MM] [--seeds N ...] [--labels PATH]

Heads are simulated with R2* = R2 + 137 1/s per ppm (at 3 T) of sources of either sign; the local
field has the noise of four echoes at an SNR of 100, R2* that of the same echoes. The closed form
gets the susceptibility map of the default inversion. Errors: norm of the difference over that of
the truth, in percent, as it is and with both means taken off; XSIM; medians in ppb. The
weight of the total variation was chosen on seed 0 at 3 mm; the seeds of the table are others.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from qsmprep.qsm.inversion import invert
from qsmprep.qsm.metrics import nrmse, xsim
from qsmprep.qsm.separation import Separation, separate
from qsmprep.qsm.separation.rates import r2prime, r2star_sd
from qsmprep.qsm.simulate import LocalField, Tissue, simulate_local_field
from qsmprep.training.heads import find_heads, read_head

TIMES = (0.004, 0.012, 0.020, 0.028)
SNR = 100.0
REGIONS = {
    'paramagnetic': {'pallidum': Tissue.PALLIDUM, 'putamen': Tissue.PUTAMEN},
    'diamagnetic': {'white matter': Tissue.WHITE_MATTER, 'corpus callosum': Tissue.CORPUS_CALLOSUM},
}
CASES = {
    "R2'": (True, 3.0, 1.0),
    "R2' 20 % too large": (True, 3.0, 1.2),
    'R2*': (False, 3.0, 1.0),
    'R2* at 7 T': (False, 7.0, 1.0),
}
"""Name -> whether R2 is known, field strength [T], factor on the rate."""


def main() -> None:
    """Print one table over all heads, and the medians of regions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--voxel', type=float, default=2.0, help='edge of a voxel [mm]')
    parser.add_argument('--seeds', type=int, nargs='+', default=[101, 102, 103])
    parser.add_argument('--labels', type=Path, help='labelled heads instead of the analytic ones')
    args = parser.parse_args()
    heads = find_heads(args.labels)
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for number, seed in enumerate(args.seeds):
        head = read_head(heads[number % len(heads)], None) if heads else None
        for case, (reversible, strength, factor) in CASES.items():
            sim = simulate_local_field(
                head,
                voxel_size=(args.voxel,) * 3,
                field_strength_t=strength,
                echo_times_s=TIMES,
                snr=SNR,
                seed=seed,
                supersampling=(2, 2, 2),
            )
            for method, row in measure(sim, reversible, strength, factor, seed):
                rows.setdefault((case, method), []).append(row)
                print(seed, case, method, *(f'{x:.3f}' for x in row), flush=True)
    print_tables(rows)


def measure(sim: LocalField, reversible: bool, strength: float, factor: float, seed: int):
    """Name and errors of each method on one head."""
    mask = sim.mask
    s0 = sim.magnitude * np.exp(TIMES[0] * sim.r2star_hz)
    sd = np.where(mask, r2star_sd(sim.r2star_hz, s0, TIMES, sim.magnitude[mask].mean() / SNR), 0)
    noise = sd * np.random.default_rng(seed).standard_normal(mask.shape)
    r2star = np.where(mask, np.maximum(sim.r2star_hz + noise, 0.1), 0)
    rate = factor * (r2prime(r2star, sim.r2_hz) if reversible else r2star)
    chi = invert(sim.measured_ppm, mask, sim.grid, noise_ppm=sim.noise_ppm).chi_ppm
    for method in ('closed-form', 'joint'):
        start = time.perf_counter()
        found = separate(
            sim.measured_ppm, chi, rate, mask, sim.grid, method, field_strength_t=strength,
            reversible=reversible, rate_sd_hz=sd, noise_ppm=sim.noise_ppm,
        )  # fmt: skip
        yield method, [*errors(found, sim), time.perf_counter() - start]


def errors(found: Separation, sim: LocalField) -> list[float]:
    """Errors of both shares and their sum, and the medians of regions beside the true ones."""
    row = []
    for share in REGIONS:
        map_, truth = getattr(found, share), getattr(sim, share)
        plain = np.linalg.norm((map_ - truth)[sim.mask]) / np.linalg.norm(truth[sim.mask])
        row += [100 * plain, nrmse(map_, truth, sim.mask), xsim(map_, truth, sim.mask)]
    row.append(nrmse(found.paramagnetic + found.diamagnetic, sim.chi, sim.mask))
    for share, regions in REGIONS.items():
        for tissue in regions.values():
            inside = sim.mask & (sim.labels == int(tissue))
            row += [
                1000 * np.median(m[inside]) for m in (getattr(found, share), getattr(sim, share))
            ]
    return row


def print_tables(rows: dict[tuple[str, str], list[list[float]]]) -> None:
    """Means over the heads, as Markdown."""
    head = 'error % | without means % | XSIM'
    print(f'\n| rate | method | paramagnetic: {head} | diamagnetic: {head} | sum, NRMSE % | s |')
    print('|' + '---|' * 10)
    for (case, method), values in rows.items():
        mean = np.mean(values, axis=0)
        text = [
            f'{x:.3f}' if i in (2, 5) else f'{x:.1f}' for i, x in enumerate([*mean[:7], mean[-1]])
        ]
        print(f'| {case} | {method} | ' + ' | '.join(text) + ' |')
    names = [region for regions in REGIONS.values() for region in regions]
    print('\n| rate | method | ' + ' | '.join(f'{name}, ppb (truth)' for name in names) + ' |')
    print('|' + '---|' * (2 + len(names)))
    for (case, method), values in rows.items():
        mean = np.mean(values, axis=0)[7:-1]
        text = [f'{a:.0f} ({b:.0f})' for a, b in zip(mean[::2], mean[1::2], strict=True)]
        print(f'| {case} | {method} | ' + ' | '.join(text) + ' |')


if __name__ == '__main__':
    main()

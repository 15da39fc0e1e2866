"""How far clean scans stay from the checks that end a run with exit code 1.

    python benchmarks/report_margins.py --out FOLDER --labels FOLDER [--first N] [--scans N]

Scans without any fault, but as poor as they come: 0.55 to 7 T, SNR of 6 to 100, one, three or five
echoes, voxels of 2 to 4 mm, heads of adults and of children, slabs. All go through the command
line with the defaults, from raw echoes to the record; so do the real one of tests/data and others
that are named by --real. For each check the table has its limit, the value that came nearest to it,
and the scan that had it. A check of several conditions is read where all others are met.
Panels are left out of the reports: they measure nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table
from participants import AXES, MAKERS, TILTS, Participant
from planted_faults import Fault, Folder, as_scanner
from report_faults import REAL, Case, read_record

from qsmprep.reports import measures
from qsmprep.reports.catalogue import MEASURES
from qsmprep.workflows import plan

FIELDS = {0.55: (8, 70), 1.5: (5, 45), 3.0: (4, 32), 7.0: (3, 19)}
"""Field strength [T] -> first and last echo time [ms]."""
SNRS = (6, 10, 20, 50, 100)
ECHOES = (1, 3, 5)
VOXELS = ((3.0,), (2.0, 2.0, 4.0), (2.5,))
CHILDREN = (0.75, 0.85)
"""Lengths of children's heads in units of those of adults: 0.4 and 0.6 of their volume."""
SLABS_MM = (48, 66)
MAPPED, BRAIN = 'desc-chi_mask', 'desc-brain_mask'
DISAGREE = measures._measure('echo_disagreement_percent').high


@dataclass(frozen=True)
class Clean:
    """A scan without any fault: who, and the thickness of the slab that is kept of it [mm]."""

    participant: Participant
    slab_mm: float = math.inf

    @property
    def words(self) -> str:
        """Which scan it is."""
        size = f', {self.participant.size:g} of an adult' if self.participant.size != 1 else ''
        slab = f', slab of {self.slab_mm:g} mm' if self.slab_mm < math.inf else ''
        return f'{self.participant.words}{size}{slab}'


def draw_scans() -> Iterator[Clean]:
    """All scans: the grid of fields, echoes and SNR first, then children and slabs."""
    grid = [(b0_t, n, snr) for snr in SNRS for n in ECHOES for b0_t in FIELDS]
    small = [(b0_t, n, snr) for snr in (10, 40) for n in (1, 4) for b0_t in FIELDS]
    kinds = [(x, 1.0, math.inf) for x in grid]
    turns = [(i + i // 4) % 2 for i in range(len(small))]
    kinds += [(x, CHILDREN[turn], math.inf) for x, turn in zip(small, turns, strict=True)]
    kinds += [(x, 1.0, SLABS_MM[turn]) for x, turn in zip(small, turns, strict=True)]
    for number, ((b0_t, echoes, snr), size, slab) in enumerate(kinds):
        rng = np.random.default_rng(number)
        first, last = FIELDS[b0_t]
        times = np.linspace(first, last, echoes) if echoes > 1 else np.array([0.6 * last])
        who = Participant(
            number,
            MAKERS[number % 3],
            b0_t,
            tuple(float(t) for t in times.round(2)),
            VOXELS[rng.integers(len(VOXELS))],
            TILTS[rng.integers(len(TILTS))],
            AXES[rng.integers(len(AXES))],
            snr,
            size=size,
        )
        yield Clean(who, slab)


def cut_slab(folder: Folder, thick_mm: float) -> None:
    """Keep the middle of all raw images along their last axis."""
    for path in (*folder.files('mag'), *folder.files('phase')):
        image = nb.load(path)
        kept = round(thick_mm / image.header.get_zooms()[2])
        begin = (image.shape[2] - kept) // 2
        nb.save(image.slicer[:, :, begin : begin + kept], path)


def run(scan: Clean, args: argparse.Namespace) -> Path:
    """Folder of a scan that was run."""
    who = scan.participant
    source, folder = (args.out / f'{kind}_{who.number:03d}' for kind in ('source', 'clean'))
    if not (folder / 'done').exists():
        who.simulate(source, args.labels)

        def plant(files: Folder) -> None:
            if scan.slab_mm < math.inf:
                cut_slab(files, scan.slab_mm)
            as_scanner(files, manufacturer=who.maker, axes=who.axes)

        Case(source, fault=Fault(plant)).run(folder)
    return folder


@dataclass(frozen=True)
class Check:
    """
    A check that ends a run with exit code 1, or one side of it.

    Parameters
    ----------
    key
        Measure that is compared.
    limit
        Its limit.
    above
        Whether it is wrong above the limit, else below.
    others
        What has to be met besides, of the measures; a check that is not met is no check.
    when
        The same in words.

    """

    key: str
    limit: float
    above: bool = True
    others: Callable[[dict], bool] = lambda quality: True
    when: str = ''


def several(quality: dict) -> bool:
    """Whether it is a head of several echoes."""
    large = quality.get('map_volume_ml', 0) > measures.HEAD_ML
    return large and 'r2star_median_hz' in quality


def head(quality: dict) -> bool:
    """Whether it is a head."""
    return quality.get('map_volume_ml', 0) > measures.HEAD_ML


def beyond(key: str, limit: float, above: bool = True) -> Callable[[dict], bool]:
    """A condition on one measure."""
    sign = 1 if above else -1
    return lambda quality: sign * quality.get(key, math.nan) > sign * limit


def every(*conditions: Callable[[dict], bool]) -> Callable[[dict], bool]:
    """All of several conditions."""
    return lambda quality: all(condition(quality) for condition in conditions)


def list_checks() -> list[Check]:
    """All checks of the quality measures."""
    checks = []
    for measure in MEASURES:
        if measure.bound < math.inf:
            checks.append(Check(measure.key, measure.bound))
        for limit, above in zip(measure.head, (False, True), strict=True):
            if math.isfinite(limit):
                single = measure.key in measures.ONE_ECHO
                kind = head if single else several
                words = 'head' if single else 'head, several echoes'
                checks.append(Check(measure.key, limit, above, kind, words))
    tail, inner, rise = 'chi_tail_asymmetry', 'chi_inner_asymmetry', 'r2star_per_chi'
    low_rise = beyond(rise, measures.LEAST_RISE, False)
    both = f'R2* rises by less than {measures.LEAST_RISE:g}'
    middle, decay = 'local_field_middle_ppb', 'r2star_relative'
    usual = measures._measure(decay).accepts
    checks += [
        Check(
            'field_rim_to_core_sd',
            measures.RIM_FIELD,
            True,
            beyond('chi_rim_to_core_sd', measures.RIM_CHI),
            f'rim of the map beyond {measures.RIM_CHI:g}',
        ),
        Check(
            tail,
            measures.OTHER_SIGN,
            False,
            lambda q: head(q) and not several(q) and q.get(inner, 0) < measures.OTHER_INNER,
            f'head, one echo, without small lesions below {measures.OTHER_INNER:g}',
        ),
        Check(tail, measures.OTHER_SIGN, False, every(several, low_rise), both),
        Check(
            tail,
            measures.NO_TISSUE,
            False,
            lambda q: (
                several(q)
                and (
                    low_rise(q)
                    or beyond('echo_misfit', measures.MOST_MISFIT)(q)
                    or beyond('echo_disagreement_percent', DISAGREE)(q)
                )
            ),
            f'{both}, misfit beyond {measures.MOST_MISFIT:g} or disagreement beyond {DISAGREE:g}',
        ),
        Check('flip_gain_errors', measures.FLIPPED, True, head, 'head'),
        Check(
            rise,
            measures.FOREIGN_RISE,
            False,
            lambda q: several(q) and usual(q.get(decay, math.nan)),
            'R2* as expected',
        ),
        Check(
            'echo_misfit',
            measures.LARGEST_MISFIT,
            True,
            lambda q: (
                several(q)
                and measures._side('local_field_sd_ppb', q.get('local_field_sd_ppb', math.nan)) != 0
            ),
            'spread of the local field not as expected',
        ),
    ]
    for (limit, other), above in ((measures.LARGE, True), (measures.SMALL, False)):
        words = f'R2* of brains {"above" if above else "below"} {other:g}'
        checks.append(
            Check(middle, limit, above, every(several, beyond(decay, other, above)), words)
        )
    return checks


def agreement(folder: Path, source: Path) -> float:
    """Correlation of a map with the truth where both are given; NaN without one."""
    made, true = (
        {
            kind: nb.as_closest_canonical(nb.load(path))
            for kind in ('Chimap', mask)
            for path in root.rglob(f'anat/sub-01_{kind}.nii.gz')
        }
        for root, mask in ((folder / 'out', MAPPED), (source / 'derivatives', BRAIN))
    )
    if not (made and true):
        return math.nan
    # a slab is a part of the truth, on the same grid
    corner = np.linalg.inv(true['Chimap'].affine) @ made['Chimap'].affine[:, 3]
    begin = np.rint(corner[:3]).astype(int)
    part = tuple(slice(b, b + n) for b, n in zip(begin, made['Chimap'].shape, strict=True))
    both = (np.asarray(made[MAPPED].dataobj) > 0) & (np.asarray(true[BRAIN].dataobj)[part] > 0)
    pair = np.asarray(made['Chimap'].dataobj)[both], np.asarray(true['Chimap'].dataobj)[part][both]
    return float(np.corrcoef(*pair)[0, 1]) if both.any() else math.nan


def main() -> None:
    """Run all scans; write both tables."""
    parser = benchmark_parser(__doc__, 'labels', out='folder for tables, scans and results')
    add = parser.add_argument
    add('--first', type=int, default=0, help='number of the first simulated scan')
    add('--scans', type=int, help='number of simulated scans (default: all)')
    add('--real', type=Path, nargs='*', default=[], help='BIDS datasets of scans in vivo')
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    plan.drawable = lambda images: ()
    table = Table('Clean scans', ['scan', 'exit code', 'correlation', 'because'], [])
    found: list[tuple[str, dict]] = []
    for real in (REAL, *args.real):
        folder = args.out / f'real_{real.name}'
        Case(real).run(folder)
        found.append((real.name, report(table, real.name, folder)))
    last = None if args.scans is None else args.first + args.scans
    for scan in itertools.islice(draw_scans(), args.first, last):
        folder = run(scan, args)
        source = args.out / f'source_{scan.participant.number:03d}'
        found.append((scan.words, report(table, scan.words, folder, source)))
    failed = sum(row[1] != '0' for row in table.rows)
    table.add('not 0', f'{failed} of {len(table.rows)}', '', '')
    table.write(args.out, 'margins_scans')
    nearest(found).write(args.out, 'margins')


def report(table: Table, words: str, folder: Path, source: Path = Path('none')) -> dict:
    """Add a scan to the table of scans; return its quality measures."""
    acquisition = read_record(folder)['acquisitions'][0]
    why = [x for x in (acquisition['error'], *acquisition.get('implausible', ())) if x]
    table.add(words, (folder / 'done').read_text(), agreement(folder, source), ' '.join(why))
    return acquisition['quality']


def nearest(found: list[tuple[str, dict]]) -> Table:
    """The value that came nearest to each limit."""
    columns = ['measure', 'wrong', 'where', 'scans', 'nearest', 'of']
    table = Table('Clean scans against limits', columns, [])
    for check in list_checks():
        met = [(q[check.key], w) for w, q in found if check.key in q and check.others(q)]
        value, words = (max if check.above else min)(met, default=(math.nan, ''))
        wrong = f'{"above" if check.above else "below"} {check.limit:g}'
        label = measures._measure(check.key).label
        table.add(label, wrong, check.when, len(met), value, words)
    return table


if __name__ == '__main__':
    main()

"""What the steps from phase to field and R2* are worth, against simulated truth.

1. The field by the weighted mean of the echoes (shipped), by a nonlinear fit of the complex signal
   that starts there, and by one whose phase at TE = 0 is free too.
2. The error of the field in units of its noise map, in the core and at the rim of the brain, and
   how likely it is, by how far the signal is taken to lie off a voxel's middle.
3. R2* at low signal, with and without the noise floor in its model.
4. The phase ramp of a bipolar readout, found and planted.
5. The field where one echo has ten times the noise of the others, by weights that know it
   (shipped) and by those of one noise for all.
"""

from __future__ import annotations

import argparse

import numpy as np
from arguments import benchmark_parser
from measure import Table
from scipy.ndimage import distance_transform_edt

from qsmprep.qsm.bipolar import find_alternation
from qsmprep.qsm.fieldmap import SIGNAL_SHIFT, combine_echoes
from qsmprep.qsm.offset import phase_difference, phase_offset, remove_offset
from qsmprep.qsm.phase import TWO_PI
from qsmprep.qsm.relaxometry import fit_r2star
from qsmprep.qsm.simulate import Scan, simulate_head

SCANS = {
    '3 T, SNR 100': {'field_strength_t': 3.0, 'snr': 100.0},
    '3 T, SNR 100, lesions': {
        'field_strength_t': 3.0,
        'snr': 100.0,
        'lesions': ('calcification', 'haemorrhage'),
    },
    '3 T, SNR 10': {'field_strength_t': 3.0, 'snr': 10.0},
    '7 T, SNR 30': {
        'field_strength_t': 7.0,
        'snr': 30.0,
        'echo_times_s': (0.004, 0.010, 0.016, 0.022),
    },
}
RIM_MM, CORE_MM = 4.0, 8.0
SHIFTS = (0.0, 0.05, 0.1, 0.15, 0.3)
STEPS = 8


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__)
    add = parser.add_argument
    add('--voxel', type=float, nargs=3, default=(2.5, 2.5, 2.5), help='voxel size [mm]')
    add('--seeds', type=int, nargs='+', default=(1, 2), help='of the simulations')
    return parser


def unwrap(phase: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Phase plus the multiples of 2 pi that bring it next to the truth: a perfect unwrapping."""
    return phase + TWO_PI * np.round((truth - phase) / TWO_PI)


def aligned_phase(scan: Scan) -> np.ndarray:
    """Phase of all echoes without offset, perfectly unwrapped [rad]."""
    times = np.array(scan.echo_times_s)
    truth = TWO_PI * scan.total_field_hz[..., np.newaxis] * times
    difference, _ = phase_difference(scan.phase, scan.magnitude)
    unwrapped = unwrap(difference, truth[..., 1] - truth[..., 0])
    offset = phase_offset(
        unwrapped, scan.phase, scan.magnitude, scan.echo_times_s, scan.grid, mask=scan.brain
    )
    return unwrap(remove_offset(scan.phase, offset), truth)


def fit_complex(
    phase: np.ndarray, magnitude: np.ndarray, times: np.ndarray, field_hz: np.ndarray, free: bool
) -> np.ndarray:
    """Field [Hz] that explains the complex signal best, by Gauss-Newton steps from a start."""
    field, constant = TWO_PI * field_hz.astype(np.float64), np.zeros(field_hz.shape)
    weights = magnitude.astype(np.float64) ** 2 + 1e-12
    for _ in range(STEPS):
        misfit = phase - field[..., np.newaxis] * times - constant[..., np.newaxis]
        curvature = weights * np.maximum(np.cos(misfit), 0.1)
        slope = weights * np.sin(misfit)
        tt, t, one = (np.sum(curvature * times**power, axis=-1) for power in (2, 1, 0))
        gt, g = (np.sum(slope * times**power, axis=-1) for power in (1, 0))
        if free:
            determinant = tt * one - t * t + 1e-30
            field += (one * gt - t * g) / determinant
            constant += (tt * g - t * gt) / determinant
        else:
            field += gt / tt
    return field / TWO_PI


def compare_fields(args: argparse.Namespace) -> tuple[Table, Table]:
    """Tables 1 and 2."""
    fields = Table('Field error, RMS [Hz]', ('scan', 'seed', 'fit', 'core', 'rim'), [])
    noises = Table(
        'Field error over noise map, SD; mean log-likelihood under a Student t of 3 degrees',
        ('scan', 'seed', 'noise map', 'core', 'rim', 'log-likelihood'),
        [],
    )
    for name, keywords in SCANS.items():
        for seed in args.seeds:
            scan = simulate_head(voxel_size=args.voxel, seed=seed, **keywords)
            times = np.array(scan.echo_times_s)
            phase = aligned_phase(scan)
            shipped = combine_echoes(phase, scan.magnitude, scan.echo_times_s)
            depth = distance_transform_edt(scan.brain, sampling=scan.grid.voxel_size)
            regions = (depth > CORE_MM, scan.brain & (depth < RIM_MM))

            def error_of(field_hz, scan=scan):
                error = field_hz - scan.total_field_hz
                return error - np.median(error[scan.brain])

            fits = {'weighted mean (shipped)': shipped.field_hz}
            for label, free in (('complex', False), ('complex, free phase at TE = 0', True)):
                fits[label] = fit_complex(phase, scan.magnitude, times, shipped.field_hz, free)
            for label, field_hz in fits.items():
                error = error_of(field_hz)
                fields.add(name, seed, label, *(rms(error[region]) for region in regions))
            power = np.sum((scan.magnitude * times) ** 2, axis=-1)
            thermal = shipped.noise_sd / (TWO_PI * np.sqrt(power))
            unshifted = thermal * np.maximum(shipped.misfit, 1)
            shift = np.maximum(shipped.noise_hz**2 - unshifted**2, 0) / SIGNAL_SHIFT**2
            maps = {'thermal': thermal} | {
                f'signal shift {s:g}': np.sqrt(unshifted**2 + s**2 * shift) for s in SHIFTS
            }
            error = error_of(shipped.field_hz)
            for label, noise in maps.items():
                z = error / noise
                likelihood = -np.log(noise) - 2 * np.log1p(z**2 / 3)
                spread = (rms(z[region]) for region in regions)
                noises.add(name, seed, label, *spread, float(likelihood[scan.brain].mean()))
    return fields, noises


def rms(values: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def compare_decays() -> Table:
    """Table 3."""
    table = Table(
        'R2* with and without noise floor: error of the median and of the mean [%]',
        ('R2* [1/s]', 'SNR at TE = 0', 'echo times [ms]', 'model', 'median', 'mean'),
        [],
    )
    generator = np.random.default_rng(0)
    for times in ((0.004, 0.012, 0.020, 0.028), (0.003, 0.007, 0.020, 0.024, 0.031)):
        for rate in (20.0, 60.0, 120.0, 200.0):
            for snr in (10.0, 30.0):
                signal = snr * np.exp(-rate * np.array(times))
                noise = generator.standard_normal((2, 40_000, 1, 1, len(times)))
                magnitude = np.hypot(signal + noise[0], noise[1])
                mask = np.ones(magnitude.shape[:3], dtype=bool)
                for label, noise_sd in (('decay alone', 0.0), ('with floor (shipped)', 1.0)):
                    found = fit_r2star(magnitude, times, mask, noise_sd).r2star_hz
                    errors = (100 * (f(found) / rate - 1) for f in (np.median, np.mean))
                    listing = ' '.join(f'{1000 * t:g}' for t in times)
                    table.add(rate, snr, listing, label, *(float(e) for e in errors))
    return table


def compare_ramps(args: argparse.Namespace) -> Table:
    """Table 4."""
    table = Table(
        'Phase ramp of a bipolar readout across the image [rad]',
        ('echo times [ms]', 'SNR', 'planted', 'found', 'confidence'),
        [],
    )
    for times in ((4, 9, 14), (4, 9, 14, 19, 24), (2.5, 8, 12, 19.3, 30)):
        for snr in (100.0, 20.0):
            for planted in (0.0, 0.3, 3.0, 6.0):
                scan = simulate_head(
                    voxel_size=args.voxel,
                    echo_times_s=[t / 1000 for t in times],
                    snr=snr,
                    seed=args.seeds[0],
                    bipolar_rad=planted,
                )
                ramp = find_alternation(scan.phase, scan.magnitude, scan.echo_times_s).ramp
                listing = ' '.join(f'{t:g}' for t in times)
                found = (None, None)
                if ramp is not None:
                    across = ramp.slopes_rad[0] * (scan.phase.shape[0] - 1)
                    found = (across, ramp.confidence)
                table.add(listing, snr, planted, *found)
    return table


def compare_noisy(args: argparse.Namespace) -> Table:
    """Table 5."""
    columns = ('scan', 'seed', 'noisy echo', 'noise found', 'clean', 'shipped', 'one noise')
    table = Table('Field error in the core, RMS [Hz]; one echo ten times as noisy', columns, [])
    generator = np.random.default_rng(0)
    for name, keywords in SCANS.items():
        for seed in args.seeds:
            scan = simulate_head(voxel_size=args.voxel, seed=seed, **keywords)
            clean = aligned_phase(scan)
            core = distance_transform_edt(scan.brain, sampling=scan.grid.voxel_size) > CORE_MM

            def error_of(phase, magnitude, scan=scan, core=core, **known):
                found = combine_echoes(phase, magnitude, scan.echo_times_s, **known)
                error = found.field_hz - scan.total_field_hz
                return rms((error - np.median(error[scan.brain]))[core]), found

            before, usual = error_of(clean, scan.magnitude)
            for echo in range(len(scan.echo_times_s)):
                signal = scan.magnitude * np.exp(1j * clean)
                noise = 10 * scan.noise_sd * generator.standard_normal((2, *core.shape))
                signal[..., echo] += noise[0] + 1j * noise[1]
                noisy = unwrap(np.angle(signal), clean), np.abs(signal)
                after, found = error_of(*noisy)
                alike, _ = error_of(*noisy, noise_sd=usual.noise_sd)
                table.add(name, seed, echo + 1, found.excess[echo], before, after, alike)
    return table


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    fields, noises = compare_fields(args)
    tables = {
        'fieldmap_fits': fields,
        'fieldmap_noise': noises,
        'fieldmap_r2star': compare_decays(),
        'fieldmap_bipolar': compare_ramps(args),
        'fieldmap_noisy': compare_noisy(args),
    }
    for name, table in tables.items():
        table.write(args.out, name)


if __name__ == '__main__':
    main()

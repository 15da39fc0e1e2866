"""Faults planted into scans: does the report warn, and which measure tells? And false alarms.

    python benchmarks/report_faults.py --out FOLDER [--labels FOLDER] [--cases NAME ...]

Every fault is planted into the files of a coarse simulated scan, or of the real one in tests/data,
which then goes through the command line from raw echoes to its record; panels are left out. A
fault counts as caught where the record has a warning or an error that the undisturbed scan does
not have. Clean participants of varied site, field strength, voxel size, direction and noise are to
have none.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from measure import Table
from scipy import ndimage

from qsmprep.cli.run import main as run
from qsmprep.cli.simulate import main as simulate
from qsmprep.qsm.grid import Grid
from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.measures import quality_warnings
from qsmprep.reports.quality import measure_quality
from qsmprep.training.heads import find_heads
from qsmprep.workflows import base

REAL = Path(__file__).resolve().parents[1] / 'tests' / 'data' / 'philips'
SCANNERS = ('Siemens', 'GE', 'Philips')
SITES = (
    {'--b0': (1.5,), '--tes': (5.0, 15.0, 25.0, 35.0, 45.0)},
    {'--b0': (3.0,), '--tes': (4.0, 12.0, 20.0, 28.0)},
    {'--b0': (3.0,), '--tes': (3.6, 9.2, 14.8, 20.4, 26.0)},
    {'--b0': (2.89,), '--tes': (6.0, 18.0, 30.0)},
    {'--b0': (7.0,), '--tes': (3.0, 8.0, 13.0, 18.0)},
    {'--b0': (3.0,), '--tes': (20.0,)},
)
"""Field strength [T] and echo times [ms] of the sites of the clean participants."""
VOXELS = ((3.0,), (2.5,), (2.0, 2.0, 4.0), (3.5,))
TILTS = ((0.0, 0.0, 1.0), (0.0, 0.26, 0.97), (0.1, -0.2, 0.97))


@dataclass(frozen=True)
class Folder:
    """A raw dataset of one participant, changed in place, and the masks given for it."""

    raw: Path
    masks: Path

    def files(self, part: str) -> list[Path]:
        """Images of one part, by echo."""
        return sorted(self.raw.glob(f'sub-*/**/*part-{part}*.nii.gz'))

    @property
    def mask(self) -> Path:
        """The given brain mask."""
        return next(self.masks.glob('sub-*/**/*_desc-brain_mask.nii.gz'))

    def image(self, part: str, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Change the images of one part; the echo is counted from zero."""
        for echo, path in enumerate(self.files(part)):
            save(path, change(read(path), echo))

    def signal(self, change: Callable[[np.ndarray, int], np.ndarray]) -> None:
        """Change the complex signal of each echo."""
        pairs = zip(self.files('mag'), self.files('phase'), strict=True)
        for echo, (magnitude, phase) in enumerate(pairs):
            changed = change(read(magnitude) * np.exp(1j * read(phase)), echo)
            save(magnitude, np.abs(changed))
            save(phase, np.angle(changed))

    def sidecars(self, change: Callable[[dict, int], dict]) -> None:
        """Change the sidecars of both parts; the echo is counted from zero."""
        for part in ('mag', 'phase'):
            for echo, path in enumerate(self.files(part)):
                path = path.with_name(path.name.replace('.nii.gz', '.json'))
                path.write_text(json.dumps(change(json.loads(path.read_text()), echo)))

    def affines(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change where all images lie."""
        for path in (*self.files('mag'), *self.files('phase'), self.mask):
            image = nb.load(path)
            write(path, np.array(image.dataobj, np.float32), change(image.affine))

    def brain(self, change: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change the given brain mask."""
        save(self.mask, change(read(self.mask) > 0.5).astype(np.uint8))


def read(path: Path) -> np.ndarray:
    """Values of an image."""
    return np.asarray(nb.load(path).dataobj, dtype=np.float32)


def save(path: Path, data: np.ndarray) -> None:
    """Write an image in place, its geometry kept."""
    write(path, data, nb.load(path).affine)


def write(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    """Write an image whose place in the scanner is known."""
    image = nb.Nifti1Image(data, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units('mm', 'sec')
    nb.save(image, path)


@dataclass(frozen=True)
class Fault:
    """A fault: what it does to the files, and flags of the command line that it needs."""

    plant: Callable[[Folder], None] = lambda folder: None
    flags: tuple[str, ...] = ()
    real: bool = True
    """Whether it is planted into the real scan too, which has two echoes."""


def wrap(phase: np.ndarray) -> np.ndarray:
    """Phase within +-pi."""
    return (phase + np.pi) % (2 * np.pi) - np.pi


def rotate(axis: int) -> np.ndarray:
    """Exchange the scanner's z with another axis."""
    matrix = np.eye(4)
    matrix[[axis, 2]] = matrix[[2, axis]]
    return matrix


def swap_files(first: list[Path], second: list[Path]) -> None:
    """Exchange the contents of files, sidecars stay."""
    for one, other in zip(first, second, strict=True):
        data, other_data = read(one), read(other)
        save(one, other_data)
        save(other, data)


def vortex(signal: np.ndarray, echo: int) -> np.ndarray:
    """Turn the phase once around a line through the brain, as failed coil combinations do."""
    x, y, _ = np.indices(signal.shape)
    turn = np.arctan2(y - 0.45 * signal.shape[1], x - 0.4 * signal.shape[0])
    return signal * np.exp(1j * turn * echo)


def homodyne(signal: np.ndarray, echo: int) -> np.ndarray:
    """High-pass the phase with a Hann window over a fifth of k-space (homodyne filter)."""
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in signal.shape[:2]), indexing='ij')
    radius = np.hypot(*k) / 0.1
    window = np.where(radius < 1, np.cos(np.pi * radius / 2) ** 2, 0)[..., None]
    low = np.fft.ifft2(np.fft.fft2(signal, axes=(0, 1)) * window, axes=(0, 1))
    return np.abs(signal) * np.exp(1j * np.angle(signal * low.conj()))


def add_noise(snr: float) -> Callable[[Folder], None]:
    """Noise that leaves an SNR in the first echo."""

    def plant(folder: Folder) -> None:
        rng = np.random.default_rng(0)
        first = read(folder.files('mag')[0])
        sd = first[read(folder.mask) > 0.5].mean() / snr
        folder.signal(lambda s, echo: s + sd * (rng.normal(size=(2, *s.shape)).T @ (1, 1j)).T)

    return plant


def move(signal: np.ndarray, echo: int) -> np.ndarray:
    """The head nods by 2 mm and 2 degrees after the second half of the echoes has begun."""
    if echo == 0:
        return signal
    return sum(
        part * ndimage.rotate(
            ndimage.shift(getattr(signal, name), (0.0, 0.7, 0.0), order=3), 2.0, (1, 2), False,
            order=3,
        )
        for name, part in (('real', 1), ('imag', 1j))
    )  # fmt: skip


def ramp(signal: np.ndarray, echo: int) -> np.ndarray:
    """Phase of a bipolar readout: 6 rad across the first axis in every second echo."""
    x = np.linspace(-3, 3, signal.shape[0])[:, None, None]
    return signal * np.exp(1j * x * (echo % 2))


def slices(signal: np.ndarray, echo: int) -> np.ndarray:
    """Every second slice turned by pi."""
    return signal * np.where(np.arange(signal.shape[2]) % 2, -1, 1)


def holes(brain: np.ndarray) -> np.ndarray:
    """Take a tenth of the brain out, in balls."""
    rng = np.random.default_rng(0)
    seeds = (rng.random(brain.shape) < 0.1 / 33) & ndimage.binary_erosion(brain, iterations=4)
    return brain & ~ndimage.binary_dilation(seeds, iterations=2)


def kill_echo(signal: np.ndarray, echo: int) -> np.ndarray:
    """Nothing but noise in the second echo."""
    rng = np.random.default_rng(1)
    noise = np.abs(signal).max() / 200 * (rng.normal(size=(2, *signal.shape)).T @ (1, 1j)).T
    return noise if echo == 1 else signal


def give_region(folder: Folder) -> None:
    """A reference region outside the brain."""
    outside = ~ndimage.binary_dilation(read(folder.mask) > 0.5, iterations=2)
    path = folder.mask.with_name(folder.mask.name.replace('desc-brain', 'label-CSF'))
    shutil.copy(folder.mask, path)
    save(path, outside.astype(np.uint8))


def set_key(key: str, factor: float) -> Callable[[Folder], None]:
    """Multiply a number of all sidecars, and drop what would contradict it."""

    def change(sidecar: dict, echo: int) -> dict:
        if key == 'MagneticFieldStrength':
            sidecar.pop('ImagingFrequency', None)
        return sidecar | {key: sidecar[key] * factor}

    return lambda folder: folder.sidecars(change)


def swap_times(folder: Folder) -> None:
    """Two echoes with the times of each other."""
    times = {}
    folder.sidecars(lambda s, echo: times.setdefault(echo, s['EchoTime']) and s)
    order = [1, 0, *range(2, len(times))]
    folder.sidecars(lambda s, echo: s | {'EchoTime': times[order[echo]]})


def copy_echo(folder: Folder) -> None:
    """The second echo is the first again."""
    for part in ('mag', 'phase'):
        shutil.copy(folder.files(part)[0], folder.files(part)[1])


def other_mask(folder: Folder) -> None:
    """A mask of another head: mirrored, a sixth smaller, and moved."""
    folder.brain(
        lambda m: (
            ndimage.affine_transform(
                m[::-1].astype(np.float32), np.diag([1.18, 1.12, 1.1]), (-5.0, -3.0, 0.0), order=1
            )
            > 0.5
        )
    )


def drop_slices(folder: Folder) -> None:
    """A tenth of the slices has been lost."""

    def plant(data: np.ndarray, echo: int) -> np.ndarray:
        data[..., data.shape[2] // 2 : data.shape[2] // 2 + data.shape[2] // 10] = 0
        return data

    folder.image('mag', plant)
    folder.image('phase', plant)


def coarse_phase(folder: Folder) -> None:
    """Eight grey levels of phase."""
    step = np.pi / 4
    folder.image('phase', lambda p, echo: np.floor(p / step) * step)


FAULTS: dict[str, Fault] = {
    'phase sign': Fault(lambda f: f.image('phase', lambda p, e: -p)),
    'phase scale x 2': Fault(lambda f: f.image('phase', lambda p, e: 2 * p)),
    'phase scale / 2': Fault(lambda f: f.image('phase', lambda p, e: p / 2)),
    'echo times x 1000 (ms for s)': Fault(set_key('EchoTime', 1000)),
    'echo times / 1000': Fault(set_key('EchoTime', 1e-3)),
    'echo times x 2': Fault(set_key('EchoTime', 2.0)),
    'two echo times exchanged': Fault(swap_times),
    'one echo dead': Fault(lambda f: f.signal(kill_echo)),
    'an echo twice': Fault(copy_echo),
    'B0 along x': Fault(lambda f: f.affines(lambda a: rotate(0) @ a)),
    'B0 along y': Fault(lambda f: f.affines(lambda a: rotate(1) @ a)),
    'field strength / 2': Fault(set_key('MagneticFieldStrength', 0.5)),
    'field strength 7 T for 3 T': Fault(set_key('MagneticFieldStrength', 7 / 3)),
    'mask too big': Fault(lambda f: f.brain(lambda m: ndimage.binary_dilation(m, iterations=3))),
    'mask too small': Fault(lambda f: f.brain(lambda m: ndimage.binary_erosion(m, iterations=3))),
    'mask shifted by 12 mm': Fault(lambda f: f.brain(lambda m: np.roll(m, 4, 1))),
    'mask with holes': Fault(lambda f: f.brain(holes)),
    'mask of another participant': Fault(other_mask),
    'wraps left (open-ended fringes)': Fault(lambda f: f.signal(vortex)),
    'background left (PDF, two steps)': Fault(
        flags=('--background-parameter', 'coarsest_iterations=2', 'iterations=1')
    ),
    'motion between echoes': Fault(lambda f: f.signal(move)),
    'bipolar ramp': Fault(lambda f: f.signal(ramp)),
    'slices alternate (GE)': Fault(lambda f: f.signal(slices)),
    'SNR of 5': Fault(add_noise(5.0)),
    'filtered phase (homodyne)': Fault(lambda f: f.signal(homodyne)),
    'magnitude and phase exchanged': Fault(lambda f: swap_files(f.files('mag'), f.files('phase'))),
    'reference region outside the brain': Fault(give_region, ('--reference', 'CSF')),
    'slices lost': Fault(drop_slices),
    'eight levels of phase': Fault(coarse_phase),
}
"""Name of each fault -> how it is planted."""


@dataclass
class Case:
    """A scan that goes through the command line.

    Parameters
    ----------
    name
        Name in the table.
    source
        Raw dataset that is copied.
    mask
        Brain mask of the scan; None lets the program extract the brain.
    fault
        What is planted.

    """

    name: str
    source: Path
    mask: Path | None
    fault: Fault = field(default_factory=Fault)

    def run(self, folder: Path) -> list[str]:
        """Warnings and errors; maps of an earlier call are kept, the measures taken anew."""
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / 'done').exists():
            self._process(folder)
            (folder / 'done').touch()
        return tell(folder)

    def _process(self, folder: Path) -> None:
        copied = Folder(folder / 'raw', folder / 'masks')
        for old in (copied.raw, copied.masks, folder / 'out'):
            shutil.rmtree(old, ignore_errors=True)
        shutil.copytree(self.source, copied.raw, ignore=shutil.ignore_patterns('derivatives'))
        flags = ['-w', folder / 'work', '--skip-bids-validation', '--device', 'cpu']
        plugin = folder / 'plugin.yml'
        plugin.write_text('plugin: Linear\n')
        flags += ['--output-echos', '--use-plugin', plugin, *self.fault.flags]
        if self.mask is not None:
            give_mask(copied, self.mask)
            flags += ['-d', f'masks={copied.masks}']
        self.fault.plant(copied)
        arguments = [copied.raw, folder / 'out', 'participant', *flags]
        run([str(a) for a in arguments])


def give_mask(folder: Folder, mask: Path) -> None:
    """A derivatives dataset with the brain mask of the participant."""
    subject = next(folder.raw.glob('sub-*')).name
    path = folder.masks / subject / 'anat' / f'{subject}_desc-brain_mask.nii.gz'
    path.parent.mkdir(parents=True)
    shutil.copy(mask, path)
    description = {
        'Name': 'Masks',
        'BIDSVersion': '1.9.0',
        'DatasetType': 'derivative',
        'GeneratedBy': [{'Name': 'benchmark'}],
    }
    (folder.masks / 'dataset_description.json').write_text(json.dumps(description))


def tell(folder: Path) -> list[str]:
    """All that the report of a scan warns of."""
    content = json.loads(next((folder / 'out' / 'logs').glob('sub-*.json')).read_text())
    told = [error['message'] for error in content['errors']]
    for acquisition in content['acquisitions']:
        told += [acquisition['error']] if acquisition['error'] else []
        told += acquisition['warnings']
        told += [
            f'Corrected: {rule}'
            for rule in ('Alternating slices', 'Steps between slices', 'Bipolar readout')
            if rule in acquisition['rules']
        ]
        if acquisition['status'] == 'completed':
            told += quality_warnings(acquisition['quality'] | measure_again(folder))
    return told


def measure_again(folder: Path) -> dict[str, float]:
    """Measures of the images that a run has written, except the misfit of the echoes."""

    def output(name: str) -> np.ndarray | None:
        found = sorted((folder / 'out').glob(f'sub-*/**/*{name}.nii.gz'))
        return read(found[0]) if found else None

    def echoes(where: str, name: str) -> np.ndarray | None:
        found = sorted((folder / where).glob(f'sub-*/**/*{name}*.nii.gz'))
        return np.stack([read(path) for path in found], axis=-1) if found else None

    chi = next((folder / 'out').glob('sub-*/anat/*_Chimap.nii.gz'))
    sidecar = json.loads(chi.with_name(chi.name.replace('.nii.gz', '.json')).read_text())
    masks = {x: output(f'_desc-{x}_mask') > 0 for x in ('chi', 'estimated', 'brain', 'quality')}
    return measure_quality(
        Grid.from_affine(nb.load(chi).shape, nb.load(chi).affine),
        sidecar['MagneticFieldStrength'],
        read(chi),
        masks['chi'],
        estimated=masks['estimated'],
        brain_mask=masks['brain'],
        reliable_mask=masks['quality'],
        total_field_hz=output('_desc-total_fieldmap'),
        field_noise_hz=output('_desc-noise_fieldmap'),
        local_field_hz=output('_desc-local_fieldmap'),
        r2star_hz=output('_R2starmap'),
        magnitude=echoes('raw', '_part-mag_'),
        unwrapped=echoes('out', '_part-phase_desc-unwrapped_'),
        spectrum_misfit=sidecar['DipoleInversion'].get('misfit'),
    )


def short(sentence: str) -> str:
    """Name of the measure that warned, or the start of another sentence."""
    label = sentence.partition(':')[0]
    known = {measure.label for measure in MEASURES}
    return label if label in known else 'input: ' + ' '.join(sentence.split()[:9])


def simulate_participant(folder: Path, number: int, labels: Path | None) -> tuple[Path, Path]:
    """Dataset of a clean participant, and its brain mask; sites, voxels and directions in turn."""
    site = SITES[number % len(SITES)]
    snr = 40 + 20 * (number * 7 % 6)
    flags = {
        **site,
        '--voxel': VOXELS[number // len(SITES) % len(VOXELS)],
        '--b0-direction': TILTS[number % len(TILTS)],
        '--snr': (snr,),
        '--seed': (1000 + number,),
    }
    arguments = [str(x) for key, values in flags.items() for x in (key, *values)]
    heads = find_heads(labels)
    if heads:
        arguments += ['--labels', str(heads[number % len(heads)])]
    if not folder.exists():
        simulate([str(folder), *arguments])
    mask = next(folder.glob('derivatives/simulation/sub-*/anat/*_desc-brain_mask.nii.gz'))
    return folder, mask


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add('--out', type=Path, required=True, help='folder for tables, scans and results')
    add('--labels', type=Path, help='label volumes of heads, used in turn; analytic without')
    add('--clean', type=int, default=30, help='number of clean participants')
    add('--faults', nargs='*', default=list(FAULTS), metavar='NAME', help='some of the faults')
    add('--simulated-only', action='store_true', help='leave the real scan out')
    return parser


def report_faults(args: argparse.Namespace) -> None:
    """Plant all faults into the scans; write the table."""
    source, mask = simulate_participant(args.out / 'clean_01' / 'source', 1, args.labels)
    scans = {'simulated': (source, mask)}
    if not args.simulated_only:
        extracted = args.out / 'real' / 'brain.nii.gz'
        if not extracted.exists():
            Case('real', REAL, None).run(args.out / 'real')
            made = args.out / 'real' / 'out'
            shutil.copy(next(made.rglob('*_desc-brain_mask.nii.gz')), extracted)
        scans['real'] = (REAL, extracted)
    usual = {
        scan: set(map(short, Case('none', *files).run(args.out / f'none_{scan}')))
        for scan, files in scans.items()
    }
    columns = ['fault', *(f'{scan}: {what}' for scan in scans for what in ('warns', 'by'))]
    table = Table('Planted faults', columns, [])
    counts = dict.fromkeys(scans, 0)
    for name in args.faults:
        cells = []
        for scan, files in scans.items():
            folder = args.out / f'{"".join(c if c.isalnum() else "_" for c in name)}_{scan}'
            found = map(short, Case(name, *files, FAULTS[name]).run(folder))
            new = [text for text in dict.fromkeys(found) if text not in usual[scan]]
            counts[scan] += bool(new)
            cells += ['yes' if new else 'NO', '; '.join(new)]
        table.add(name, *cells)
    table.add('caught', *(x for n in counts.values() for x in (f'{n} of {len(args.faults)}', '')))
    table.write(args.out, 'faults')


def report_alarms(args: argparse.Namespace) -> None:
    """False alarms on clean participants."""
    table = Table('Clean participants', ['participant', 'scan', 'alarms'], [])
    alarmed = 0
    for number in range(args.clean):
        folder = args.out / f'clean_{number:02d}'
        files = simulate_participant(folder / 'source', number, args.labels)
        alarms = Case('clean', *files).run(folder)
        alarmed += bool(alarms)
        site = SITES[number % len(SITES)]
        voxel = ' x '.join(f'{v:g}' for v in VOXELS[number // len(SITES) % len(VOXELS)])
        scan = f'{site["--b0"][0]:g} T, {len(site["--tes"])} echoes, {voxel} mm'
        table.add(f'{number:02d}', scan, '; '.join(map(short, alarms)))
    table.add('with alarms', '', f'{alarmed} of {args.clean}')
    table.write(args.out, 'alarms')


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    # panels take longer than all else on coarse scans, and measure nothing
    base.drawable = lambda images: ()
    report_faults(args)
    report_alarms(args)


if __name__ == '__main__':
    main()

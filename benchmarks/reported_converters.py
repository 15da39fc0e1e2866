"""Further scans of ``reported.py``: what converters, archives and command lines make of them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import (
    PI,
    annexed,
    both,
    cropped,
    geometry,
    headers,
    lying,
    magnitude,
    of_maker,
    on_files,
    orientation,
    parts,
    phase,
    remove,
    rename,
    renumbered,
    scaled,
    sidecars,
    signal,
    twelve_bits,
)
from reported_data import Raw, Scan, read, sidecar, write
from scipy import ndimage


def written(content: str | Callable[[dict], str]) -> Callable[[Path], None]:
    """Text in place of a sidecar."""

    def change(path: Path) -> None:
        old = json.loads(sidecar(path).read_text())
        sidecar(path).write_text(content(old) if callable(content) else content)

    return change


def stored_as(dtype: str, part: str, factor: float = 1.0) -> Callable:
    """Values of another type."""

    def change(path: Path) -> None:
        image = nb.load(path)
        data = (factor * np.asarray(image.dataobj)).astype(dtype)
        new = nb.Nifti1Image(data, image.affine, dtype=data.dtype)
        new.set_sform(image.affine, 1)
        new.set_qform(image.affine, 1)
        nb.save(new, path)

    return on_files(change, part)


def spoilt(change: Callable[[nb.Nifti1Header, np.ndarray], None]) -> Callable:
    """Headers after a change that Nibabel would not make by itself."""

    def alter(path: Path) -> None:
        image = nb.load(path)
        data, affine = np.asarray(image.dataobj), image.affine
        write(path, data, affine)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        header = nb.Nifti1Header(bytes(raw[:348]), check=False)
        change(header, affine)
        raw[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(raw), 1))

    return on_files(alter)


def sform(affine: np.ndarray | float) -> Callable:
    """Another sform, its code 1, whatever the qform says."""

    def change(header: nb.Nifti1Header, _: np.ndarray) -> None:
        matrix = np.broadcast_to(affine, (4, 4))
        for name, row in zip(('srow_x', 'srow_y', 'srow_z'), matrix, strict=False):
            header[name] = row

    return spoilt(change)


def elsewhere(*parts_of: str) -> Callable:
    """Copies of images under other names, the old ones stay: pairs of old and new text."""
    old, new = parts_of

    def change(path: Path) -> None:
        shutil.copy(path, path.with_name(path.name.replace(old, new)))

    return on_files(change)


def linked(root: Path) -> Path:
    """The dataset behind a link, and each participant behind another."""
    away = root.parent / 'store'
    away.mkdir()
    for folder in root.glob('sub-*'):
        folder.rename(away / folder.name)
        folder.symlink_to(Path('..') / 'store' / folder.name)
    link = root.parent / 'link'
    link.symlink_to(root)
    return link


def echo_last(name: str) -> str:
    """Name with its echo behind its part."""
    subject, echo, part, end = name.split('_')
    return '_'.join((subject, part, echo, end))


def unfetched(root: Path) -> None:
    """Links into an annex whose objects were not fetched."""
    annexed(root)
    shutil.rmtree(root / '.git')


def of_sessions(change: Callable[[Path], None] = lambda folder: None) -> Callable:
    """Two sessions of the same scan, the second altered."""

    def alter(root: Path) -> None:
        anat = root / 'sub-01' / 'anat'
        for label in ('pre', 'post'):
            target = root / 'sub-01' / f'ses-{label}' / 'anat'
            target.mkdir(parents=True)
            for file in anat.iterdir():
                shutil.copy(file, target / file.name.replace('sub-01_', f'sub-01_ses-{label}_'))
        shutil.rmtree(anat)
        change(root / 'sub-01' / 'ses-post' / 'anat')

    return alter


def delete(pattern: str) -> Callable[[Path], None]:
    """Delete the files of a folder that fit a pattern."""

    def change(folder: Path) -> None:
        for path in folder.glob(pattern):
            path.unlink()

    return change


def filtered(query: object) -> Callable:
    """A filter file beside the dataset; nothing in it is altered."""
    return lambda root: (root / 'filter.json').write_text(json.dumps(query)) and None


def as_fieldmap(root: Path) -> None:
    """Two echoes in ``fmap/`` under the names of field maps."""
    target = root / 'sub-01' / 'fmap'
    target.mkdir()
    for path in Raw(root).files():
        echo = path.name.partition('_echo-')[2][0]
        kind = 'magnitude' if 'part-mag' in path.name else 'phase'
        for file in (path, sidecar(path)):
            if echo in '12':
                end = file.name.partition('.')[2]
                shutil.move(file, target / f'sub-01_{kind}{echo}.{end}')
    shutil.rmtree(root / 'sub-01' / 'anat')


def resampled(shift: float) -> Callable:
    """Each image moved by a part of a voxel, by linear interpolation of what is stored."""

    def change(data: np.ndarray, _: np.ndarray) -> tuple:
        order = 0 if data.dtype.kind in 'iub' else 1
        return ndimage.shift(data, (shift, shift, 0), order=order, mode='nearest'), _

    return geometry(change)


def high_passed(width_mm: float) -> Callable:
    """Divide the complex signal by a smoothed copy of itself, as filters for SWI do."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        width = width_mm / 3
        low = ndimage.gaussian_filter(z.real, width) + 1j * ndimage.gaussian_filter(z.imag, width)
        return np.abs(z) * np.exp(1j * np.angle(z * low.conj()))

    return signal(change)


def ramp(voxels: float) -> Callable:
    """The echo off the centre of k-space by some samples, the same in every echo."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        return z * np.exp(2j * PI * voxels * np.arange(z.shape[0]) / z.shape[0])[:, None, None]

    return signal(change)


def checkerboard(z: np.ndarray, echo: int) -> np.ndarray:
    """Neighbours turned by pi in the slice: a shift of k-space was forgotten."""
    return z * (-1.0) ** np.add.outer(*map(np.arange, z.shape[:2]))[..., None]


def moved_echo(z: np.ndarray, echo: int) -> np.ndarray:
    """The third echo from a head that lay 9 mm away."""
    return np.roll(z, 3, axis=1) if echo == 2 else z


def random_phase(p: np.ndarray) -> np.ndarray:
    """Noise alone."""
    return np.random.default_rng(int(abs(p.sum()))).uniform(-PI, PI, p.shape)


def every_second_slice(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Change the values of every second slice."""
    return lambda p: np.where(np.arange(p.shape[2]) % 2, change(p), p)


def all_four(root: Path) -> None:
    """Real and imaginary parts beside magnitude and phase."""
    raw = Raw(root)
    for first, second in zip(raw.files('mag'), raw.files('phase'), strict=True):
        z = read(first) * np.exp(1j * read(second))
        for name, part in (('real', z.real), ('imag', z.imag)):
            path = first.with_name(first.name.replace('part-mag', f'part-{name}'))
            write(path, part.astype(np.float32), nb.load(first).affine)
            content = json.loads(sidecar(first).read_text())
            sidecar(path).write_text(json.dumps(content))


def fourth_axis(part: str, copies: int) -> Callable:
    """Images of one part repeated along a fourth axis."""

    def change(path: Path) -> None:
        data = read(path)
        write(path, np.stack([data] * copies, axis=-1), nb.load(path).affine)

    return on_files(change, part)


def exchanged_times(s: dict) -> float:
    """Echo times of the first and the third echo exchanged."""
    return {1: 0.020, 3: 0.004}.get(s['EchoNumber'], s['EchoTime'])


def pair_of_formats(path: Path) -> None:
    """Image and header in two files."""
    pair = nb.Nifti1Pair(read(path), nb.load(path).affine)
    nb.save(pair, path.with_name(path.name.replace('.nii.gz', '.img')))
    path.unlink()


def members(path: Path) -> None:
    """Compressed in several parts, as parallel compressors do."""
    raw = gzip.decompress(path.read_bytes())
    cuts = [*range(0, len(raw), len(raw) // 3 + 1), len(raw)]
    pieces = zip(cuts, cuts[1:], strict=False)
    path.write_bytes(b''.join(gzip.compress(raw[start:stop], 1) for start, stop in pieces))


def pointer(path: Path) -> None:
    """What Git LFS leaves in place of a file."""
    text = f'version https://git-lfs.github.com/spec/v1\noid sha256:{"0" * 64}\nsize 123456\n'
    path.write_text(text)


def annex_pointer(path: Path) -> None:
    """What git-annex leaves in place of an unlocked file."""
    path.write_text(f'/annex/objects/MD5E-s123456--{"0" * 32}.nii.gz\n')


def apple_double(path: Path) -> None:
    """What macOS puts beside a file on a foreign disk."""
    path.with_name(f'._{path.name}').write_bytes(b'\x00\x05\x16\x07' + bytes(100))
    (path.parent / '.DS_Store').write_bytes(b'Bud1')


def relative_phase(root: Path) -> None:
    """Phase of each echo less that of the first."""
    raw = Raw(root)
    first = read(raw.files('phase', 1)[0])
    raw.values('phase', lambda p: np.angle(np.exp(1j * (p - first))))


def negative_slope(root: Path) -> None:
    """Values stored with the other sign, which the header turns."""
    Raw(root).values('phase', lambda p: -10000 * p, dtype=np.int16, slope=-1e-4)


def masked_phase(root: Path, value: float = 0.0) -> None:
    """Phase outside the brain set to a value."""
    brain = read(next((root / 'derivatives').rglob('sub-01_desc-brain_mask.nii.gz'))) > 0.5
    Raw(root).values('phase', lambda p: np.where(brain, p, value))


def same_magnitude(root: Path) -> None:
    """One magnitude for all echoes."""
    raw = Raw(root)
    total = np.sqrt(sum(read(path) ** 2 for path in raw.files('mag')))
    raw.values('mag', lambda m: total)


def flipped_phase(root: Path) -> None:
    """Phase flipped along the second axis, its affine with it."""
    for path in Raw(root).files('phase'):
        data, affine = read(path), nb.load(path).affine
        flip = np.diag([1.0, -1.0, 1.0, 1.0])
        flip[1, 3] = data.shape[1] - 1
        write(path, np.ascontiguousarray(data[:, ::-1]), affine @ flip)


def set_fields(header: nb.Nifti1Header, **fields) -> None:
    """Set fields of a header."""
    for key, value in fields.items():
        header[key] = value


def to_standard(root: Path) -> None:
    """Turned into a standard space, as the codes say."""
    for path in Raw(root).files():
        write(path, read(path), lying(np.eye(4)) @ nb.load(path).affine, sform=4, qform=4)


def a_folder_each(root: Path) -> None:
    """Echoes in folders of their own below ``anat/``."""
    for path in Raw(root).files():
        target = path.parent / f'echo{path.name.partition("_echo-")[2][0]}'
        target.mkdir(exist_ok=True)
        for file in (path, sidecar(path)):
            shutil.move(file, target / file.name)


def empty_folder(root: Path) -> None:
    """A participant without files."""
    shutil.rmtree(root / 'sub-01')
    (root / 'sub-01').mkdir()


IN_PI = ('--phase-range', '-1', '1')

CONVERTED: tuple[Scan, ...] = (
    # echoes
    Scan(
        'echoes',
        'two echo times exchanged in the sidecars',
        sidecars(EchoTime=exchanged_times),
        'failed',
        'echo times',
    ),
    Scan(
        'echoes',
        'EchoTime beside the phase alone',
        sidecars(part='mag', drop=('EchoTime',)),
    ),
    Scan(
        'echoes',
        'EchoTime beside the magnitude alone',
        sidecars(part='phase', drop=('EchoTime',)),
    ),
    Scan(
        'echoes',
        'EchoTime of both parts differs',
        sidecars(part='mag', EchoTime=lambda s: s['EchoTime'] + 0.001),
        'refused',
        'must agree',
    ),
    Scan('echoes', 'EchoTime null', sidecars(EchoTime=None), 'refused', 'EchoTime is missing'),
    Scan('echoes', 'EchoTime true', sidecars(EchoTime=True), 'refused', 'one number'),
    Scan(
        'echoes',
        'EchoTime in a dictionary',
        sidecars(EchoTime={'value': 4}),
        'refused',
        'one number',
    ),
    Scan(
        'echoes',
        'EchoTime negative',
        sidecars(EchoTime=lambda s: -s['EchoTime']),
        'refused',
        'positive',
    ),
    Scan(
        'echoes',
        'EchoTime ten times too long',
        sidecars(EchoTime=lambda s: 10 * s['EchoTime']),
        'failed',
        'R2|echo times|EchoTime',
    ),
    Scan(
        'echoes',
        'EchoTime ten times too short',
        sidecars(EchoTime=lambda s: s['EchoTime'] / 10),
        'failed',
        'R2|echo times|EchoTime',
    ),
    Scan(
        'echoes',
        'one echo of another matrix',
        on_files(lambda p: write(p, read(p)[2:], nb.load(p).affine), echo=3),
        'refused',
        'share one grid',
    ),
    Scan(
        'echoes',
        'phase of another matrix',
        on_files(lambda p: write(p, read(p)[:, :-1], nb.load(p).affine), 'phase'),
        'refused',
        'share one grid',
    ),
    Scan('echoes', 'magnitude of four axes', fourth_axis('mag', 4), 'refused', 'split it'),
    Scan(
        'echoes', 'fourth axis of one in the magnitude', fourth_axis('mag', 1), 'refused', 'squeeze'
    ),
    Scan('echoes', 'one echo moved by 9 mm', signal(moved_echo), 'failed', 'Motion|moved|Misfit'),
    Scan(
        'echoes',
        'phases relative to the first echo',
        relative_phase,
        'refused',
        'one value alone',
    ),
    Scan(
        'echoes',
        'numbered A to D',
        renumbered(dict(zip('1234', 'ABCD', strict=True))),
    ),
    Scan(
        'echoes',
        'exported as acquisitions',
        rename(lambda n: n.replace('echo-', 'acq-e')),
        'told',
        'exported',
    ),
    # scale and sign of the phase
    Scan('phase', 'without its sign', phase(np.abs), 'failed', 'phase'),
    Scan('phase', 'half of it', phase(lambda p: p / 2), 'refused', '--phase-range'),
    Scan(
        'phase',
        'in units of pi',
        phase(lambda p: p / PI),
        'refused',
        '--phase-range -1 1|--phase-range -0.99.*',
    ),
    Scan('phase', 'in units of pi, the advice taken', phase(lambda p: p / PI), flags=IN_PI),
    Scan(
        'phase',
        'United Imaging, 0 to 4095',
        of_maker('UIH', twelve_bits, dtype=np.uint16),
        'refused',
        '--phase-range',
    ),
    Scan(
        'phase',
        'United Imaging, the advice taken',
        of_maker('UIH', twelve_bits, dtype=np.uint16),
        flags=('--phase-range', '0', '4096'),
    ),
    Scan(
        'phase',
        'Bruker, radians in 16 bits with a slope',
        of_maker('Bruker', lambda p: p * 10000, dtype=np.int16, slope=1e-4),
    ),
    Scan(
        'phase',
        'Philips, as dcm2niix writes it',
        of_maker('Philips', twelve_bits, dtype=np.int16, slope=2 * PI / 4095, inter=-PI),
    ),
    Scan(
        'phase',
        'Siemens XA, Units arbitrary',
        both(
            of_maker('Siemens', twelve_bits, dtype=np.uint16),
            sidecars(part='phase', Units='arbitrary'),
        ),
    ),
    Scan(
        'phase',
        'Siemens, Units rad left by a converter',
        both(of_maker('Siemens', twelve_bits, dtype=np.int16), sidecars(part='phase', Units='rad')),
        'refused',
        '--phase-range',
    ),
    Scan(
        'phase',
        'unsigned, 0 to 65535',
        of_maker(None, lambda p: (p + PI) / (2 * PI) * 65535, dtype=np.uint16),
        'refused',
        '--phase-range',
    ),
    Scan('phase', 'stored upside down, slope -1', negative_slope),
    Scan('phase', 'zero around the brain', masked_phase),
    Scan(
        'phase',
        'NaN around the brain',
        lambda root: masked_phase(root, np.nan),
        'refused',
        'finite',
    ),
    Scan('phase', 'noise', phase(random_phase), 'failed', '.'),
    Scan(
        'phase',
        'smoothed after wrapping',
        phase(lambda p: ndimage.gaussian_filter(p, 1)),
        'failed',
        '.',
    ),
    Scan('phase', 'resampled after wrapping', resampled(0.5), 'told', '.'),
    Scan('phase', 'flipped left to right', phase(lambda p: p[::-1]), 'failed', '.'),
    Scan('phase', 'four voxels away', phase(lambda p: np.roll(p, 4, axis=1)), 'failed', 'moved'),
    Scan('phase', 'slices from behind', phase(lambda p: p[:, :, ::-1]), 'failed', '.'),
    Scan(
        'phase',
        'every second slice of the other sign',
        phase(every_second_slice(np.negative)),
        'failed',
        '.',
    ),
    Scan('phase', 'neighbours turned by pi', signal(checkerboard)),
    Scan('phase', 'echo off the centre of k-space by two samples', ramp(2.0)),
    Scan('phase', 'echo off the centre of k-space by a third of a sample', ramp(0.33)),
    Scan('phase', 'high-passed by 6 mm', high_passed(6), 'failed', 'filter'),
    Scan('phase', 'high-passed by 15 mm', high_passed(15), 'told', 'filter'),
    Scan('phase', 'high-passed by 30 mm', high_passed(30), 'told', 'filter'),
    # real and imaginary parts
    Scan(
        'complex',
        'real parts alone',
        both(parts(np.real, np.imag), remove('imag', '*')),
        'refused',
        'part-imag',
    ),
    Scan(
        'complex',
        'imaginary parts alone',
        both(parts(np.real, np.imag), remove('real', '*')),
        'refused',
        'part-real',
    ),
    Scan('complex', 'real and imaginary exchanged', parts(np.imag, np.real), 'failed', '[Ss]ign'),
    Scan('complex', 'beside magnitude and phase', all_four),
    Scan('complex', 'beside the magnitude', both(all_four, remove('phase', '*'))),
    Scan(
        'complex',
        'unsigned, with an intercept',
        parts(
            lambda z: z.real + 2048, lambda z: z.imag + 2048, dtype=np.uint16, slope=1, inter=-2048
        ),
    ),
    Scan(
        'complex',
        'part-imaginary',
        both(parts(np.real, np.imag), rename(lambda n: n.replace('part-imag', 'part-imaginary'))),
        'refused',
        'part-imag',
    ),
    Scan(
        'complex',
        'names of dcm2niix, _real and _imaginary',
        both(
            parts(np.real, np.imag),
            rename(
                lambda n: n.replace('_part-real_MEGRE', '_MEGRE_real').replace(
                    '_part-imag_MEGRE', '_MEGRE_imaginary'
                )
            ),
        ),
        'refused',
        'part-real|part-imag',
    ),
    # magnitude
    Scan('magnitude', 'with a constant added', magnitude(lambda m: m + 0.1 * m.max())),
    Scan(
        'magnitude',
        'bright on one side, ten to one',
        magnitude(lambda m: m * np.linspace(1, 10, len(m))[:, None, None]),
    ),
    Scan('magnitude', 'sum of squares in every echo', same_magnitude, 'refused', 'same values'),
    Scan('magnitude', 'eight bits', magnitude(lambda m: 255 * m / m.max(), dtype=np.uint8)),
    # headers
    Scan('header', 'left-handed', orientation('LAS')),
    Scan('header', 'axes from below', orientation('IPL')),
    Scan('header', 'coronal, left-handed', orientation('RIA')),
    Scan(
        'header',
        'phase flipped with its affine',
        flipped_phase,
        'refused',
        'share one grid',
    ),
    Scan(
        'header',
        'affines differ by rounding',
        on_files(lambda p: write(p, read(p), nb.load(p).affine + 2e-4), 'phase'),
    ),
    Scan(
        'header',
        'sform of ones beside a right qform',
        both(orientation('PSR'), sform(np.diag([3.0, 3, 3, 1]))),
        'failed',
        'differ|B0',
    ),
    Scan('header', 'in metres', both(scaled(1e-3), headers(xyzt_units=1)), 'refused', 'mm'),
    Scan('header', 'sform not a number', sform(np.nan), 'refused', 'not finite'),
    Scan('header', 'sform of zeros', sform(0.0), 'refused', 'singular'),
    Scan(
        'header',
        'quaternion longer than one',
        spoilt(lambda h, a: set_fields(h, sform_code=0, quatern_b=0.9, quatern_c=0.9)),
        'refused',
        'affine',
    ),
    Scan(
        'header',
        'data offset of zero',
        spoilt(lambda h, a: set_fields(h, vox_offset=0)),
        'refused',
        'vox_offset',
    ),
    Scan(
        'header',
        'fourth dimension of zero',
        spoilt(lambda h, a: set_fields(h, dim=[4, *h['dim'][1:4], 0, 1, 1, 1])),
        'refused',
        'ax',
    ),
    Scan('header', 'doubles', stored_as('float64', '*')),
    Scan('header', 'whole numbers of 32 bits', stored_as('int32', 'mag', 1000)),
    Scan(
        'header',
        'half of the voxels declared',
        spoilt(
            lambda h, a: set_fields(
                h, dim=[3, h['dim'][1], h['dim'][2], h['dim'][3] // 2, 1, 1, 1, 1]
            )
        ),
        'refused',
        'declares',
    ),
    Scan(
        'header',
        'B0 along another axis, code of a standard space',
        to_standard,
        'failed',
        'B0|scanner',
    ),
    # files
    Scan('values', 'pointer of Git LFS', on_files(pointer, 'phase', 2), 'refused', 'LFS|fetch'),
    Scan(
        'values',
        'pointer of git-annex',
        on_files(annex_pointer, 'mag', 1),
        'refused',
        'annex|fetch',
    ),
    Scan('values', 'annex not fetched', unfetched, 'refused', 'fetch|datalad'),
    Scan('values', 'compressed in parts', on_files(members)),
    Scan(
        'values',
        'bytes behind the stream',
        on_files(lambda p: p.write_bytes(p.read_bytes() + b'\0' * 512)),
    ),
    Scan('values', 'files of macOS beside them', on_files(apple_double)),
    Scan('values', 'copies named (1)', elsewhere('.nii.gz', ' (1).nii.gz')),
    Scan('values', 'Analyze pair', on_files(pair_of_formats), 'refused', r'\.hdr|\.img'),
    Scan(
        'values',
        'capital extension',
        rename(lambda n: n.replace('.nii.gz', '.NII.GZ')),
        'refused',
        r'\.NII\.GZ',
    ),
    # sidecars
    Scan('dataset', 'sidecar is a list', on_files(written('[1, 2]'), echo=2), 'refused', 'JSON'),
    Scan('dataset', 'sidecar is empty', on_files(written(''), echo=2), 'refused', 'JSON'),
    Scan(
        'dataset',
        'sidecar with NaN',
        sidecars(echo=1, EchoTime=float('nan')),
        'refused',
        'EchoTime',
    ),
    Scan(
        'dataset',
        'sidecar with comments',
        on_files(written(lambda s: f'// TE\n{json.dumps(s)}')),
        'refused',
        'JSON',
    ),
    Scan(
        'dataset',
        'odd types in sidecars',
        sidecars(
            ImageType='ORIGINAL',
            Manufacturer=None,
            RepetitionTime='0.05',
            FlipAngle=[15],
            PartialFourier='7/8',
            MRAcquisitionType=3,
            CoilCombinationMethod=[],
        ),
    ),
    Scan('dataset', 'Units is a list', sidecars(part='phase', Units=['rad']), 'refused', 'Units'),
    # field strength
    Scan(
        'dataset',
        'frequency alone',
        sidecars(drop=('MagneticFieldStrength',), ImagingFrequency=127.74),
    ),
    Scan(
        'dataset',
        'frequency of another nucleus',
        sidecars(MagneticFieldStrength=3, ImagingFrequency=32.1),
        'refused',
        'ImagingFrequency',
    ),
    Scan(
        'dataset',
        'field strength in millitesla',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=3000),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'dataset',
        'field strength zero',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=0),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'dataset',
        'field strength in a list',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=[3]),
        'refused',
        'MagneticFieldStrength',
    ),
    # names
    Scan('dataset', 'duplicates of HeuDiConv', elsewhere('_MEGRE', '_MEGRE__dup-01')),
    Scan('dataset', 'echo after part', rename(echo_last)),
    Scan('dataset', 'T2starw', rename(lambda n: n.replace('MEGRE', 'T2starw'))),
    Scan('dataset', 'T2star', rename(lambda n: n.replace('MEGRE', 'T2star')), 'refused', 'T2star'),
    Scan(
        'dataset',
        'magnitude without part-',
        rename(lambda n: n.replace('_part-mag', ''), 'mag'),
        'map',
        'taken for the magnitude',
    ),
    Scan(
        'dataset',
        'part-Phase',
        rename(lambda n: n.replace('part-phase', 'part-Phase')),
        'refused',
        'part-phase',
    ),
    Scan(
        'dataset',
        'part-magnitude',
        rename(lambda n: n.replace('part-mag', 'part-magnitude'), 'mag'),
        'refused',
        'part-mag',
    ),
    Scan(
        'dataset',
        'names of dcm2niix, _ph',
        rename(
            lambda n: n.replace('_part-phase_MEGRE', '_MEGRE_ph').replace(
                '_part-mag_MEGRE', '_MEGRE'
            )
        ),
        'refused',
        'part-phase',
    ),
    Scan('dataset', 'in fmap as phase1 and phase2', as_fieldmap, 'refused', 'anat'),
    Scan('dataset', 'one folder an echo', a_folder_each, 'refused', 'anat'),
    Scan(
        'dataset',
        'names of another participant',
        rename(lambda n: n.replace('sub-01', 'sub-02')),
        'refused',
        'sub-01',
    ),
    Scan('dataset', 'empty folder', empty_folder, 'refused', 'sub-01'),
    # sessions and command lines
    Scan(
        'dataset',
        'labels with sub- and ses-',
        of_sessions(),
        flags=('--participant-label', 'sub-01', '--session-label', 'ses-pre'),
    ),
    Scan(
        'dataset',
        'second session without its phase',
        of_sessions(delete('*part-phase*')),
        'failed',
        'ses-post.*phase',
    ),
    Scan(
        'dataset',
        'second session cut short',
        of_sessions(delete('*echo-4_part-mag*')),
        'failed',
        'ses-post.*part-mag',
    ),
    Scan(
        'dataset',
        'participant that is not there',
        flags=('--participant-label', '02'),
        expect='refused',
        words='sub-02',
    ),
    Scan(
        'dataset',
        'filter for two echoes',
        filtered({'megre': {'echo': [1, 2]}}),
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter for nothing',
        filtered({'megre': {'acquisition': 'no'}}),
        'refused',
        '--bids-filter-file',
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter for the phase alone',
        filtered({'megre': {'part': 'phase'}}),
        'refused',
        'part-mag',
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter of fMRIPrep',
        filtered({'t1w': {'datatype': 'anat', 'suffix': 'T1w'}}),
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan(
        'dataset',
        'filter by the short name',
        filtered({'megre': {'acq': 'qsm'}}),
        'refused',
        'acquisition',
        flags=('--bids-filter-file', 'FILTER'),
    ),
    Scan('dataset', 'behind links', linked),
    Scan(
        'dataset',
        'description without a name',
        lambda root: (root / 'dataset_description.json').write_text('{}') and None,
    ),
    Scan(
        'dataset',
        'description missing',
        lambda root: (root / 'dataset_description.json').unlink(),
        'refused',
        'dataset_description',
    ),
    # fields of view
    Scan(
        'view',
        'brain cut off at the top',
        cropped(slice(None), slice(None), slice(0, 38)),
        'told',
        '.',
    ),
)
"""Scans beyond those of ``reported_scans.py``."""

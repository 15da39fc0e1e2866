"""What converters, scanners and people do to files, as functions that alter a dataset."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_data import Raw, read, set_header, sidecar, store, write

PI = np.pi


def wrap(phase: np.ndarray) -> np.ndarray:
    """Phase within +-pi [rad]."""
    return (phase + PI) % (2 * PI) - PI


def twelve_bits(phase: np.ndarray) -> np.ndarray:
    """Whole numbers from 0 to 4095."""
    return np.clip(np.rint((phase + PI) / (2 * PI) * 4096), 0, 4095)


def of_maker(maker: str | None, change: Callable, **keywords) -> Callable:
    """Phase as a manufacturer stores it, without units."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        raw.values('phase', change, **keywords)
        raw.sidecars(drop=('Units', *(() if maker else ('Manufacturer',))))
        if maker:
            raw.sidecars(Manufacturer=maker)

    return alter


def phase(change: Callable, **keywords) -> Callable:
    """Change the values of the phase."""
    return lambda root: Raw(root).values('phase', change, **keywords)


def magnitude(change: Callable, **keywords) -> Callable:
    """Change the values of the magnitude."""
    return lambda root: Raw(root).values('mag', change, **keywords)


def sidecars(**keywords) -> Callable:
    """Change sidecars."""
    return lambda root: Raw(root).sidecars(**keywords)


def signal(change: Callable) -> Callable:
    """Change the complex signal."""
    return lambda root: Raw(root).signal(change)


def geometry(change: Callable) -> Callable:
    """Change values and affines of all images."""
    return lambda root: Raw(root).geometry(change)


def headers(part: str = '*', echo: int | str = '*', **fields) -> Callable:
    """Set fields of headers."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            set_header(path, **fields)

    return alter


def on_files(change: Callable[[Path], object], part: str = '*', echo: int | str = '*') -> Callable:
    """Do something to some files."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            change(path)

    return alter


def exchange(part: str, first: int, second: int) -> Callable:
    """Exchange the images of two echoes, sidecars stay."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        one, other = raw.files(part, first)[0], raw.files(part, second)[0]
        data = read(one)
        store(one, read(other))
        store(other, data)

    return alter


def copied(part: str, source: int, *targets: int) -> Callable:
    """Copy the image of an echo over others."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        for echo in targets:
            shutil.copy(raw.files(part, source)[0], raw.files(part, echo)[0])

    return alter


def parts(real: Callable, imaginary: Callable, **keywords) -> Callable:
    """Real and imaginary parts for magnitude and phase."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        largest = max(read(path).max() for path in raw.files('mag'))
        for first, second in zip(raw.files('mag'), raw.files('phase'), strict=True):
            z = read(first) / largest * 2000 * np.exp(1j * read(second))
            for path, part, name in ((first, real(z), 'real'), (second, imaginary(z), 'imag')):
                old = path.name.split('_part-')[1].split('_')[0]
                store(path, part, **keywords)
                for file in (path, sidecar(path)):
                    file.rename(file.with_name(file.name.replace(f'part-{old}', f'part-{name}')))
        raw.sidecars(drop=('Units',))

    return alter


def rename(change: Callable[[str], str], part: str = '*', echo: int | str = '*') -> Callable:
    """Rename images with their sidecars."""

    def alter(root: Path) -> None:
        files = [x for path in Raw(root).files(part, echo) for x in (path, sidecar(path))]
        for file in files:  # aside, for new names may be old ones
            file.rename(file.with_name(f'{file.name}.old'))
        for file in files:
            file.with_name(f'{file.name}.old').rename(file.with_name(change(file.name)))

    return alter


def remove(part: str, echo: int | str) -> Callable:
    """Remove images with their sidecars."""

    def alter(root: Path) -> None:
        for path in Raw(root).files(part, echo):
            path.unlink()
            sidecar(path).unlink()

    return alter


def both(*changes: Callable) -> Callable:
    """One change after another."""

    def alter(root: Path) -> None:
        for change in changes:
            change(root)

    return alter


def four_dimensional(root: Path) -> None:
    """All echoes in one file of four axes."""
    raw = Raw(root)
    for part in ('mag', 'phase'):
        files = raw.files(part)
        data = np.stack([read(path) for path in files], axis=-1)
        target = files[0].with_name(f'sub-01_part-{part}_MEGRE.nii.gz')
        write(target, data, nb.load(files[0]).affine)
        content = json.loads(sidecar(files[0]).read_text())
        content['EchoTime'] = [json.loads(sidecar(path).read_text())['EchoTime'] for path in files]
        sidecar(target).write_text(json.dumps(content))
        for path in files:
            path.unlink()
            sidecar(path).unlink()


def inherited(root: Path) -> None:
    """Sidecars at the root alone, one a part and one an echo."""
    raw = Raw(root)
    for path in raw.files():
        content = json.loads(sidecar(path).read_text())
        echo, part = (x for x in path.name.split('_') if x.startswith(('echo-', 'part-')))
        time = content.pop('EchoTime')
        (root / f'{echo}_MEGRE.json').write_text(json.dumps({'EchoTime': time}))
        (root / f'{part}_MEGRE.json').write_text(json.dumps(content))
        sidecar(path).unlink()


def annexed(root: Path) -> None:
    """Images are links into an annex."""
    store_at = root / '.git' / 'annex' / 'objects'
    store_at.mkdir(parents=True)
    for path in Raw(root).files():
        path.rename(store_at / path.name)
        path.symlink_to(Path('../../.git/annex/objects') / path.name)


def moved(root: Path) -> Path:
    """To a folder with spaces and letters beyond ASCII."""
    target = root.parent / 'Étude 50% (λ=1)' / 'func' / 'sub-x data'
    target.parent.mkdir(parents=True)
    return root.rename(target)


def uncompressed(root: Path) -> None:
    """Without compression, half of them in NIfTI-2, half big-endian."""
    for number, path in enumerate(Raw(root).files()):
        image = nb.load(path)
        data = np.asarray(image.dataobj, dtype=np.float32)
        if number % 2:
            header = nb.Nifti1Header(endianness='>')
            new = nb.Nifti1Image(data.astype('>f4'), image.affine, header)
        else:
            new = nb.Nifti2Image(data, image.affine)
        new.set_sform(image.affine, 1)
        new.set_qform(image.affine, 1)
        nb.save(new, path.with_name(path.name.removesuffix('.gz')))
        path.unlink()


def renumbered(numbers: dict[str, str]) -> Callable:
    """Other numbers of the echoes."""
    pattern = re.compile('_echo-([0-9])_')
    return rename(lambda name: pattern.sub(lambda m: f'_echo-{numbers[m[1]]}_', name))


def second_participant(change: Callable[[list[Path]], object]) -> Callable:
    """A second participant whose files are altered, the first is left alone."""
    return lambda root: change(Raw(root).files(subject='02'))


def orientation(codes: str) -> Callable:
    """All images with their axes in another order or direction."""
    from nibabel.orientations import (
        apply_orientation,
        axcodes2ornt,
        inv_ornt_aff,
        ornt_transform,
    )

    def change(data: np.ndarray, affine: np.ndarray) -> tuple:
        turn = ornt_transform(nb.io_orientation(affine), axcodes2ornt(codes))
        return apply_orientation(data, turn), affine @ inv_ornt_aff(turn, data.shape)

    return geometry(change)


def cropped(*box: slice) -> Callable:
    """A part of the field of view."""

    def change(data: np.ndarray, affine: np.ndarray) -> tuple:
        shift = np.eye(4)
        shift[:3, 3] = [s.indices(n)[0] for s, n in zip(box, data.shape, strict=True)]
        return data[box], affine @ shift

    return geometry(change)


def scaled(factor: float) -> Callable:
    """Voxels larger or smaller by a factor, the head with them."""
    return geometry(lambda data, affine: (data, np.diag([factor] * 3 + [1.0]) @ affine))


def padded(data: np.ndarray, affine: np.ndarray) -> tuple:
    """Zeros around, unevenly."""
    before = np.array((11, 3, 6))
    shift = np.eye(4)
    shift[:3, 3] = -before
    return np.pad(data, [(11, 7), (3, 20), (6, 0)]), affine @ shift


def transforms(sform: int, qform: int, other: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Codes of the headers, and the qform's affine made from the true one."""

    def alter(root: Path) -> None:
        for path in Raw(root).files():
            image = nb.load(path)
            image.set_sform(image.affine, sform)
            image.set_qform(other(image.affine), qform)
            nb.save(nb.Nifti1Image(np.asarray(image.dataobj), None, image.header), path)

    return alter


def lying(affine: np.ndarray) -> np.ndarray:
    """B0 along what is the second axis."""
    return affine @ np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])


def off_centre(frequency_hz: float) -> Callable:
    """Centre frequency off that of water."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        times = [json.loads(sidecar(path).read_text())['EchoTime'] for path in raw.files('mag')]
        raw.signal(lambda z, echo: z * np.exp(2j * PI * frequency_hz * times[echo]))

    return alter


def set_voxels(value: float, count: int) -> Callable:
    """Put a value into some voxels outside of the head."""

    def change(data: np.ndarray) -> np.ndarray:
        data[:2, :2, :count] = value
        return data

    return change


def strip(fill: str) -> Callable:
    """Take everything off around the brain, as if a mask had been applied."""

    def alter(root: Path) -> None:
        raw = Raw(root)
        truth = next((root / 'derivatives').rglob('sub-01_desc-brain_mask.nii.gz'))
        brain, rng = read(truth) > 0.5, np.random.default_rng(0)

        def change(z: np.ndarray, echo: int) -> np.ndarray:
            noise = 0.01 * np.abs(z).max() * (rng.normal(size=(2, *z.shape)).T @ (1, 1j)).T
            return np.where(brain, z, noise if fill == 'noise' else 0)

        raw.signal(change)

    return alter


def homodyne(z: np.ndarray, echo: int) -> np.ndarray:
    """High-pass the phase as for SWI, with a Hann window over a fifth of k-space."""
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in z.shape[:2]), indexing='ij')
    radius = np.hypot(*k) / 0.1
    window = np.where(radius < 1, np.cos(PI * radius / 2) ** 2, 0)[..., None]
    low = np.fft.ifft2(np.fft.fft2(z, axes=(0, 1)) * window, axes=(0, 1))
    return np.abs(z) * np.exp(1j * np.angle(z * low.conj()))


def noise_only(wanted: int) -> Callable:
    """One echo that holds noise alone."""

    def change(z: np.ndarray, echo: int) -> np.ndarray:
        rng = np.random.default_rng(3)
        noise = 0.01 * np.abs(z).max() * (rng.normal(size=(2, *z.shape)).T @ (1, 1j)).T
        return noise if echo == wanted else z

    return change


def slices(z: np.ndarray, echo: int) -> np.ndarray:
    """Every second slice turned by pi."""
    return z * np.where(np.arange(z.shape[2]) % 2, -1, 1)


def cut_file(path: Path) -> None:
    """Cut a file to two thirds of its length."""
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])


def save_mask(change: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Mask made of the true one, on its grid."""
    return lambda path, brain: write(path, change(brain), nb.load(path).affine)


def nibble(path: Path, brain: np.ndarray) -> None:
    """The mask flipped front to back in the array, its affine with it (still right)."""
    affine = nb.load(path).affine
    flip = np.diag([1.0, -1.0, 1.0, 1.0])
    flip[1, 3] = brain.shape[1] - 1
    write(path, brain[:, ::-1].astype(np.uint8), affine @ flip)


def encoded(text: str, encoding: str) -> Callable:
    """Sidecars in another encoding."""

    def change(path: Path) -> None:
        content = json.loads(sidecar(path).read_text()) | {'InstitutionName': text}
        sidecar(path).write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))

    return on_files(change)


def many_acquisitions(root: Path) -> None:
    """The scan twice, in one session and two runs, the second with two echoes alone."""
    anat = root / 'sub-01' / 'anat'
    target = root / 'sub-01' / 'ses-pre' / 'anat'
    target.mkdir(parents=True)
    for file in sorted(anat.iterdir()):
        for label in ('acq-hi_run-1', 'acq-hi_run-2'):
            if label.endswith('2') and 'echo-1' not in file.name and 'echo-2' not in file.name:
                continue
            shutil.copy(file, target / file.name.replace('sub-01_', f'sub-01_ses-pre_{label}_'))
    shutil.rmtree(anat)

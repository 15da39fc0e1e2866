"""Scans of ``reported.py`` by headers and fields of view."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from reported_changes import both, geometry, headers, on_files, scaled
from reported_data import Raw, Scan, read, write
from scipy import ndimage


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


def sheared(affine: np.ndarray) -> np.ndarray:
    """A shear of a thousandth, as tools leave it that turn images."""
    shear = np.eye(4)
    shear[0, 1] = 1e-3
    return affine @ shear


def extended(path: Path) -> None:
    """With an extension of the header, as AFNI writes it."""
    image = nb.load(path)
    image.header.extensions.append(
        nb.nifti1.Nifti1Extension('afni', b'<?xml version="1.0" ?>' * 90)
    )
    nb.save(nb.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header), path)


def fewer_slices(affine_too: bool) -> Callable:
    """Every second slice, as after a gap between slices that the header tells of or not."""

    def change(data: np.ndarray, affine: np.ndarray) -> tuple:
        return data[:, :, ::2], affine @ np.diag([1, 1, 2.0 if affine_too else 1.0, 1])

    return geometry(change)


def nearest(root: Path) -> None:
    """Oblique images, resampled to straight axes by nearest neighbours."""
    for path in Raw(root).all():
        image = nb.load(path)
        data, affine = np.asarray(image.dataobj), image.affine
        ends = np.array([[*c, 1] for c in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in data.shape), 1]
        corners = (affine @ ends.T)[:3]
        straight = np.diag([3.0, 3.0, 3.0, 1.0])
        straight[:3, 3] = corners.min(axis=1)
        shape = tuple(int(n) // 2 * 2 + 2 for n in np.ptp(corners, axis=1) / 3)
        change = np.linalg.solve(affine, straight)
        turned = ndimage.affine_transform(
            data.astype(np.float32), change[:3, :3], change[:3, 3], output_shape=shape, order=0
        )
        write(path, turned, straight)


def repeated(data: np.ndarray, affine: np.ndarray) -> tuple:
    """One slice, as often as a volume needs it."""
    middle = data.shape[2] // 2
    return np.repeat(data[:, :, middle : middle + 1], 12, axis=2), affine


SCANS: tuple[Scan, ...] = (
    Scan('header', 'sform alone', transforms(1, 0, lambda a: a)),
    Scan('header', 'qform alone', transforms(0, 1, lambda a: a)),
    Scan('header', 'no orientation', transforms(0, 0, lambda a: a), 'map', 'no orientation'),
    Scan('header', 'scanner by the sform, qform lies', transforms(1, 2, lying), 'map', 'differ'),
    Scan('header', 'sform lies, code 2', both(transforms(2, 1, lambda a: a)), 'map'),
    Scan('header', 'both say scanner and differ', transforms(1, 1, lying), 'told', 'differ'),
    Scan(
        'header',
        'B0 along another axis',
        geometry(lambda d, a: (d, lying(np.eye(4)) @ a)),
        'failed',
        'Direction of B0',
    ),
    Scan('header', 'sagittal', orientation('PSR')),
    Scan('header', 'oblique by 45 degrees', source=('--b0-direction', '0.5', '0.5', '0.7071')),
    Scan(
        'header',
        'voxels in micrometres',
        both(scaled(1000), headers(xyzt_units=3)),
        'refused',
        'mm',
    ),
    Scan(
        'header', 'negative pixdim', headers(pixdim=[1, -3, 3, 3, 0, 0, 0, 0]), 'refused', 'pixdim'
    ),
    Scan('header', 'pixdim of ones', headers(pixdim=[1, 1, 1, 1, 0, 0, 0, 0]), 'map', 'pixdim'),
    Scan('header', 'no unit of length', headers(xyzt_units=0)),
    Scan('header', 'NIfTI-2, big-endian, not compressed', uncompressed),
    Scan(
        'header',
        'fourth axis of one',
        on_files(lambda p: write(p, read(p)[..., None], nb.load(p).affine)),
        'refused',
        'squeeze_image',
    ),
    Scan('header', 'slices of 1 x 1 x 4 mm', source=('--voxel', '2', '2', '5')),
    Scan('header', 'left-handed', orientation('LAS')),
    Scan('header', 'axes from below', orientation('IPL')),
    Scan('header', 'coronal, left-handed', orientation('RIA')),
    Scan('header', 'phase flipped with its affine', flipped_phase, 'refused', 'share one grid'),
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
    Scan('view', 'odd and prime', cropped(slice(0, 61), slice(0, 67), slice(0, 47))),
    Scan('view', 'zeros around', geometry(padded)),
    Scan(
        'view',
        'slab of 8 slices',
        cropped(slice(None), slice(None), slice(24, 32)),
        'told',
        'slab|slices|field of view|volume',
    ),
    Scan(
        'view', 'one slice', cropped(slice(None), slice(None), slice(28, 29)), 'refused', 'volume'
    ),
    Scan(
        'view',
        'part of the brain, tight',
        cropped(slice(16, 48), slice(20, 52), slice(16, 44)),
        'told',
        'volume',
    ),
    Scan('view', 'mouse, voxels of 0.25 mm', scaled(1 / 12), 'map', 'volume'),
    Scan(
        'view',
        'brain cut off at the top',
        cropped(slice(None), slice(None), slice(0, 38)),
        'told',
        '.',
    ),
    Scan('header', 'sform sheared by a thousandth', transforms(1, 1, sheared)),
    Scan('header', 'extension of AFNI', on_files(extended)),
    Scan('header', 'qfac of zero', headers(pixdim=[0, 3, 3, 3, 0, 0, 0, 0], sform_code=0)),
    Scan(
        'header',
        'voxels ten times too small',
        geometry(lambda d, a: (d, np.diag([0.1, 0.1, 0.1, 1]) @ a)),
        'told',
        'volume',
    ),
    Scan('view', 'gaps between slices', fewer_slices(True), 'told', 'voxels are 3 x 3 x 6 mm'),
    Scan('view', 'gaps between slices, header without them', fewer_slices(False), 'told', '.'),
    Scan('view', 'one slice repeated', geometry(repeated), 'refused', 'slice'),
    Scan(
        'view',
        'slab of 16 slices',
        cropped(slice(None), slice(None), slice(20, 36)),
        'told',
        'a slab of 48 mm',
    ),
    Scan(
        'header',
        'resampled straight by nearest neighbours',
        nearest,
        'failed',
        'nearest neighbours',
        source=('--b0-direction', '0', '0.34', '0.94'),
    ),
)

"""Scans of ``reported.py`` by headers and fields of view."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import numpy as np
from scans.changes import both, geometry, headers, on_files, scaled, values
from scans.dataset import Raw, failed, of_kind, read, refused, right, store, told, write
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


def cropped(box: tuple[slice, ...]) -> Callable:
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


def spoilt(change: Callable[[nb.Nifti1Header], None]) -> Callable:
    """Headers after a change that Nibabel would not make by itself."""

    def alter(path: Path) -> None:
        store(path, np.asarray(nb.load(path).dataobj))
        raw = bytearray(gzip.decompress(path.read_bytes()))
        header = nb.Nifti1Header(bytes(raw[:348]), check=False)
        change(header)
        raw[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(raw), 1))

    return on_files(alter)


def sform(affine: np.ndarray | float) -> Callable:
    """Another sform, its code 1, whatever the qform says."""

    def change(header: nb.Nifti1Header) -> None:
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


across_b0 = geometry(lambda data, affine: (data, lying(np.eye(4)) @ affine))
SCANS = of_kind(
    'header',
    right('sform alone', transforms(1, 0, lambda a: a)),
    right('qform alone', transforms(0, 1, lambda a: a)),
    right('no orientation', transforms(0, 0, lambda a: a), 'no orientation'),
    right('scanner by the sform, qform lies', transforms(1, 2, lying), 'differ'),
    right('sform lies, code 2', transforms(2, 1, lambda a: a)),
    told('both say scanner and differ', transforms(1, 1, lying), 'differ'),
    failed('B0 along another axis', across_b0, 'Direction of B0'),
    right('sagittal', orientation('PSR')),
    right('oblique by 45 degrees', source='--b0-direction 0.5 0.5 0.7071'),
    refused('voxels in micrometres', both(scaled(1000), headers(xyzt_units=3)), 'mm'),
    refused('negative pixdim', headers(pixdim=[1, -3, 3, 3, 0, 0, 0, 0]), 'pixdim'),
    right('pixdim of ones', headers(pixdim=[1, 1, 1, 1, 0, 0, 0, 0]), 'pixdim'),
    right('no unit of length', headers(xyzt_units=0)),
    right('NIfTI-2, big-endian, not compressed', uncompressed),
    refused('fourth axis of one', values(lambda v: v[..., None]), 'squeeze_image'),
    right('slices of 1 x 1 x 4 mm', source='--voxel 2 2 5'),
    right('left-handed', orientation('LAS')),
    right('axes from below', orientation('IPL')),
    right('coronal, left-handed', orientation('RIA')),
    refused('phase flipped with its affine', flipped_phase, 'share one grid'),
    right(
        'affines differ by rounding',
        on_files(lambda p: write(p, read(p), nb.load(p).affine + 2e-4), 'phase'),
    ),
    failed(
        'sform of ones beside a right qform',
        both(orientation('PSR'), sform(np.diag([3.0, 3, 3, 1]))),
        'differ|B0',
    ),
    refused('in metres', both(scaled(1e-3), headers(xyzt_units=1)), 'mm'),
    refused('sform not a number', sform(np.nan), 'not finite'),
    refused('sform of zeros', sform(0.0), 'singular'),
    refused(
        'quaternion longer than one',
        spoilt(lambda h: set_fields(h, sform_code=0, quatern_b=0.9, quatern_c=0.9)),
        'affine',
    ),
    refused('data offset of zero', spoilt(lambda h: set_fields(h, vox_offset=0)), 'vox_offset'),
    refused(
        'fourth dimension of zero',
        spoilt(lambda h: set_fields(h, dim=[4, *h['dim'][1:4], 0, 1, 1, 1])),
        'ax',
    ),
    right('doubles', stored_as('float64', '*')),
    right('whole numbers of 32 bits', stored_as('int32', 'mag', 1000)),
    refused(
        'half of the voxels declared',
        spoilt(
            lambda h: set_fields(h, dim=[3, h['dim'][1], h['dim'][2], h['dim'][3] // 2, 1, 1, 1, 1])
        ),
        'declares',
    ),
    failed('B0 along another axis, code of a standard space', to_standard, 'B0|scanner'),
    right('sform sheared by a thousandth', transforms(1, 1, sheared)),
    right('extension of AFNI', on_files(extended)),
    right('qfac of zero', headers(pixdim=[0, 3, 3, 3, 0, 0, 0, 0], sform_code=0)),
    told(
        'voxels ten times too small',
        geometry(lambda d, a: (d, np.diag([0.1, 0.1, 0.1, 1]) @ a)),
        'volume',
    ),
    failed(
        'resampled straight by nearest neighbours',
        nearest,
        'nearest neighbours',
        source='--b0-direction 0 0.34 0.94',
    ),
)
SCANS += of_kind(
    'view',
    right('odd and prime', cropped(np.s_[0:61, 0:67, 0:47])),
    right('zeros around', geometry(padded)),
    told('slab of 8 slices', cropped(np.s_[:, :, 24:32]), 'slab|slices|field of view|volume'),
    refused('one slice', cropped(np.s_[:, :, 28:29]), 'volume'),
    told('part of the brain, tight', cropped(np.s_[16:48, 20:52, 16:44]), 'volume'),
    right('mouse, voxels of 0.25 mm', scaled(1 / 12), 'volume'),
    told('brain cut off at the top', cropped(np.s_[:, :, 0:38]), '.'),
    told('gaps between slices', fewer_slices(True), 'voxels are 3 x 3 x 6 mm'),
    told('gaps between slices, header without them', fewer_slices(False), '.'),
    refused('one slice repeated', geometry(repeated), 'slice'),
    told('slab of 16 slices', cropped(np.s_[:, :, 20:36]), 'a slab of 48 mm'),
)

"""Checks of NIfTI files that cost little: header, stream and range of values."""

from __future__ import annotations

import gzip
import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nb
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from qsmprep.bids.errors import InputError
from qsmprep.bids.files import check_fetched, check_path
from qsmprep.bids.geometry import by, check_geometry

MAX_VOXELS = 2**29
"""Voxels of one echo: 813 cubed, finer than 0.3 mm for a whole head."""
MAX_DATA_OFFSET = 2**24
CHUNK_BYTES = 2**24
SMALLEST, LARGEST = 1e-15, 1e15
"""Largest value of an image: squares of smaller and of larger ones are lost in 32 bits."""
SAMPLES = 2**16
"""Pairs of neighbouring voxels that are kept of an image, to judge what it holds."""


@dataclass(frozen=True)
class ImageSummary:
    """
    What the checks of an echo have read.

    Parameters
    ----------
    path
        The file.
    shape
        Voxels along three axes.
    affine
        4 x 4, voxel indices to scanner mm.
    minimum, maximum
        Range of the values, after ``scl_slope`` and ``scl_inter``.
    slope, intercept
        Scaling of the header, (1, 0) where there is none.
    integer
        Whether the scaled values are whole numbers by their type.
    warnings
        Sentences about what was found.
    sample
        Scaled values of neighbours along the first axis, evenly taken from the whole image,
        (n, 2); the same voxels in every image of one shape.

    """

    path: Path
    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    minimum: float
    maximum: float
    slope: float
    intercept: float
    integer: bool
    warnings: tuple[str, ...]
    sample: np.ndarray = field(
        default_factory=lambda: np.empty((0, 2), np.float32), repr=False, compare=False
    )


def inspect_image(path: str | Path, coils: bool = False) -> ImageSummary:
    """
    Check the file of one echo: header first, then the whole stream, in chunks.

    No more bytes are decompressed than the header promises.

    Parameters
    ----------
    path
        A ``.nii`` or ``.nii.gz`` file.
    coils
        A fourth axis, if there is one, is that of coils.

    Raises
    ------
    InputError
        If the file is missing, truncated or corrupt, has other than three axes, an impossible
        voxel size, affine or scaling, or values that are not finite.

    """
    path = check_path(path)
    header = read_header(path)
    shape = _check_shape(header, path, axes=4 if coils else 3)
    affine, warnings = check_geometry(header, path)
    slope, intercept, scaling_warnings = _check_scaling(header, path)
    low, high, sample = _scan_values(path, header, shape)
    ends = [value * slope + intercept for value in (low, high)]
    largest = max(map(abs, ends))
    if largest and not SMALLEST < largest < LARGEST:
        raise InputError(
            f'{path} holds values up to {largest:.3g}, expected are {SMALLEST:g} to {LARGEST:g} '
            f'(scl_slope is {slope:.3g}): convert it again, or correct the slope.'
        )
    dtype = header.get_data_dtype()
    return ImageSummary(
        path=path,
        shape=shape,
        affine=tuple(tuple(float(x) for x in row) for row in affine),
        minimum=min(ends),
        maximum=max(ends),
        slope=slope,
        intercept=intercept,
        integer=dtype.kind in 'iu' and slope.is_integer() and intercept.is_integer(),
        warnings=warnings + scaling_warnings,
        sample=(sample * slope + intercept).astype(np.float32),
    )


def check_same_grid(image: ImageSummary, reference: ImageSummary) -> None:
    """
    Check that two images share shape and affine (within 0.001 mm).

    Raises
    ------
    InputError
        If they do not.

    """
    if image.shape != reference.shape:
        raise InputError(
            f'{image.path} has {by(image.shape)} voxels but {reference.path.name} has '
            f'{by(reference.shape)}; magnitude and phase of all echoes must share one grid.'
        )
    distance = np.abs(np.subtract(image.affine, reference.affine)).max()
    if distance > 1e-3:
        raise InputError(
            f'{image.path} and {reference.path.name} differ in their affines by up to '
            f'{distance:.3g}; magnitude and phase of all echoes must share one grid.'
        )


def _open(path: Path):
    return gzip.open(path, 'rb') if path.name.endswith('.gz') else path.open('rb')


def read_header(path: Path) -> nb.Nifti1Header:
    """
    Header as stored: Nibabel's own reader repairs a voxel size of zero silently.

    Raises
    ------
    InputError
        If the file does not begin with a header of NIfTI.

    """
    unreadable = (
        f'{path} cannot be read as NIfTI: {{}}; the file is truncated or corrupt, copy or '
        'convert it again.'
    )
    try:
        with _open(path) as stream:
            raw = stream.read(nb.Nifti2Header.sizeof_hdr)
        kind = nb.Nifti2Header if b'n+2' in raw[4:12] else nb.Nifti1Header
        header = kind(binaryblock=raw[: kind.sizeof_hdr], check=False)
    except (OSError, EOFError, zlib.error, WrapStructError, ValueError) as error:
        check_fetched(path)
        _check_name(path)
        raise InputError(unreadable.format(error)) from error
    if header['magic'].item()[:3] not in (b'n+1', b'n+2'):
        check_fetched(path)
        _check_name(path)
        raise InputError(unreadable.format('the header lacks the NIfTI magic number'))
    if header['pixdim'][0] == 0:  # the standard takes it for 1
        header['pixdim'][0] = 1
    return header


def _check_name(path: Path) -> None:
    """Complain of a file that is compressed, or not, against its name."""
    with path.open('rb') as stream:
        begin = stream.read(nb.Nifti1Header.sizeof_hdr)
    magic = begin[344:347] == b'n+1' or begin[4:7] == b'n+2'
    if path.name.endswith('.gz') and magic:
        raise InputError(
            f'{path} is not compressed, though its name ends in .gz; name it .nii, or compress it '
            '(gzip).'
        )
    if not path.name.endswith('.gz') and begin.startswith(b'\x1f\x8b'):
        raise InputError(f'{path} is compressed (gzip), but named .nii; name it .nii.gz.')


def read_image(path: Path) -> nb.Nifti1Image:
    """
    Image of either version of NIfTI, whose values are read on demand.

    Raises
    ------
    InputError
        If the file does not begin with a header of NIfTI.

    """
    kind = nb.Nifti2Image if isinstance(read_header(path), nb.Nifti2Header) else nb.Nifti1Image
    return kind.from_filename(path)


def _check_shape(header: nb.Nifti1Header, path: Path, axes: int = 3) -> tuple[int, ...]:
    try:
        shape = tuple(int(n) for n in header.get_data_shape())
        kind = header.get_data_dtype().kind
    except (HeaderDataError, ValueError, KeyError) as error:
        raise InputError(f'{path} has an impossible header: {error}; convert it again.') from error
    if len(shape) > 3 and math.prod(shape[3:]) == 1:
        raise InputError(
            f'{path} has {len(shape)} axes ({by(shape)}), the last of length one; BIDS keeps '
            "each echo in a 3-D file: drop that axis, for instance with nibabel's squeeze_image."
        )
    if len(shape) > axes:
        raise InputError(
            f'{path} has {len(shape)} axes ({by(shape)}); BIDS keeps each echo in a 3-D file '
            'of its own (echo-1, echo-2, ...): split it along the fourth axis, for instance with '
            'fslsplit; if that axis is one of coils, say coil-all in the name.'
        )
    if len(shape) < 3 or min(shape) < 2:
        raise InputError(
            f'{path} has the shape {by(shape)}; a volume of at least two voxels along each '
            'axis is needed.'
        )
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(
            f'{path} claims {by(shape)} voxels, more than the {MAX_VOXELS} that one echo '
            'may have; the header is wrong, or the image is not a head.'
        )
    if kind == 'V':
        raise InputError(
            f'{path} holds colours, as a screenshot does; export the magnitude or the phase itself.'
        )
    if kind not in 'iuf':
        raise InputError(
            f'{path} holds values of type {header.get_data_dtype()}; real numbers are needed: '
            'split complex images into part-mag and part-phase or part-real and part-imag.'
        )
    return shape


def _check_scaling(header: nb.Nifti1Header, path: Path) -> tuple[float, float, tuple[str, ...]]:
    slope, intercept = float(header['scl_slope']), float(header['scl_inter'])
    if math.isinf(slope) or math.isinf(intercept):
        raise InputError(
            f'{path} has scl_slope {slope} and scl_inter {intercept}; repair the header.'
        )
    if slope == 0:
        return 1.0, 0.0, ()
    if math.isnan(slope):
        return (
            1.0,
            0.0,
            (f'{path.name}: scl_slope is not a number; the values are used as stored.',),
        )
    if math.isnan(intercept):
        raise InputError(f'{path} has scl_slope {slope:g} but no valid scl_inter; repair it.')
    return slope, intercept, ()


def _scan_values(
    path: Path, header: nb.Nifti1Header, shape: tuple
) -> tuple[float, float, np.ndarray]:
    """Smallest and largest stored value, and a sample of neighbours.

    The stream is read once, one slice further than promised at most.
    """
    dtype = header.get_data_dtype()
    offset = float(header['vox_offset'])
    if not header.sizeof_hdr <= offset <= MAX_DATA_OFFSET:
        raise InputError(f'{path} starts its data at byte {offset:g}; repair vox_offset.')
    voxels = math.prod(shape)
    remaining = voxels * dtype.itemsize
    slice_bytes = remaining // shape[-1]
    step = max(2, voxels // SAMPLES)
    while math.gcd(step, shape[0] * shape[1]) > 1:  # else the same columns over and over
        step += 1
    chunk = max(1, CHUNK_BYTES // (step * dtype.itemsize)) * step * dtype.itemsize
    low, high, not_finite, sample = math.inf, -math.inf, 0, []
    try:
        with _open(path) as stream:
            stream.read(int(offset))
            while remaining:
                block = stream.read(min(chunk, remaining))
                if not block or len(block) % dtype.itemsize:
                    raise EOFError(f'{remaining - len(block)} bytes of data are missing')
                remaining -= len(block)
                values = np.frombuffer(block, dtype)
                whole = values[: values.size // step * step].reshape(-1, step)[:, :2]
                sample.append(whole.astype(np.float64))
                if dtype.kind == 'f':
                    finite = np.isfinite(values)
                    not_finite += values.size - int(finite.sum())
                    values = values[finite]
                if values.size:
                    low, high = min(low, float(values.min())), max(high, float(values.max()))
            rest = stream.read(slice_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f'{path} is truncated or corrupt ({error}); copy or convert it again.'
        ) from error
    if len(rest) == slice_bytes:
        raise InputError(
            f'{path} holds more than the {by(shape)} voxels that its header declares; the header '
            'is wrong: convert it again.'
        )
    if not_finite:
        raise InputError(
            f'{path} holds {not_finite} values that are not finite (NaN or infinite) among '
            f'{voxels}; replace them, with 0 where there is no signal.'
        )
    pairs = np.concatenate(sample)
    row_ends = np.arange(len(pairs)) * step % shape[0] == shape[0] - 1
    return low, high, pairs[~row_ends]

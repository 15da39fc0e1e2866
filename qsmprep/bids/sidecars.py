"""What the sidecars of an acquisition state: field strength, scanner, quality."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from qsmprep.bids.errors import InputError
from qsmprep.bids.layout import Dataset, ImageFile
from qsmprep.bids.notes import Doubt, Note

PROTON_GYROMAGNETIC_RATIO = 42.577478518
"""MHz/T (gamma over 2 pi of the free proton, CODATA 2018)."""
FIELD_STRENGTH_RANGE_T = (0.05, 21.0)
SAME_FREQUENCY = 1e-3
"""Part by which the imaging frequencies of echoes may differ: scanners adjust it on the way."""
CONSTANT_METADATA = (
    'Manufacturer',
    'ManufacturersModelName',
    'SoftwareVersions',
    'ImagingFrequency',
    'ReceiveCoilName',
    'CoilCombinationMethod',
    'MRAcquisitionType',
    'ScanningSequence',
    'SequenceVariant',
    'ScanOptions',
    'SequenceName',
    'PulseSequenceType',
    'RepetitionTime',
    'FlipAngle',
    'PixelBandwidth',
    'PartialFourier',
    'ParallelAcquisitionTechnique',
    'ParallelReductionFactorInPlane',
    'NonlinearGradientCorrection',
)
"""Sidecar keys that are handed on: what a map's reader needs, nothing about a person."""
OF_ONE_SCAN = ('FlipAngle', 'RepetitionTime')
"""Sidecar keys on which the images of one multi-echo scan agree."""
ONE_SCAN_S = 60.0
"""Seconds by which their times of acquisition may differ: scanners state when an echo began."""
DAY_S = 86400.0
SEPARATED = ('WATER', 'FAT', 'W', 'F')
"""Words of DICOM's image type for images that a Dixon reconstruction made of several echoes."""
FILTERED_PHASE = ('SWI', 'SWAN', 'HOMODYNE', 'FILTER', 'MNIP')


@dataclass(frozen=True)
class EchoPair:
    """
    Both files of one echo: magnitude and phase, or real and imaginary part.

    Parameters
    ----------
    first, second
        The files.
    sidecars
        What the sidecars of each say.

    """

    first: ImageFile
    second: ImageFile
    sidecars: tuple[dict, dict]

    @classmethod
    def read(cls, dataset: Dataset, first: ImageFile, second: ImageFile) -> EchoPair:
        """Pair two files and read their sidecars."""
        return cls(first, second, (dataset.metadata(first), dataset.metadata(second)))

    @property
    def files(self) -> tuple[ImageFile, ImageFile]:
        """Both files."""
        return self.first, self.second

    @property
    def metadata(self) -> dict:
        """Sidecars of both; keys of the second override the first, and only it gives ``Units``."""
        first, second = self.sidecars
        return {key: value for key, value in first.items() if key != 'Units'} | second


MODELS_T = {
    1.5: 'aera altea avanto espree sola symphony ambition artist explorer voyager mr450',
    3.0: 'allegra connectom lumina prisma skyra spectra trio verio vida elition architect pioneer '
    'premier mr750',
    7.0: 'terra',
}
"""Field strength [T] -> words in the model names of scanners that are built for it alone."""


def field_strength(metadata: dict, path: Path) -> tuple[float, str, list[str]]:
    """
    Field strength [T] from a sidecar, the rule that was used, and warnings.

    The imaging frequency is exact where the nominal strength is rounded ("3 T" may be 2.89 T).

    Raises
    ------
    InputError
        If neither is given, one makes no sense, or they contradict each other.

    Examples
    --------
    >>> from pathlib import Path
    >>> round(field_strength({'ImagingFrequency': 123.25}, Path('x.nii'))[0], 3)
    2.895

    """
    nominal = read_number(metadata, 'MagneticFieldStrength', path)
    frequency = read_number(metadata, 'ImagingFrequency', path)
    low, high = FIELD_STRENGTH_RANGE_T
    exact = None if frequency is None else frequency / PROTON_GYROMAGNETIC_RATIO
    for key, strength, unit in (
        ('MagneticFieldStrength', nominal, 'T'),
        ('ImagingFrequency', exact, 'MHz'),
    ):
        if strength is not None and not low <= strength <= high:
            raise InputError(
                f'{path}: {key} {metadata[key]} means {strength:.4g} T, but {low:g} to {high:g} T '
                f'are expected; give {key} in {unit}.'
            )
    if exact is None:
        if nominal is None:
            raise InputError(
                f'{path}: the sidecar states no field strength; add MagneticFieldStrength [T] or '
                'ImagingFrequency [MHz].'
            )
        return nominal, f'MagneticFieldStrength {nominal:g} T.', check_model(metadata, nominal)
    rule = f'{exact:.4f} T from ImagingFrequency {frequency:g} MHz.'
    if nominal is not None and abs(exact - nominal) > 0.15 * nominal:
        raise InputError(
            f'{path}: ImagingFrequency {frequency:g} MHz means {exact:.3f} T, far from '
            f'MagneticFieldStrength {nominal:g} T, and susceptibility is inversely proportional to '
            'it; correct the one that is wrong, or remove it from the sidecar.'
        )
    return exact, rule, check_model(metadata, exact)


def check_model(metadata: dict, strength_t: float) -> list[str]:
    """
    Doubt a field strength that the scanner of the sidecar does not have.

    Examples
    --------
    >>> check_model({'ManufacturersModelName': 'Prisma_fit'}, 2.89)
    []
    >>> check_model({'ManufacturersModelName': 'TrioTim'}, 1.5)[0][:40]
    "The scanner ('TrioTim') is one of 3 T, t"

    """
    model = shorten(metadata.get('ManufacturersModelName') or '')
    words = re.findall('[a-z]+[0-9]*', model.lower())
    for usual_t, names in MODELS_T.items():
        built = any(word.startswith(tuple(names.split())) for word in words)
        if built and abs(strength_t - usual_t) > 0.15 * usual_t:
            return [
                Doubt(
                    f'The scanner ({model}) is one of {usual_t:g} T, the sidecars mean '
                    f'{strength_t:.3g} T: correct MagneticFieldStrength or ImagingFrequency, to '
                    'which susceptibility is inversely proportional.'
                )
            ]
    return []


def read_number(metadata: dict, key: str, path: Path) -> float | None:
    """
    Return a number of a sidecar, None where it is missing.

    Raises
    ------
    InputError
        If it is no finite number.

    """
    value = metadata.get(key)
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(
            f'{path}: {key} in the sidecar is {shorten(value)}; one number is expected, without '
            'quotes or brackets: correct the sidecar.'
        )
    return number


def shorten(value: object, length: int = 80) -> str:
    """
    Any value of a sidecar in a few words, for a message.

    Examples
    --------
    >>> shorten('3T'), shorten([0] * 100, 10)
    ("'3T'", '[0, 0, 0, ...')

    """
    text = repr(value)
    return text if len(text) <= length else f'{text[:length]}...'


def shared_metadata(pairs: list[EchoPair]) -> dict:
    """
    Return the keys on whose value all echoes agree.

    Raises
    ------
    InputError
        If the echoes differ in units, manufacturer or field strength.

    """
    sidecars = [pair.metadata for pair in pairs]
    shared = {
        key: value
        for key, value in sidecars[0].items()
        if all(sidecar.get(key) == value for sidecar in sidecars)
    }
    for key in ('Units', 'Manufacturer', 'MagneticFieldStrength'):
        values = [sidecar.get(key) for sidecar in sidecars]
        if any(value != values[0] for value in values):
            listing = ', '.join('missing' if value is None else str(value)[:40] for value in values)
            raise InputError(
                f'{pairs[0].second.path}: the echoes differ in {key} ({listing}); give all of '
                'them the same in their sidecars.'
            )
    _check_parts(pairs)
    frequencies = [
        number
        for pair in pairs
        if (number := read_number(pair.metadata, 'ImagingFrequency', pair.second.path)) is not None
    ]
    if frequencies:
        if max(frequencies) - min(frequencies) > SAME_FREQUENCY * abs(frequencies[0]):
            raise InputError(
                f'{pairs[0].second.path}: the echoes differ in ImagingFrequency '
                f'({", ".join(f"{x:g}" for x in frequencies)} MHz); give all of them the same in '
                'their sidecars.'
            )
        shared['ImagingFrequency'] = frequencies[0]
    return shared


def check_one_scan(pairs: list[EchoPair]) -> list[str]:
    """
    Warn of echoes that are of several scans, by what their sidecars say of each.

    Parameters
    ----------
    pairs
        Both parts of each echo.

    """
    sidecars = [sidecar for pair in pairs for sidecar in pair.sidecars]
    found = []
    for key in OF_ONE_SCAN:
        values = [x[key] for x in sidecars if isinstance(x.get(key), int | float)]
        if values and max(values) - min(values) > 0.01 * max(values):
            found.append(f'{key} {min(values):g} and {max(values):g}')
    times = [_seconds(sidecar.get('AcquisitionTime')) for sidecar in sidecars]
    known = sorted(time for time in times if time is not None)
    if known and ONE_SCAN_S < known[-1] - known[0] < DAY_S - ONE_SCAN_S:
        minutes = (known[-1] - known[0]) / 60
        found.append(f'AcquisitionTime (by {minutes:.0f} minutes)')
    if not found:
        return []
    return [
        f'The echoes differ in {" and in ".join(found)}: they are of several scans, between which '
        'head and scanner may have changed; keep the images of one.'
    ]


def _seconds(time: object) -> float | None:
    """
    Seconds of the day of DICOM's or BIDS's time; None for anything else.

    Examples
    --------
    >>> _seconds('11:34:58.5'), _seconds('113458'), _seconds('noon')
    (41698.5, 41698.0, None)

    """
    match = re.fullmatch(r'(\d\d):?(\d\d):?(\d\d(?:\.\d*)?)', str(time))
    return match and 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def _check_parts(pairs: list[EchoPair]) -> None:
    """Complain if the two parts of an echo name different scanners."""
    for pair in pairs:
        for key in ('MagneticFieldStrength', 'ImagingFrequency'):
            first, second = (
                read_number(sidecar, key, file.path)
                for sidecar, file in zip(pair.sidecars, pair.files, strict=True)
            )
            if first and second and abs(first - second) > 0.01 * abs(second):
                raise InputError(
                    f'{pair.second.path} has {key} {second:g} but {pair.first.name} has {first:g}; '
                    'both parts of an echo must agree: correct the sidecars.'
                )


def handed_on(metadata: dict) -> dict:
    """Keys of ``CONSTANT_METADATA`` whose values are words, numbers or short lists of them."""
    return {
        key: metadata[key]
        for key in CONSTANT_METADATA
        if key in metadata and _is_plain(metadata[key])
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, list):
        return (
            len(value) <= 64
            and not any(isinstance(x, list) for x in value)
            and all(_is_plain(x) for x in value)
        )
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, bool | str) or (isinstance(value, int) and abs(value) < 2**63)


def image_type(metadata: dict) -> list[str]:
    """Words of DICOM's image type in a sidecar, in upper case."""
    words = metadata.get('ImageType') or []
    return [str(word).upper() for word in (words if isinstance(words, list) else [words])]


def scan_warnings(metadata: dict, n_echoes: int) -> list[str]:
    """Sentences on what in the acquisition itself limits a susceptibility map: some are notes."""
    warnings: list[str] = []
    if n_echoes == 1:
        warnings.append(
            Note(
                'There is one echo: the phase offset of the coils stays in the field, and no R2* '
                'map can be made.'
            )
        )
    if metadata.get('MRAcquisitionType') == '2D':
        warnings.append(
            Note('The acquisition is 2D; 3D is recommended for susceptibility mapping.')
        )
    partial = metadata.get('PartialFourier')
    if isinstance(partial, (int, float)) and partial < 1:
        warnings.append(Note(f'Partial Fourier ({partial:g}) was used; it may corrupt the phase.'))
    words = image_type(metadata)
    if any(key in word for word in words for key in FILTERED_PHASE):
        warnings.append(
            f'ImageType ({", ".join(words)}) means a filtered phase, as made for SWI; a filter '
            'removes susceptibility.'
        )
    if set(words) & set(SEPARATED):
        warnings.append(
            f'ImageType ({", ".join(words)}) means an image of water or fat alone, made of several '
            'echoes; its phase is none of an echo.'
        )
    if str(metadata.get('CoilCombinationMethod')).lower() == 'sum of squares':
        warnings.append(
            'The coils were combined by the sum of squares; the phase may hold open-ended fringe '
            'lines.'
        )
    return warnings

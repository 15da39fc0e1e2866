"""What the sidecars of an acquisition state: echo times, field strength, quality."""

from __future__ import annotations

import itertools
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
LONGEST_ECHO_TIME_S = 0.5
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
    nominal = _number(metadata, 'MagneticFieldStrength', path)
    frequency = _number(metadata, 'ImagingFrequency', path)
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


def _number(metadata: dict, key: str, path: Path) -> float | None:
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


def echo_time(pair: EchoPair, n_echoes: int) -> float:
    """
    Echo time [s] on which both files of an echo agree.

    Siemens' converters write ``EchoTime1`` and ``EchoTime2`` beside the ``EchoTime`` of every
    phase image; they mean a phase difference only where there is no other echo.

    Raises
    ------
    InputError
        If it is missing, no number, or differs; or if the second file is a phase difference.

    """
    path = pair.second.path
    for sidecar, file in zip(pair.sidecars, pair.files, strict=True):
        if isinstance(times := sidecar.get('EchoTime'), list) and len(times) > 1:
            raise InputError(
                f'{file.path} has {len(times)} echo times in its sidecar; one number is expected, '
                'for BIDS keeps each echo in a 3-D file of its own (echo-1, echo-2, ...). If it '
                'holds all echoes, split it along the fourth axis, for instance with fslsplit; '
                'else keep its own echo time.'
            )
    first, second = (
        _number(sidecar, 'EchoTime', file.path)
        for sidecar, file in zip(pair.sidecars, pair.files, strict=True)
    )
    difference = {'EchoTime1', 'EchoTime2'} <= set(pair.sidecars[1])
    if difference and (n_echoes == 1 or second is None):
        raise InputError(
            f'{path} is a phase difference (its sidecar has EchoTime1 and EchoTime2, and there is '
            'no other echo with an EchoTime of its own); the phase of each echo is needed. If it '
            'is the phase of one echo, remove EchoTime1 and EchoTime2 from its sidecar and keep '
            'EchoTime.'
        )
    found = [time for time in (first, second) if time is not None]
    if not found:
        raise InputError(
            f'{path}: EchoTime is missing from the sidecar; add the echo time in seconds.'
            f'{_echo_time_elsewhere(pair)}'
        )
    if abs(found[0] - found[-1]) > 1e-5:
        raise InputError(
            f'{path} has EchoTime {found[-1]:g} s but {pair.first.name} has {found[0]:g} s; '
            'both parts of an echo must agree: correct the sidecars.'
        )
    return found[-1]


def _echo_time_elsewhere(pair: EchoPair) -> str:
    """Sentence on a key or a file that may hold the missing echo time, if there is one."""
    for sidecar, file in zip(pair.sidecars, pair.files, strict=True):
        for key in sidecar:
            if re.sub('[^a-z]', '', key.lower()) in ('echotime', 'te', 'echotimems'):
                return f' It has {key}; BIDS spells the key EchoTime.'
        stem = file.path.name.partition('.')[0]
        for path in sorted(file.path.parent.glob(f'{stem}*.json')):
            if path.name != f'{stem}.json':
                return f' {path.name} is read for no image; the sidecar of this one is {stem}.json.'
    return ''


def check_echo_times(times: list[float], pairs: list[EchoPair]) -> list[str]:
    """
    Check echo times [s] in rising order.

    Returns
    -------
    list of str
        Warnings: echo times that do not fit the numbers of the echoes or the repetition time.

    Raises
    ------
    InputError
        If one is not positive, looks like milliseconds or occurs twice.

    """
    path = pairs[-1].second.path
    listing = ', '.join(f'{time:g}' for time in times)
    if times[0] <= 0:
        raise InputError(
            f'{pairs[0].second.path} has EchoTime {times[0]:g}; echo times are positive seconds.'
        )
    if times[-1] > LONGEST_ECHO_TIME_S:
        raise InputError(
            f'{path} has EchoTime {times[-1]:g}, which looks like milliseconds; BIDS keeps echo '
            f'times in seconds (0.001 x {times[-1]:g}): correct the sidecar.'
        )
    for number, (earlier, later) in enumerate(itertools.pairwise(times)):
        if later - earlier < 1e-6:
            one, other = (pair.second.path for pair in pairs[number : number + 2])
            raise InputError(
                f'{one} and {other.name} have one EchoTime, and those of their acquisition '
                f'are {listing} s; they must all differ: correct EchoTime in the sidecar of each '
                'echo, or remove the echo that is there twice.'
            )
    warnings = []
    numbers = [pair.second.entities.get('echo', '') for pair in pairs]
    if all(number.isdecimal() for number in numbers) and numbers != sorted(numbers, key=int):
        warnings.append(
            f'{path.name}: in the order of their echo times ({listing} s) the echoes have the '
            f'numbers {", ".join(numbers)}; echo times are trusted: check that the sidecars '
            'belong to their images.'
        )
    repetition = pairs[-1].metadata.get('RepetitionTime')
    if isinstance(repetition, int | float) and 0 < repetition < times[-1]:
        warnings.append(
            f'{path.name} has EchoTime {times[-1]:g} s but RepetitionTime {repetition:g} s; an '
            'echo comes before the next excitation: check the units of both (seconds).'
        )
    return warnings


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
        if (number := _number(pair.metadata, 'ImagingFrequency', pair.second.path)) is not None
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


def _check_parts(pairs: list[EchoPair]) -> None:
    """Complain if the two parts of an echo name different scanners."""
    for pair in pairs:
        for key in ('MagneticFieldStrength', 'ImagingFrequency'):
            first, second = (
                _number(sidecar, key, file.path)
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
    if str(metadata.get('CoilCombinationMethod')).lower() == 'sum of squares':
        warnings.append(
            'The coils were combined by the sum of squares; the phase may hold open-ended fringe '
            'lines.'
        )
    return warnings

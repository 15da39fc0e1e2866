"""Scans of ``reported.py`` by their sidecars."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from scans.changes import both, on_files, sidecars, times
from scans.dataset import Raw, of_kind, refused, right, sidecar, told


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


def encoded(text: str, encoding: str) -> Callable:
    """Sidecars in another encoding."""

    def change(path: Path) -> None:
        content = json.loads(sidecar(path).read_text()) | {'InstitutionName': text}
        sidecar(path).write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))

    return on_files(change)


def written(content: str | Callable[[dict], str]) -> Callable[[Path], None]:
    """Text in place of a sidecar."""

    def change(path: Path) -> None:
        old = json.loads(sidecar(path).read_text())
        sidecar(path).write_text(content(old) if callable(content) else content)

    return change


def contradicted(root: Path) -> None:
    """Sidecars at the root that say something else than those beside the images."""
    (root / 'MEGRE.json').write_text(json.dumps({'EchoTime': 0.1, 'MagneticFieldStrength': 7}))
    (root / 'part-phase_MEGRE.json').write_text(json.dumps({'Units': 'arbitrary'}))


def twice(s: dict) -> str:
    """A sidecar that holds two echo times."""
    return json.dumps(s)[:-1] + ', "EchoTime": 0.1}'


def in_capitals(root: Path) -> None:
    """Keys of the sidecars as another converter spells them."""
    for path in Raw(root).files():
        content = json.loads(sidecar(path).read_text())
        content['echo_time'] = content.pop('EchoTime')
        sidecar(path).write_text(json.dumps(content))


SCANS = of_kind(
    'sidecar',
    refused(
        'field strength in gauss',
        sidecars(drop='ImagingFrequency', MagneticFieldStrength=30000),
        'MagneticFieldStrength',
    ),
    refused(
        'field strength as text',
        sidecars(drop='ImagingFrequency', MagneticFieldStrength='3T'),
        'MagneticFieldStrength',
    ),
    refused(
        'no field strength',
        sidecars(drop='ImagingFrequency MagneticFieldStrength'),
        'add MagneticFieldStrength',
    ),
    refused('frequency in Hz', sidecars(ImagingFrequency=127732435.0), 'MHz'),
    right('sidecars at the root', inherited),
    right(
        'frequency drifts from echo to echo',
        sidecars(
            drop='MagneticFieldStrength',
            ImagingFrequency=lambda s: 127.7324 + 1e-4 * s['EchoNumber'],
        ),
    ),
    right('byte order mark', encoded('Klinik', 'utf-8-sig')),
    refused('Latin-1', encoded('Universität', 'latin-1'), 'ISO-8859-1'),
    refused(
        'trailing comma in a sidecar',
        on_files(lambda p: sidecar(p).write_text('{"EchoTime": 0.004,}'), echo=1),
        'JSON',
    ),
    refused(
        'sidecar missing', on_files(lambda p: sidecar(p).unlink(), echo=1), 'EchoTime is missing'
    ),
    refused('sidecar is a list', on_files(written('[1, 2]'), echo=2), 'JSON'),
    refused('sidecar is empty', on_files(written(''), echo=2), 'JSON'),
    refused('sidecar with NaN', sidecars(echo=1, EchoTime=float('nan')), 'EchoTime'),
    refused(
        'sidecar with comments', on_files(written(lambda s: f'// TE\n{json.dumps(s)}')), 'JSON'
    ),
    right(
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
    refused('Units is a list', sidecars(part='phase', Units=['rad']), 'Units'),
    right('frequency alone', sidecars(drop='MagneticFieldStrength', ImagingFrequency=127.74)),
    refused(
        'frequency of another nucleus',
        sidecars(MagneticFieldStrength=3, ImagingFrequency=32.1),
        'ImagingFrequency',
    ),
    refused(
        'field strength in millitesla',
        sidecars(drop='ImagingFrequency', MagneticFieldStrength=3000),
        'MagneticFieldStrength',
    ),
    refused(
        'field strength zero',
        sidecars(drop='ImagingFrequency', MagneticFieldStrength=0),
        'MagneticFieldStrength',
    ),
    refused(
        'field strength in a list',
        sidecars(drop='ImagingFrequency', MagneticFieldStrength=[3]),
        'MagneticFieldStrength',
    ),
    right('others at the root, which the images override', contradicted),
    refused('EchoTime twice', on_files(written(twice), echo=2), 'echo times'),
    told(
        'field strength of another scanner',
        sidecars(drop='ImagingFrequency', MagneticFieldStrength=7, ManufacturersModelName='Prisma'),
        'Prisma',
    ),
    right('RepetitionTime in milliseconds', sidecars(RepetitionTime=50)),
    refused('EchoTime as a list of one', times(lambda t: [t]), 'one number'),
    right('EchoTime rounded in one part', times(lambda t: round(t + 4e-7, 7), 'phase')),
    told(
        'EchoTime rounded to 2 ms',
        times(lambda t: round(t * 500) / 500),
        'Misfit',
        source='--tes 4.6 11.4 18.2 25',
    ),
    refused('echo_time for EchoTime', in_capitals, 'echo_time'),
    refused(
        'nominal and true field strength by part',
        both(sidecars(part='mag', MagneticFieldStrength=2.89), sidecars(drop='ImagingFrequency')),
        'MagneticFieldStrength',
    ),
    refused(
        'field strength of another scanner in one echo',
        both(sidecars(echo=2, MagneticFieldStrength=1.5), sidecars(drop='ImagingFrequency')),
        'MagneticFieldStrength',
    ),
)

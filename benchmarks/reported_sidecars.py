"""Scans of ``reported.py`` by their sidecars."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from reported_changes import on_files, sidecars
from reported_data import Raw, Scan, sidecar


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


SCANS: tuple[Scan, ...] = (
    Scan(
        'sidecar',
        'field strength in gauss',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=30000),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'sidecar',
        'field strength as text',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength='3T'),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'sidecar',
        'no field strength',
        sidecars(drop=('ImagingFrequency', 'MagneticFieldStrength')),
        'refused',
        'add MagneticFieldStrength',
    ),
    Scan('sidecar', 'frequency in Hz', sidecars(ImagingFrequency=127732435.0), 'refused', 'MHz'),
    Scan('sidecar', 'sidecars at the root', inherited),
    Scan(
        'sidecar',
        'frequency drifts from echo to echo',
        sidecars(
            drop=('MagneticFieldStrength',),
            ImagingFrequency=lambda s: 127.7324 + 1e-4 * s['EchoNumber'],
        ),
    ),
    Scan('sidecar', 'byte order mark', encoded('Klinik', 'utf-8-sig')),
    Scan('sidecar', 'Latin-1', encoded('Universität', 'latin-1'), 'refused', 'ISO-8859-1'),
    Scan(
        'sidecar',
        'trailing comma in a sidecar',
        on_files(lambda p: sidecar(p).write_text('{"EchoTime": 0.004,}'), echo=1),
        'refused',
        'JSON',
    ),
    Scan(
        'sidecar',
        'sidecar missing',
        on_files(lambda p: sidecar(p).unlink(), echo=1),
        'refused',
        'EchoTime is missing',
    ),
    Scan('sidecar', 'sidecar is a list', on_files(written('[1, 2]'), echo=2), 'refused', 'JSON'),
    Scan('sidecar', 'sidecar is empty', on_files(written(''), echo=2), 'refused', 'JSON'),
    Scan(
        'sidecar',
        'sidecar with NaN',
        sidecars(echo=1, EchoTime=float('nan')),
        'refused',
        'EchoTime',
    ),
    Scan(
        'sidecar',
        'sidecar with comments',
        on_files(written(lambda s: f'// TE\n{json.dumps(s)}')),
        'refused',
        'JSON',
    ),
    Scan(
        'sidecar',
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
    Scan('sidecar', 'Units is a list', sidecars(part='phase', Units=['rad']), 'refused', 'Units'),
    Scan(
        'sidecar',
        'frequency alone',
        sidecars(drop=('MagneticFieldStrength',), ImagingFrequency=127.74),
    ),
    Scan(
        'sidecar',
        'frequency of another nucleus',
        sidecars(MagneticFieldStrength=3, ImagingFrequency=32.1),
        'refused',
        'ImagingFrequency',
    ),
    Scan(
        'sidecar',
        'field strength in millitesla',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=3000),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'sidecar',
        'field strength zero',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=0),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan(
        'sidecar',
        'field strength in a list',
        sidecars(drop=('ImagingFrequency',), MagneticFieldStrength=[3]),
        'refused',
        'MagneticFieldStrength',
    ),
    Scan('sidecar', 'others at the root, which the images override', contradicted),
    Scan('sidecar', 'EchoTime twice', on_files(written(twice), echo=2), 'refused', 'echo times'),
    Scan(
        'sidecar',
        'field strength of another scanner',
        sidecars(
            drop=('ImagingFrequency',), MagneticFieldStrength=7, ManufacturersModelName='Prisma'
        ),
        'told',
        'Prisma',
    ),
    Scan('sidecar', 'RepetitionTime in milliseconds', sidecars(RepetitionTime=50)),
    Scan(
        'sidecar',
        'EchoTime as a list of one',
        sidecars(EchoTime=lambda s: [s['EchoTime']]),
        'refused',
        'one number',
    ),
)

"""Command lines, settings files and second runs, as newcomers and scripts have them.

    python benchmarks/reported_commands.py WORK [NAME ...]

Each case is one command (or two, with a change of the data between them) on a simulated head. A
command that cannot work must be refused at once, in a sentence that says what to type; a second run
must give the maps of a first one on the changed data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import Table
from reported import call, simulate
from scans.changes import label_all, relabel
from scans.command_lines import COMMANDS, Command
from scans.dataset import Raw, derivatives, read, store, write
from scans.phase import of_maker, twelve_bits

USUAL = """BIDS OUT participant --skip-bids-validation --no-viewer --inversion tikhonov -w WORK
-d masks=MASKS"""


@dataclass(frozen=True)
class Rerun:
    """A command that is given twice.

    Parameters
    ----------
    name
        Of the table.
    change
        Alters dataset and masks between the two.
    flags
        Of the second command alone.

    """

    name: str
    change: Callable[[Path, Path], object] = lambda root, masks: None
    flags: tuple[str, ...] = ()


def later_echoes(root: Path, masks: Path) -> None:
    """Echo times of the sidecars were corrected."""
    Raw(root).sidecars(EchoTime=lambda s: 1.25 * s['EchoTime'])


def other_phase(root: Path, masks: Path) -> None:
    """The phase of one echo was converted again; size and name are the same."""
    path = Raw(root).files('phase', 2)[0]
    store(path, np.angle(np.exp(1j * (read(path) + 0.4))).astype(np.float32))


def one_echo_fewer(root: Path, masks: Path) -> None:
    """The last echo was taken out of the dataset."""
    for path in Raw(root).files('*', 4):
        path.unlink()


def smaller_mask(root: Path, masks: Path) -> None:
    """The mask was drawn again."""
    from scipy import ndimage

    path = min(masks.rglob('*_mask.nii.gz'))
    store(path, ndimage.binary_erosion(read(path) > 0.5).astype(np.uint8))


def no_mask(root: Path, masks: Path) -> None:
    """The mask was deleted."""
    min(masks.rglob('*_mask.nii.gz')).unlink()


def at_the_root(root: Path, masks: Path) -> None:
    """The field strength was moved to the root, and corrected there."""
    Raw(root).sidecars(drop='MagneticFieldStrength ImagingFrequency')
    (root / 'MEGRE.json').write_text(json.dumps({'MagneticFieldStrength': 2.9}))


def moved_affine(root: Path, masks: Path) -> None:
    """The place in the scanner was corrected in the headers alone."""
    import nibabel as nb

    turn = np.eye(4)
    turn[1:3, 1:3] = [[0.94, -0.34], [0.34, 0.94]]
    for path in [*Raw(root).files(), *masks.rglob('*_mask.nii.gz')]:
        image = nb.load(path)
        write(path, np.asarray(image.dataobj), turn @ image.affine)


def labelled(root: Path, masks: Path) -> None:
    """A second scan is to come, and the first was named run-1."""
    label_all('run-1')(root)


def to_other_name(root: Path, masks: Path) -> None:
    """The suffix was corrected."""
    relabel('_MEGRE', '_T2starw')(root)


def phase_in_integers(root: Path, masks: Path) -> None:
    """Converted again, by a converter that keeps whole numbers."""
    of_maker('Siemens', lambda p: 2 * twelve_bits(p) - 4096, dtype=np.int16)(root)


RERUNS: tuple[Rerun, ...] = (
    Rerun('nothing changed'),
    Rerun('echo times corrected', later_echoes),
    Rerun('phase of one echo converted again', other_phase),
    Rerun('last echo taken out', one_echo_fewer),
    Rerun('mask drawn again', smaller_mask),
    Rerun('mask deleted', no_mask),
    Rerun('field strength at the root, corrected', at_the_root),
    Rerun('headers turned by 20 degrees', moved_affine),
    Rerun('another sign of the phase', flags=('--phase-sign', '-1')),
    Rerun('files labelled run-1', labelled),
    Rerun('suffix T2starw', to_other_name),
    Rerun('phase converted again, whole numbers', phase_in_integers),
    Rerun('a contrast more', flags=('--contrasts', 'swi')),
    Rerun('another background removal', flags=('--background', 'vsharp')),
    Rerun('a step left out', flags=('--ignore', 'relaxometry')),
)


def prepare(work: Path) -> dict[str, Path]:
    """A fresh copy of the simulated head with its mask; what the words of commands stand for."""
    names = {'BIDS': 'bids', 'OUT': 'out', 'WORK': 'work', 'MASKS': 'masks', 'FILE': 'file'}
    places = {word: work / 'case' / name for word, name in names.items()}
    shutil.rmtree(work / 'case', ignore_errors=True)
    shutil.copytree(simulate(work), places['BIDS'])
    derivatives(places['BIDS'], work / 'case', 'true')
    return places


def placed(words: Sequence[str], places: dict[str, Path]) -> list[str]:
    """Words of a command with the paths that they stand for."""
    pattern = re.compile(r'^(masks=)?(BIDS|OUT|WORK|MASKS|FILE)(?=/|$)')
    return [pattern.sub(lambda m: f'{m[1] or ""}{places[m[2]]}', word) for word in words]


def try_command(command: Command, work: Path) -> tuple[int, str, str]:
    """Exit code, what was said, and the verdict."""
    places = prepare(work)
    places['FILE'].write_text(command.file)
    code, text = call(placed(shlex.split(command.words), places))
    line = next((x for x in reversed(text.splitlines()) if x.strip()), '')
    verdict = 'right'
    if 'Traceback' in text:
        verdict = 'TRACEBACK'
    elif code not in ((0,) if command.passes else (1, 2)):
        verdict = f'EXIT CODE {code}'
    elif command.said and not re.search(command.said, text):
        verdict = 'NOT SAID'
    return code, line, verdict


def digest(output: Path) -> dict[str, str]:
    """Checksum of each map."""
    maps = sorted(output.glob('sub-*/**/*.nii.gz'))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in maps}


def try_rerun(rerun: Rerun, work: Path) -> tuple[int, str, str]:
    """Run, change, run again, and run afresh; the last two must agree."""
    places = prepare(work)
    plugin = work / 'case' / 'plugin.yml'
    plugin.write_text('plugin: Linear\n')
    words = [*placed(USUAL.split(), places), '--use-plugin', plugin]
    call(words)
    rerun.change(places['BIDS'], places['MASKS'])
    code, text = call([*words, *rerun.flags])
    second = digest(places['OUT'])
    for name in ('OUT', 'WORK'):
        shutil.rmtree(places[name])
    again, _ = call([*words, *rerun.flags])
    fresh = digest(places['OUT'])
    differing = [name for name in fresh if second.get(name) != fresh[name]]
    left = sorted(second.keys() - fresh.keys())
    verdict = 'right'
    if 'Traceback' in text:
        verdict = 'TRACEBACK'
    elif code != again:
        verdict = f'EXIT CODE {code}, AFRESH {again}'
    elif differing:
        verdict = f'OLD: {differing[0]}'
    elif left and left[0] not in text:
        verdict = f'LEFT: {left[0]}'
    return code, f'{len(fresh)} images, {len(differing)} differ, {len(left)} left', verdict


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('work', type=Path, help='folder for the runs')
    parser.add_argument('names', nargs='*', help='cases whose names begin so (default: all)')
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    table = Table('Command lines', ['case', 'exit code', 'said', 'outcome'], [])
    wrong = 0
    for case in (*COMMANDS, *RERUNS):
        if arguments.names and not any(case.name.startswith(name) for name in arguments.names):
            continue
        work = arguments.work.absolute()
        attempt = try_command if isinstance(case, Command) else try_rerun
        code, line, verdict = attempt(case, work)
        line = re.sub(r'(?<!\S)/\S*/(?=[^/\s]+)', '', line).replace('|', '/')
        table.add(case.name, code, line[:200], verdict)
        wrong += verdict != 'right'
    table.write(arguments.work, 'commands')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())

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
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import Table
from reported import PROGRAM, simulate
from reported_data import Raw, derivatives, read, store

LIMIT_S = 600
USUAL = ('BIDS', 'OUT', 'participant')
FAST = ('--skip-bids-validation', '--no-viewer', '--inversion', 'tikhonov', '-w', 'WORK')


@dataclass(frozen=True)
class Command:
    """A command line.

    Parameters
    ----------
    name
        Of the table.
    words
        Arguments; ``BIDS``, ``OUT``, ``WORK``, ``MASKS`` and ``FILE`` stand for paths.
    code
        Exit code that is expected.
    said
        Pattern that it must say.
    settings
        Content of ``FILE``.
    change
        Alters the dataset before the command.

    """

    name: str
    words: tuple[str, ...]
    code: int
    said: str = ''
    settings: str = ''
    change: Callable[[Path], object] = lambda root: None


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
    said
        Pattern that the second must say.

    """

    name: str
    change: Callable[[Path, Path], object] = lambda root, masks: None
    flags: tuple[str, ...] = ()
    said: str = ''


def dry(*words: str) -> tuple[str, ...]:
    """A rehearsal on the usual folders."""
    return (*USUAL, '--dry-run', '--skip-bids-validation', '-w', 'WORK', *words)


def no_change(root: Path, masks: Path) -> None:
    """Nothing."""


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
    Raw(root).sidecars(drop=('MagneticFieldStrength', 'ImagingFrequency'))
    (root / 'MEGRE.json').write_text(json.dumps({'MagneticFieldStrength': 2.9}))


def moved_affine(root: Path, masks: Path) -> None:
    """The place in the scanner was corrected in the headers alone."""
    import nibabel as nb

    turn = np.eye(4)
    turn[1:3, 1:3] = [[0.94, -0.34], [0.34, 0.94]]
    for path in [*Raw(root).files(), *masks.rglob('*_mask.nii.gz')]:
        image = nb.load(path)
        new = nb.Nifti1Image(
            np.asarray(image.dataobj), turn @ image.affine, dtype=image.get_data_dtype()
        )
        new.set_sform(new.affine, 1)
        new.set_qform(new.affine, 1)
        nb.save(new, path)


COMMANDS: tuple[Command, ...] = (
    Command('level first', ('participant', 'BIDS', 'OUT'), 2, 'participant|order|BIDS_DIR'),
    Command('no level', ('BIDS', 'OUT'), 2, 'participant'),
    Command('folders exchanged', ('OUT', 'BIDS', 'participant'), 2, 'does not exist|BIDS'),
    Command('level run', ('BIDS', 'OUT', 'run'), 2, 'participant'),
    Command('group before participant', ('BIDS', 'OUT', 'group'), 1, 'participant level first'),
    Command('group on the dataset', ('BIDS', 'BIDS', 'group'), 2, 'output|derivatives'),
    Command(
        'output in the dataset', ('BIDS', 'BIDS/qsm', 'participant', '--dry-run'), 2, 'derivatives'
    ),
    Command('output in derivatives', ('BIDS', 'BIDS/derivatives/qsmprep', *dry()[2:]), 0),
    Command('output is derivatives itself', ('BIDS', 'BIDS/derivatives', *dry()[2:]), 2, 'qsmprep'),
    Command('work in the dataset', (*USUAL, '-w', 'BIDS/work', '--dry-run'), 2, 'work'),
    Command(
        'work is output', (*USUAL, '-w', 'OUT', '--dry-run', '--skip-bids-validation'), 2, 'work'
    ),
    Command(
        'output in the folder of participants', ('BIDS', 'BIDS/sub-01', *dry()[2:]), 2, 'inside'
    ),
    Command('label with sub_', dry('--participant-label', 'sub_01'), 2, 'label'),
    Command('label 1', dry('--participant-label', '1'), 1, 'sub-01'),
    Command('two labels, one unknown', dry('--participant-label', '01', '99'), 1, 'sub-99'),
    Command('capital inversion', dry('--inversion', 'TV'), 2, 'Did you mean tv'),
    Command('TKD by another name', dry('--inversion', 'MEDI'), 2, 'choose from'),
    Command('capital mask', dry('--brain-extraction', 'BET'), 2, 'choose from'),
    Command('nprocs 0', dry('--nprocs', '0'), 2, 'above zero'),
    Command('memory of 8', dry('--mem', '8'), 2, '8G'),
    Command(
        'negative radius', dry('--background-parameter', 'max_radius_mm=-5'), 2, 'max_radius_mm'
    ),
    Command(
        'V-SHARP, negative radius',
        dry('--background', 'vsharp', '--background-parameter', 'max_radius_mm=-5'),
        2,
        'max_radius_mm',
    ),
    Command(
        'V-SHARP, radius of 5 m',
        dry('--background', 'vsharp', '--background-parameter', 'max_radius_mm=5000'),
        2,
        'max_radius_mm',
    ),
    Command('iterations of 0', dry('--background-parameter', 'iterations=0'), 2, 'iterations'),
    Command('iterations of 2.5', dry('--background-parameter', 'iterations=2.5'), 2, 'iterations'),
    Command('iterations true', dry('--background-parameter', 'iterations=true'), 2, 'iterations'),
    Command(
        'TKD, negative threshold',
        dry('--inversion', 'tkd', '--inversion-parameter', 'threshold=-0.2'),
        2,
        'threshold',
    ),
    Command(
        'TKD, threshold not a number',
        dry('--inversion', 'tkd', '--inversion-parameter', 'threshold=nan'),
        2,
        'threshold',
    ),
    Command(
        'TKD, threshold infinite',
        dry('--inversion', 'tkd', '--inversion-parameter', 'threshold=inf'),
        2,
        'threshold',
    ),
    Command(
        'Tikhonov, weight of 0',
        dry('--inversion', 'tikhonov', '--inversion-parameter', 'weight=-1'),
        2,
        'weight|parameter',
    ),
    Command('samples of tv', dry('--posterior-samples', '8'), 2, 'posterior-samples'),
    Command('samples -4', dry('--inversion', 'diffusion', '--posterior-samples', '-4'), 2, 'zero'),
    Command('range of zero', dry('--phase-range', '0', '0'), 2, 'LOW'),
    Command('range not a number', dry('--phase-range', 'nan', 'nan'), 2, 'phase-range'),
    Command('range infinite', dry('--phase-range', '-inf', 'inf'), 2, 'phase-range'),
    Command('sign minus', dry('--phase-sign', '-'), 2, 'phase-sign'),
    Command('seed of 2 to the 80', dry('--random-seed', str(2**80)), 2, 'random-seed'),
    Command('seed negative', dry('--random-seed', '-1'), 2, 'random-seed'),
    Command('derivatives without a mask', dry('-d', 'masks=BIDS/sub-01'), 1, 'mask|derivatives'),
    Command('derivatives is the dataset', dry('-d', 'masks=BIDS'), 1, 'derivative'),
    Command(
        'derivatives is the folder of a participant', dry('-d', 'MASKS/sub-01'), 1, 'MASKS|sub-01'
    ),
    Command('filter is no object', dry('--bids-filter-file', 'FILE'), 1, 'filter|object', '[1]'),
    Command(
        'filter with an unknown key',
        dry('--bids-filter-file', 'FILE'),
        1,
        'megre',
        '{"MEGRE": {"acquisition": "hi"}}',
    ),
    Command(
        'filter by suffix',
        dry('--bids-filter-file', 'FILE'),
        0,
        '',
        '{"megre": {"suffix": "MEGRE"}}',
    ),
    Command(
        'filter by a null run', dry('--bids-filter-file', 'FILE'), 0, '', '{"megre": {"run": null}}'
    ),
    Command(
        'filter by echoes as text',
        dry('--bids-filter-file', 'FILE'),
        0,
        '',
        '{"megre": {"echo": ["1", "2"]}}',
    ),
    Command('settings in JSON', dry('--config-file', 'FILE'), 2, 'TOML', '{"processing": {}}'),
    Command(
        'settings of a flag',
        dry('--config-file', 'FILE'),
        2,
        'known',
        '[processing]\nbackground-parameter = 3\n',
    ),
    Command(
        'settings, inversion unknown',
        dry('--config-file', 'FILE'),
        2,
        'choose',
        '[processing]\ninversion = "medi"\n',
    ),
    Command(
        'settings, parameter as text',
        dry('--config-file', 'FILE'),
        2,
        'weight',
        '[processing]\ninversion = "tikhonov"\ninversion_parameters = {weight = "big"}\n',
    ),
    Command(
        'settings, negative memory',
        dry('--config-file', 'FILE'),
        2,
        'mem',
        '[execution]\nmem_gb = -3\n',
    ),
    Command(
        'settings, no processors', dry('--config-file', 'FILE'), 0, '', '[execution]\nnprocs = 0\n'
    ),
    Command(
        'settings, negative hang',
        dry('--config-file', 'FILE'),
        2,
        'hang',
        '[execution]\nhang_after_min = -1\n',
    ),
    Command(
        'settings, resolution of 100',
        dry('--config-file', 'FILE'),
        2,
        'resolution',
        '[processing]\nsr_resolution = "100"\n',
    ),
    Command(
        'settings, label with a blank',
        dry('--config-file', 'FILE'),
        2,
        'label',
        '[inputs]\nparticipants = ["01 02"]\n',
    ),
    Command(
        'settings, device of a friend',
        dry('--config-file', 'FILE'),
        2,
        'device',
        '[processing]\ndevice = "gpu"\n',
    ),
    Command(
        'settings, samples of zero',
        dry('--config-file', 'FILE'),
        2,
        'samples',
        '[processing]\ninversion = "diffusion"\nposterior_samples = 0\n',
    ),
    Command(
        'settings for another inversion, overridden',
        dry('--config-file', 'FILE', '--inversion', 'tv'),
        2,
        'tv has no parameter',
        '[processing]\ninversion = "tkd"\ninversion_parameters = {threshold = 0.2}\n',
    ),
    Command('cosmos of one run', dry('--cosmos'), 1, 'cosmos|COSMOS|orientation'),
    Command('mean of one run', dry('--average-runs'), 0, 'run|mean'),
    Command('R2 prime without an R2 map', dry('--contrasts', 'r2prime'), 1, 'R2map'),
    Command('T1w space without an image', dry('--output-spaces', 'T1w'), 1, 'T1'),
    Command('MNI without an image', dry('--output-spaces', 'MNI152NLin2009cAsym'), 1, 'T1|MNI'),
    Command('reference without a mask', dry('--reference', 'CSF'), 1, 'CSF'),
    Command(
        'start from a field that is not there',
        dry('--start-from', 'local-field', '-d', 'masks=MASKS'),
        1,
        'local',
    ),
    Command(
        'start from unwrapped without derivatives', dry('--start-from', 'unwrapped'), 1, 'unwrapped'
    ),
    Command('plugin without a name', dry('--use-plugin', 'FILE'), 1, 'plugin', 'plugin_args: {}\n'),
    Command(
        'prior that is no prior',
        dry('--inversion', 'diffusion', '--prior', 'FILE'),
        2,
        'FILE|prior|safetensors',
        'hello',
    ),
)
"""What is refused, or passes, before anything is computed."""

RERUNS: tuple[Rerun, ...] = (
    Rerun('nothing changed'),
    Rerun('echo times corrected', later_echoes),
    Rerun('phase of one echo converted again', other_phase),
    Rerun('last echo taken out', one_echo_fewer),
    Rerun('mask drawn again', smaller_mask),
    Rerun('mask deleted', no_mask),
    Rerun('field strength at the root, corrected', at_the_root),
    Rerun('headers turned by 20 degrees', moved_affine),
    Rerun('another sign of the phase', no_change, ('--phase-sign', '-1')),
)


def paths(work: Path) -> dict[str, Path]:
    """What the words of a command stand for."""
    return {
        'BIDS': work / 'case' / 'bids',
        'OUT': work / 'case' / 'out',
        'WORK': work / 'case' / 'work',
        'MASKS': work / 'case' / 'masks',
        'FILE': work / 'case' / 'file',
    }


def prepare(work: Path) -> dict[str, Path]:
    """A fresh copy of the simulated head, with its mask given."""
    places = paths(work)
    shutil.rmtree(work / 'case', ignore_errors=True)
    shutil.copytree(simulate(work, ()), places['BIDS'])
    derivatives(places['BIDS'], work / 'case', 'true')
    return places


def call(words: list, timeout_s: float = LIMIT_S) -> tuple[int, str]:
    """Run the program; its exit code and all that it says."""
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=os.environ | {'OMP_NUM_THREADS': '1'},
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def placed(words: tuple[str, ...], places: dict[str, Path]) -> list[str]:
    """Words of a command with the paths that they stand for."""
    pattern = re.compile(r'^(masks=)?(BIDS|OUT|WORK|MASKS|FILE)(?=/|$)')
    return [pattern.sub(lambda m: f'{m[1] or ""}{places[m[2]]}', word) for word in words]


def try_command(command: Command, work: Path) -> tuple[int, str, str]:
    """Exit code, what was said, and the verdict."""
    places = prepare(work)
    command.change(places['BIDS'])
    places['FILE'].write_text(command.settings)
    code, text = call(placed(command.words, places))
    line = next((x for x in reversed(text.splitlines()) if x.strip()), '')
    verdict = 'right'
    if 'Traceback' in text:
        verdict = 'TRACEBACK'
    elif code != command.code:
        verdict = f'EXIT CODE {code}, NOT {command.code}'
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
    words = [
        *placed((*USUAL, *FAST), places),
        '--use-plugin',
        plugin,
        '-d',
        f'masks={places["MASKS"]}',
    ]
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

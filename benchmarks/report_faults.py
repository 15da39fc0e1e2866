"""Faults planted into scans: does the report warn, and which measure tells? And false alarms.

    python benchmarks/report_faults.py --out FOLDER [--labels FOLDER] [--tables NAME ...]

Every fault of ``planted_faults.py`` is planted into the files of a coarse simulated scan, and of
the real one in tests/data, which then goes through the command line from raw echoes to its record;
panels are left out. A fault counts as told where the record has a warning or an error that the
undisturbed scan does not have. Clean participants of varied site, scanner, field strength, echoes,
voxel size, direction, noise and head, run with the defaults, are to have none. Notes are no alarms:
they state a fact of the scan and ask for nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import nibabel as nb
import numpy as np
import torch
from arguments import benchmark_parser
from measure import Table
from participants import SITES, VARIED, Participant
from planted_faults import FAULTS, Fault, Folder, as_scanner

from qsmprep.cli.run import main as run
from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.consistency import usual_r2star_hz
from qsmprep.reports.measures import quality_warnings
from qsmprep.workflows import plan

REAL = Path(__file__).resolve().parents[1] / 'tests' / 'data' / 'philips'
READOUT_RULES = ('Alternating slices', 'Steps between slices', 'Bipolar readout')
"""What is corrected, and told under these names among the rules."""


@dataclass
class Case:
    """A scan that goes through the command line.

    Parameters
    ----------
    source
        Raw dataset that is copied.
    mask
        Brain mask of the scan; None lets the program extract the brain, as it does by default.
    fault
        What is planted.

    """

    source: Path
    mask: Path | None = None
    fault: Fault = field(default_factory=Fault)

    def run(self, folder: Path) -> list[str]:
        """Warnings and errors; what an earlier call has processed is kept."""
        if not (folder / 'done').exists():
            code = self._process(folder)
            (folder / 'done').write_text(str(code))
        return tell(folder)

    def _process(self, folder: Path) -> int:
        """Exit code of the program."""
        shutil.rmtree(folder, ignore_errors=True)
        copied = Folder(folder / 'raw', folder / 'masks')
        shutil.copytree(self.source, copied.raw, ignore=shutil.ignore_patterns('derivatives'))
        flags = ['-w', folder / 'work', '--skip-bids-validation', '--device', 'cpu']
        plugin = folder / 'plugin.yml'
        plugin.write_text('plugin: Linear\n')
        flags += ['--use-plugin', plugin, '--no-viewer', *self.fault.flags]
        if self.mask is not None:
            give_mask(copied, self.mask)
            flags += ['-d', f'masks={copied.masks}']
        self.fault.plant(copied)
        arguments = [copied.raw, folder / 'out', 'participant', *flags]
        code = run([str(a) for a in arguments])
        shutil.rmtree(folder / 'work', ignore_errors=True)
        return code


def give_mask(folder: Folder, mask: Path) -> None:
    """A derivatives dataset with the brain mask of the participant."""
    subject = next(folder.raw.glob('sub-*')).name
    path = folder.masks / subject / 'anat' / f'{subject}_desc-brain_mask.nii.gz'
    path.parent.mkdir(parents=True)
    shutil.copy(mask, path)
    description = {
        'Name': 'Masks',
        'BIDSVersion': '1.9.0',
        'DatasetType': 'derivative',
        'GeneratedBy': [{'Name': 'benchmark'}],
    }
    (folder.masks / 'dataset_description.json').write_text(json.dumps(description))


def read_record(folder: Path) -> dict:
    """Record of the one participant of a run."""
    return json.loads(next((folder / 'out' / 'logs').glob('sub-*.json')).read_text())


def tell(folder: Path) -> list[str]:
    """All that the report of a scan warns of, and what it says that it corrected."""
    content = read_record(folder)
    told = [error['message'] for error in content['errors']]
    for acquisition in content['acquisitions']:
        told += [acquisition['error']] if acquisition['error'] else []
        told += acquisition['warnings']
        told += [f'Corrected: {rule}' for rule in READOUT_RULES if rule in acquisition['rules']]
        told += quality_warnings(acquisition['quality'], acquisition.get('infant', False))
    return told


def short(sentence: str) -> str:
    """Name of the measure that warned, or the start of another sentence."""
    label = sentence.partition(':')[0]
    known = {measure.label for measure in MEASURES}
    words = [word for word in sentence.split() if '.nii' not in word]
    return label if label in known else f'input: {" ".join(words[:9])} ...'


FAULTY = Participant(1, *SITES[0])
"""The simulated scan into which faults are planted."""


TABLES = ('alarms', 'varied', 'factors', 'faults')


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the script."""
    parser = benchmark_parser(__doc__, 'labels', out='folder for tables, scans and results')
    add = parser.add_argument
    add('--clean', type=int, default=29, help='number of clean simulated participants')
    add('--varied', type=int, default=30, help='number of varied clean participants')
    add('--first', type=int, default=VARIED, help='number of the first varied participant')
    add('--tables', nargs='*', default=list(TABLES), choices=TABLES, help='some of the tables')
    add('--faults', nargs='*', default=list(FAULTS), metavar='NAME', help='some of the faults')
    return parser


def report_faults(args: argparse.Namespace) -> None:
    """Plant all faults into both scans; write the table."""
    simulated = args.out / 'source_faulty'
    mask = FAULTY.simulate(simulated, args.labels)
    usual = {
        'simulated': Case(simulated, mask).run(args.out / 'none_simulated'),
        'real': Case(REAL).run(args.out / 'none_real'),
    }
    extracted = next((args.out / 'none_real' / 'out').rglob('*_desc-brain_mask.nii.gz'))
    scans = {'simulated': (simulated, mask), 'real': (REAL, extracted)}
    columns = ['fault', *(f'{scan}: {what}' for scan in scans for what in ('told', 'by'))]
    table = Table('Planted faults', columns, [])
    counts = dict.fromkeys(scans, 0)
    for name in args.faults:
        cells = []
        for scan, files in scans.items():
            folder = args.out / f'{"".join(c if c.isalnum() else "_" for c in name)}_{scan}'
            found = Case(*files, FAULTS[name]).run(folder)
            expected = set(map(short, usual[scan]))
            new = [text for text in dict.fromkeys(map(short, found)) if text not in expected]
            counts[scan] += bool(new)
            cells += ['yes' if new else 'NO', '; '.join(new)]
        table.add(name, *cells)
    table.add('told', *(x for n in counts.values() for x in (f'{n} of {len(args.faults)}', '')))
    table.write(args.out, 'faults')


def report_alarms(args: argparse.Namespace) -> None:
    """False alarms on the real scan, and on participants of the sites."""
    real = ('real', Case(REAL), 'tests/data/philips: Philips, 3 T, 2 echoes, 3 mm, in vivo', None)
    clean = simulated(args, map(Participant.draw, range(args.clean)))
    count_alarms(args, 'alarms', chain([real], clean))


def report_varied(args: argparse.Namespace) -> None:
    """False alarms on varied participants."""
    varied = map(Participant.draw_varied, range(args.first, args.first + args.varied))
    count_alarms(args, 'alarms_varied', simulated(args, varied))


def simulated(
    args: argparse.Namespace, participants: Iterable[Participant]
) -> Iterator[tuple[str, Case, str, Path]]:
    """Name, scan, words and brain mask of each participant."""
    for participant in participants:
        name = f'{participant.number:02d}'
        source = args.out / f'source_{name}'
        mask = participant.simulate(source, args.labels)
        stored = partial(as_scanner, manufacturer=participant.maker, axes=participant.axes)
        yield name, Case(source, fault=Fault(stored)), participant.words, mask


def count_alarms(args: argparse.Namespace, file: str, scans: Iterable[tuple]) -> None:
    """Process scans as they are; write a table."""
    columns = ['participant', 'scan', 'exit code', 'own mask over the true one', 'alarms']
    table = Table('Clean participants', columns, [])
    alarmed = 0
    for name, case, words, mask in scans:
        folder = args.out / f'clean_{name}'
        alarms = case.run(folder)
        alarmed += bool(alarms)
        code = (folder / 'done').read_text()
        own = read_record(folder)['acquisitions'][0]['quality'].get('brain_volume_ml')
        ratio = f'{own / volume_ml(mask):.2f}' if own and mask else None
        table.add(name, words, code, ratio, '; '.join(map(short, alarms)))
    table.add('with alarms', '', '', '', f'{alarmed} of {len(table.rows)}')
    table.write(args.out, file)


def volume_ml(mask: Path) -> float:
    """Volume of a mask [ml]."""
    image = nb.load(mask)
    return float(np.count_nonzero(image.dataobj) * np.prod(image.header.get_zooms()[:3]) / 1000)


def report_factors(args: argparse.Namespace) -> None:
    """What factors of echo times and field strength would do to R2* of the clean participants."""
    measure = next(measure for measure in MEASURES if measure.key == 'r2star_relative')
    clean = map(Participant.draw, range(args.clean))
    varied = map(Participant.draw_varied, range(args.first, args.first + args.varied))
    values = []
    for participant in chain(clean, varied):
        folder = args.out / f'clean_{participant.number:02d}'
        if (folder / 'done').exists():
            quality = read_record(folder)['acquisitions'][0]['quality']
            if measure.key in quality:
                values.append((quality[measure.key], participant.b0_t))
    table = Table(measure.label, ['fault', 'told by this measure'], [])
    for name, times, field_strength in (
        ('none', 1.0, 1.0),
        ('echo times x 2', 2.0, 1.0),
        ('echo times / 2', 0.5, 1.0),
        ('field strength x 2', 1.0, 2.0),
        ('field strength / 2', 1.0, 0.5),
    ):
        told = [
            not measure.accepts(
                ratio / times * usual_r2star_hz(b0_t) / usual_r2star_hz(field_strength * b0_t)
            )
            for ratio, b0_t in values
        ]
        table.add(name, f'{sum(told)} of {len(told)}')
    table.write(args.out, 'factors')


def main() -> None:
    """Run the benchmark."""
    args = build_parser().parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    # panels take longer than all else on coarse scans, and measure nothing
    plan.drawable = lambda images: ()
    reports = (report_alarms, report_varied, report_factors, report_faults)
    for name, report in zip(TABLES, reports, strict=True):
        if name in args.tables:
            report(args)


if __name__ == '__main__':
    main()

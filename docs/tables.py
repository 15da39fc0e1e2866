"""Write the tables that the code or a measurement knows into the pages: ``python docs/tables.py``.

A table stands between ``<!-- methods: KIND -->`` or ``<!-- table: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import csv
import importlib.util
import math
import re
from pathlib import Path

from qsmprep.methods import KINDS
from qsmprep.reports.catalogue import MEASURES
from qsmprep.settings import Settings
from qsmprep.workflows.fields import INPUT_FIELDS, OUTPUT_FIELDS, Field

DOCS = Path(__file__).parent
PROCESSING = Settings().processing
OPTIONS = {
    'unwrapping': ('--unwrapping', PROCESSING.unwrapping),
    'brain extraction': ('--brain-extraction', PROCESSING.brain_extraction),
    'background removal': ('--background', PROCESSING.background),
    'inversion': ('--inversion', PROCESSING.inversion),
    'separation': ('--separation', PROCESSING.separation),
}
"""Kind of method -> its option, and the method that is taken without it."""
PUBLISHED = ('inr-qsm', 'diffusion-qsm', 'dm-qsm')


def table(kind: str) -> str:
    """Table of all methods of a kind."""
    option, default = OPTIONS[kind]
    rows = [f'| `{option}` | what it is | uses | gives | function |', '|---|---|---|---|---|']
    for method in KINDS[kind].values():
        name = f'`{method.name}`' + (' (default)' if method.name == default else '')
        uses, gives = ', '.join(method.needs), ', '.join(method.gives)
        rows.append(f'| {name} | {method.summary} | {uses} | {gives} | `{method.function}` |')
    return '\n'.join(rows)


def measures() -> str:
    """Table of the quality measures."""
    rows = ['| `QualityMeasures` | what it is | unit | expected |', '|---|---|---|---|']
    rows += [f'| `{m.key}` | {m.description} | {m.unit} | {m.band} |' for m in MEASURES]
    return '\n'.join(rows)


def sources() -> str:
    """Table of the quality measures with the sources of their definitions and bounds."""
    rows = ['| measure | what it is | expected | definition and bounds |', '|---|---|---|---|']
    for m in MEASURES:
        band = ' '.join(filter(None, (m.band, m.unit, '†' * m.tried)))
        text = f'| {m.label} | {m.description} | {band} | {m.source} |'
        rows.append(text.replace('R2*', r'R2\*').replace('  |', ' |'))
    return '\n'.join(rows)


def limits() -> str:
    """Table of the values that no map can have."""
    rows = [
        '| measure | no map | no map of a head with several echoes | expected |',
        '|---|---|---|---|',
    ]
    for m in MEASURES:
        unit, low, high = f' {m.unit}'.rstrip(), *m.head
        head = [f'below {low:g}{unit}'] if math.isfinite(low) else []
        head += [f'beyond {high:g}{unit}'] if math.isfinite(high) else []
        every = f'beyond {m.bound:g}{unit}' if math.isfinite(m.bound) else ''
        if head or every:
            cells = [m.label, every, ' or '.join(head), f'{m.band}{unit}']
            rows.append(f'| {" | ".join(cells)} |'.replace('R2*', r'R2\*').replace('  |', ' |'))
    return '\n'.join(rows)


def faults() -> str:
    """Table of planted faults and of what tells of them; the first three measures of each."""
    rows = ['| fault | simulated: told by | real: told by |', '|---|---|---|']
    *planted, (_, simulated_told, _, real_told, _) = _read_csv('report_faults')
    for name, _, simulated, _, real in planted:
        rows.append(f'| {name} | {_brief(simulated)} | {_brief(real)} |'.replace('R2*', r'R2\*'))
    rows.append(f'| **told** | {simulated_told} | {real_told} |')
    return '\n'.join(rows)


def _brief(by: str) -> str:
    parts = by.split('; ') if by else ['**not told**']
    more = f' and {len(parts) - 3} more' if len(parts) > 3 else ''
    return '; '.join(parts[:3]) + more


def alarms(name: str) -> str:
    """Clean participants of the benchmark of faults, and what the report warns of."""
    head, *rows = _read_csv(name, head=True)
    lines = [head, ['---'] * len(head), *rows]
    text = '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)
    return text.replace('R2*', r'R2\*').replace('  |', ' |').replace('  |', ' |')


def bounds() -> str:
    """Fields of heads that bounds of measures come from."""
    rows = [
        '| head | coarse over fine waves: total field | local field alone '
        '| too steep at 5 ms [ml] | at 20 ms [ml] |',
        '|---|---:|---:|---:|---:|',
    ]
    for head, *cells in _read_csv('report_bounds'):
        rows.append(f'| {head} | {" | ".join(f"{float(cell):.3g}" for cell in cells)} |')
    return '\n'.join(rows)


def _read_csv(name: str, head: bool = False) -> list[list[str]]:
    with (DOCS / 'figures' / f'{name}.csv').open(newline='', encoding='utf-8') as stream:
        return list(csv.reader(stream))[0 if head else 1 :]


def choice() -> str:
    """Table of the inversions: error and cost, simulated and in vivo."""
    spec = importlib.util.spec_from_file_location('figures', DOCS / 'figures.py')
    figures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(figures)
    rows = [
        '| | simulated: NRMSE [%] | XSIM | CPU [s] | in vivo: NRMSE [%] | XSIM | CPU [s] |',
        '|---|---:|---:|---:|---:|---:|---:|',
    ]
    for row in figures.costs_and_errors():
        numbers = [
            format(row[f'{where} {key}'], form)
            for where in ('simulated', 'in vivo')
            for key, form in (('NRMSE [%]', '.1f'), ('XSIM', '.3f'), ('CPU [s]', '.2g'))
        ]
        rows.append(f'| `{row["method"]}` | {" | ".join(numbers)} |')
    return '\n'.join(rows)


def inversions() -> str:
    """Table of all inversions but the published ones, on every scan."""
    head, *rows = _read_csv('inversion', head=True)
    return _numbers(head, [row for row in rows if row[1] not in PUBLISHED])


def published() -> str:
    """Table of the three published methods beside closed-form ones and the default."""
    scans = ('3T', '2mm', 'tr-1-1', 'val-1-1')
    methods = ('tkd', 'tikhonov', 'tv', *PUBLISHED)
    head, *lines = _read_csv('inversion', head=True)
    found = {tuple(line[:2]): line for line in lines}
    return _numbers(head, [found[scan, method] for scan in scans for method in methods])


def tasks() -> str:
    """Table of DM-QSM's three tasks; the head is named beside it."""
    table = _read_csv('tasks', head=True)
    head, *rows = ([task, *cells] for task, _, *cells in table)
    return _numbers(head, rows)


def measured(name: str) -> str:
    """Table of all that a benchmark measured."""
    head, *rows = _read_csv(name, head=True)
    return _numbers(head, rows)


def _numbers(head: list[str], rows: list[list[str]]) -> str:
    """Table whose numbers have three digits, without columns that are empty."""
    used = [i for i in range(len(head)) if any(row[i] for row in rows)]
    head, *rows = [[row[i] for i in used] for row in (head, *rows)]
    texts = sum(not re.fullmatch('[-+.e0-9]+', cell) for cell in rows[0])
    lines = [f'| {" | ".join(head)} |', f'|{" --- |" * texts}{" ---: |" * (len(head) - texts)}']
    for row in rows:
        cells = [*row[:texts], *map(_digits, row[texts:])]
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def _digits(cell: str) -> str:
    if not cell:
        return ''
    number = float(cell)
    return f'{number:.0f}' if abs(number) >= 100 else f'{number:#.3g}'


def robustness() -> str:
    """Table of how the three published methods bear contrast, resolution and direction."""
    methods = ('tikhonov', *PUBLISHED)
    found: dict[str, dict[str, str]] = {}
    for departure, value, method, nrmse, _, xsim, lesion, _ in _read_csv('robustness'):
        cells = [f'{float(nrmse):.1f}', f'{float(xsim):.3f}']
        cells += [f'{float(lesion):.0f}'] if lesion else []
        found.setdefault(f'{departure} {value}'.strip(), {})[method] = ' / '.join(cells)
    rows = [f'| departure | {" | ".join(methods)} |', f'| --- |{" ---: |" * len(methods)}']
    for name, own in found.items():
        if all(method in own for method in methods):
            rows.append(f'| {name} | {" | ".join(own[method] for method in methods)} |')
    return '\n'.join(rows)


def fields(known: dict[str, Field]) -> str:
    """Table of the fields of a node of the embeddable graph."""
    rows = ['| field | type | unit | what it is |', '|---|---|---|---|']
    rows += [f'| `{name}` | {f.kind} | {f.unit} | {f.meaning} |' for name, f in known.items()]
    return '\n'.join(rows)


TABLES = {
    'measures': measures,
    'sources': sources,
    'limits': limits,
    'faults': faults,
    'alarms': lambda: alarms('report_alarms'),
    'varied alarms': lambda: alarms('report_alarms_varied'),
    'bounds': bounds,
    'choice': choice,
    'inversions': inversions,
    'published': published,
    'tasks': tasks,
    'networks': lambda: measured('inr_networks'),
    'ablations': lambda: measured('inr_loss'),
    'finer': lambda: measured('inr_finer'),
    'samplers': lambda: measured('samplers_3mm'),
    'robustness': robustness,
    'phantoms': lambda: measured('phantoms'),
    'input fields': lambda: fields(INPUT_FIELDS),
    'output fields': lambda: fields(OUTPUT_FIELDS),
}


def renew(text: str) -> str:
    """Text with all its tables made anew."""

    def made(match: re.Match) -> str:
        kind, name = match[2], match[3]
        content = table(name) if kind == 'methods' else TABLES[name]()
        return f'{match[1]}\n{content}\n\n{match[4]}'

    return re.sub(
        r'(<!-- (methods|table): ([a-z ]+) -->\n).*?(<!-- end -->)', made, text, flags=re.DOTALL
    )


if __name__ == '__main__':
    for path in DOCS.glob('*.md'):
        path.write_text(renew(path.read_text()))

"""Write the tables of methods into the documents beside this file: ``python docs/tables.py``.

A table stands between ``<!-- methods: KIND -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
from pathlib import Path

from qsmprep.methods import KINDS
from qsmprep.settings import Settings

PROCESSING = Settings().processing
OPTIONS = {
    'unwrapping': ('--unwrapping', PROCESSING.unwrapping),
    'brain extraction': ('--brain-extraction', PROCESSING.brain_extraction),
    'background removal': ('--background', PROCESSING.background),
    'inversion': ('--inversion', PROCESSING.inversion),
    'separation': ('--separation', PROCESSING.separation),
}
"""Kind of method -> its option, and the method that is taken without it."""


def table(kind: str) -> str:
    """Table of all methods of a kind."""
    option, default = OPTIONS[kind]
    rows = [f'| `{option}` | what it is | uses | gives | function |', '|---|---|---|---|---|']
    for method in KINDS[kind].values():
        name = f'`{method.name}`' + (' (default)' if method.name == default else '')
        uses, gives = ', '.join(method.needs), ', '.join(method.gives)
        rows.append(f'| {name} | {method.summary} | {uses} | {gives} | `{method.function}` |')
    return '\n'.join(rows)


def renew(text: str) -> str:
    """Text with all its tables made anew."""
    return re.sub(
        r'(<!-- methods: ([a-z ]+) -->\n).*?(<!-- end -->)',
        lambda match: f'{match[1]}\n{table(match[2])}\n\n{match[3]}',
        text,
        flags=re.DOTALL,
    )


if __name__ == '__main__':
    for path in Path(__file__).parent.glob('*.md'):
        path.write_text(renew(path.read_text()))

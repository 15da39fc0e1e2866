"""What the pages tell a reader to type is understood, and what they promise works."""

import itertools
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from qsmprep.cli import invert, parser, simulate, slurm
from qsmprep.methods import INVERSIONS
from qsmprep.qsm import Grid
from qsmprep.qsm import invert as invert_field

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
PARSERS = {
    'qsmprep': parser.build_parser,
    'qsmprep-invert': invert.build_parser,
    'qsmprep-simulate': simulate.build_parser,
    'qsmprep-slurm': slurm.build_parser,
}
COMMAND = re.compile(r'^ *(?:\S*/)?(qsmprep(?:-\w+)? (?:[^\n]*\\\n)*[^\n]*)', flags=re.MULTILINE)


def commands():
    """Command lines of qsmprep in code blocks of the pages."""
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r'^ *```\n(.*?)^ *```', text, flags=re.MULTILINE | re.DOTALL)
        blocks += re.findall(r'(?:^    .*\n)+', text, flags=re.MULTILINE)
        for command in dict.fromkeys(line for block in blocks for line in COMMAND.findall(block)):
            if '...' not in command and '{participant' not in command and '[' not in command:
                yield pytest.param(command, id=f'{page.name}: {command.splitlines()[0]}')


@pytest.mark.parametrize('command', commands())
def test_a_command_of_the_pages_is_understood(command, monkeypatch):
    monkeypatch.setattr(Path, 'is_file', lambda self: True)
    name, *words = shlex.split(command, comments=True)
    words = list(itertools.takewhile(lambda word: word not in ('>', '--'), words))
    ended = 0
    try:
        PARSERS[name]().parse_args(words)
    except SystemExit as end:
        ended = end.code
    assert ended == 0


def test_ten_lines_add_a_method():
    page = (ROOT / 'docs' / 'developers.md').read_text()
    code = re.search(r'## Add a method.*?```python\n(.*?)```', page, flags=re.DOTALL)[1]
    try:
        exec(code, {})
        grid = Grid((12, 12, 12))
        mask = np.ones(grid.shape, dtype=bool)
        field = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
        whole = invert_field(field, mask, grid, 'tkd').chi_ppm
        part = invert_field(field, mask, grid, 'damped', share=0.25).chi_ppm
        np.testing.assert_allclose(part, 0.25 * whole, atol=1e-6)
    finally:
        INVERSIONS.pop('damped', None)

"""The rooms of the house: which may import which, and what must not be loaded at import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    'settings': set(),
    'data': set(),
    'qsm': {'qsm'},
    'bids': {'bids'},
    'training': {'training', 'qsm'},
    'reports': {'reports', 'qsm', 'bids'},
    'interfaces': {'interfaces', 'qsm', 'reports', 'bids'},
    'workflows': {'workflows', 'interfaces', 'reports', 'qsm', 'bids', 'settings'},
    'cli': {'cli', 'workflows', 'interfaces', 'reports', 'training', 'qsm', 'bids', 'settings'},
}
NUMERICS = ('qsm', 'training')
HEAVY = ('nilearn.plotting', 'niworkflows.interfaces.bids', 'niworkflows.utils.spaces')


def _modules():
    for path in [*(ROOT / 'qsmprep').rglob('*.py'), *(ROOT / 'workflows').glob('*.py')]:
        parts = path.relative_to(ROOT).with_suffix('').parts
        room = parts[0] if parts[0] == 'workflows' else parts[1]
        if room != '__init__':
            yield pytest.param(room, path, id=str(path.relative_to(ROOT)))


def _imports(tree: ast.AST):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, 'import absolutely'
            yield node.module
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


@pytest.mark.parametrize(('room', 'path'), _modules())
def test_a_room_imports_only_what_it_may(room, path):
    tree = ast.parse(path.read_text())
    for name in _imports(tree):
        parts = name.split('.')
        if parts[0] == 'qsmprep' and len(parts) > 1 and parts[1] != '__version__':
            assert parts[1] in MAY_IMPORT[room], f'{room} imports {name}'
        if room == 'qsm':
            assert parts[0] not in ('nipype', 'bids', 'nibabel', 'niworkflows'), name


@pytest.mark.parametrize(('room', 'path'), _modules())
def test_slow_libraries_are_imported_inside_functions(room, path):
    top_level = ast.Module(
        [
            n
            for n in ast.parse(path.read_text()).body
            if isinstance(n, (ast.Import, ast.ImportFrom))
        ],
        [],
    )
    slow = {name for name in _imports(top_level) if name.startswith(HEAVY)}
    if path.name == 'bids.py' and room == 'interfaces':
        slow -= {x for x in slow if x.startswith('niworkflows.interfaces.bids')}
    if room not in NUMERICS:
        slow |= {name for name in _imports(top_level) if name.split('.')[0] == 'torch'}
    assert not slow

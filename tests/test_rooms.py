"""The rooms of the house: which may import which, and what must not be loaded at import."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    'methods': set(),
    'settings': {'methods'},
    'data': set(),
    'qsm': {'qsm', 'methods'},
    'bids': {'bids'},
    'training': {'training', 'qsm'},
    'reports': {'reports', 'qsm', 'bids'},
    'interfaces': {'interfaces', 'qsm', 'reports', 'bids', 'methods'},
    'workflows': {'workflows', 'interfaces', 'reports', 'qsm', 'bids', 'settings', 'methods'},
}
MAY_IMPORT['cli'] = {*MAY_IMPORT, 'cli'}
MAY_IMPORT['__main__'] = {'cli'}
NUMERICS = ('qsm', 'training')
SLOW = (
    'nilearn.plotting',
    'niworkflows.interfaces.bids',
    'niworkflows.utils.spaces',
)
"""Modules that take long to load, and may load one another."""


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
    body = ast.parse(path.read_text()).body
    top_level = [node for node in body if isinstance(node, (ast.Import, ast.ImportFrom))]
    slow = SLOW if room in NUMERICS else (*SLOW, 'torch')
    if not _module(path).startswith(SLOW):
        loaded = _imports(ast.Module(top_level, []))
        assert not {name for name in loaded if name.startswith(slow)}


def test_no_files_import_one_another_in_a_circle():
    paths = {_module(param.values[1]): param.values[1] for param in _modules()}
    arrows = {
        name: {other for other in _imports(ast.parse(path.read_text())) if other in paths} - {name}
        for name, path in paths.items()
    }
    try:
        list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail(' -> '.join(error.args[1]))


def _module(path: Path) -> str:
    """Name by which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix('').parts
    name = '.'.join(part for part in parts if part != '__init__')
    return f'qsmprep.{name}' if parts[0] == 'workflows' else name


def test_a_rehearsal_does_not_load_pytorch(tiny_dataset, tmp_path):
    """The graph of thousands of participants is built before any of them is computed."""
    tiny_dataset.add('sub-01')
    code = (
        'import sys\nfrom qsmprep.cli.run import main\n'
        'assert main(sys.argv[1:]) == 0\nassert "torch" not in sys.modules\n'
    )
    folders = [tiny_dataset.root, tmp_path / 'out', 'participant', '-w', tmp_path / 'work']
    flags = ['--dry-run', '--skip-bids-validation', '--device', 'cpu']
    subprocess.run([sys.executable, '-c', code, *folders, *flags], check=True)

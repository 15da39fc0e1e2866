"""What is imported is declared, what is declared is imported, and each has a reason."""

import ast
import configparser
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
MODULES = {'picsl-greedy': 'picsl_greedy', 'pillow': 'PIL', 'pybids': 'bids', 'pyyaml': 'yaml'}
"""Package -> module, where they differ."""
OLDEST_PYTHON = '3.11.2'
"""That of Debian 12, on which `make demo` and `make test` are to run."""


def test_imports_are_declared_and_have_a_reason():
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    declared = re.findall(r'^([\w-]+)', setup['options']['install_requires'], flags=re.MULTILINE)
    imported = set()
    for path in [*(ROOT / 'qsmprep').rglob('*.py'), *(ROOT / 'workflows').glob('*.py')]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition('.')[0])
    needed = imported - set(sys.stdlib_module_names) - {'qsmprep'}
    assert needed == {MODULES.get(package, package) for package in declared}
    reasons = (ROOT / 'docs' / 'dependencies.md').read_text()
    assert all(f'`{package}`' in reasons for package in declared)


def test_the_tested_versions_run_on_the_python_of_debian_12():
    pins = re.findall(r'^([\w.-]+)==(\S+)', (ROOT / 'constraints.txt').read_text(), re.MULTILINE)
    checked = 0
    for name, version in pins:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        if package.version == version:
            needed = package.metadata['Requires-Python'] or ''
            assert OLDEST_PYTHON in SpecifierSet(needed), f'{name} {version} needs {needed}'
            checked += 1
    assert checked > len(pins) / 2

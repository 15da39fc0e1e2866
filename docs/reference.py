"""The pages of the API: what is public is read from the code when the site is built."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

from nipype.interfaces.base import BaseInterface

import qsmprep.interfaces
import qsmprep.qsm
import qsmprep.workflows
from qsmprep.methods import KINDS

PAGE = """API
===

What other programs call. Everything else may change without notice.

Numerics on arrays
------------------

``qsmprep.qsm`` loads each name at its first use. Susceptibility is ppm, fields are ppm unless a
name says Hz, phase is radians, times are seconds.

{front_door}

Methods
-------

What stands behind the tables of methods, with all parameters; ``qsmprep.methods`` holds the tables.

{methods}

Graphs
------

Nipype workflows with an ``inputnode`` and an ``outputnode``. Their pages show them, drawn from
the code.

{graphs}

Nodes
-----

Each is one call into the numerics, or one external program.

{nodes}
"""


def front_door() -> Iterator[str]:
    """Names of ``qsmprep.qsm``."""
    yield from (f'qsm.{name}' for name in qsmprep.qsm.__all__)


def methods() -> Iterator[str]:
    """The tables' entry and the functions that they name."""
    yield from ('methods.Method', 'methods.choose')
    for table in KINDS.values():
        for function in dict.fromkeys(method.function for method in table.values()):
            if not function.startswith('qsmprep.interfaces.phase:'):
                yield function.replace(':', '.').removeprefix('qsmprep.')


def graphs() -> Iterator[str]:
    """Factories of graphs."""
    for module in _modules(qsmprep.workflows):
        for name, _ in inspect.getmembers(module, inspect.isfunction):
            if name.startswith('init_') and getattr(module, name).__module__ == module.__name__:
                yield f'{module.__name__.removeprefix("qsmprep.")}.{name}'


def nodes() -> Iterator[str]:
    """Classes of nodes."""
    for module in _modules(qsmprep.interfaces):
        for name, node in inspect.getmembers(module, inspect.isclass):
            if issubclass(node, BaseInterface) and node.__module__ == module.__name__:
                yield f'{module.__name__.removeprefix("qsmprep.")}.{name}'


def _modules(package) -> Iterator:
    for info in pkgutil.iter_modules(package.__path__, f'{package.__name__}.'):
        yield importlib.import_module(info.name)


def _summary(names: list[str]) -> str:
    head = '.. currentmodule:: qsmprep\n\n.. autosummary::\n   :toctree: .\n   :nosignatures:\n'
    return '\n'.join([head, *(f'   {name}' for name in names)])


def write(folder: Path) -> None:
    """Write the page that lists the API into a folder."""
    folder.mkdir(exist_ok=True)
    parts = {part.__name__: list(part()) for part in (front_door, methods, graphs, nodes)}
    text = PAGE.format(**{part: _summary(names) for part, names in parts.items()})
    pages = {f'qsmprep.{name}.rst' for names in parts.values() for name in names}
    for path in folder.glob('*.rst'):
        if path.name not in pages:
            path.unlink()
    (folder / 'index.rst').write_text(text)

"""What other programs import from ``qsmprep.qsm``."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import qsmprep.qsm

TREE = ast.parse(Path(qsmprep.qsm.__file__).read_text())


def test_the_front_door_gives_all_names_that_it_tells():
    for name in qsmprep.qsm.__all__:
        found = getattr(qsmprep.qsm, name)
        assert found.__name__ == name
        assert inspect.getdoc(found)


def test_type_checkers_see_what_is_loaded():
    (guarded,) = (node for node in TREE.body if isinstance(node, ast.If))
    seen = {alias.name for node in guarded.body for alias in node.names}
    assert seen == set(qsmprep.qsm.__all__)


def test_nothing_is_loaded_before_it_is_used():
    code = 'import sys, qsmprep.qsm; print(sorted({"numpy", "torch", "scipy"} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'

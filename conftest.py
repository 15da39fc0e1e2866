"""Lets a bare checkout import ``workflows/`` under its installed name, ``qsmprep.workflows``."""

import importlib.util
import sys

import qsmprep

if importlib.util.find_spec('qsmprep.workflows') is None:
    import workflows

    sys.modules['qsmprep.workflows'] = qsmprep.workflows = workflows

"""Exit codes of ``qsmprep``."""

OK = 0
FAILURE = 1
USAGE = 2
NO_WORKFLOW = 70
MISSING_COMMAND = 127

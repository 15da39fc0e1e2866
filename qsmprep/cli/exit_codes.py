"""Exit codes of ``qsmprep``; argparse ends with 2 where arguments cannot be used."""

OK = 0
FAILURE = 1
NO_WORKFLOW = 70
MISSING_COMMAND = 127

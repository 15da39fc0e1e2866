"""``python -m qsmprep``: the command of the same name."""

import sys

from qsmprep.cli.run import main

if __name__ == '__main__':
    sys.exit(main())

"""greedy's command line, run as a script: its wheel has none."""

import sys

if __name__ == '__main__':
    from picsl_greedy import Greedy3D

    Greedy3D().execute(sys.argv[1])

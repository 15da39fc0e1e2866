"""One node alone: the brain and its reliable phase of a scan that is not BIDS.

    python examples/one_node.py MAGNITUDE.nii.gz OUT_DIR

Every node of qsmprep works like this one, and its page in the documentation lists its inputs and
outputs. Without arguments it runs on the scan in tests/data/philips.
"""

import sys
from pathlib import Path

from nipype.pipeline.engine import Node

from qsmprep.interfaces.mask import ExtractBrain

SCAN = Path(__file__).parent.parent / 'tests/data/philips/sub-01/anat'


def main(magnitude: Path, out_dir: Path) -> Path:
    """Extract the brain of a magnitude image into a folder; returns the mask's path."""
    node = Node(ExtractBrain(magnitude=str(magnitude.absolute())), name='brain')
    node.base_dir = str(out_dir.absolute())
    result = node.run()
    print(result.outputs.parameters)
    return Path(result.outputs.mask)


if __name__ == '__main__':
    given = sys.argv[1:] or [SCAN / 'sub-01_echo-1_part-mag_MEGRE.nii.gz', 'example']
    print(main(*map(Path, given)))

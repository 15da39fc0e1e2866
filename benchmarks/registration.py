"""Own registration to the template: do nuclei land where they are, and does it fold?

    python benchmarks/registration.py --out FOLDER --labels FOLDER --nuclei FILE [--heads N ...]

A T1-weighted image of each segmented head is simulated at 2 mm, with a brain mask as fMRIPrep makes
it, and registered to the template as ``qsmprep`` does where no transforms are given. Labels of the
atlas are brought back and compared with the head's own. Red nucleus, substantia nigra and
subthalamic nucleus have no border in such an image, and their true place is an affine guess of the
simulator: they are left out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from arguments import benchmark_parser
from measure import Table
from regions import ATLAS, LARGE, NUCLEI

from qsmprep.cli.simulated_anatomy import closed_brain
from qsmprep.interfaces import itk
from qsmprep.interfaces.brains import Brain, load_atlas
from qsmprep.interfaces.registration import WORKING_MM, register_to_template
from qsmprep.qsm.regions import place_labels
from qsmprep.qsm.registration import overlap
from qsmprep.qsm.simulate import T1wImage, rigid_transform, simulate_t1w
from qsmprep.training.heads import read_head


def bring_atlas(from_template: object, t1w: T1wImage) -> np.ndarray:
    """Labels of the atlas on the grid of an image."""
    labels, affine = load_atlas()
    numbers = [int(n) for n in np.unique(labels) if n]
    shape = t1w.labels.shape
    shares = (itk.resample(labels == n, affine, from_template, shape, t1w.affine) for n in numbers)
    return place_labels(shares, numbers, shape)


def main() -> None:
    """Register heads, compare labels."""
    parser = benchmark_parser(__doc__, 'labels')
    parser.add_argument('--nuclei', type=Path, required=True, help='CIT168 label volume')
    parser.add_argument('--heads', type=int, nargs='*', default=[1, 3, 5, 9, 11, 14])
    args = parser.parse_args()
    columns = ['head', *LARGE, 'brain', 'smallest Jacobian', 'doubts']
    table = Table('Own registration to the template, Dice coefficients', columns, [])
    files = sorted(args.labels.glob('*.nii.gz'))
    for number in args.heads:
        head = read_head(files[number - 1], args.nuclei)
        position = rigid_transform((5, -4, 3), (6, -5, 8))
        t1w = simulate_t1w(head, voxel_size=(2.0, 2.0, 2.0), position=position, seed=number)
        brain = Brain(t1w.image, closed_brain(t1w.brain, t1w.affine), t1w.affine)
        with tempfile.TemporaryDirectory() as folder:
            found = register_to_template(brain.coarser(WORKING_MM), Path(folder))
        _, from_template, record = found
        placed = bring_atlas(from_template, t1w)
        dice = [
            overlap(np.isin(placed, ATLAS[name]), np.isin(t1w.labels, list(map(int, NUCLEI[name]))))
            for name in LARGE
        ]
        doubts = '; '.join(record['Warnings']).partition('doubtful: ')[2].partition('. ')[0]
        measured = (record['BrainOverlap'], record['SmallestJacobian'])
        table.add(str(number), *(f'{x:.2f}' for x in (*dice, *measured)), doubts)
    table.write(args.out, 'registration')


if __name__ == '__main__':
    main()

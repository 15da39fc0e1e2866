"""Run qsmprep's embeddable graph on the files of QSM-CI: echoes and a mask to susceptibility."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path

import nibabel as nb
import numpy as np

from qsmprep.interfaces import images
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.simulate.acquisition import oblique_affine
from qsmprep.workflows.qsm import init_qsm_wf


def split_echoes(path: Path, affine: np.ndarray, folder: Path) -> list[str]:
    """Write the volumes of a 4-D image one by one, with an affine that tells where B0 points."""
    names = []
    for number, echo in enumerate(np.moveaxis(images.read_echoes(path), -1, 0), start=1):
        name = folder / f'echo-{number}_{path.name.removesuffix(".gz")}'
        nb.save(nb.Nifti1Image(echo, affine), name)
        names.append(str(name))
    return names


def main(inputs: Path, output: Path) -> None:
    """Read phase [rad], magnitude, mask and parameters from one folder; write ``chimap``."""
    parameters = json.loads((inputs / 'params.json').read_text())
    shape = images.read_grid(inputs / 'mask.nii.gz').shape
    grid = Grid(shape, tuple(parameters['voxel_size']), tuple(parameters['B0_dir']))
    affine = oblique_affine(grid)
    workflow = init_qsm_wf(
        echo_times_s=tuple(parameters['TE']),
        field_strength_t=parameters['B0'],
        phase_range=(-math.pi, math.pi),
        brain_extraction='given',
        relaxometry=False,
    )
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        workflow.base_dir = folder
        node = workflow.get_node('inputnode')
        for part in ('phase', 'magnitude'):
            echoes = split_echoes(inputs / f'{part}.nii.gz', affine, work)
            node.set_input(f'{part}_files', echoes)
        (mask,) = split_echoes(inputs / 'mask.nii.gz', affine, work)
        node.set_input('brain_mask', mask)
        graph = workflow.run()
        (reference,) = (node for node in graph.nodes if node.name == 'reference_chi')
        chi = images.read(reference.result.outputs.chi)
        images.save(chi, inputs / 'mask.nii.gz', output / 'chimap.nii.gz')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))

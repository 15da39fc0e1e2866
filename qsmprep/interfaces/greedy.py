"""Running greedy (https://github.com/pyushkevich/greedy) in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from qsmprep.interfaces.brains import Brain


def greedy_affine(
    moving: Brain,
    fixed: Brain,
    start: np.ndarray,
    freedom: int,
    iterations: str,
    folder: Path,
    threads: int,
) -> np.ndarray:
    """Points of the moving image to those of the fixed one, 4 x 4, 6 or 12 degrees of freedom."""
    np.savetxt(folder / 'start.mat', np.linalg.inv(start))
    greedy(
        f'-a -dof {freedom} -m NMI -i fixed.nii moving.nii -ia start.mat -n {iterations} '
        '-o matrix.mat',
        folder,
        threads,
        fixed=fixed,
        moving=moving,
    )
    return np.linalg.inv(np.loadtxt(folder / 'matrix.mat'))


def greedy(command: str, folder: Path, threads: int, **brains: Brain) -> None:
    """Run greedy in a process of its own: should it crash, this one goes on to say so."""
    import SimpleITK as sitk

    for name, brain in brains.items():
        sitk.WriteImage(brain.to_itk(), str(folder / f'{name}.nii'))
    script = Path(__file__).with_name('greedy_script.py')
    command = f'-threads {threads} -seed 1 -V 0 {command}'
    done = subprocess.run(
        [sys.executable, str(script), command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise RuntimeError(
            f'greedy ended with code {done.returncode} on "{command}": {" ".join(reason)}; look at '
            'the images, or leave the step out with --ignore t1w regions.'
        )

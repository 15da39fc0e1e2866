"""Names and images of simulated datasets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def subject_folder(name: str) -> Path:
    """Folder of a participant, or of a session.

    Examples
    --------
    >>> subject_folder('sub-01_ses-2_run-1').as_posix()
    'sub-01/ses-2'

    """
    parts = name.split('_')
    return Path(*(part for part in parts if part.startswith(('sub-', 'ses-'))))


def write_image(data: np.ndarray, affine: np.ndarray, path: Path, slope: float = 1.0) -> None:
    """Write a volume in scanner space, whose stored numbers times the slope are its values."""
    import nibabel as nib

    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units('mm', 'sec')
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_slope_inter(slope, 0)
    nib.save(image, path)

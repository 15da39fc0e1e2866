"""Heads as label volumes: found, read, and held out of the training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from qsmprep.qsm.simulate import LabelledHead, Nuclei
from qsmprep.qsm.simulate.stream import Maps, draw_windows, make_specimen

HELD_OUT_HEADS = 2
HELD_OUT_WINDOWS = 12


def find_heads(labels: Path | None) -> list[Path]:
    """Return the label volumes at a path: the file itself, or the images in the folder.

    Raises
    ------
    FileNotFoundError
        If there is none.

    """
    if labels is None:
        return []
    files = sorted(labels.glob('*.nii*')) if labels.is_dir() else [labels]
    if not files or not files[0].exists():
        raise FileNotFoundError(
            f'{labels} holds no label volume; name a NIfTI image or a folder of them.'
        )
    return files


def read_head(labels: Path, nuclei: Path | None = None) -> LabelledHead:
    """Read a head for :func:`~qsmprep.qsm.simulate.simulate_head`.

    Parameters
    ----------
    labels
        NIfTI image of FreeSurfer labels, axes in any order but not oblique.
    nuclei
        NIfTI image of the CIT168 labels, or None.

    """

    def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
        image = nib.as_closest_canonical(nib.load(path))
        return np.asanyarray(image.dataobj).astype(np.int16), image.affine

    atlas = None if nuclei is None else Nuclei(*read(nuclei))
    return LabelledHead(*read(labels), nuclei=atlas)


def read_heads(labels: Path, nuclei: Path | None) -> tuple[list[LabelledHead], list[LabelledHead]]:
    """Heads to train on, and the last two of the folder, which are held out.

    Raises
    ------
    ValueError
        If the folder holds fewer than three heads.

    """
    files = find_heads(labels)
    if len(files) <= HELD_OUT_HEADS:
        raise ValueError(
            f'{labels} holds {len(files)} label volumes; training needs at least '
            f'{HELD_OUT_HEADS + 1}, of which the last {HELD_OUT_HEADS} are held out.'
        )
    heads = [read_head(file, nuclei) for file in files]
    return heads[:-HELD_OUT_HEADS], heads[-HELD_OUT_HEADS:]


def held_out_windows(heads: Sequence[LabelledHead]) -> list[Maps]:
    """Windows of heads that are never trained on."""
    generator = torch.Generator().manual_seed(12345)
    specimens = [make_specimen(head, generator) for head in heads]
    return [draw_windows(specimens, (64,) * 3, 1, generator) for _ in range(HELD_OUT_WINDOWS)]

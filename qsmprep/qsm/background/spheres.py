"""Means over a sphere of one radius, for the methods that take them wherever it fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import fft

from qsmprep.qsm.background.box import fill_in, padded_shape, paste
from qsmprep.qsm.background.sharp import sphere_spectrum
from qsmprep.qsm.grid import Grid, bounding_box, depth_mm


@dataclass(frozen=True)
class Spheres:
    """
    A field in a box of tissue, and where spheres of one radius fit into the tissue.

    Parameters
    ----------
    field
        Total field in the box, filled in where it is unknown.
    core
        Voxels whose sphere lies in the tissue.
    mean
        Spectrum of the mean over the sphere on the padded grid.
    padded
        Shape of that grid.
    box, shape
        Where the box lies in a volume, and the shape of the volume.

    """

    field: np.ndarray
    core: np.ndarray
    mean: np.ndarray
    padded: tuple[int, ...]
    box: tuple[slice, ...]
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        total_field: np.ndarray,
        mask: np.ndarray,
        grid: Grid,
        tissue: np.ndarray,
        radius_mm: float,
        method: str,
    ) -> Spheres:
        """
        Prepare a field for a method.

        Parameters
        ----------
        total_field, mask, grid, tissue
            As for :func:`~qsmprep.qsm.background.sharp.vsharp`.
        radius_mm
            Radius of the sphere [mm], at least the longest edge of a voxel.
        method
            Name of the method, for the message of an error.

        Raises
        ------
        ValueError
            If no voxel lies deeper in the mask than the radius.

        """
        radius = max(radius_mm, *grid.voxel_size)
        box = bounding_box(tissue)
        inside = np.asarray(tissue[box], dtype=bool)
        core = depth_mm(inside, grid.voxel_size) > radius * (1 + 1e-5)
        if not core.any():
            raise ValueError(
                f'No voxel of the mask lies {radius} mm deep: it is too thin for {method}; '
                'give a larger mask or a smaller radius.'
            )
        padded = padded_shape(inside.shape, grid.voxel_size, radius)
        return cls(
            fill_in(total_field[box], mask[box], inside, grid.voxel_size).astype(np.float32),
            core,
            sphere_spectrum(padded, grid.voxel_size, radius),
            padded,
            box,
            mask.shape,
        )

    def filtered(self, image: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
        """Image of the box times a spectrum of the padded grid."""
        crop = tuple(slice(0, n) for n in image.shape)
        return fft.irfftn(fft.rfftn(image, self.padded) * spectrum, self.padded)[crop]

    def result(self, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Local field in the volume, zero outside the core, and the core."""
        local = np.where(self.core, local, 0).astype(np.float32)
        return paste(local, self.box, self.shape), paste(self.core, self.box, self.shape)

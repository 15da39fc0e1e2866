"""Images of brains that are registered, and the template and atlas that come with qsmprep."""

from __future__ import annotations

from importlib.resources import as_file, files

import nibabel as nb
import numpy as np
from scipy.ndimage import map_coordinates

from qsmprep.interfaces import images, itk


class Brain:
    """An image, its brain and its affine; outside of the brain it is zero."""

    def __init__(self, data: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> None:
        self.mask, self.affine = mask, np.asarray(affine)
        self.data = np.where(mask, data, 0).astype(np.float32)

    @classmethod
    def load(cls, image: str, mask: str) -> Brain:
        """Read an image and a mask; one on another grid is brought to that of the image."""
        affine, inside = images.affine_of(image), images.read(mask, bool)
        data = images.read(image)
        own = images.affine_of(mask)
        if inside.shape != data.shape or not np.allclose(own, affine, atol=1e-3):
            stay = itk.affine_transform(np.eye(4))
            inside = itk.resample(inside, own, stay, data.shape, affine) > 0.5
        return cls(data, inside, affine)

    def points(self) -> np.ndarray:
        """Some 20 000 voxels of the brain [mm], evenly taken."""
        found = np.argwhere(self.mask)
        found = found[:: max(1, len(found) // 20_000)]
        return found @ self.affine[:3, :3].T + self.affine[:3, 3]

    def values(self, points: np.ndarray) -> np.ndarray:
        """Image at points [mm], by linear interpolation."""
        return map_coordinates(self.data, _index(self.affine, points), order=1)

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Whether points [mm] lie in the brain."""
        return (
            map_coordinates(self.mask.astype(np.float32), _index(self.affine, points), order=1)
            > 0.5
        )

    def coarser(self, edge_mm: float) -> Brain:
        """The same on voxels of that edge, or of their own if that is longer, cut to the brain."""
        edge_mm = max(edge_mm, abs(float(np.linalg.det(self.affine[:3, :3]))) ** (1 / 3))
        box = np.argwhere(self.mask)
        low, high = box.min(axis=0) - 2, box.max(axis=0) + 3
        size = np.linalg.norm(self.affine[:3, :3], axis=0)
        shape = np.ceil((high - low) * size / edge_mm).astype(int)
        affine = self.affine.copy()
        affine[:3, :3] *= edge_mm / size
        middle = self.affine[:3, :3] @ ((low + high - 1) / 2) + self.affine[:3, 3]
        affine[:3, 3] = middle - affine[:3, :3] @ ((shape - 1) / 2)
        stay = itk.affine_transform(np.eye(4))
        smooth = _smoothed(self.data, size, edge_mm)
        data = itk.resample(smooth, self.affine, stay, shape, affine)
        mask = itk.resample(self.mask, self.affine, stay, shape, affine) > 0.5
        return Brain(data, mask, affine)

    def to_itk(self):
        """Image of ITK."""
        return itk.to_itk(self.data, self.affine)


def _index(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    back = np.linalg.inv(affine)
    return (points @ back[:3, :3].T + back[:3, 3]).T


def _smoothed(data: np.ndarray, size: np.ndarray, edge_mm: float) -> np.ndarray:
    """Data without what voxels of an edge cannot hold."""
    from scipy.ndimage import gaussian_filter

    widths = [0.45 * np.sqrt(max((edge_mm / v) ** 2 - 1, 0)) for v in size]
    return gaussian_filter(data, widths) if max(widths) > 0 else data


def load_template() -> Brain:
    """The T1-weighted template in the space MNI152NLin2009cAsym, 2 mm, brain alone."""
    with as_file(files('qsmprep.data') / 'CIT168_T1w.nii.gz') as path:
        image = nb.load(path)
        data = np.asanyarray(image.dataobj)
    return Brain(data, data > 0, image.affine)


def load_atlas() -> tuple[np.ndarray, np.ndarray]:
    """Labels of the CIT168 atlas, 1 mm, and their affine to the template space."""
    with as_file(files('qsmprep.data') / 'CIT168_dseg.nii.gz') as path:
        image = nb.load(path)
        return np.asanyarray(image.dataobj), image.affine

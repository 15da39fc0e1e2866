"""Simulated participants of ``report_faults.py``: who they are, and how they were scanned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nb
import numpy as np
from scipy import ndimage

from qsmprep.cli.simulate import main as simulate
from qsmprep.training.heads import find_heads

SITES = (
    ('Siemens', 3.0, (4.0, 12.0, 20.0, 28.0)),
    ('Siemens', 2.89, (6.0, 18.0, 30.0)),
    ('GE', 3.0, (3.6, 9.2, 14.8, 20.4, 26.0)),
    ('Philips', 1.5, (5.0, 15.0, 25.0, 35.0, 45.0)),
    ('Siemens', 7.0, (3.0, 8.0, 13.0, 18.0)),
    ('Philips', 3.0, (20.0,)),
    ('Siemens', 3.0, (9.42, 20.0)),
)
"""Manufacturer, field strength [T] and echo times [ms] of the sites of the clean participants."""
VOXELS = ((3.0,), (2.5,), (2.0, 2.0, 4.0), (1.6, 1.6, 3.2))
TILTS = ((0.0, 0.0, 1.0), (0.0, 0.26, 0.97), (0.1, -0.2, 0.97))
"""Directions of B0 in the head: straight, and turned by 15 and 13 degrees."""
AXES = ('LAS', 'RPI', 'PSR', 'RSP')
"""Axial slices, also from the top, sagittal and coronal ones."""
FIELD_STRENGTHS_T = (1.5, 3.0, 7.0)
MAKERS = ('Siemens', 'GE', 'Philips')
VARIED_VOXELS_MM = (
    (0.8, 0.8, 3.0),
    (1.0, 1.0, 3.0),
    (1.2, 1.2, 2.4),
    (1.5, 1.5, 1.5),
    (1.6, 1.6, 2.0),
    (2.0, 2.0, 2.0),
    (1.8, 2.4, 2.4),
    (2.0, 2.0, 3.0),
    (2.5, 2.5, 2.5),
    (3.0, 3.0, 3.0),
)
"""Voxel sizes of the varied participants."""
LAST_MS = {1.5: 50.0, 3.0: 36.0, 7.0: 24.0}
"""Largest echo time at a field strength."""
VARIED = 100
"""Numbers of the varied participants start here."""


@dataclass(frozen=True)
class Participant:
    """A simulated participant, and how it was scanned.

    Parameters
    ----------
    number
        Chooses the head, and the seed.
    maker, b0_t, times_ms
        Manufacturer, field strength and echo times.
    voxel_mm, tilt, axes, snr
        Voxel size, direction of B0 in the head, where the array's axes lead, and SNR.
    bent
        The head is a new one, which is bent out of a segmented one.
    size
        Its lengths, in units of those of the segmented head.

    """

    number: int
    maker: str
    b0_t: float
    times_ms: tuple[float, ...]
    voxel_mm: tuple[float, ...] = (3.0,)
    tilt: tuple[float, ...] = TILTS[1]
    axes: str = AXES[0]
    snr: int = 100
    bent: bool = False
    size: float = 1.0

    @classmethod
    def draw(cls, number: int) -> Participant:
        """One of the clean participants: sites in turn, all else at random."""
        rng = np.random.default_rng(number)
        voxel, tilt, axes = (x[rng.integers(len(x))] for x in (VOXELS, TILTS, AXES))
        site = SITES[number % len(SITES)]
        return cls(number, *site, voxel, tilt, axes, round(rng.uniform(40, 140)))

    @classmethod
    def draw_varied(cls, number: int) -> Participant:
        """One in a head of its own: field strength, voxels and number of echoes in turn."""
        rng = np.random.default_rng(number)
        index = number - VARIED
        b0_t, voxel_mm = FIELD_STRENGTHS_T[index % 3], VARIED_VOXELS_MM[index % 10]
        echoes = 1 + (index + index // 6) % 6
        last = LAST_MS[b0_t] * rng.uniform(0.6, 1.0)
        first = rng.uniform(2.5, 6.0) if echoes > 1 else 0.6 * last
        times = first + (last - first) * np.arange(echoes) / max(echoes - 1, 1)
        tilt = np.array([*rng.uniform(-0.35, 0.35, 2), 1.0])
        tilt = np.round(tilt / np.linalg.norm(tilt), 2)
        return cls(
            number,
            MAKERS[rng.integers(3)],
            b0_t,
            tuple(float(t) for t in np.round(times, 2)),
            voxel_mm,
            tuple(float(t) for t in tilt),
            AXES[rng.integers(len(AXES))],
            round(rng.uniform(30, 200)),
            bent=True,
        )

    @property
    def words(self) -> str:
        """What was scanned, and how."""
        size = ' x '.join(f'{v:g}' for v in self.voxel_mm)
        return (
            f'{self.maker}, {self.b0_t:g} T, {len(self.times_ms)} echoes, {size} mm, '
            f'B0 {self.tilt}, {self.axes}, SNR {self.snr}'
        )

    def simulate(self, folder: Path, labels: Path | None) -> Path:
        """Write the dataset, unless it is there; returns the brain mask."""
        flags = {
            '--b0': (self.b0_t,),
            '--tes': self.times_ms,
            '--voxel': self.voxel_mm,
            '--b0-direction': self.tilt,
            '--snr': (self.snr,),
            '--seed': (1000 + self.number,),
        }
        arguments = [str(x) for key, values in flags.items() for x in (key, *values)]
        heads = find_heads(labels)
        if heads:
            arguments += ['--labels', str(self._head(heads, folder))]
        if not folder.exists():
            simulate([str(folder), *arguments])
        return next(folder.glob('derivatives/simulation/sub-*/anat/*_desc-brain_mask.nii.gz'))

    def _head(self, heads: list[Path], folder: Path) -> Path:
        """Label volume of the head; one that is bent lies beside the dataset."""
        head = heads[self.number % len(heads)]
        path = folder.with_name(f'{folder.name}_labels.nii.gz')
        if self.bent and not path.exists():
            bend(head, path, self.number)
        elif self.size != 1 and not path.exists():
            image = nb.load(head)
            affine = np.diag([self.size, self.size, self.size, 1]) @ image.affine
            nb.save(nb.Nifti1Image(np.asarray(image.dataobj), affine), path)
        return path if path.exists() else head


def bend(labels: Path, target: Path, seed: int) -> None:
    """
    Make a new head of a segmented one: other lengths, and bent by a smooth random field.

    Lengths change by up to 8 % along each axis, and places by a Gaussian field of 3 mm (SD, smooth
    over 20 mm).

    Parameters
    ----------
    labels
        Label volume with voxels of 1 mm.
    target
        Where the new one is written.
    seed
        Of the shape.

    """
    rng = np.random.default_rng(seed)
    image = nb.load(labels)
    values = np.asarray(image.dataobj).astype(np.int16)
    places = []
    for axis, (size, factor) in enumerate(
        zip(values.shape, rng.uniform(0.92, 1.08, 3), strict=True)
    ):
        coarse = ndimage.gaussian_filter(rng.normal(size=[n // 4 for n in values.shape]), 5)
        shift = ndimage.zoom(
            3 / coarse.std() * coarse,
            [n / m for n, m in zip(values.shape, coarse.shape, strict=True)],
            order=1,
        )
        along = (np.arange(size) - size / 2) / factor + size / 2
        places.append(np.expand_dims(along, [a for a in range(3) if a != axis]) + shift)
    bent = ndimage.map_coordinates(values, places, order=0)
    nb.save(nb.Nifti1Image(bent, image.affine), target)

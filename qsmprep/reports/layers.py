"""The images of the viewer: which there are, how each is shown, and how it is stored."""

from __future__ import annotations

import base64
import gzip
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from qsmprep.qsm.grid import bounding_box, hz_to_ppm
from qsmprep.reports.text import plain_text, read_text

MARGIN_MM = 10.0
"""What is shown around the map: enough to see where the brain and its mask end."""
LEVELS = 127
"""Steps of an image of arbitrary units."""
LARGEST_MB = 14.5
"""Images of a page beyond which their steps are made larger; the page itself adds 0.1 MB."""
LARGER = (1, 2, 4, 8)
"""How many times the steps of :data:`LAYERS`."""


@dataclass(frozen=True)
class Layer:
    """
    An image of the viewer.

    Parameters
    ----------
    title
        Name in the viewer.
    unit
        Unit that is shown.
    step
        Values are stored in multiples of it, as whole numbers; None for arbitrary units.
    limits
        Window [unit]; None for what 99.5 % of the values stay below.
    colours
        Name of a colour map of niivue.
    mask
        Drawn over the others.

    """

    title: str
    unit: str = ''
    step: float | None = 1.0
    limits: tuple[float, float] | None = None
    colours: str = 'gray'
    mask: bool = False


LAYERS = {
    'fieldmap_magnitude': Layer('Magnitude', step=None),
    'local_field': Layer('Local field', 'ppm', 5e-4, (-0.05, 0.05)),
    'chi': Layer('Susceptibility', 'ppm', 2e-3, (-0.1, 0.1)),
    'uncertainty': Layer('Uncertainty', 'ppm', 1e-3, (0.0, 0.05), 'viridis'),
    'r2star': Layer('R2*', '1/s', 1.0, (0.0, 50.0)),
    'r2prime': Layer("R2'", '1/s', 1.0, (0.0, 30.0)),
    'paramagnetic': Layer('Paramagnetic', 'ppm', 2e-3, (0.0, 0.1)),
    'diamagnetic': Layer('Diamagnetic', 'ppm', 2e-3, (-0.1, 0.0)),
    'swi': Layer('Susceptibility-weighted', step=None),
    'brain_mask': Layer('Brain mask', colours='blue', mask=True),
    'chi_mask': Layer('Mask of the map', colours='green', mask=True),
    'estimated_mask': Layer('Estimated without a field', colours='red', mask=True),
}
"""Output (a key of ``io_spec.json``) -> how it is shown, in the order of the viewer."""
COLOURS = (
    (86, 180, 233), (240, 228, 66), (255, 90, 31), (204, 121, 167), (0, 158, 115), (230, 159, 0),
    (120, 160, 255), (255, 255, 255),
)  # fmt: skip
"""Of regions, in turn; labels that differ by 100, left and right of the atlas, share one."""


def layer_images(files: Mapping[str, Path], field_strength_t: float) -> list[dict]:
    """
    The images of a susceptibility map as the page holds them.

    They end 10 mm beyond the map, and are stored in whole steps, so that they compress well. Where
    they would be too large all the same, steps are doubled, up to three times.

    Parameters
    ----------
    files
        Image of each layer, by the keys of :data:`LAYERS`, and segmentations
        (``..._seg-<name>_dseg.nii.gz``) by any other; ``chi`` is needed. Those on another grid are
        left out.
    field_strength_t
        Field strength [T].

    """
    import nibabel as nib

    chi = nib.load(files['chi'])
    near = _near(np.asarray(chi.dataobj) != 0, chi.header.get_zooms()[:3])
    box = bounding_box(near)
    affine = _shifted(chi.affine, box)
    ppm_per_hz = float(hz_to_ppm(1.0, field_strength_t))
    shown: dict[str, np.ndarray] = {}
    for key in (*LAYERS, *sorted(files.keys() - LAYERS)):
        image = nib.load(files[key]) if key in files else None
        if image is None or image.shape != chi.shape:
            continue
        scale = ppm_per_hz if key == 'local_field' else 1.0
        values = (np.asarray(image.dataobj, dtype=np.float32) * np.float32(scale) * near)[box]
        if key not in LAYERS or values.any() or not LAYERS[key].mask:
            shown[key] = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    for larger in LARGER:
        found = [
            _entry(key, LAYERS[key], values, affine, larger)
            if key in LAYERS
            else _regions(files[key], values, affine)
            for key, values in shown.items()
        ]
        if sum(len(entry['data']) for entry in found) <= 1e6 * LARGEST_MB:
            break
    return found


def _near(inside: np.ndarray, voxel_size: tuple[float, ...]) -> np.ndarray:
    """Voxels in a map or beside it; all of them where there is no map."""
    if not inside.any():
        return np.ones_like(inside)
    near = np.zeros_like(inside)
    box = bounding_box(inside, MARGIN_MM, voxel_size)
    near[box] = ndimage.distance_transform_edt(~inside[box], voxel_size) <= MARGIN_MM
    return near


def _shifted(affine: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Affine of a box of an image."""
    start = [side.start or 0 for side in box]
    moved = np.array(affine)
    moved[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    return moved


def _entry(key: str, layer: Layer, values: np.ndarray, affine: np.ndarray, larger: int = 1) -> dict:
    """One image: its compressed NIfTI file, in steps so many times larger, and how it is shown."""
    top = float(np.percentile(values[values > 0], 99.5)) if (values > 0).any() else 1.0
    step = (layer.step or top / LEVELS) * (1 if layer.mask else larger)
    kind = np.uint8 if layer.mask or layer.step is None else np.int16
    limits = np.iinfo(kind)
    stored = np.clip(np.rint(values / step), limits.min, limits.max).astype(kind)
    low, high = layer.limits or (0.0, top if not layer.mask else 1.0)
    return {
        'name': key,
        'title': layer.title,
        'unit': layer.unit,
        'mask': layer.mask,
        'first': key == 'chi',
        'low': float(f'{low:.4g}'),
        'high': float(f'{high:.4g}'),
        'step': step,
        'digits': max(0, math.ceil(-math.log10(step))),
        'colours': layer.colours,
        'data': _packed(stored, affine, step),
    }


def _regions(path: Path, values: np.ndarray, affine: np.ndarray) -> dict:
    """A segmentation, its labels numbered anew, with the names of the table beside it."""
    title = plain_text(path.name.rpartition('_seg-')[2].partition('_')[0])
    rows = read_text(path.with_name(path.name.replace('.nii.gz', '.tsv'))).splitlines()[1:]
    named = {cells[0]: cells[1:] for row in rows if len(cells := row.split('\t')) > 1}
    labels = np.unique(np.rint(values)).astype(int)
    labels = labels[labels > 0]
    # as small as can be: niivue blends the colours of long tables
    stored = np.searchsorted(labels, np.rint(values)) + 1
    stored[np.rint(values) <= 0] = 0
    sides = {'L': ', left', 'R': ', right'}
    names = ['']
    for label in labels:
        name, *more = named.get(str(label), [f'label {label}'])
        names.append(plain_text(name) + sides.get(more[-1] if more else '', ''))
    colours = [(0, 0, 0), *(COLOURS[label % 100 % len(COLOURS)] for label in labels)]
    layer = Layer(f'Regions of {title}', mask=True)
    table = {channel: [c[index] for c in colours] for index, channel in enumerate('RGB')}
    table |= {'A': [0, *[255] * len(labels)], 'I': list(range(len(names))), 'labels': names}
    entry = _entry(f'regions_{title}', layer, np.zeros(1, np.float32), affine)
    kind = np.uint8 if len(labels) < 256 else np.int16
    return entry | {'table': table, 'data': _packed(stored.astype(kind), affine, 1.0)}


def _packed(stored: np.ndarray, affine: np.ndarray, step: float) -> str:
    """A compressed NIfTI file in base 64."""
    import nibabel as nib

    image = nib.Nifti1Image(stored, affine)
    image.header.set_slope_inter(step, 0)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    packed = io.BytesIO()
    with gzip.GzipFile('', 'wb', compresslevel=6, fileobj=packed, mtime=0) as stream:
        stream.write(image.to_bytes())
    return base64.b64encode(packed.getvalue()).decode('ascii')

"""The viewer: one page for each map, with the images inside, that opens from the file system."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import numpy as np

import qsmprep
from qsmprep.bids.files import write_whole
from qsmprep.qsm.grid import bounding_box, hz_to_ppm
from qsmprep.reports.render import script_hash
from qsmprep.reports.text import dicts, plain_text

NIIVUE = '0.69.0'
MARGIN = 4
"""Voxels that are shown around the brain."""


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
        Values are stored in multiples of it, as whole numbers; None for a 255th of the largest.
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
    'local_field': Layer('Local field', 'ppm', 2e-4, (-0.05, 0.05)),
    'chi': Layer('Susceptibility', 'ppm', 1e-3, (-0.1, 0.1)),
    'uncertainty': Layer('Uncertainty', 'ppm', 5e-4, (0.0, 0.05), 'viridis'),
    'r2star': Layer('R2*', '1/s', 0.5, (0.0, 50.0)),
    'brain_mask': Layer('Brain mask', colours='blue', mask=True),
    'chi_mask': Layer('Mask of the map', colours='green', mask=True),
    'estimated_mask': Layer('Estimated without a field', colours='red', mask=True),
}
"""Output (a key of ``io_spec.json``) -> how it is shown, in the order of the viewer."""


def write_viewers(output_dir: Path, label: str) -> list[Path]:
    """
    Write a viewer for each completed acquisition of a participant.

    The images are cropped to the brain and stored in whole steps, so that they compress well; the
    library that draws them lies once in ``viewer/`` of the output folder.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset.
    label
        Label of the participant, without ``sub-``.

    Returns
    -------
    list of pathlib.Path
        The pages, ``<acquisition>_viewer.html``.

    """
    record = json.loads((output_dir / 'logs' / f'sub-{label}.json').read_text(encoding='utf-8'))
    pages = []
    for acquisition in dicts(record.get('acquisitions')):
        files = _files(output_dir, acquisition.get('outputs'))
        if acquisition.get('status') == 'completed' and 'chi' in files:
            stem = plain_text(acquisition.get('stem')).rpartition('_')[0]
            pages.append(write_viewer(output_dir, files, viewer_name(stem)))
    if pages:
        _vendor(output_dir / 'viewer')
    return pages


def _files(output_dir: Path, outputs: object) -> dict[str, Path]:
    """Images of the layers that lie in the output folder."""
    named = outputs if isinstance(outputs, dict) else {}
    root = output_dir.resolve()
    paths = {key: root / plain_text(named[key]) for key in LAYERS if key in named}
    return {
        key: path
        for key, path in paths.items()
        if path.is_file() and path.resolve().is_relative_to(root)
    }


def viewer_name(stem: str) -> str:
    """
    File name of a viewer.

    Examples
    --------
    >>> viewer_name('sub-01_run-2')
    'sub-01_run-2_viewer.html'

    """
    return f'{stem}_viewer.html'


def write_viewer(output_dir: Path, files: Mapping[str, Path], name: str) -> Path:
    """
    Write the viewer of one susceptibility map and what belongs to it.

    Parameters
    ----------
    output_dir
        Where the page is written.
    files
        Image of each layer, by the keys of :data:`LAYERS`; ``chi`` is needed.
    name
        Name of the page.

    """
    import nibabel as nib

    chi = files['chi']
    sidecar = json.loads(
        chi.with_name(chi.name.removesuffix('.nii.gz') + '.json').read_text(encoding='utf-8')
    )
    ppm_per_hz = float(hz_to_ppm(1.0, float(sidecar['MagneticFieldStrength'])))
    map_image = nib.load(chi)
    box = _box(np.asarray(map_image.dataobj) != 0)
    images = []
    for key, layer in LAYERS.items():
        image = nib.load(files[key]) if key in files else None
        if image is None or image.shape != map_image.shape:
            continue
        scale = ppm_per_hz if key == 'local_field' else 1.0
        values = np.asarray(image.dataobj, dtype=np.float32)[box] * np.float32(scale)
        if values.any() or not layer.mask:
            images.append(_entry(key, layer, values, _shifted(image.affine, box)))
    script = resources.files('qsmprep.data.viewer').joinpath('viewer.js').read_text('utf-8')
    page = _render(
        title=plain_text(name.removesuffix('_viewer.html')),
        page=_page_of(output_dir, name),
        shape=' x '.join(map(str, map_image.shape)) + ' voxels',
        steps=', '.join(
            f'{layer.title} {layer.step:g} {layer.unit}'
            for layer in LAYERS.values()
            if layer.step and not layer.mask
        ),
        images=json.dumps(images).replace('<', '\\u003c'),
        script=script,
        script_hash=script_hash(script),
    )
    path = output_dir / name
    write_whole(path, lambda stream: stream.write(page.encode('utf-8', errors='replace')))
    return path


def _page_of(output_dir: Path, name: str) -> str:
    """Address of the report that a viewer belongs to: that of its session, or of all."""
    parts = name.removesuffix('_viewer.html').split('_')
    session = output_dir / f'{"_".join(parts[:2])}.html'
    return quote(session.name if session.is_file() else f'{parts[0]}.html')


def _box(inside: np.ndarray) -> tuple[slice, ...]:
    if not inside.any():
        return tuple(slice(None) for _ in inside.shape)
    return tuple(
        slice(max(side.start - MARGIN, 0), min(side.stop + MARGIN, size))
        for side, size in zip(bounding_box(inside), inside.shape, strict=True)
    )


def _shifted(affine: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
    """Affine of a box of an image."""
    start = [side.start or 0 for side in box]
    moved = np.array(affine)
    moved[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
    return moved


def _entry(key: str, layer: Layer, values: np.ndarray, affine: np.ndarray) -> dict:
    """One image for the page: its compressed NIfTI file and how it is shown."""
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    top = float(np.percentile(values[values > 0], 99.5)) if (values > 0).any() else 1.0
    step = layer.step or top / 255
    stored = np.rint(values / step)
    kind = np.uint8 if layer.mask or layer.step is None else np.int16
    limits = np.iinfo(kind)
    low, high = layer.limits or (0.0, top if not layer.mask else 1.0)
    return {
        'name': key,
        'title': layer.title,
        'unit': layer.unit,
        'mask': layer.mask,
        'first': key == 'chi',
        'low': float(f'{low:.4g}'),
        'high': float(f'{high:.4g}'),
        'digits': max(0, math.ceil(-math.log10(step))) if layer.step else 0,
        'colours': layer.colours,
        'data': _packed(np.clip(stored, limits.min, limits.max).astype(kind), affine, step),
    }


def _packed(stored: np.ndarray, affine: np.ndarray, step: float) -> str:
    """A compressed NIfTI file in base 64."""
    import nibabel as nib

    image = nib.Nifti1Image(stored, affine)
    image.header.set_slope_inter(step, 0)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    packed = io.BytesIO()
    with gzip.GzipFile('', 'wb', compresslevel=9, fileobj=packed, mtime=0) as stream:
        stream.write(image.to_bytes())
    return base64.b64encode(packed.getvalue()).decode('ascii')


def _render(images: str, script: str, **context: object) -> str:
    """Fill the template; images and script are safe by their making, all else is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files('qsmprep.data.viewer').joinpath('viewer.html').read_text('utf-8')
    return environment.from_string(source).render(
        images=Markup(images),
        script=Markup(script),
        niivue=NIIVUE,
        version=qsmprep.__version__,
        **context,
    )


def _vendor(folder: Path) -> None:
    """Put the library and its licence beside the pages, once."""
    data = resources.files('qsmprep.data.viewer')
    files: Mapping[str, bytes] = {
        f'niivue-{NIIVUE}.js': gzip.decompress(
            data.joinpath(f'niivue-{NIIVUE}.js.gz').read_bytes()
        ),
        'LICENSE': data.joinpath('LICENSE').read_bytes(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != len(content):
            write_whole(path, lambda stream, content=content: stream.write(content))

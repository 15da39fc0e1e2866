"""The viewer: one page for each map, with the images inside, that opens from the file system."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from urllib.parse import quote

import qsmprep
from qsmprep.bids.files import write_whole
from qsmprep.reports.layers import LAYERS, layer_images
from qsmprep.reports.render import script_hash
from qsmprep.reports.text import dicts, plain_text

NIIVUE = '0.69.0'


def write_viewers(output_dir: Path, label: str) -> list[Path]:
    """
    Write a viewer for each completed acquisition of a participant.

    The library that draws the images lies once in ``viewer/`` of the output folder.

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
    if 'chi' in paths:
        chi = paths['chi']
        regions = chi.parent.glob(f'{chi.name.removesuffix("_Chimap.nii.gz")}_seg-*_dseg.nii.gz')
        paths |= {path.name: path for path in sorted(regions)}
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
        See :func:`~qsmprep.reports.layers.layer_images`.
    name
        Name of the page.

    """
    import nibabel as nib

    chi = files['chi']
    sidecar = json.loads(
        chi.with_name(chi.name.removesuffix('.nii.gz') + '.json').read_text(encoding='utf-8')
    )
    images = layer_images(files, float(sidecar['MagneticFieldStrength']))
    script = resources.files('qsmprep.data.viewer').joinpath('viewer.js').read_text('utf-8')
    page = _render(
        title=plain_text(name.removesuffix('_viewer.html')),
        page=_page_of(output_dir, name),
        shape=' x '.join(map(str, nib.load(chi).shape)) + ' voxels',
        steps=', '.join(f'{x["title"]} {x["step"]:g} {x["unit"]}' for x in images if x['unit']),
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

"""Names, sidecars and the description of the derivatives dataset."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import qsmprep
from qsmprep.bids.errors import InputError
from qsmprep.bids.files import read_json_object, write_whole

BIDS_VERSION = '1.10.0'
CODE_URL = 'https://github.com/qsmprep/qsmprep'
RAW = 'raw'
"""Name of the input dataset in BIDS URIs (``bids:raw:sub-01/...``) and DatasetLinks."""


SHORT_NAMES = {
    'session': 'ses',
    'acquisition': 'acq',
    'ceagent': 'ce',
    'reconstruction': 'rec',
    'direction': 'dir',
}


SOFTWARE = ('qsmprep', 'nipype', 'niimath', 'deepbet', 'torch', 'numba', 'numpy', 'scipy')
"""Packages whose versions can change the numbers."""


@functools.cache
def io_spec() -> dict:
    """Return the specification of all outputs: entities, path patterns and metadata."""
    return json.loads(files('qsmprep.data').joinpath('io_spec.json').read_text())


def software_versions() -> dict[str, str]:
    """Return the versions of the packages that can change the numbers."""
    return {name: version(name) for name in SOFTWARE}


def bids_uri(relative_path: str | Path, dataset: str = RAW) -> str:
    """BIDS URI of a file of a linked dataset.

    Examples
    --------
    >>> bids_uri('sub-01/anat/sub-01_echo-1_part-mag_MEGRE.nii.gz')
    'bids:raw:sub-01/anat/sub-01_echo-1_part-mag_MEGRE.nii.gz'

    """
    return f'bids:{dataset}:{Path(relative_path).as_posix()}'


def dataset_link(name: str) -> str:
    """
    Name of a derivatives dataset as BIDS URIs allow it.

    Examples
    --------
    >>> dataset_link('my masks')
    'mymasks'

    """
    link = re.sub('[^0-9A-Za-z]', '', name)
    return link if link and link != RAW else f'derivatives{link}'


def node_name(text: str) -> str:
    """
    Name of a graph's branch: crash files are distinguished by it.

    Examples
    --------
    >>> node_name('ses-a_run-1_MEGRE')
    'ses_a_run_1_MEGRE'

    """
    return ''.join(c if c.isalnum() else '_' for c in text)


def output_entities(name: str, entities: dict[str, str]) -> dict[str, str]:
    """Entities of one derivative of an acquisition.

    BIDS allows each kind of output some entities only. What would get lost (``rec`` of a field
    map, say) joins the ``acq`` label, so that two acquisitions never share a name.

    Parameters
    ----------
    name
        Key of the derivative in ``io_spec.json``.
    entities
        BIDS entities of the acquisition (long names, without echo and part).

    Examples
    --------
    >>> output_entities('total_field', {'subject': '01', 'reconstruction': 'n'})['acquisition']
    'recn'

    """
    return _fit(entities, io_spec()['derivatives'][name]['entities'])


def _fit(entities: dict[str, str], target: dict[str, str]) -> dict[str, str]:
    result = dict(entities) | target
    pattern = next(
        p
        for p in io_spec()['default_path_patterns']
        if f'datatype<{result["datatype"]}>' in p and result['suffix'] in re.split(r'[<|>]', p)
    )
    allowed = set(re.findall(r'\{(\w+)', pattern))
    lost = {key: result.pop(key) for key in list(result) if key not in allowed}
    label = result.get('acquisition', '')
    label += ''.join(f'{SHORT_NAMES.get(key, key)}{value}' for key, value in lost.items())
    return result | ({'acquisition': label} if label else {})


def resolution_label(resolution: str) -> str:
    """Label of ``res-`` for a voxel edge in mm or a name; labels are letters and digits.

    Examples
    --------
    >>> resolution_label('0.5'), resolution_label('iso')
    ('0p5', 'iso')

    """
    return resolution.replace('.', 'p')


def output_path(name: str, entities: dict[str, str]) -> str:
    """
    Path of one derivative of an acquisition, relative to the derivatives dataset.

    Examples
    --------
    >>> output_path('chi', {'subject': '01', 'session': 'a', 'suffix': 'MEGRE'})
    'sub-01/ses-a/anat/sub-01_ses-a_Chimap.nii.gz'

    """
    return file_path(output_entities(name, entities) | {'extension': '.nii.gz'})


def file_path(entities: dict[str, str]) -> str:
    """Path of an output by its entities, suffix and extension, relative to the dataset."""
    from bids.layout.writing import build_path

    return build_path(entities, io_spec()['default_path_patterns'], strict=False)


def figure_entities(panel: str, entities: dict[str, str]) -> dict[str, str]:
    """Entities of one panel of the report on an acquisition."""
    return _fit(entities, {'datatype': 'figures', 'desc': panel})


def check_own_dataset(output_dir: Path) -> None:
    """
    Complain of an output folder that is the dataset of somebody else: its description is kept.

    Raises
    ------
    InputError
        If it is.

    """
    path = output_dir / 'dataset_description.json'
    if not path.exists():
        return
    try:
        description = read_json_object(path)
    except InputError:
        return  # a damaged one is written anew
    makers = description.get('GeneratedBy')
    makers = makers if isinstance(makers, list) else []
    names = [x.get('Name') for x in makers if isinstance(x, dict)]
    if 'qsmprep' in names:
        return
    if description.get('DatasetType') == 'derivative':
        kind = f'the derivatives of {", ".join(map(str, names)) or "another program"}'
    else:
        kind = 'a raw dataset'
    raise InputError(
        f'The folder {output_dir} holds {kind} (dataset_description.json); choose a folder of its '
        'own as OUTPUT_DIR.'
    )


def write_dataset_description(
    output_dir: Path, bids_dir: Path, derivatives: Mapping[str, Path] | None = None
) -> None:
    """Write ``dataset_description.json`` and ``.bidsignore`` of the derivatives.

    Links to other datasets are relative, so that no path of the host is written.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset.
    bids_dir
        Root of the raw dataset.
    derivatives
        Name and root of each derivatives dataset that was given.

    """
    raw_description = read_json_object(bids_dir / 'dataset_description.json')
    datasets = {RAW: bids_dir} | {dataset_link(k): v for k, v in (derivatives or {}).items()}
    links = {
        name: Path(os.path.relpath(path, output_dir)).as_posix() for name, path in datasets.items()
    }
    raw_path = links[RAW]
    source = {'URL': raw_path}
    if raw_description.get('DatasetDOI'):
        source['DOI'] = str(raw_description['DatasetDOI'])
    generated_by: dict[str, Any] = {
        'Name': 'qsmprep',
        'Version': qsmprep.__version__,
        'CodeURL': CODE_URL,
    }
    if tag := os.environ.get('QSMPREP_CONTAINER_TAG'):
        generated_by['Container'] = {'Type': 'docker', 'Tag': tag}
    description = {
        'Name': f'qsmprep outputs for {raw_description.get("Name", "a BIDS dataset")}',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'License': str(raw_description.get('License', 'see the source dataset')),
        'GeneratedBy': [generated_by],
        'SourceDatasets': [source],
        'DatasetLinks': links,
    }
    output_dir.mkdir(parents=True, exist_ok=True)
    write_json(output_dir / 'dataset_description.json', description)
    (output_dir / '.bidsignore').write_text('\n'.join(io_spec()['ignored']) + '\n')


def write_json(path: Path, content: dict) -> None:
    """Write JSON so that a reader sees either the old file or the whole new one."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
    write_whole(path, lambda stream: stream.write(text.encode(errors='replace')))

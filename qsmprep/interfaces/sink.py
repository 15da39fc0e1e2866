"""The sink of all outputs: whole files under their final names, or none."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from pathlib import Path
from typing import BinaryIO

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.bids.files import write_whole


class _WriteOutputInputSpec(BaseInterfaceInputSpec):
    in_file = File(exists=True, mandatory=True, desc='result of a node')
    out_file = traits.Str(mandatory=True, desc='where it is written; .gz compresses')
    metadata = traits.Dict(desc='sidecar; none where it is not given')


class _WriteOutputOutputSpec(TraitedSpec):
    out_file = File(exists=True, desc='the output')


class WriteOutput(SimpleInterface):
    """Write a result and its sidecar into the derivatives dataset, in every run."""

    input_spec = _WriteOutputInputSpec
    output_spec = _WriteOutputOutputSpec
    _always_run = True

    def _run_interface(self, runtime):
        source, path = Path(self.inputs.in_file), Path(self.inputs.out_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isdefined(self.inputs.metadata):
            text = json.dumps(_finite(self.inputs.metadata), sort_keys=True, indent=2)
            sidecar = path.with_name(path.name.partition('.')[0] + '.json')
            write_whole(sidecar, lambda stream: stream.write(text.encode()))
        write_whole(path, lambda stream: _copy(source, stream, compress=path.suffix == '.gz'))
        self._results['out_file'] = str(path)
        return runtime


def _finite(value):
    """Metadata without NaN and infinity, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _copy(source: Path, stream: BinaryIO, compress: bool) -> None:
    with source.open('rb') as content:
        if not compress:
            shutil.copyfileobj(content, stream)
            return
        # without name and time, the same result is the same file
        with gzip.GzipFile('', 'wb', compresslevel=1, fileobj=stream, mtime=0) as packed:
            shutil.copyfileobj(content, packed, 2**20)

"""The sink of all outputs; import it inside functions, for niworkflows takes seconds to load."""

from __future__ import annotations

from collections import defaultdict

from nipype.interfaces.io import add_traits
from niworkflows.interfaces.bids import DerivativesDataSink as _DerivativesDataSink

from qsmprep.bids.derivatives import io_spec

_ENTITIES = io_spec()['entities']


class DerivativesDataSink(_DerivativesDataSink):
    """niworkflows' sink with the names of ``io_spec.json``."""

    out_path_base = ''
    _config_entities = frozenset(entity['name'] for entity in _ENTITIES)
    _config_entities_dict = _ENTITIES
    _file_patterns = tuple(io_spec()['default_path_patterns'])
    _default_dtypes = defaultdict(lambda: 'float32', {'mask': 'uint8'})

    def __init__(self, *, Resolution: str | None = None, **inputs) -> None:
        super().__init__(**inputs)
        if Resolution is not None:
            # niworkflows knows templates only; what is an input has the last say
            add_traits(self.inputs, ['Resolution'])
            self.inputs.Resolution = Resolution

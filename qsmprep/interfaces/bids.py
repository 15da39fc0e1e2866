"""The sink of all outputs; import it inside functions, for niworkflows takes seconds to load."""

from __future__ import annotations

from collections import defaultdict

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

"""Numerics on arrays: no Nipype, no BIDS, no file access.

What other programs call, in the order in which the data meet it; each name is loaded at its first
use.

Examples
--------
>>> from qsmprep.qsm import Grid, invert, remove_background, simulate_head
>>> remove_background.__module__, Grid((8, 8, 8)).voxel_volume_ml
('qsmprep.qsm.background', 0.001)

"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qsmprep.qsm.background import BackgroundRemoval, remove_background
    from qsmprep.qsm.bipolar import find_alternation
    from qsmprep.qsm.coils import coil_difference, combine_coils
    from qsmprep.qsm.cosmos import Cosmos, invert_orientations
    from qsmprep.qsm.fieldmap import FieldMap, align_echoes, combine_echoes
    from qsmprep.qsm.grid import Grid, hz_to_ppm, ppm_to_hz
    from qsmprep.qsm.inversion import Inversion, invert
    from qsmprep.qsm.mask import reliable_mask, signal_mask
    from qsmprep.qsm.metrics import hfen, nrmse, xsim
    from qsmprep.qsm.offset import phase_offset, remove_offset
    from qsmprep.qsm.phase import scale_phase
    from qsmprep.qsm.readout import correct_readout
    from qsmprep.qsm.reference import reference_chi
    from qsmprep.qsm.relaxometry import Relaxometry, fit_r2star
    from qsmprep.qsm.separation import Separation, separate
    from qsmprep.qsm.simulate import simulate_head, simulate_local_field
    from qsmprep.qsm.superres import SuperResolution, super_resolve, super_resolve_field
    from qsmprep.qsm.swi import SusceptibilityWeighted, susceptibility_weighted
    from qsmprep.qsm.unwrapping import laplacian_unwrap

_ROOMS = {
    'grid': ('Grid', 'hz_to_ppm', 'ppm_to_hz'),
    'phase': ('scale_phase',),
    'offset': ('phase_offset', 'remove_offset'),
    'unwrapping': ('laplacian_unwrap',),
    'coils': ('coil_difference', 'combine_coils'),
    'bipolar': ('find_alternation',),
    'readout': ('correct_readout',),
    'fieldmap': ('FieldMap', 'align_echoes', 'combine_echoes'),
    'mask': ('signal_mask', 'reliable_mask'),
    'background': ('BackgroundRemoval', 'remove_background'),
    'relaxometry': ('Relaxometry', 'fit_r2star'),
    'inversion': ('Inversion', 'invert'),
    'separation': ('Separation', 'separate'),
    'cosmos': ('Cosmos', 'invert_orientations'),
    'swi': ('SusceptibilityWeighted', 'susceptibility_weighted'),
    'superres': ('SuperResolution', 'super_resolve', 'super_resolve_field'),
    'reference': ('reference_chi',),
    'metrics': ('nrmse', 'hfen', 'xsim'),
    'simulate': ('simulate_head', 'simulate_local_field'),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = [
    'BackgroundRemoval',
    'Cosmos',
    'FieldMap',
    'Grid',
    'Inversion',
    'Relaxometry',
    'Separation',
    'SuperResolution',
    'SusceptibilityWeighted',
    'align_echoes',
    'coil_difference',
    'combine_coils',
    'combine_echoes',
    'correct_readout',
    'find_alternation',
    'fit_r2star',
    'hfen',
    'hz_to_ppm',
    'invert',
    'invert_orientations',
    'laplacian_unwrap',
    'nrmse',
    'phase_offset',
    'ppm_to_hz',
    'reference_chi',
    'reliable_mask',
    'remove_background',
    'remove_offset',
    'scale_phase',
    'separate',
    'signal_mask',
    'simulate_head',
    'simulate_local_field',
    'super_resolve',
    'super_resolve_field',
    'susceptibility_weighted',
    'xsim',
]


def __getattr__(name: str) -> Any:
    if name not in _ROOM_OF:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'{__name__}.{_ROOM_OF[name]}'), name)

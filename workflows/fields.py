"""Inputs and outputs of the embeddable graph: their types and units, which stay as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Field:
    """
    A field of an input or output node.

    Parameters
    ----------
    kind
        What it holds: a file, files, or a dictionary.
    unit
        Unit of the voxels; empty where there is none.
    meaning
        What it is.

    """

    kind: str
    unit: str
    meaning: str


INPUT_FIELDS = {
    'magnitude_files': Field('files', 'arbitrary', 'one 3-D image an echo'),
    'phase_files': Field('files', '`phase_range`', 'one 3-D image an echo, wrapped'),
    'real_files': Field('files', 'arbitrary', 'one 3-D image an echo, instead of the two above'),
    'imaginary_files': Field('files', 'arbitrary', 'the other part'),
    'brain_mask': Field('file', '', "brain, for `brain_extraction='given'`"),
    'brain_placement': Field(
        'dict', '', '`threshold` and `by_voxels`: how it is read, and `uri`, which sidecars name'
    ),
    'reference_mask': Field('file', '', 'region that has susceptibility zero'),
    'reference_placement': Field('dict', '', 'as `brain_placement`'),
    'unwrapped': Field('file', 'rad', "echoes along the fourth axis, for `start='unwrapped'`"),
    'total_field': Field('file', 'Hz', "for `start='total-field'`"),
    'local_field': Field('file', 'Hz', "for `start='local-field'`"),
    'given_chi': Field('file', 'ppm', "for `start='chi'`"),
    'field_noise': Field('file', 'Hz', 'standard deviation of a given field'),
}
"""Field of ``inputnode`` of :func:`init_qsm_wf` -> what it takes."""
OUTPUT_FIELDS = {
    'magnitude': Field('file', 'arbitrary', 'echoes along the fourth axis'),
    'phase': Field('file', 'rad', 'the same, wrapped, corrected for the readout'),
    'combined_magnitude': Field('file', 'arbitrary', 'root of the sum of squares over the echoes'),
    'readout_parameters': Field('dict', '', 'ramps and offsets that were found in the phase'),
    'total_field': Field('file', 'Hz', 'off-resonance'),
    'field_noise': Field('file', 'Hz', 'its standard deviation'),
    'noise_sd': Field('float', 'arbitrary', 'noise of the real and of the imaginary channel'),
    'field_misfit': Field('file', '', 'misfit of the echoes over their noise'),
    'fieldmap_parameters': Field('dict', '', 'echoes that are noisier than the others'),
    'unwrapped': Field('file', 'rad', 'unwrapped echoes along the fourth axis'),
    'quality': Field('file', '', 'quality of the phase, 0 to 1'),
    'brain_mask': Field('file', '', 'brain'),
    'reliable_mask': Field('file', '', 'brain voxels with reliable phase'),
    'brain_tissue': Field('file', '', 'brain, without bone and air of a mask that is too wide'),
    'brain_parameters': Field('dict', '', 'record of brain extraction'),
    'mask_parameters': Field('dict', '', 'record of the phase quality'),
    'local_field': Field('file', 'Hz', 'off-resonance of sources in the mask'),
    'local_noise': Field('file', 'Hz', 'its standard deviation'),
    'field_mask': Field('file', '', 'voxels with a local field'),
    'tissue': Field('file', '', 'those, and tissue whose local field is unknown'),
    'background_parameters': Field('dict', '', 'record of background field removal'),
    'chi': Field('file', 'ppm', 'susceptibility'),
    'chi_mask': Field('file', '', 'voxels of the susceptibility map'),
    'estimated_mask': Field('file', '', 'those without a reliable field of their own'),
    'uncertainty': Field('file', 'ppm', 'standard deviation, where the inversion knows it'),
    'inversion_parameters': Field('dict', '', 'record of the inversion'),
    'reference_parameters': Field('dict', '', 'record of referencing'),
    'r2star': Field('file', '1/s', 'from two echoes on'),
    't2star': Field('file', 's', 'from two echoes on'),
    's0': Field('file', 'arbitrary', 'magnitude at an echo time of zero'),
    'relaxation_parameters': Field('dict', '', 'record of relaxometry'),
}
"""Field of ``outputnode`` of :func:`init_qsm_wf` -> what it holds."""

"""Where the brain is, and where its phase can be trusted."""

from __future__ import annotations

import nibabel as nb
import numpy as np
from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    SimpleInterface,
    TraitedSpec,
    isdefined,
    traits,
)

from qsmprep.interfaces import images
from qsmprep.methods import choose
from qsmprep.qsm.grid import Grid
from qsmprep.qsm.mask import (
    RELATIVE_QUALITY,
    RIM_SIGNAL,
    STEEPEST_RAD,
    bare_rim,
    mask_steps,
    reliable_mask,
    signal_mask,
)

SMALLEST_HEAD_MM = 110.0
"""Field of view below which an image cannot hold a whole head."""
PLAUSIBLE_BRAIN_ML = (250.0, 2500.0)
DOUBTFUL_SHARE = 0.05
"""Share of a brain mask without signal from which mask and image disagree. The mask of a real scan
(the Philips scan of the tests) has none."""
BARE_SHARE = 0.01
"""Share of a brain mask that is bone or air at its rim from which that is said: at most 0.1 % of
true masks of simulated heads, 0.8 to 2.3 % of those that deepbet finds there, and 2.5 to 4 % of
masks a voxel too wide. Once it is off, at most 0.5 % of what deepbet found is bare again."""


class _ExtractBrainInputSpec(BaseInterfaceInputSpec):
    magnitude = File(exists=True, mandatory=True, desc='magnitude, echoes along the fourth axis')
    method = traits.Str('auto', usedefault=True, desc='key of qsmprep.methods.MASKS')
    use_gpu = traits.Bool(False, usedefault=True, desc='takes one of the GPU slots')


class _ExtractBrainOutputSpec(TraitedSpec):
    mask = File(exists=True, desc='brain mask')
    parameters = traits.Dict(desc='method, its version and the reason for it')


class ExtractBrain(SimpleInterface):
    """Brain mask of the first echo's magnitude."""

    input_spec = _ExtractBrainInputSpec
    output_spec = _ExtractBrainOutputSpec

    def _run_interface(self, runtime):
        path, method = self.inputs.magnitude, self.inputs.method
        scan = {
            'affine': images.affine_of(path),
            'device': 'cuda' if self.inputs.use_gpu else 'cpu',
        }
        found = choose('brain extraction', method).run(images.read_echoes(path)[..., 0], scan=scan)
        if not isinstance(found, tuple):
            found = found, {'Method': method, 'Reason': 'requested'}
        mask, self._results['parameters'] = found
        self._results['mask'] = images.write(mask, path, runtime.cwd, 'brain')
        return runtime


def deepbet(magnitude: np.ndarray, *, affine: np.ndarray, device: str = 'cpu') -> np.ndarray:
    """
    Brain mask by a neural network; empty where it finds no brain.

    Parameters
    ----------
    magnitude
        Magnitude of one echo.
    affine
        Its affine.
    device
        Torch device.

    Raises
    ------
    ValueError
        If the network fails on this image.

    References
    ----------
    Fisch et al. 2024, 10.1016/j.compbiomed.2024.108845.

    """
    from deepbet import BrainExtraction

    try:
        _, mask, _ = BrainExtraction(no_gpu=device == 'cpu').run(nb.Nifti1Image(magnitude, affine))
    except AssertionError:
        # deepbet's only way to say that it found no brain at all
        return np.zeros(magnitude.shape, bool)
    except Exception as error:
        raise ValueError(
            f'deepbet failed on the magnitude ({type(error).__name__}: {error}); give a brain mask '
            'by --derivatives, or use --brain-extraction signal.'
        ) from error
    return mask.get_fdata() > 0


def deepbet_or_signal(
    magnitude: np.ndarray, *, affine: np.ndarray, device: str = 'cpu'
) -> tuple[np.ndarray, dict]:
    """
    Brain mask by deepbet where it can be one, else all voxels with signal; and the record of it.

    Of deepbet's mask, voxels at the rim that have no signal (bone, air) are taken off; those
    that it encloses stay. Where that is much of it, a warning says so.

    Parameters
    ----------
    magnitude, affine, device
        See :func:`deepbet`.

    """
    grid = Grid.from_affine(magnitude.shape, affine)
    extent_mm = min(n * v for n, v in zip(grid.shape, grid.voxel_size, strict=True))
    reason = f'the field of view ({extent_mm:.0f} mm) is too small for a whole head'
    if extent_mm >= SMALLEST_HEAD_MM:
        mask = deepbet(magnitude, affine=affine, device=device)
        volume_ml = float(mask.sum()) * grid.voxel_volume_ml
        low, high = PLAUSIBLE_BRAIN_ML
        if low <= volume_ml <= high:
            brain = signal_mask(np.where(mask, magnitude, 0))
            share = 1 - np.count_nonzero(brain) / np.count_nonzero(mask)
            record = {
                'Method': 'deepbet',
                'Reason': 'the field of view holds a whole head',
                'ShareWithoutSignal': round(share, 4),
            }
            if share > DOUBTFUL_SHARE:
                record['Warnings'] = [
                    f'{100 * share:.0f} % of the brain mask found by deepbet had no signal and '
                    'were taken off; look at the mask, or give one by --derivatives.'
                ]
            return brain, record
        reason = f'deepbet found {volume_ml:.0f} ml, which is not a brain'
    return signal_mask(magnitude), {'Method': 'signal', 'Reason': reason}


class _TrustPhaseInputSpec(BaseInterfaceInputSpec):
    brain = File(exists=True, mandatory=True, desc='brain mask')
    quality = File(exists=True, desc='quality of the phase, 0 to 1')
    unwrapped = File(exists=True, desc='unwrapped phase [rad]')
    magnitude = File(exists=True, desc='magnitude, echoes along the fourth axis')
    echo_times_s = traits.List(traits.Float, desc='echo times [s], with a magnitude')


class _TrustPhaseOutputSpec(TraitedSpec):
    mask = File(exists=True, desc='brain voxels with reliable phase')
    tissue = File(exists=True, desc='brain, without bone and air of a mask that is too wide')
    parameters = traits.Dict(desc='threshold and volumes')


class TrustPhase(SimpleInterface):
    """Brain mask x phase quality and steepness, holes filled.

    Of a mask that is too wide, bone and air at its rim are taken off before.
    """

    input_spec = _TrustPhaseInputSpec
    output_spec = _TrustPhaseOutputSpec

    def _run_interface(self, runtime):
        path = self.inputs.brain
        brain, voxel_size = images.read(path, bool), images.read_grid(path).voxel_size
        tissue, parameters, rim = brain, {'Method': 'none'}, {}
        if isdefined(self.inputs.magnitude):
            magnitude = images.read_echoes(self.inputs.magnitude, 2)
            scan = magnitude, self.inputs.echo_times_s, voxel_size
            tissue = brain & ~bare_rim(brain, *scan)
            rim = _bare_record(brain, tissue, tissue & ~bare_rim(tissue, *scan))
        mask = tissue
        if isdefined(self.inputs.quality):
            quality = images.read(self.inputs.quality)
            parameters = {'Method': 'ROMEO quality map', 'RelativeQuality': RELATIVE_QUALITY}
            phase = None
            if isdefined(self.inputs.unwrapped):
                phase = images.read_echoes(self.inputs.unwrapped, 1)[..., 0]
                parameters['SteepestPhaseStep'] = STEEPEST_RAD
            mask = reliable_mask(tissue, quality, voxel_size, phase)
        parameters |= rim
        masks = {'brain': brain, 'tissue': tissue, 'reliable': mask}
        parameters['VolumesInMl'] = mask_steps(masks, voxel_size)
        self._results['mask'] = images.write(mask, path, runtime.cwd, 'reliable')
        self._results['tissue'] = images.write(tissue, path, runtime.cwd, 'tissue')
        self._results['parameters'] = parameters
        return runtime


def _bare_record(brain: np.ndarray, tissue: np.ndarray, deeper: np.ndarray) -> dict:
    """What a sidecar says of bone and air at the rim of a brain mask.

    What was taken off, from brain to tissue, is a fact; a rim that is bare again, from tissue to
    deeper, is a warning.
    """
    whole, *left = (max(np.count_nonzero(mask), 1) for mask in (brain, tissue, deeper))
    share, again = (1 - n / m for m, n in zip((whole, left[0]), left, strict=True))
    record: dict = {'RimSignal': RIM_SIGNAL, 'ShareBareAtRim': round(share, 4)}
    taken = f'{100 * share:.0f} % of the brain mask, all at its rim, had no signal of tissue (bone '
    taken += 'or air) and were taken off'
    if again > BARE_SHARE:
        record['Warnings'] = [
            f'{taken}, and of what is left {100 * again:.0f} % have none either: the mask is too '
            'wide. Look at it, and give a tighter one by --derivatives.'
        ]
    elif share > BARE_SHARE:
        record['Notes'] = [f'{taken}.']
    return record


class _MatchMaskInputSpec(BaseInterfaceInputSpec):
    mask = File(exists=True, mandatory=True, desc='a mask made elsewhere')
    reference = File(exists=True, mandatory=True, desc='image whose grid it must have')
    placement = traits.Dict(
        desc='what the checks of the input found: threshold, by_voxels, uri; by default values '
        'above zero, placed by the affine'
    )


class _MatchMaskOutputSpec(TraitedSpec):
    mask = File(exists=True, desc='the mask on the reference grid')
    parameters = traits.Dict(desc='where the mask comes from')


class MatchMask(SimpleInterface):
    """Bring a given mask of the same scanner space onto the grid of the echoes."""

    input_spec = _MatchMaskInputSpec
    output_spec = _MatchMaskOutputSpec

    def _run_interface(self, runtime):
        from qsmprep.bids.masks import place_mask

        inputs = self.inputs
        found = inputs.placement if isdefined(inputs.placement) else {}
        threshold, by_voxels = found.get('threshold', 0.0), found.get('by_voxels', False)
        shape = images.read_grid(inputs.reference).shape
        affine = images.affine_of(inputs.reference)
        data = place_mask(inputs.mask, threshold, by_voxels, shape, affine)
        if not data.any():
            raise ValueError(
                f'The mask {inputs.mask} is empty on the grid of {inputs.reference}; '
                'give a mask in the scanner space of the echoes.'
            )
        self._results['mask'] = images.write(data, inputs.reference, runtime.cwd, 'given')
        self._results['parameters'] = {
            'Method': 'given',
            **({'File': found['uri']} if 'uri' in found else {}),
            'Threshold': threshold,
            'Resampled': not by_voxels,
        }
        return runtime

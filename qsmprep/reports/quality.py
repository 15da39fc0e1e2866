"""Quality measures of one acquisition, computed; their meaning is in ``measures``."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from qsmprep.qsm.grid import Grid, depth_mm, hz_to_ppm
from qsmprep.qsm.metrics import nrmse
from qsmprep.reports import consistency
from qsmprep.reports.agreement import disagreement_percent
from qsmprep.reports.catalogue import MEASURES
from qsmprep.reports.flips import flip_gain, turn_gain
from qsmprep.reports.measure import RIM_MM

FAINTEST = 1e-6
"""Part of the largest magnitude below which signal is counted as that."""
ON_CONE = 0.05
"""Largest magnitude of the dipole kernel on its cone."""


def measure_quality(
    grid: Grid,
    field_strength_t: float,
    chi_ppm: np.ndarray,
    map_mask: np.ndarray,
    *,
    estimated: np.ndarray | None = None,
    brain_mask: np.ndarray | None = None,
    reliable_mask: np.ndarray | None = None,
    total_field_hz: np.ndarray | None = None,
    field_noise_hz: np.ndarray | None = None,
    echo_misfit: np.ndarray | None = None,
    local_field_hz: np.ndarray | None = None,
    model_field_hz: np.ndarray | None = None,
    r2star_hz: np.ndarray | None = None,
    magnitude: np.ndarray | None = None,
    unwrapped: np.ndarray | None = None,
    echo_times_s: Sequence[float] = (),
    spectrum_misfit: float | None = None,
) -> dict[str, float]:
    """
    Compute the quality measures of one acquisition.

    Parameters
    ----------
    grid
        Grid of all arrays.
    field_strength_t
        Field strength [T].
    chi_ppm
        Susceptibility (X, Y, Z) [ppm].
    map_mask
        Where susceptibility is given; all values are taken there.
    estimated
        Voxels of the map without a field of their own: what is said of fields leaves them out.
    brain_mask, reliable_mask
        Masks of earlier steps.
    total_field_hz, field_noise_hz
        Total field and its standard deviation [Hz].
    echo_misfit
        Misfit of the echoes' phase over its noise.
    local_field_hz, model_field_hz
        Local field, and field of the susceptibility map (dipole model) [Hz].
    r2star_hz
        R2* [1/s].
    magnitude, unwrapped
        Magnitude [arbitrary] and unwrapped phase [rad] of the echoes, (X, Y, Z, E).
    echo_times_s
        Their echo times [s].
    spectrum_misfit
        Misfit of the field's spectrum, from the calibration.

    Returns
    -------
    dict
        Values by key of :data:`MEASURES`; what cannot be computed (not given, or no voxel) is
        left out.

    """
    inside = np.asarray(map_mask, dtype=bool)
    found = _measure_masks(inside, grid, brain_mask, reliable_mask)
    if brain_mask is not None:
        found |= measure_mask(brain_mask, grid, magnitude)
    measured = inside
    if estimated is not None:
        measured = inside & ~estimated
        found['map_estimated_ml'] = np.count_nonzero(inside & estimated) * grid.voxel_volume_ml
    if measured.any():
        chi = np.asarray(chi_ppm, dtype=np.float64)
        found |= _measure_map(chi, inside, grid)
        found |= _measure_fields(
            measured,
            grid,
            field_strength_t,
            total_hz=total_field_hz,
            noise_hz=field_noise_hz,
            local_hz=local_field_hz,
            model_hz=model_field_hz,
        )
        if spectrum_misfit is not None:
            found['spectrum_misfit'] = spectrum_misfit
        if echo_misfit is not None:
            found['echo_misfit'] = np.median(echo_misfit[measured])
        if unwrapped is not None:
            core = measured & (depth_mm(inside, grid.voxel_size) > RIM_MM)
            found['phase_jumps_percent'] = _jumps_percent(unwrapped, core)
            given = magnitude, total_field_hz, local_field_hz
            if _has_echoes(unwrapped) and echo_times_s and all(x is not None for x in given):
                found['echo_disagreement_percent'] = disagreement_percent(
                    unwrapped, magnitude, echo_times_s, *given[1:], measured, grid
                )
        if r2star_hz is not None:
            found |= _measure_relaxation(r2star_hz, chi, measured, field_strength_t)
        decay = r2star_hz if r2star_hz is not None else _decay(magnitude)
        if decay is not None:
            found['flip_gain_errors'] = flip_gain(decay, chi, measured, grid)
    # the last digits depend on the number of threads
    known = {key: float(f'{value:.7g}') for key, value in found.items() if np.isfinite(value)}
    return {measure.key: known[measure.key] for measure in MEASURES if measure.key in known}


def _has_echoes(image: np.ndarray) -> bool:
    """Whether an image holds several echoes."""
    return image.ndim == 4 and image.shape[3] > 1


def _jumps_percent(unwrapped: np.ndarray, core: np.ndarray) -> float:
    """Jumps of the unwrapped phase; of several echoes, of what the second has over the first."""
    step = unwrapped[..., 1] - unwrapped[..., 0] if _has_echoes(unwrapped) else unwrapped
    return consistency.jumps_percent(step.reshape(core.shape), core)


def _measure_relaxation(
    r2star_hz: np.ndarray, chi_ppm: np.ndarray, measured: np.ndarray, field_strength_t: float
) -> dict[str, float]:
    """Median of R2*, that over the usual one, and its rise with susceptibility."""
    median_hz = np.median(r2star_hz[measured])
    return {
        'r2star_median_hz': median_hz,
        'r2star_relative': median_hz / consistency.usual_r2star_hz(field_strength_t),
        'r2star_per_chi': consistency.relaxation_per_chi(
            r2star_hz, chi_ppm, measured, field_strength_t
        ),
    }


def _decay(magnitude: np.ndarray | None) -> np.ndarray | None:
    """Logarithm of the signal that the last echo lacks: R2* up to a factor and what is smooth."""
    if magnitude is None:
        return None
    last = magnitude[..., -1] if magnitude.ndim == 4 else magnitude
    return -np.log(np.maximum(last, FAINTEST * last.max() + np.finfo(np.float32).tiny))


def _measure_masks(
    inside: np.ndarray, grid: Grid, brain: np.ndarray | None, reliable: np.ndarray | None
) -> dict[str, float]:
    """Volume of the map and of the brain, and what was lost between them."""
    found: dict[str, float] = {'map_volume_ml': inside.sum() * grid.voxel_volume_ml}
    if brain is not None:
        found['brain_volume_ml'] = np.count_nonzero(brain) * grid.voxel_volume_ml
        if reliable is not None:
            found['lost_to_phase_quality_percent'] = lost_percent(brain, reliable)
    last = brain if reliable is None else reliable
    if last is not None:
        found['lost_to_background_percent'] = lost_percent(last, inside)
    return found


def _measure_map(chi_ppm: np.ndarray, inside: np.ndarray, grid: Grid) -> dict[str, float]:
    """Spread, extremes and texture of susceptibility in its mask."""
    values = chi_ppm[inside]
    return {
        'chi_sd_ppb': 1000 * np.std(values),
        'chi_beyond_1ppm_percent': 100 * np.mean(np.abs(values) > 1),
        'chi_max_ppm': np.abs(values).max(),
        'chi_rim_to_core_sd': rim_to_core_sd(chi_ppm, inside, grid),
        'chi_cone_power_ratio': cone_power_ratio(chi_ppm, inside, grid),
        'chi_tail_asymmetry': consistency.tail_asymmetry(chi_ppm, inside),
        'chi_inner_asymmetry': consistency.tail_asymmetry(chi_ppm, inside, 1.0),
    }


def _measure_fields(
    measured: np.ndarray,
    grid: Grid,
    field_strength_t: float,
    *,
    total_hz: np.ndarray | None,
    noise_hz: np.ndarray | None,
    local_hz: np.ndarray | None,
    model_hz: np.ndarray | None,
) -> dict[str, float]:
    """Spread of the fields where they were measured, and how they fit together."""
    found: dict[str, float] = {}
    if noise_hz is not None:
        found['field_noise_median_hz'] = np.median(noise_hz[measured])
    if total_hz is not None:
        total = np.asarray(total_hz[measured], dtype=np.float64)
        found['total_field_sd_hz'] = np.std(total)
        largest_hz = np.abs(total - np.median(total)).max()
        found['total_field_max_ppm'] = hz_to_ppm(largest_hz, field_strength_t)
        found['total_coarse_to_fine'] = consistency.coarse_to_fine(total_hz, measured, grid)
    if local_hz is not None:
        spread_hz = np.std(local_hz[measured], dtype=np.float64)
        found['local_field_sd_ppb'] = 1000 * hz_to_ppm(spread_hz, field_strength_t)
        deep = local_hz[measured & (depth_mm(measured, grid.voxel_size) > RIM_MM)]
        if deep.size:
            middle_hz = np.ptp(np.percentile(deep, [16, 84])) / 2
            tissue_hz = math.sqrt(max(middle_hz**2 - found.get('field_noise_median_hz', 0) ** 2, 0))
            found['local_field_middle_ppb'] = 1000 * hz_to_ppm(tissue_hz, field_strength_t)
        found['b0_angle_deg'], _ = consistency.b0_angle_deg(local_hz, measured, grid)
        found['field_rim_to_core_sd'] = rim_to_core_sd(local_hz, measured, grid)
        if total_hz is not None and spread_hz > 0:
            found['total_to_local_field'] = found['total_field_sd_hz'] / spread_hz
        if found.get('field_noise_median_hz', 0) > 0:
            found['local_field_to_noise'] = spread_hz / found['field_noise_median_hz']
        if model_hz is not None:
            found['data_consistency'] = nrmse(model_hz, local_hz, measured) / 100
    return found


def measure_mask(
    brain_mask: np.ndarray, grid: Grid, magnitude: np.ndarray | None
) -> dict[str, float]:
    """
    How well a brain mask fits the magnitude, and the echoes one another.

    Parameters
    ----------
    brain_mask
        Brain mask.
    grid
        Its grid.
    magnitude
        Magnitude of the echoes [arbitrary], if there is one.

    """
    found = {'brain_holes_percent': consistency.holes_percent(brain_mask)}
    if magnitude is None or not brain_mask.any():
        return found
    signal = consistency.signal_of(magnitude, brain_mask)
    found['brain_dark_percent'] = consistency.dark_percent(signal, brain_mask)
    found['brain_beyond_percent'] = consistency.brain_beyond_percent(signal, brain_mask, grid)
    found['brain_turn_gain'] = turn_gain(signal, brain_mask, grid)
    if _has_echoes(magnitude):
        found['echo_shift_voxels'] = consistency.echo_shift_voxels(magnitude, brain_mask, grid)
    return found


def lost_percent(before: np.ndarray, after: np.ndarray) -> float:
    """
    Part of a mask that is missing in a later one [%]; NaN where the first is empty.

    Examples
    --------
    >>> lost_percent(np.array([1, 1, 1, 1]), np.array([1, 1, 1, 0]))
    25.0

    """
    size = np.count_nonzero(before)
    kept = np.count_nonzero(np.logical_and(before, after))
    return float(100 * (size - kept) / size) if size else math.nan


def rim_to_core_sd(chi_ppm: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Spread of susceptibility at the edge of a mask over that deeper inside.

    Parameters
    ----------
    chi_ppm
        Susceptibility (X, Y, Z) [ppm].
    mask
        Its mask; the edge of the volume counts as an edge of the mask.
    grid
        Its grid.

    Returns
    -------
    float
        Ratio; NaN where nothing lies deeper than 4 mm.

    """
    core = depth_mm(mask, grid.voxel_size) > RIM_MM
    rim = mask & ~core
    spread = np.std(chi_ppm[core]) if core.any() else 0.0
    return float(np.std(chi_ppm[rim]) / spread) if spread and rim.any() else math.nan


def cone_power_ratio(chi_ppm: np.ndarray, mask: np.ndarray, grid: Grid) -> float:
    """
    Power where the dipole kernel nearly vanishes over power elsewhere, shell by shell.

    The dipole kernel 1/3 - cos^2 is zero on a cone; noise divided by it makes streaks, and
    regularisation takes power away from it. Comparing within shells of spatial frequency
    (above 0.1 cycles/mm, below the coarsest axis' Nyquist frequency) leaves the shape of the
    spectrum out. A map without any preference for the cone has a ratio of about 1.

    Parameters
    ----------
    chi_ppm
        Susceptibility (X, Y, Z) [ppm].
    mask
        Its mask; the mean inside is taken off.
    grid
        Its grid.

    """
    values = np.where(mask, chi_ppm - np.mean(chi_ppm[mask]), 0).astype(np.float32)
    power = np.abs(np.fft.rfftn(values)) ** 2
    axes = [
        np.fft.fftfreq(grid.shape[0], grid.voxel_size[0])[:, None, None],
        np.fft.fftfreq(grid.shape[1], grid.voxel_size[1])[None, :, None],
        np.fft.rfftfreq(grid.shape[2], grid.voxel_size[2])[None, None, :],
    ]
    squared = sum(axis**2 for axis in axes)
    squared[0, 0, 0] = np.inf
    along = sum(axis * b for axis, b in zip(axes, grid.b0_direction, strict=True))
    kernel = 1 / 3 - along**2 / squared
    nyquist = 0.5 / max(grid.voxel_size)
    low = min(0.1, nyquist / 3)
    shell = np.floor((np.sqrt(squared) - low) / (nyquist - low) * 16)
    ratios = []
    for index in range(16):
        here = shell == index
        on = here & (np.abs(kernel) < ON_CONE)
        off = here & (np.abs(kernel) > 3 * ON_CONE)
        if np.count_nonzero(on) >= 8 and power[off].sum() > 0:
            ratios.append(power[on].mean() / power[off].mean())
    return float(np.mean(ratios)) if ratios else math.nan

"""What each quality measure means, and which values are expected."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

RIM_MM = 4.0
"""Width of the edge of a map, which is compared with what lies deeper."""


@dataclass(frozen=True)
class Measure:
    """
    What a quality measure means.

    Parameters
    ----------
    key
        Name in sidecars and tables.
    label
        Name in the report.
    unit
        Unit; empty for ratios.
    description
        What it is, in one or two sentences.
    low, high
        Values of an adult brain at 1.5 to 7 T are expected between these. They are wide: meant
        to catch wrong units, masks and methods, not to grade scans. None where nothing is known.
    advice
        What to look at when the value is outside.
    bound
        Value beyond which no map can be right, whatever was scanned; the run then counts as
        failed.

    """

    key: str
    label: str
    unit: str
    description: str
    low: float | None = None
    high: float | None = None
    advice: str = ''
    bound: float = math.inf

    @property
    def band(self) -> str:
        """
        The expected values in words.

        Examples
        --------
        >>> Measure('a', 'A', 'ml', '', 0.5, None).band
        'at least 0.5'

        """
        if self.low is None and self.high is None:
            return ''
        if self.high is None:
            return f'at least {self.low:g}'
        if self.low is None:
            return f'at most {self.high:g}'
        return f'{self.low:g} to {self.high:g}'

    def accepts(self, value: float) -> bool:
        """Whether a value is finite and as expected."""
        above = self.low is None or value >= self.low
        return math.isfinite(value) and above and (self.high is None or value <= self.high)


MEASURES = (
    Measure(
        'brain_volume_ml',
        'Brain mask',
        'ml',
        'Volume of the brain mask before anything is taken off.',
        800.0,
        2000.0,
        'Compare the outline of the brain mask with the brain; a slab that covers part of the '
        'brain explains a small volume.',
    ),
    Measure(
        'lost_to_phase_quality_percent',
        'Taken off for unreliable phase',
        '%',
        'Part of the brain mask that is taken off because its phase cannot be trusted.',
        None,
        15.0,
        'Look for brain regions that the mask lacks, and at the phase of the later echoes.',
        bound=95.0,
    ),
    Measure(
        'lost_to_background_percent',
        'Taken off with the background field',
        '%',
        'Part of the reliable mask that is lost when the background field is removed.',
        None,
        30.0,
        'Cortex near the edge may be missing; holes in the mask make the loss larger.',
        bound=95.0,
    ),
    Measure(
        'map_volume_ml',
        'Volume of the map',
        'ml',
        'Volume in which susceptibility is given.',
        600.0,
        1900.0,
        'Look at the outline of the final mask.',
    ),
    Measure(
        'map_estimated_ml',
        'Estimated without a field',
        'ml',
        'Volume of the map whose voxels have no reliable field of their own, such as dephased '
        'lesions: their susceptibility was estimated from the field around them. '
        'desc-estimated_mask shows where.',
        None,
        10.0,
        'Susceptibility there is less certain than elsewhere: look at the magnitude of the echoes '
        'and at the outline of the brain mask.',
    ),
    Measure(
        'field_noise_median_hz',
        'Noise of the field',
        'Hz',
        'Median over the map of the standard deviation of the total field.',
        None,
        5.0,
        'Look at the magnitude of the echoes and at the noise map.',
        bound=100.0,
    ),
    Measure(
        'echo_misfit',
        'Misfit of the echoes',
        '',
        'Median over the map of the misfit between the phase of the echoes and a field that is '
        'constant in time, over the noise of the phase: the root of the reduced chi-square, 1 '
        'where there is noise alone.',
        None,
        2.0,
        'Phase offsets, bipolar read-out, motion or wrong echo times make the echoes disagree; '
        'look at the unwrapped phase.',
    ),
    Measure(
        'total_field_sd_hz',
        'Spread of the total field',
        'Hz',
        'Standard deviation of the total field over the map.',
        2.0,
        150.0,
        'Look for wraps that are left in the total field.',
        bound=1000.0,
    ),
    Measure(
        'total_field_max_ppm',
        'Largest total field',
        'ppm',
        'Largest distance of the total field from its median over the map.',
        None,
        10.0,
        'Air beside tissue explains up to 6 ppm; more comes from wraps that are left, from metal, '
        'or from a wrong scale of the phase or unit of the echo times.',
        bound=50.0,
    ),
    Measure(
        'local_field_sd_ppb',
        'Spread of the local field',
        'ppb',
        'Standard deviation of the local field over the map.',
        3.0,
        40.0,
        'A wide spread comes from background field that is left near the edge, a narrow one '
        'from a wrong scale of the phase.',
        bound=500.0,
    ),
    Measure(
        'data_consistency',
        'Unexplained field',
        '',
        'Norm of the difference between the local field and the field of the susceptibility map, '
        'over the norm of the local field, their means over the map taken off.',
        None,
        0.7,
        'The map explains little of the field: look at the mask and for background field.',
        bound=1.5,
    ),
    Measure(
        'chi_sd_ppb',
        'Spread of susceptibility',
        'ppb',
        'Standard deviation of susceptibility over the map.',
        10.0,
        120.0,
        'Factors of 6.28 or of the field strength show here: compare deep grey nuclei with '
        'published values (pallidum about 0.12 ppm above white matter).',
        bound=1000.0,
    ),
    Measure(
        'chi_beyond_1ppm_percent',
        'Voxels beyond \u00b11 ppm',
        '%',
        'Part of the map beyond \u00b11 ppm: more than calcification or blood products explain.',
        None,
        1.0,
        'Look for streaks around voxels of poor phase.',
        bound=25.0,
    ),
    Measure(
        'chi_max_ppm',
        'Largest susceptibility',
        'ppm',
        'Largest magnitude of susceptibility over the map.',
        None,
        6.0,
        'Calcification and blood reach about 3 ppm; more comes from voxels of poor phase or metal.',
        bound=100.0,
    ),
    Measure(
        'chi_rim_to_core_sd',
        'Rim against core',
        '',
        f'Standard deviation of susceptibility within {RIM_MM:g} mm of the edge of the map, over '
        'that deeper inside.',
        None,
        2.5,
        'Susceptibility varies much at the edge: the mask may be too wide, or background field '
        'is left.',
    ),
    Measure(
        'chi_cone_power_ratio',
        'Cone against surroundings',
        '',
        'Power of the map where the dipole kernel nearly vanishes (the cone at the magic angle), '
        'over that elsewhere at the same spatial frequencies. Above 1: streaks; far below 1: the '
        'map is smoothed along the cone.',
        0.05,
        2.5,
        'Look for streaks (too little regularisation) or for blurred, flat maps (too much).',
    ),
    Measure(
        'r2star_median_hz',
        'Median R2*',
        '1/s',
        'Median of R2* over the map.',
        8.0,
        60.0,
        'Wrong echo times or a magnitude that is not proportional to the signal shift R2*.',
    ),
)
"""All measures, in the order of the report."""


def implausible(quality: Mapping[str, float]) -> list[str]:
    """
    Sentences on measures beyond what any map can have.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.

    Examples
    --------
    >>> implausible({'chi_max_ppm': 480.0, 'chi_sd_ppb': 30.0})
    ['Largest susceptibility: 480 ppm, beyond 100 ppm, which no map can have.']

    """
    return [
        f'{measure.label}: {value:.3g} {measure.unit}'.rstrip()
        + f', beyond {measure.bound:g} {measure.unit}'.rstrip()
        + ', which no map can have.'
        for measure in MEASURES
        if isinstance(value := quality.get(measure.key), int | float) and value > measure.bound
    ]


def quality_warnings(quality: Mapping[str, float]) -> list[str]:
    """
    Sentences on measures that are not as expected.

    Parameters
    ----------
    quality
        Values by key of :data:`MEASURES`; others are passed over.

    Examples
    --------
    >>> quality_warnings({'chi_beyond_1ppm_percent': 12.0})[0][:60]
    'Voxels beyond ±1 ppm: 12 %, expected at most 1 %. Look for s'

    """
    sentences = []
    for measure in MEASURES:
        value = quality.get(measure.key)
        if isinstance(value, int | float) and not measure.accepts(value):
            unit = f' {measure.unit}' if measure.unit else ''
            sentences.append(
                f'{measure.label}: {value:.3g}{unit}, expected {measure.band}{unit}. '
                f'{measure.advice}'
            )
    return sentences

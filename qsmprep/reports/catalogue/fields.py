"""Measures of the echoes and of the fields."""

from __future__ import annotations

import math

from qsmprep.reports.measure import RIM_MM, WIDE, Measure

FIELDS = (
    Measure(
        'field_noise_median_hz',
        'Noise of the field',
        'Hz',
        'Median over the map of the standard deviation of the total field.',
        None,
        5.0,
        'Look at the magnitude of the echoes and at the noise map.',
        bound=100.0,
        why='Noise of the field is amplified along the cone, which makes streaks.',
        source=WIDE,
    ),
    Measure(
        'local_field_to_noise',
        'Local field over noise',
        '',
        'Standard deviation of the local field over the map, over the median noise of the field.',
        2.0,
        None,
        'The scan is too noisy: look at the magnitude; longer echo times, larger voxels or more '
        'averages help.',
        why='Where the field is noise the map shows noise, or what the method expects.',
        tried=True,
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
        why='Phase that is not linear in the echo time is not that of a field.',
        source='chi-square',
        tried=True,
    ),
    Measure(
        'echo_shift_voxels',
        'Motion between echoes',
        'voxels',
        'Displacement of the magnitude from one echo to the next, the largest of all, in units of '
        'the longest edge of a voxel (least squares on the gradient: Lucas and Kanade 1981).',
        None,
        0.4,
        'Look for edges that move from echo to echo; the participant moved, or the echoes come '
        'from different scans.',
        head=(-math.inf, 1.5),
        why='Echoes of different places cannot be combined into one field.',
        tried=True,
    ),
    Measure(
        'echo_disagreement_percent',
        'Disagreement of the echoes',
        '%',
        'Standard deviation of the field of an echo around the combined one (the median of the '
        'echoes by their weights in it), without the noise that neighbours do not share, over that '
        'of the local field.',
        None,
        15.0,
        'The scan is damaged, as by motion, ghosts, breathing or eddy currents, or echo times are '
        'wrong; look at magnitude and phase.',
        head=(-math.inf, 50.0),
        why='What the echoes contradict each other by is no field of tissue, but becomes map.',
        tried=True,
    ),
    Measure(
        'phase_jumps_percent',
        'Jumps of the unwrapped phase',
        '%',
        f'Neighbouring voxels, deeper than {RIM_MM:g} mm in the map, that gain phases between the '
        'first two echoes, or by the time of a single one, which differ by more than pi.',
        None,
        2.0,
        'Look for sharp steps in the unwrapped phase: wraps that are left, fringes that end '
        'within the brain (failed combination of coils), or voxels too large for the echo time.',
        why='A wrap that is left is an error of the field by a whole turn.',
        source='Itoh 1982, 10.1364/AO.21.002470',
        tried=True,
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
        why='The field of a head is known to within a factor: beyond it a unit is wrong.',
        source=WIDE,
        brain=True,
    ),
    Measure(
        'total_field_max_ppm',
        'Largest total field',
        'ppm',
        'Largest distance of the total field from its median over the map.',
        None,
        10.0,
        'Look for wraps that are left, for metal, or for a wrong scale of the phase or unit of '
        'the echo times.',
        bound=50.0,
        why='Air beside tissue explains up to 6 ppm, and nothing in a head more.',
        source='susceptibility of air against tissue, 9.4 ppm, times 2/3',
    ),
    Measure(
        'total_coarse_to_fine',
        'Coarse over fine waves of the total field',
        '',
        'Spread of the total field in waves of about 45 mm (smoothed by Gaussians of 5 mm less of '
        '10 mm, SD), over that in waves of about 25 mm (3 less 5 mm), deeper than 4 mm in the map. '
        'Air around the brain makes coarse waves; tissue alone has 1.1 to 1.5.',
        2.0,
        None,
        'The phase may have been high-pass filtered by the scanner (homodyne, SWI): export it '
        'unfiltered.',
        why='A high-pass filter takes the coarse waves of the tissue along with those of the '
        'background: susceptibility is then too low by an unknown factor.',
        source='geometric mean of 18 simulated heads (2.7 to 3.9, median 3.3) and of their tissue '
        'alone (1.1 to 1.3, median 1.2)',
        brain=True,
    ),
    Measure(
        'total_to_local_field',
        'Total field over local field',
        '',
        'Standard deviation of the total field over that of the local field.',
        2.0,
        None,
        'Background field may be left in the local field: look for shading towards the edge, and '
        'at the outline of the mask; or the phase was filtered by the scanner.',
        why='The background is several times as strong as the field of the tissue: a local field '
        'that is nearly as strong holds something else.',
        tried=True,
        brain=True,
    ),
    Measure(
        'local_field_sd_ppb',
        'Spread of the local field',
        'ppb',
        'Standard deviation of the local field over the map.',
        3.0,
        40.0,
        'A wide spread comes from background field that is left near the edge, or from bone, air '
        'or metal within the mask (all that has signal is no brain: give a mask of it); a narrow '
        'one from a wrong scale of the phase or unit of the field.',
        bound=500.0,
        head=(1.0, 75.0),
        why='Susceptibility is proportional to the local field.',
        tried=True,
        brain=True,
    ),
    Measure(
        'local_field_middle_ppb',
        'Middle of the local field',
        'ppb',
        'Half the distance between percentiles 16 and 84 of the local field, deeper than 4 mm in '
        'the map, the median noise of the field taken off in quadrature. Veins, lesions and the '
        'edge do not count in it.',
        4.5,
        18.0,
        'Check echo times, field strength and the scale of the phase.',
        head=(-math.inf, 30.0),
        why='Tissue of all brains makes fields of nearly one size.',
        source='true fields of 18 simulated heads, 7.6 to 9.3 (benchmarks/report_bounds.py); 14 '
        'in a measured scan whose echoes end at 4.6 ms',
        brain=True,
    ),
    Measure(
        'field_rim_to_core_sd',
        'Local field, rim against core',
        '',
        f'Standard deviation of the local field within {RIM_MM:g} mm of the edge of the map, over '
        'that deeper inside.',
        None,
        7.0,
        'Background field is left at the edge: look at the outline of the mask there, or try '
        'another background field removal.',
        why='Background field that is left becomes shading and rims of the map.',
        tried=True,
    ),
    Measure(
        'b0_angle_deg',
        'Direction of B0',
        'degrees',
        'Angle between the direction of B0 in the header and the one along which the power of the '
        'local field has the shape of the dipole kernel (Marques and Bowtell 2005, '
        '10.1002/cmr.b.20034), deeper than 4 mm in the map; 0 where that of the header fits as '
        'well, within 5 %.',
        None,
        12.0,
        'Check the affine of the images: it must lead to the scanner, not to a standard space or '
        'a reoriented image.',
        head=(-math.inf, 20.0),
        why='With a wrong direction of B0 the dipole kernel is wrong, and so is all of the map.',
        tried=True,
    ),
    Measure(
        'spectrum_misfit',
        'Misfit of the spectrum',
        '',
        'Mean Itakura-Saito divergence of the power spectrum of the local field from the one '
        'that susceptibility, remnants and noise would have (docs/likelihood.md).',
        None,
        0.1,
        'Look at the plot of the spectra: the field has structure that is neither tissue, smooth '
        'remnant nor noise.',
        why='The inversion weighs the field by its spectrum.',
        source='Itakura and Saito 1968',
        tried=True,
    ),
    Measure(
        'data_consistency',
        'Unexplained field',
        '',
        'Norm of the difference between the local field and the field of the susceptibility map, '
        'over the norm of the local field, their means over the map taken off.',
        None,
        0.95,
        'The map explains little of the field: look at the mask and for background field.',
        bound=1.5,
        why='A map that does not explain its field is not that of the scan.',
        tried=True,
    ),
)
"""In the order of the report."""

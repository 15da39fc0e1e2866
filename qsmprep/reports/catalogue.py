"""The quality measures: what each means, which values are expected, and why it matters."""

from __future__ import annotations

import math

from qsmprep.reports.measure import Measure

RIM_MM = 4.0
"""Width of the edge of a map, which is compared with what lies deeper."""
WIDE = 'wide, against wrong units'

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
        why='A mask that is too small cuts off cortex; one that is too large adds streaks.',
        source='adult brains (Allen 2002, 10.1002/ajpa.10092) and the fluid around them',
    ),
    Measure(
        'brain_dark_percent',
        'Mask without signal',
        '%',
        'Part of the brain mask whose first echo is below a fifth of the median over the mask.',
        None,
        6.0,
        'Look at the outline of the brain mask: it may be shifted, too wide, or that of another '
        'scan.',
        head=(-math.inf, 10.0),
        why='Air and bone have no phase: noise from there becomes streaks in the brain.',
        tried=True,
    ),
    Measure(
        'brain_beyond_percent',
        'Brain outside the mask',
        '%',
        'Part of a shell of 6 mm around the brain mask that has the signal of the brain (0.6 of '
        'the median over the mask or more).',
        None,
        75.0,
        'Look at the outline of the brain mask: brain outside it is lost.',
        why='Brain outside the mask has no susceptibility, and its field is taken for background.',
        tried=True,
    ),
    Measure(
        'brain_holes_percent',
        'Holes in the mask',
        '%',
        'Volume that the brain mask encloses, over that of the mask.',
        None,
        1.0,
        'Fill the holes of the brain mask, unless they are meant.',
        why='Sources in a hole are taken for background, and their field is removed.',
        tried=True,
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
        why='What is taken off near the edge has no susceptibility.',
        source=WIDE,
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
        why='What is lost has no susceptibility.',
        source='shells of 2 to 4 mm that SHARP-type methods erode',
    ),
    Measure(
        'map_volume_ml',
        'Volume of the map',
        'ml',
        'Volume in which susceptibility is given.',
        600.0,
        1900.0,
        'Look at the outline of the final mask.',
        why='Regions that the map does not cover cannot be compared.',
        source='that of the brain mask, and what may be lost',
    ),
    Measure(
        'map_estimated_ml',
        'Estimated without a field',
        'ml',
        'Volume of the map whose voxels have no reliable field of their own, such as dephased '
        'lesions or phase too steep beside the sinuses: their susceptibility was estimated from '
        'the field around them. desc-estimated_mask shows where.',
        None,
        85.0,
        'Look at the magnitude of the echoes and at the outline of the brain mask.',
        why='Susceptibility there is less certain than elsewhere.',
        source='median of 18 simulated heads at a single echo of 20 ms and 3 T, voxels of 2 mm '
        '(14 to 261 ml); 2 ml at 5 ms',
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
        why='Noise of the field is amplified along the cone, which makes streaks.',
        source=WIDE,
    ),
    Measure(
        'local_field_to_noise',
        'Local field over noise',
        '',
        'Standard deviation of the local field over the map, over the median noise of the field.',
        4.0,
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
        'phase_jumps_percent',
        'Jumps of the unwrapped phase',
        '%',
        'Neighbouring voxels of the map that gain phases between the first two echoes, or by the '
        'time of a single one, which differ by more than pi.',
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
        head=(1.0, 75.0),
        why='Susceptibility is proportional to the local field.',
        tried=True,
    ),
    Measure(
        'field_rim_to_core_sd',
        'Local field, rim against core',
        '',
        f'Standard deviation of the local field within {RIM_MM:g} mm of the edge of the map, over '
        'that deeper inside.',
        None,
        5.0,
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
        '10.1002/cmr.b.20034); 0 where that of the header fits as well, within 5 %.',
        None,
        25.0,
        'Check the affine of the images: it must lead to the scanner, not to a standard space or '
        'a reoriented image.',
        head=(-math.inf, 50.0),
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
        head=(3.0, math.inf),
        why='Susceptibility of other size than that of brains is wrong by a scale.',
        source='regions of brains: Min 2024, 10.1002/nbm.5226',
        tried=True,
    ),
    Measure(
        'chi_tail_asymmetry',
        'Sign of susceptibility',
        '',
        'Length of the paramagnetic tail of the map against the diamagnetic one, from -1 to 1: '
        'percentiles 99.5 and 0.5 about the median (Bowley skewness).',
        -0.05,
        None,
        'If veins and pallidum are dark and white matter is bright, run again with '
        '--phase-sign -1; a large calcification explains it too.',
        why='Phase of the other sign turns iron into calcium.',
        source='veins and iron are paramagnetic, nothing as large is as diamagnetic',
        tried=True,
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
        why='Such values are errors, or lesions that deserve a look.',
        source='haemorrhage and calcification, about 1 ppm',
    ),
    Measure(
        'chi_max_ppm',
        'Largest susceptibility',
        'ppm',
        'Largest magnitude of susceptibility over the map.',
        None,
        6.0,
        'Look for voxels of poor phase, or metal.',
        bound=100.0,
        why='Calcification and blood reach about 3 ppm.',
        source='twice that of calcification and blood',
    ),
    Measure(
        'chi_rim_to_core_sd',
        'Rim against core',
        '',
        f'Standard deviation of susceptibility within {RIM_MM:g} mm of the edge of the map, over '
        'that deeper inside.',
        None,
        2.5,
        'The mask may be too wide, or background field is left.',
        why='A rim of the map is no tissue.',
        tried=True,
    ),
    Measure(
        'chi_cone_power_ratio',
        'Cone against surroundings',
        '',
        'Power of the map where the dipole kernel nearly vanishes (the cone at the magic angle), '
        'over that elsewhere at the same spatial frequencies. Above 1: streaks; far below 1: the '
        'map is smoothed along the cone.',
        0.02,
        2.5,
        'Look for streaks (too little regularisation) or for blurred, flat maps (too much).',
        why='The field does not determine this part of the map; the method does.',
        source='one for tissue without preferred direction',
        tried=True,
    ),
    Measure(
        'r2star_median_hz',
        'Median R2*',
        '1/s',
        'Median of R2* over the map.',
        5.0,
        60.0,
        'Wrong echo times or a magnitude that is not proportional to the signal shift R2*.',
        why='R2* is measured in the same time as the field.',
        source=WIDE,
    ),
    Measure(
        'r2star_relative',
        'R2* against the field strength',
        '',
        'Median of R2* over the map, over that of grey and white matter at this field strength '
        '(Peters 2007, 10.1016/j.mri.2007.02.014).',
        0.8,
        1.6,
        'Check echo times and field strength: both scale R2* and susceptibility.',
        head=(-math.inf, 4.0),
        why='Echo times or a field strength that are wrong by a factor make susceptibility wrong '
        'by the same factor.',
        source='published means lie between 1 (Peters) and 1.27 (Wansapura 1999, '
        '10.1002/(SICI)1522-2586(199904)9:4<531::AID-JMRI4>3.0.CO;2-L); the bounds are the '
        'geometric middle between them and a factor of two',
    ),
    Measure(
        'r2star_per_chi',
        'R2* against susceptibility',
        '1/s/ppm/T',
        'Rise of R2* with susceptibility over the field strength: medians over the 2 % of the map '
        'with the largest susceptibility against the rest; 46 in theory, for sources that lie at '
        'random.',
        15.0,
        140.0,
        'Sign or scale of the phase may be wrong: R2*, from the magnitude, does not agree with '
        'susceptibility, from the phase.',
        why='Iron raises both, in a known proportion.',
        source='a third to three times 137 1/s/ppm at 3 T: Shin 2021, '
        '10.1016/j.neuroimage.2021.118371',
    ),
)
"""All measures, in the order of the report."""

"""Measures of the maps: susceptibility and R2*."""

from __future__ import annotations

import math

from qsmprep.reports.measure import RIM_MM, WIDE, Measure

MAPS = (
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
        brain=True,
    ),
    Measure(
        'chi_tail_asymmetry',
        'Sign of susceptibility',
        '',
        'Length of the paramagnetic tail of the map against the diamagnetic one, from -1 to 1: '
        'percentiles 99.5 and 0.5 about the median (Bowley skewness).',
        0.06,
        None,
        'If veins and pallidum are dark and white matter is bright, run again with '
        '--phase-sign -1 (or turn the sign of the field or map that was given); a large '
        'calcification explains it too. Where neither veins nor nuclei show, look for motion and '
        'ghosts.',
        why='Phase of the other sign turns iron into calcium.',
        source='veins and iron are paramagnetic, nothing as large is as diamagnetic',
        tried=True,
        brain=True,
    ),
    Measure(
        'chi_inner_asymmetry',
        'Sign without small lesions',
        '',
        'The same from percentiles 99 and 1, between which a calcification of less than 10 ml does '
        'not count.',
        0.0,
        None,
        'As for the sign of susceptibility.',
        why='A calcification can turn the long tail, but not this one.',
        source='six measured maps (0.07 to 0.12) and two of COSMOS (0.30, 0.36)',
        brain=True,
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
        brain=True,
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
        brain=True,
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
        source='published means lie between 1 (Peters) and 1.3 (T2* of 45 ms at 3 T, the value '
        'that simulators take from Wansapura 1999, JMRI 9:531; the paper was not at hand); the '
        'bounds are the geometric middle between them and a factor of two',
        brain=True,
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
        brain=True,
    ),
    Measure(
        'flip_gain_errors',
        'Gain of a flip',
        'standard errors',
        'Correlation of the details of R2* (of one echo: of the logarithm of the magnitude, turned '
        'round) with those of susceptibility flipped along the likeliest array axis, less that '
        'with susceptibility as it is, over the standard error of details that do not belong '
        'together (shifted by 15 to 30 mm).',
        None,
        2.0,
        'Look whether veins and nuclei lie where they lie in the magnitude: the phase, or a field '
        'that was given, may be flipped.',
        why='Iron raises both: their details lie in one place.',
        tried=True,
    ),
)
"""In the order of the report."""

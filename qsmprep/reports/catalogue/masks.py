"""Measures of the masks: of the brain, and of what is lost from it to the map."""

from __future__ import annotations

import math

from qsmprep.reports.measure import WIDE, Measure

MASKS = (
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
        brain=True,
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
        'brain_turn_gain',
        'Gain of a turned mask',
        '',
        'Correlation of the brain mask with the signal within 20 mm of its edge if it is turned by '
        '5 to 15 degrees about the likeliest axis, less that as it is or turned the other way.',
        None,
        0.005,
        'Look at the outline of the brain mask: it may be that of another position of the head, or '
        'too wide.',
        why='A mask that is turned against the brain takes air for tissue and tissue for air.',
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
        bound=50.0,
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
        2000.0,
        'Look at the outline of the final mask.',
        why='Regions that the map does not cover cannot be compared.',
        source='at most that of the brain mask, of which a quarter may be lost',
        brain=True,
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
        brain=True,
    ),
)
"""In the order of the report."""

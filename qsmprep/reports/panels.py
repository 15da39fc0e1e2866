"""The report's pictures: title, caption, what draws them, and from which images."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Panel:
    """
    A picture of the report.

    Parameters
    ----------
    title
        Title.
    caption
        What to look for.
    draw
        ``module:function`` of :mod:`qsmprep.reports` that draws it into the PNG ``out_path``.
    inputs
        Image (an output of the graph) -> argument of the function that takes its path.
    expected
        Whether each acquisition has this picture.
    halves
        Whether the picture is one image above another, between which the page changes.

    """

    title: str
    caption: str
    draw: str = ''
    inputs: dict[str, str] = field(default_factory=dict)
    expected: bool = False
    halves: bool = False


PANELS = {
    'echoes': Panel(
        'Echoes: magnitude and phase',
        'Phase must wrap from \u2212\u03c0 (black) to \u03c0 (white) in smooth bands that get '
        'closer with the echo time. A few grey levels only, or late echoes that never reach '
        'black and white, mean a wrong phase range; stripes from slice to slice a fault of '
        'reconstruction; blurred edges or ghosts motion. Outside the head there is only noise.',
        'echoes:plot_echoes',
        {'magnitude': 'magnitude', 'phase': 'phase', 'brain_mask': 'mask'},
        expected=True,
    ),
    'unwrapped': Panel(
        'Unwrapped phase',
        'Smooth within the brain, and growing with the echo time. Sharp steps between blue and '
        'red are wraps that are left; an echo with another overall colour has a wrong offset.',
        'echoes:plot_unwrapped',
        {'unwrapped': 'unwrapped', 'brain_mask': 'mask'},
        expected=True,
    ),
    'unwrapping': Panel(
        'Unwrapping, before and after',
        'Every jump of the phase before is gone after, and nothing has come that was not there.',
        'comparisons:plot_unwrapping',
        {'phase': 'phase', 'unwrapped': 'unwrapped', 'brain_mask': 'mask'},
        halves=True,
    ),
    'totalfield': Panel(
        'Total field and its noise',
        'Smooth apart from anatomy: strongest above the sinuses and the ear canals. The noise is '
        'low and even inside the brain and high next to air; a bright patch deep inside is a '
        'region in which susceptibility cannot be trusted.',
        'fields:plot_total_field',
        {'total_field': 'field', 'field_noise': 'noise', 'brain_mask': 'mask'},
        expected=True,
    ),
    'mask': Panel(
        'Masks',
        'The outlines follow the brain: skull inside the mask makes streaks, cortex outside is '
        'lost. Holes near sinuses and large veins are voxels of unreliable phase: there, '
        'susceptibility is estimated from the field around. The final mask lies inside that of '
        'the brain.',
        'echoes:plot_masks',
        {
            'combined_magnitude': 'magnitude',
            'brain_mask': 'Brain',
            'reliable_mask': 'Reliable phase',
            'chi_mask': 'Susceptibility map',
            'estimated_mask': 'Estimated without a field',
        },
        expected=True,
    ),
    'background': Panel(
        'Background field removal, before and after',
        'The broad shading goes, veins and nuclei stay in their places. What is broad and strong '
        'after is background that is left.',
        'comparisons:plot_background',
        {'total_field': 'total', 'local_field': 'local', 'field_mask': 'mask'},
        halves=True,
    ),
    'localfield': Panel(
        'Local field',
        'Veins and deep grey nuclei stand out with dark and bright lobes along B0. Broad shading '
        'towards the edge is background field that is left.',
        'fields:plot_local_field',
        {'local_field': 'field', 'field_mask': 'mask'},
        expected=True,
    ),
    'chi': Panel(
        'Susceptibility',
        'Window \u00b10.1 ppm, bright is paramagnetic. Veins, pallidum, putamen, red nucleus, '
        'substantia nigra and dentate nucleus are bright, white matter is dark. A spot that is '
        'dark in the magnitude is bright here if it is blood or iron, dark if it is calcium; the '
        'viewer tells its sign in words. Look for streaks that leave veins at about 55\u00b0 to '
        'B0, for dark or bright rims at the edge of the mask, and for broad shadows. All contrast '
        'inverted means a wrong sign of the phase.',
        'maps:plot_chi',
        {'chi': 'chi', 'chi_mask': 'mask'},
        expected=True,
    ),
    'residual': Panel(
        'What the map does not explain',
        'The field of the map minus the local field, in the window of the field: noise, a rim, '
        'and faint shading are usual. Nuclei, veins or lobes in it mean that the map is too flat '
        'or that B0 is elsewhere.',
        'comparisons:plot_residual',
        {'local_field': 'field', 'residual': 'residual', 'field_mask': 'mask'},
    ),
    'kspace': Panel(
        'The map in k-space',
        'Logarithm of the power over four decades in three planes through the middle. On the cone '
        '(dashed) the field says nothing of the map. A bright cone means streaks; a dark one, '
        'blur along it; what is even across it has been filled in by the method.',
        'comparisons:plot_kspace',
        {'chi': 'chi', 'chi_mask': 'mask'},
    ),
    'uncertainty': Panel(
        'Uncertainty of the susceptibility',
        'Standard deviation of the map. It is higher where the field is noisy, near veins and at '
        'the edge of the mask; a contrast of the map that is smaller than this is not to be '
        'trusted. What the model of the field leaves out is not in it.',
        'maps:plot_uncertainty',
        {'uncertainty': 'uncertainty', 'chi_mask': 'mask'},
    ),
    'superres': Panel(
        'Super-resolution',
        'The map as measured, and the finer one that agrees with it. Edges and thin veins get '
        'sharper; what only the lower row shows was not measured, but is what the prior expects.',
        'maps:plot_superres',
        {'chi': 'coarse', 'chi_fine': 'fine'},
    ),
    'r2star': Panel(
        'R2*',
        'Iron-rich nuclei and veins are bright. Bright regions above the sinuses come from field '
        'gradients through the slice, not from tissue.',
        'contrasts:plot_r2star',
        {'r2star': 'r2star', 'brain_mask': 'mask'},
    ),
    'swi': Panel(
        'Susceptibility-weighted image',
        'Veins and iron-rich nuclei are dark, and so are calcifications, in the magnitude or at '
        'their rims: what a dark spot is, the susceptibility map tells. The lower rows show the '
        'minimum over slabs: veins are continuous there. Dark patches above the sinuses are '
        'background field that is left.',
        'contrasts:plot_swi',
        {'swi': 'swi', 'minimum': 'minimum', 'chi_mask': 'mask'},
    ),
    'separation': Panel(
        'Paramagnetic and diamagnetic susceptibility',
        'Iron (upper rows): nuclei and veins are bright. Myelin and calcium (lower rows, size): '
        'white matter is brighter than grey, veins and nuclei are dark. Where both look alike, the '
        'relaxation rate has sources other than susceptibility.',
        'contrasts:plot_separation',
        {'paramagnetic': 'paramagnetic', 'diamagnetic': 'diamagnetic', 'chi_mask': 'mask'},
    ),
    'registration': Panel(
        'Registration to the T1-weighted image',
        'The outline is that of the bright tissue of the T1-weighted image: it must follow the '
        'same borders in both images, at ventricles and cortex of both sides. An outline that '
        'cuts across them means that regions and maps in other spaces lie elsewhere.',
        'regions:plot_registration',
        {'placed_magnitude': 'magnitude', 't1w': 't1w'},
        halves=True,
    ),
    'regions': Panel(
        'Regions of the atlas',
        'Nuclei of the CIT168 atlas, warped to this head, over the susceptibility. Pallidum, red '
        'nucleus and substantia nigra are bright in adults: outlines that miss the bright nuclei '
        'mean that the values below do not belong to them.',
        'regions:plot_regions',
        {'chi': 'chi', 'atlas_labels': 'labels'},
    ),
    'regionvalues': Panel(
        'Susceptibility of the regions',
        'Median and 5th to 95th percentile of each nucleus. Grey: published means, which depend '
        'on age, on the inversion and on what has the value zero: compare differences between '
        'nuclei, and the two sides.',
        'regions:plot_region_values',
        {'atlas_table': 'table'},
    ),
    'cosmos': Panel(
        'Susceptibility of all orientations (COSMOS)',
        'In the frame of this run. Free of streaks and shadows where the orientations differ '
        'enough. Doubled edges mean runs that do not lie on one another.',
        'maps:plot_chi',
        {'cosmos': 'chi', 'cosmos_mask': 'mask'},
    ),
    'mean': Panel(
        'Mean susceptibility of the runs',
        'In the frame of this run. Doubled or blurred edges mean runs that do not lie on one '
        'another.',
        'maps:plot_chi',
        {'mean': 'chi', 'mean_mask': 'mask'},
    ),
    'truth': Panel(
        'Truth and result',
        'Simulated data: the difference shows noise only where the result is right; structures '
        'that are left show over- or underestimated susceptibility.',
        'maps:plot_truth',
        {'truth': 'truth', 'chi': 'result', 'chi_mask': 'mask'},
    ),
}
"""Key of a picture -> how it is made and what the report says of it, in the order of the report."""


def drawable(images: Collection[str]) -> tuple[str, ...]:
    """
    Keys of the pictures for which all images are there.

    Examples
    --------
    >>> drawable({'chi', 'chi_mask'})
    ('chi', 'kspace')

    """
    return tuple(name for name, panel in PANELS.items() if panel.inputs.keys() <= set(images))

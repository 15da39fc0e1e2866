"""What is made of an acquisition, by the settings of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.bids.anatomy import Anatomy
from qsmprep.bids.derivatives import resolution_label
from qsmprep.bids.maps import GivenMap
from qsmprep.bids.masks import GivenMask
from qsmprep.methods import INVERSIONS, sampling_parameters
from qsmprep.qsm.grid import Grid
from qsmprep.reports.panels import drawable
from qsmprep.settings import Settings
from qsmprep.workflows.anatomy import AnatomyPlan
from qsmprep.workflows.contrasts import MADE
from qsmprep.workflows.qsm import OUTPUTS
from qsmprep.workflows.regions import TITLES
from qsmprep.workflows.start import outputs_from

IMAGES = (
    'chi', 'chi_mask', 'estimated_mask', 'local_field', 'total_field', 'field_noise',
    'brain_mask', 'reliable_mask', 'r2star', 't2star', 's0',
)  # fmt: skip
"""Outputs of a graph that are written where it makes them."""
SHOWN = (
    'magnitude', 'phase', 'combined_magnitude', 'unwrapped', 'field_misfit', 'field_mask',
    'inversion_parameters',
)  # fmt: skip
"""Outputs that the report makes use of besides."""


@dataclass(frozen=True)
class Job:
    """An acquisition and what was given for it: masks, maps, anatomy, truth of simulated data."""

    acquisition: Acquisition
    metadata: dict
    brain_mask: GivenMask | None = None
    reference_mask: GivenMask | None = None
    r2: GivenMap | None = None
    given: dict[str, GivenMap] = field(default_factory=dict)
    truth: Path | None = None
    anatomy: Anatomy | None = None


@dataclass(frozen=True)
class Finer:
    """
    A finer map that is made.

    Parameters
    ----------
    grid
        Its grid.
    label
        Label of its resolution.
    description
        What its sidecar says of its resolution.

    """

    grid: Grid
    label: str
    description: str


@dataclass(frozen=True)
class Plan:
    """
    What is made of an acquisition.

    Parameters
    ----------
    relaxometry
        Whether R2* is mapped.
    inversion, inversion_parameters
        The inversion, and what differs from its defaults.
    known
        Outputs of the QSM graph, and the node and field that they come from.
    images
        Images that are written where the QSM graph makes them.
    shown
        Outputs of the QSM graph that the report makes use of.
    contrasts
        Images of further contrasts.
    finer
        The finer map, if one is made.
    metadata
        What all sidecars say.
    panels
        Panels of the report.
    volume_gb
        Memory that one volume takes as floats [GB].

    """

    relaxometry: bool
    inversion: str
    inversion_parameters: dict
    known: dict[str, tuple[str, str]]
    images: tuple[str, ...]
    shown: tuple[str, ...]
    contrasts: tuple[str, ...]
    finer: Finer | None
    metadata: dict
    panels: tuple[str, ...]
    volume_gb: float


def plan_acquisition(job: Job, settings: Settings) -> Plan:
    """
    Decide what is made of an acquisition.

    Parameters
    ----------
    job
        The acquisition.
    settings
        Settings of the run.

    """
    acquisition, processing = job.acquisition, settings.processing
    relaxometry = 'relaxometry' not in processing.ignore and len(acquisition.echo_times_s) > 1
    inversion, parameters = _inversion(settings)
    known = outputs_from(OUTPUTS, processing.start_from, 'field_noise' in job.given, relaxometry)
    uncertain = INVERSIONS[inversion].tells_uncertainty(parameters)
    written = (*IMAGES, 'uncertainty') if uncertain else IMAGES
    images = tuple(image for image in written if image in known)
    shown = tuple(image for image in (*images, *SHOWN) if image in known)
    contrasts = _contrasts(job, processing.contrasts)
    finer, note = _finer(acquisition, processing.sr_resolution)
    besides = {
        'truth': job.truth is not None,
        'chi_fine': finer is not None,
        'residual': 'local_field' in known,
    }
    drawn = {*shown, *contrasts, *(image for image, there in besides.items() if there)}
    return Plan(
        relaxometry=relaxometry,
        inversion=inversion,
        inversion_parameters=parameters,
        known=known,
        images=images,
        shown=shown,
        contrasts=contrasts,
        finer=finer,
        metadata=job.metadata | note,
        panels=drawable(drawn),
        volume_gb=4e-9 * math.prod(acquisition.shape),
    )


def plan_anatomy(job: Job, settings: Settings, plan: Plan) -> AnatomyPlan:
    """
    Decide what is made of anatomy: tables of regions by default where there is a T1w image.

    Parameters
    ----------
    job
        The acquisition.
    settings
        Settings of the run.
    plan
        What is made of it otherwise.

    """
    ignored = 'regions' in settings.processing.ignore
    atlas = job.anatomy is not None or 'regions' in settings.processing.force
    maps: dict[str, str | None] = {
        key: 'brain_mask' if key == 'r2star' else 'chi_mask'
        for key in (*TITLES, 'brain_mask', 'chi_mask')
        if key in plan.images or key in plan.contrasts
    }
    maps |= dict.fromkeys(('brain_mask', 'chi_mask'))
    return AnatomyPlan(
        anatomy=job.anatomy,
        spaces=settings.outputs.output_spaces,
        atlas=atlas and not ignored,
        maps=maps,
        tabulates_given=not ignored,
    )


def _contrasts(job: Job, contrasts: tuple[str, ...]) -> tuple[str, ...]:
    """Images that the contrasts of a run give for an acquisition."""
    single = len(job.acquisition.echo_times_s) < 2
    return tuple(
        image
        for contrast in contrasts
        for image in MADE[contrast]
        if contrast == 'swi' or not (single or (contrast == 'r2prime' and job.r2 is None))
    )


def _inversion(settings: Settings) -> tuple[str, dict]:
    """Inversion of a run and its parameters."""
    processing = settings.processing
    if processing.sloppy:
        return 'tkd', {}
    prior = processing.prior and str(processing.prior)
    if processing.sr_resolution and 'prior' not in INVERSIONS[processing.inversion].needs:
        prior = None
    sampling = sampling_parameters(processing.inversion, processing.posterior_samples, prior)
    return processing.inversion, {**processing.inversion_parameters, **sampling}


def _finer(acquisition: Acquisition, requested: str | None) -> tuple[Finer | None, dict]:
    """Finer map that was asked for, and what all sidecars say where there is none."""
    if requested is None:
        return None, {}
    from qsmprep.qsm.resolution import finer_grid

    grid = Grid.from_affine(acquisition.shape, acquisition.affine)
    fine = finer_grid(grid, requested if requested == 'iso' else float(requested))
    if fine is None:
        note = f'none: {requested} was asked for, {_edges(grid)} measured'
        return None, {'SuperResolution': note}
    text = f'{_edges(fine)}, super-resolved from {_edges(grid)}'
    return Finer(fine, resolution_label(requested), text), {}


def _edges(grid: Grid) -> str:
    return ' x '.join(f'{v:.4g}' for v in grid.voxel_size) + ' mm'

"""The QSM graph of an acquisition: what its files, sidecars and the settings ask for."""

from __future__ import annotations

from niworkflows.engine.workflows import LiterateWorkflow as Workflow

from qsmprep.bids.acquisitions import Acquisition
from qsmprep.settings import Settings
from qsmprep.workflows.plan import Job, Plan
from qsmprep.workflows.qsm import init_qsm_wf


def init_processing_wf(*, job: Job, settings: Settings, plan: Plan, device: str) -> Workflow:
    """
    Build the graph from echoes, or from the map that a run starts from, to susceptibility.

    Parameters
    ----------
    job
        The acquisition.
    settings, device
        See :func:`~qsmprep.workflows.base.init_qsmprep_wf`.
    plan
        What is made of the acquisition.

    """
    acquisition, processing = job.acquisition, settings.processing
    qsm_wf = init_qsm_wf(
        echo_times_s=acquisition.echo_times_s,
        field_strength_t=acquisition.field_strength_t,
        **_phase_keywords(acquisition),
        remove_offset='phase-offset' not in processing.ignore,
        unwrapping=processing.unwrapping,
        brain_extraction=_brain_extraction(job, settings),
        phase_quality='phase-quality' not in processing.ignore,
        background=processing.background,
        background_parameters=processing.background_parameters,
        relaxometry=plan.relaxometry,
        inversion=plan.inversion,
        inversion_parameters=plan.inversion_parameters,
        reference=processing.reference,
        start=processing.start_from,
        noise_given='field_noise' in job.given,
        device=device,
        random_seed=processing.random_seed,
        omp_nthreads=settings.execution.omp_nthreads,
        volume_gb=plan.volume_gb,
    )
    qsm_wf.inputs.inputnode.trait_set(**_input_files(job))
    return qsm_wf


def phase_record(job: Job, settings: Settings) -> dict:
    """
    Say how the phase of an acquisition is treated, for the sidecars.

    Parameters
    ----------
    job
        The acquisition.
    settings
        Settings of the run.

    """
    import niimath

    acquisition, start = job.acquisition, settings.processing.start_from
    if start not in ('echoes', 'unwrapped'):
        return {'Method': f'none: {start} is given'}
    ignored = settings.processing.ignore
    offset = len(acquisition.echo_times_s) > 1 and 'phase-offset' not in ignored
    offset = offset and start == 'echoes'
    scale = acquisition.phase_scale
    return {
        'PhaseScaling': scale.rule,
        'PhaseSign': scale.sign,
        'OffsetRemoval': 'MCPC-3D-S' if offset else 'none',
        'Unwrapping': settings.processing.unwrapping if start == 'echoes' else 'given',
        'UnwrappingSoftware': f'niimath {niimath.__version__}',
        'EchoCombination': 'mean weighted with (echo time x magnitude / noise)^2',
        'FieldStrengthSource': acquisition.field_strength_rule,
    }


def _brain_extraction(job: Job, settings: Settings) -> str:
    processing = settings.processing
    if 'brain-extraction' in processing.force:
        automatic = processing.brain_extraction == 'auto'
        return 'deepbet' if automatic else processing.brain_extraction
    if job.brain_mask is not None:
        return 'given'
    ignored = 'brain-extraction' in processing.ignore
    return 'signal' if ignored else processing.brain_extraction


def _input_files(job: Job) -> dict:
    acquisition = job.acquisition
    files = {
        'magnitude_files': acquisition.magnitude,
        'phase_files': acquisition.phase,
        'real_files': acquisition.real,
        'imaginary_files': acquisition.imaginary,
    }
    inputs = {key: [str(file) for file in value] for key, value in files.items() if value}
    for kind, mask in (('brain', job.brain_mask), ('reference', job.reference_mask)):
        if mask is not None:
            inputs[f'{kind}_mask'] = str(mask.path)
            inputs[f'{kind}_placement'] = {
                'threshold': mask.threshold,
                'by_voxels': mask.by_voxels,
                'uri': mask.uri,
            }
    return inputs


def _phase_keywords(acquisition: Acquisition) -> dict:
    scale = acquisition.phase_scale
    return {
        'phase_range': None if acquisition.real else (scale.low, scale.high),
        'phase_sign': scale.sign,
        'alternate_slices': scale.alternate_slices,
        'coils': acquisition.coils,
        'coils_together': acquisition.coils > 1
        and len(acquisition.phase or acquisition.real) == len(acquisition.echo_times_s),
    }

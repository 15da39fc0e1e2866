"""What a dataset holds of a participant that can be processed, and what was given for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qsmprep.bids.acquisitions import Acquisition, RejectedAcquisition, find_acquisitions
from qsmprep.bids.anatomy import Anatomy, find_anatomy
from qsmprep.bids.derivatives import (
    bids_uri,
    output_path,
    software_versions,
)
from qsmprep.bids.errors import InputError
from qsmprep.bids.given import check_truth, find_given, masks_by_other_names
from qsmprep.bids.layout import Dataset
from qsmprep.bids.maps import MAPS, GivenMap, find_map
from qsmprep.bids.masks import PLAUSIBLE_BRAIN_ML, GivenMask, inspect_mask
from qsmprep.bids.notes import Doubt
from qsmprep.bids.phase_scale import InputOverrides
from qsmprep.bids.runs import group_runs
from qsmprep.bids.selection import explain_missing
from qsmprep.cli.records import (
    acquisition_record,
    rejected_record,
)
from qsmprep.cli.stated import is_infant
from qsmprep.settings import Settings

if TYPE_CHECKING:
    from qsmprep.workflows.plan import Job

LOGGER = logging.getLogger('qsmprep')


def collect_jobs(
    dataset: Dataset, record: dict, settings: Settings, sessions: list[str], filters: dict | None
) -> list[Job]:
    """
    Jobs of a participant; what is found, usable or not, goes into the record.

    Parameters
    ----------
    dataset
        The dataset.
    record
        Record of the participant.
    settings
        Settings of the run.
    sessions
        Labels of the sessions to process; none means all.
    filters
        What :func:`qsmprep.bids.filters.load_filters` has read, or None.

    Returns
    -------
    list of Job
        One for each acquisition that can be processed.

    Raises
    ------
    InputError
        If the sessions, the filters or the folders of the participant cannot be used.

    """
    participant, inputs = record['participant'], settings.inputs
    overrides = InputOverrides(
        phase_range=inputs.phase_range,
        phase_sign=inputs.phase_sign,
        fix_ge_slices=inputs.fix_ge_slices,
    )
    found, rejected = find_acquisitions(dataset, participant, sessions, filters, overrides)
    jobs, names = [], set()
    for acquisition in found:
        name = output_path('chi', acquisition.entities)
        try:
            if name in names:
                raise InputError(
                    f'{acquisition.stem}: another acquisition is already written to {name}; '
                    'distinguish them by an acq- or run- label, or choose one with '
                    '--bids-filter-file.'
                )
            job = _make_job(acquisition, settings, dataset)
        except InputError as error:
            sources = acquisition.sources
            rejected.append(RejectedAcquisition(acquisition.stem, str(error), sources))
        else:
            names.add(name)
            jobs.append(job)
            entry = acquisition_record(job.acquisition)
            entry['infant'] = is_infant(dataset.root, participant, acquisition.session or '')
            if job.brain_mask is not None:
                entry['rules']['Brain mask'] = f'{job.brain_mask.uri} was given.'
            record['acquisitions'].append(entry)
            for warning in job.acquisition.warnings:
                level = logging.ERROR if warning in acquisition.doubts else logging.WARNING
                LOGGER.log(level, '%s: %s', acquisition.stem, warning)
            for note in job.acquisition.notes:
                LOGGER.info('%s: %s', acquisition.stem, note)
    for item in rejected:
        LOGGER.error('%s', item.error)
        record['acquisitions'].append(rejected_record(item))
    if not record['acquisitions']:
        note_error(record, explain_missing(dataset, participant, (filters or {}).get('megre')))
    elif settings.processing.cosmos or settings.processing.average_runs:
        _check_runs(jobs, record, settings)
    return jobs


def _check_runs(jobs: list, record: dict, settings: Settings) -> None:
    """Tell where no session has the runs that a map of several runs takes."""
    counts = [len(runs) for runs in group_runs(job.acquisition for job in jobs)]
    asked = (
        ('--cosmos', settings.processing.cosmos, 3),
        ('--average-runs', settings.processing.average_runs, 2),
    )
    for flag, yes, least in asked:
        if yes and max(counts, default=1) < least:
            note_error(
                record,
                f'{flag} takes {least} runs of one session, which differ in run- alone; '
                f'sub-{record["participant"]} has {max(counts, default=1)} that can be processed.',
            )


def note_error(record: dict, message: str) -> None:
    """
    Log an error of the input, and enter it in the record of a participant.

    Parameters
    ----------
    record
        Record of the participant.
    message
        What is wrong and what to do.

    """
    LOGGER.error('%s', message)
    record['errors'].append({'node': 'input', 'message': message, 'traceback': ''})


def _make_job(acquisition: Acquisition, settings: Settings, dataset: Dataset) -> Job:
    """Acquisition, what its sidecars say, and what the given derivatives hold for it."""
    from qsmprep.workflows.plan import Job

    anatomy, passed_over = _find_anatomy(acquisition, settings, dataset)
    brain, warnings = _find_brain_mask(acquisition, settings, anatomy)
    reference = _find_reference_mask(acquisition, settings)
    truth = _find_truth(acquisition, settings)
    r2, notes = _find_r2(acquisition, settings)
    warnings += [*notes, *passed_over, *(anatomy.warnings if anatomy else ())]
    maps = _find_start(acquisition, settings)
    for given in (brain, reference, r2, *maps.values()):
        warnings += given.warnings if given else ()
    acquisition = replace(
        acquisition,
        warnings=(*acquisition.warnings, *warnings),
        doubts=(*acquisition.doubts, *(text for text in warnings if isinstance(text, Doubt))),
    )
    metadata = {
        'Software': software_versions(),
        'Sources': [
            *(bids_uri(source) for source in acquisition.sources),
            *(uri for given in maps.values() for uri in given.uris),
        ],
        'EchoTime': list(acquisition.echo_times_s),
        'MagneticFieldStrength': acquisition.field_strength_t,
        **acquisition.metadata,
    }
    return Job(
        acquisition=acquisition,
        metadata=metadata,
        brain_mask=brain,
        reference_mask=reference,
        r2=r2,
        given=maps,
        truth=truth,
        anatomy=None if 't1w' in settings.processing.ignore else anatomy,
    )


def _find_brain_mask(
    acquisition: Acquisition, settings: Settings, anatomy: Anatomy | None
) -> tuple[GivenMask | None, list[str]]:
    """Mask of the brain among the derivatives, if there is one to use, and warnings."""
    processing = settings.processing
    if 'brain-extraction' in processing.force:
        return None, []
    datasets = _without_anatomy(settings.inputs.derivatives, anatomy)
    why = []
    for ending, own_name in (('desc-brain_mask', 'brain_mask'), ('label-brain_mask', None)):
        path, uri, warnings = find_given(datasets, acquisition, ending, own_name)
        if path:
            return inspect_mask(path, uri, acquisition, PLAUSIBLE_BRAIN_ML), warnings
        why += warnings
    if datasets and not why and processing.reference in ('brain', 'none'):
        others = masks_by_other_names(datasets, acquisition)
        why = [
            f'There is no sub-{acquisition.subject}..._desc-brain_mask.nii.gz in anat/ of the '
            '--derivatives; the brain is extracted.'
            f'{f" If {others[0]} is its mask, give it that name, as NIfTI." if others else ""}'
        ]
    return None, why


def _find_reference_mask(acquisition: Acquisition, settings: Settings) -> GivenMask | None:
    """Mask of the region of zero susceptibility, where one is asked for."""
    region = settings.processing.reference
    if region in ('brain', 'none'):
        return None
    ending = f'label-{region}_mask'
    path, uri, notes = find_given(settings.inputs.derivatives, acquisition, ending)
    if path is None:
        raise InputError(
            f'{acquisition.stem}: no mask of the reference region {region!r} '
            f'(sub-{acquisition.subject}..._{ending}.nii.gz in anat/) among the --derivatives; '
            f'add its dataset, or use --reference brain. {" ".join(notes)}'.strip()
        )
    return inspect_mask(path, uri, acquisition)


def _find_truth(acquisition: Acquisition, settings: Settings) -> Path | None:
    """True map of a simulated acquisition, if there is one."""
    datasets = settings.inputs.derivatives
    if 'truth' not in datasets:
        return None
    truth, _, _ = find_given({'truth': datasets['truth']}, acquisition, 'Chimap', 'chi')
    if truth is not None:
        check_truth(truth, acquisition)
    return truth


def _find_start(acquisition: Acquisition, settings: Settings) -> dict[str, GivenMap]:
    """Maps from which the graph of an acquisition starts, by their names in ``MAPS``."""
    start, datasets = settings.processing.start_from, settings.inputs.derivatives
    if start == 'echoes':
        return {}
    name = start.replace('-', '_')
    found, notes = find_map(datasets, acquisition, name)
    if found is None:
        kind = MAPS[name]
        ending = kind.ending.format(echo='*', suffix=acquisition.entities['suffix'])
        raise InputError(
            f'{acquisition.stem}: no {kind.words} to start from '
            f'(sub-{acquisition.subject}..._{ending}.nii.gz in {kind.datatype}/) among the '
            f'--derivatives; add its dataset, or drop --start-from. {" ".join(notes)}'.strip()
        )
    maps = {name: found}
    if start in ('total-field', 'local-field'):
        noise, _ = find_map(datasets, acquisition, 'field_noise')
        maps |= {'field_noise': noise} if noise else {}
    return maps


def _find_anatomy(acquisition: Acquisition, settings: Settings, dataset: Dataset):
    """T1-weighted image of a participant, if there is one, and why others were passed over."""
    anatomy, passed_over = find_anatomy(dataset, settings.inputs.derivatives, acquisition)
    asked = 'T1w' in settings.outputs.output_spaces
    if asked and (anatomy is None or 't1w' in settings.processing.ignore):
        raise InputError(
            f'{acquisition.stem}: --output-spaces T1w needs a T1-weighted image '
            f'(sub-{acquisition.subject}..._T1w.nii.gz in anat/, or ..._desc-preproc_T1w.nii.gz '
            f'among the --derivatives), but there is none to use; add it, or drop that space. '
            f'{" ".join(passed_over)}'.strip()
        )
    return anatomy, passed_over


def _without_anatomy(datasets: Mapping[str, Path], anatomy: Anatomy | None) -> dict[str, Path]:
    """Datasets without the one whose brain masks are those of T1-weighted images."""
    mask = anatomy and anatomy.brain_mask
    return {name: root for name, root in datasets.items() if not mask or root not in mask.parents}


def _find_r2(acquisition: Acquisition, settings: Settings):
    """R2 map of an acquisition, if a contrast makes use of one, and warnings."""
    contrasts, datasets = settings.processing.contrasts, settings.inputs.derivatives
    if not {'r2prime', 'chisep'} & set(contrasts):
        return None, []
    if len(acquisition.echo_times_s) < 2 or 'relaxometry' in settings.processing.ignore:
        raise InputError(
            f'{acquisition.stem}: r2prime and chisep of --contrasts need R2*, which takes two '
            'echoes and is left out by --ignore relaxometry; drop them, or that flag.'
        )
    r2, notes = find_map(datasets, acquisition, 'r2')
    if r2 is None and 'r2prime' in contrasts:
        raise InputError(
            f"{acquisition.stem}: R2' (--contrasts r2prime) takes a map of R2, but there is no "
            f'sub-{acquisition.subject}..._R2map.nii.gz in anat/ of the --derivatives. '
            f'{" ".join(notes)}'.strip()
        )
    return r2, notes

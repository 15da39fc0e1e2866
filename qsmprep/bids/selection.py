"""Choosing participants and sessions, and why a participant cannot be processed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from qsmprep.bids.errors import InputError
from qsmprep.bids.layout import Dataset
from qsmprep.bids.names import PHASE, normalise_label

FOREIGN = re.compile(r'_(MEGRE|T2starw)\.(?!(json|tsv|bval|bvec|nii|nii\.gz)$)')
"""Names of gradient echoes that are not read: in other formats, or in capital letters."""


def select_participants(dataset: Dataset, requested: Iterable[str]) -> list[str]:
    """
    Labels of the participants to process, without ``sub-``, in order.

    Parameters
    ----------
    dataset
        The dataset.
    requested
        Labels with or without ``sub-``; none means everybody.

    Raises
    ------
    InputError
        If a label is not valid, or one of them does not exist.

    """
    return _select(dataset, 'participant', 'sub-', dataset.participants(), requested)


def select_sessions(
    dataset: Dataset, requested: Iterable[str], participants: Iterable[str]
) -> list[str]:
    """Labels of the requested sessions, without ``ses-``; as :func:`select_participants`.

    Without a request the list is empty, which stands for all sessions and for none.
    """
    if not requested:
        return []
    return _select(dataset, 'session', 'ses-', dataset.sessions(participants), requested)


def explain_missing(
    dataset: Dataset, participant: str, query: Mapping[str, object] | None = None
) -> str:
    """
    Say why a participant has no gradient echoes that can be used.

    Parameters
    ----------
    dataset
        The dataset.
    participant
        Label without ``sub-``.
    query
        What a filter asks of gradient echoes.

    """
    needed = (
        'qsmprep needs the phase of each echo (MEGRE or T2starw with part-phase and part-mag, '
        'or part-real and part-imag, in anat/)'
    )
    reasons = {
        'phasediff': (
            'fmap/ holds a phase difference ({})',
            'because a difference of two echoes, made for distortion correction, no longer '
            'holds the phase and the noise of its echoes; export the phase of each echo',
        ),
        'fieldmap': (
            'fmap/ holds a field map ({})',
            'because a field map made on the scanner is already unwrapped and filtered in an '
            'unknown way; export the phase, or the real and imaginary parts, of each echo',
        ),
        'phase1': (
            'fmap/ holds the phase of two echoes ({})',
            'and looks for it in anat/; if these are full-resolution gradient echoes, name '
            'them sub-..._echo-1_part-phase_MEGRE and so on',
        ),
    }
    for suffix, (found, why) in reasons.items():
        files = dataset.images(participant, 'fmap', (suffix,))
        if files:
            return f'sub-{participant}: {found.format(files[0].name)}; {needed}, {why}.'
    files = dataset.images(participant, 'anat', ('MEGRE', 'T2starw'))
    asked = 'Check --session-label and --bids-filter-file'
    if query:
        wanted = ', '.join(f'{key} {value}' for key, value in query.items())
        asked = f'Check --session-label, and --bids-filter-file, which asks for {wanted}'
    if files:
        return (
            f'sub-{participant}: none of its {len(files)} gradient-echo images can be used, the '
            f'first being {files[0].name}; {needed}. {asked}, and that the phase was exported.'
        )
    return (
        f'sub-{participant}: there is no MEGRE or T2starw image in anat/; {needed}.'
        f'{_phase_elsewhere(dataset, participant)}'
    )


def _phase_elsewhere(dataset: Dataset, participant: str) -> str:
    """Sentence on an image of a participant that may be meant, if there is one."""
    files = sorted((dataset.root / f'sub-{participant}').rglob('*'))
    for path in files:
        where = path.relative_to(dataset.root).as_posix()
        if FOREIGN.search(path.name):
            return (
                f' {where} is no file that is read here: images end in .nii or .nii.gz, in small '
                'letters; convert it (nibabel), or rename it.'
            )
        if '.nii' in path.name and PHASE.search(path.name):
            return (
                f' {where} looks like a phase: if it is that '
                'of a gradient echo, name it sub-LABEL_echo-1_part-phase_MEGRE.nii.gz, '
                'its magnitude likewise, and put both into anat/.'
            )
    return ''


def _select(dataset: Dataset, kind: str, prefix: str, known: list[str], requested) -> list[str]:
    flag = f'--{kind}-label'
    if not known:
        raise InputError(
            f'{dataset.root} has no {kind} ({prefix}<label> folders with images); check bids_dir'
            f'{f", or drop {flag}" if requested else ""}.'
        )
    wanted = dict.fromkeys(normalise_label(label, prefix) for label in requested)
    unknown = [label for label in wanted if label not in known]
    if unknown:
        raise InputError(
            f'No {kind} {", ".join(prefix + label for label in unknown)} in the dataset; '
            f'it has {", ".join(prefix + label for label in known[:10])}'
            f'{" and more" if len(known) > 10 else ""}: correct {flag}.'
        )
    return [label for label in known if not wanted or label in wanted]

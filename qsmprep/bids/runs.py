"""Runs of one session that differ in nothing but their number."""

from __future__ import annotations

from collections.abc import Iterable

from qsmprep.bids.acquisitions import Acquisition


def group_runs(acquisitions: Iterable[Acquisition]) -> list[list[Acquisition]]:
    """
    Acquisitions whose names differ in ``run-`` alone, and that share a field strength.

    Parameters
    ----------
    acquisitions
        Those of a participant.

    Returns
    -------
    list of lists
        Groups of two or more, each in the order of the runs.

    """
    groups: dict[tuple, list[Acquisition]] = {}
    for acquisition in acquisitions:
        entities = {k: v for k, v in acquisition.entities.items() if k != 'run'}
        strength = round(acquisition.field_strength_t, 1)
        groups.setdefault((*sorted(entities.items()), strength), []).append(acquisition)
    ordered = (sorted(group, key=_run) for group in groups.values())
    return [group for group in ordered if len(group) > 1]


def _run(acquisition: Acquisition) -> tuple[int, str]:
    run = acquisition.entities.get('run', '')
    return (int(run) if run.isdigit() else 0, run)

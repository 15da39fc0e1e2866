"""Graphs of a cohort and a participant."""

from __future__ import annotations

from niworkflows.engine.workflows import LiterateWorkflow as Workflow

import qsmprep
from qsmprep.bids.derivatives import node_name
from qsmprep.bids.runs import group_runs
from qsmprep.settings import Settings
from qsmprep.workflows.acquisition import init_acquisition_wf
from qsmprep.workflows.plan import Job
from qsmprep.workflows.session import add_session_maps


def init_qsmprep_wf(*, jobs: list[Job], settings: Settings, device: str) -> Workflow:
    """
    Build the graph of a cohort.

    Parameters
    ----------
    jobs
        Acquisitions to process.
    settings
        Settings of the run.
    device
        Torch device, ``'cpu'`` or ``'cuda[:i]'``.

    """
    workflow = Workflow(name='qsmprep_wf', base_dir=str(settings.execution.work_dir))
    by_subject: dict[str, list[Job]] = {}
    for job in jobs:
        by_subject.setdefault(job.acquisition.subject, []).append(job)
    for subject, subject_jobs in by_subject.items():
        workflow.add_nodes([
            init_subject_wf(subject=subject, jobs=subject_jobs, settings=settings, device=device)
        ])  # fmt:skip
    return workflow


def init_subject_wf(*, subject: str, jobs: list[Job], settings: Settings, device: str) -> Workflow:
    """
    Build the graph of a participant: one branch for each acquisition.

    Parameters
    ----------
    subject
        Label of the participant.
    jobs
        Acquisitions of the participant.
    settings, device
        See :func:`init_qsmprep_wf`.

    """
    workflow = Workflow(name=f'sub_{node_name(subject)}_wf')
    workflow.__desc__ = (
        f'Results were made with qsmprep {qsmprep.__version__}, which builds on Nipype [@nipype]. '
    )
    graphs = {
        job.acquisition.stem: init_acquisition_wf(job=job, settings=settings, device=device)
        for job in jobs
    }
    workflow.add_nodes(list(graphs.values()))
    by_stem = {job.acquisition.stem: job for job in jobs}
    for runs in group_runs(job.acquisition for job in jobs):
        members = [by_stem[run.stem] for run in runs]
        add_session_maps(
            workflow,
            runs,
            [graphs[run.stem] for run in runs],
            [job.metadata for job in members],
            settings=settings,
            noise_known=settings.processing.start_from in ('echoes', 'unwrapped')
            or all('field_noise' in job.given for job in members),
            device=device,
        )
    return workflow

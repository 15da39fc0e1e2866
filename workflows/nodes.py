"""Nodes that graphs share: their ends, what they declare of threads, GPU and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nipype.interfaces import utility as niu
from nipype.pipeline import engine as pe

LIBRARIES_GB = 0.65
"""Resident memory of a worker with all libraries loaded [GB], as `benchmarks/memory.py` shows."""
FIRST_GB = 0.45
"""The same of a worker that has not run compiled code or a network yet, as at the first node."""


def ends(inputs: Iterable[str], outputs: Iterable[str]) -> tuple[pe.Node, pe.Node]:
    """
    Make the nodes ``inputnode`` and ``outputnode`` of a graph.

    Parameters
    ----------
    inputs, outputs
        Their fields.

    """
    return (
        pe.Node(niu.IdentityInterface(fields=list(inputs)), name='inputnode'),
        pe.Node(niu.IdentityInterface(fields=list(outputs)), name='outputnode'),
    )


def same(*names: str) -> list[tuple[str, str]]:
    """
    Connect fields of two nodes that have the same name.

    Examples
    --------
    >>> same('field', 'mask')
    [('field', 'field'), ('mask', 'mask')]

    """
    return [(name, name) for name in names]


def between(fields: Iterable[str] | Mapping[str, str]) -> list[tuple[str, str]]:
    """
    Connect outputs of a graph to inputs of another, of the same name or as a mapping says.

    Examples
    --------
    >>> between(['chi'])
    [('outputnode.chi', 'inputnode.chi')]
    >>> between({'chi_mask': 'mask'})
    [('outputnode.chi_mask', 'inputnode.mask')]

    """
    pairs = fields.items() if isinstance(fields, Mapping) else ((name, name) for name in fields)
    return [(f'outputnode.{source}', f'inputnode.{target}') for source, target in pairs]


def device_node(
    interface: type, *, name: str, device: str, omp_nthreads: int, mem_gb: float, **inputs: Any
) -> pe.Node:
    """
    Make a node that computes with PyTorch: it takes one of the GPU slots, or threads of the CPU.

    Parameters
    ----------
    interface
        Class of the interface.
    name
        Name of the node.
    device
        Torch device, ``'cpu'`` or ``'cuda[:i]'``.
    omp_nthreads, mem_gb
        Threads on the CPU, and memory [GB].
    **inputs
        Inputs of the interface.

    """
    made = interface(
        device=device, use_gpu=device.startswith('cuda'), num_threads=omp_nthreads, **inputs
    )
    return pe.Node(made, name=name, n_procs=omp_nthreads, mem_gb=mem_gb)

"""What nodes declare of threads, GPU and memory."""

from __future__ import annotations

from typing import Any

from nipype.pipeline import engine as pe

LIBRARIES_GB = 0.65
"""Resident memory of a worker with all libraries loaded [GB], as `benchmarks/memory.py` shows."""


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

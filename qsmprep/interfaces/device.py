"""Inputs that all nodes have which compute with PyTorch."""

from __future__ import annotations

from nipype.interfaces.base import BaseInterfaceInputSpec, traits


class DeviceInputSpec(BaseInterfaceInputSpec):
    """Where a node computes."""

    device = traits.Str('cpu', usedefault=True, desc='torch device')
    use_gpu = traits.Bool(False, usedefault=True, desc='takes one of the GPU slots')
    num_threads = traits.Int(1, usedefault=True, desc='threads on the CPU')

"""The device that a run computes on."""

from __future__ import annotations

from pathlib import Path


def resolve_device(device: str) -> str:
    """
    Torch device of a run.

    Parameters
    ----------
    device
        ``'auto'``, ``'cpu'`` or ``'cuda[:i]'``.

    Raises
    ------
    ValueError
        If a GPU is asked for and none can be used.

    """
    if device == 'cpu' or (device == 'auto' and not list(Path('/dev').glob('nvidia[0-9]*'))):
        return 'cpu'
    import torch

    usable = torch.cuda.is_available()
    if device == 'auto':
        return 'cuda' if usable else 'cpu'
    index = int(device.partition(':')[2] or 0)
    if not usable or index >= torch.cuda.device_count():
        raise ValueError(
            f'--device {device}: torch {torch.__version__} finds no such GPU here; '
            'use --device cpu, or install a CUDA build of torch and its driver.'
        )
    return device

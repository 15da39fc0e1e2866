"""Arguments that benchmarks share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

SHARED = {
    'labels': {
        'type': Path,
        'help': 'label volume of a head, or a folder of them; without it, the analytic head',
    },
    'slabs': {'type': Path, 'help': 'folder of scans in vivo with a reference map'},
    'maps': {'type': Path, 'help': 'folder of susceptibility maps of others [ppm, NIfTI]'},
    'threads': {'type': int, 'default': 1, 'help': 'threads of PyTorch (default: 1)'},
    'device': {'default': 'cpu', 'help': 'torch device (default: cpu)'},
}


def benchmark_parser(
    description: str | None, *shared: str, out: str = 'folder for the tables'
) -> argparse.ArgumentParser:
    """
    Return a parser with ``--out`` and arguments that other benchmarks have too.

    Parameters
    ----------
    description
        Docstring of the script.
    *shared
        Keys of :data:`SHARED`.
    out
        What the output folder is for.

    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--out', type=Path, required=True, help=out)
    for name in shared:
        parser.add_argument(f'--{name}', **SHARED[name])
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Arguments of a script; its folder is made, and PyTorch keeps to its threads."""
    import torch

    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = str(args.threads)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    return args

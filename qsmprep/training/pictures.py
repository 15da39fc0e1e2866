"""Pictures of a training: its log, and unconditional samples of the prior."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from qsmprep.qsm.diffusion.denoiser import Denoiser
from qsmprep.qsm.diffusion.schedules import sigma_levels
from qsmprep.qsm.simulate.stream import Maps

LEVELS_PPM = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SAMPLE_VOXELS_MM = (0.7, 1.0, 2.0)
EDGE, STEPS = 64, 40


@torch.no_grad()
def draw_samples(denoiser: Denoiser) -> Maps:
    """Draw unconditional samples, one for each voxel size, by Euler's method.

    Karras et al. 2022, 10.48550/arXiv.2206.00364, Eq. 1 and 3.
    """
    device = next(denoiser.parameters()).device
    generator = torch.Generator().manual_seed(0)
    voxel_size = torch.tensor(SAMPLE_VOXELS_MM, device=device)[:, None].expand(-1, 3)
    architecture = denoiser.architecture
    levels = sigma_levels(STEPS, architecture.sigma_max_ppm, architecture.sigma_min_ppm).tolist()
    x = torch.randn((len(voxel_size), 1, *3 * (EDGE,)), generator=generator).to(device)
    x = x * levels[0]
    for sigma, following in zip(levels, [*levels[1:], 0.0], strict=True):
        with torch.autocast(device.type, torch.bfloat16):
            clean = denoiser(x, torch.tensor([sigma], device=device), voxel_size)
        x = clean + following / sigma * (x - clean)
    return Maps(x, voxel_size)


def draw_log(rows: Sequence[dict[str, float]], path: Path) -> None:
    """Plot the loss and the held-out error at each noise level over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout='constrained')
    left, right = figure.subplots(1, 2)
    steps = [float(row['step']) for row in rows]
    left.plot(steps, [float(row['loss']) for row in rows])
    left.set(xlabel='step', ylabel='training loss')
    for level in LEVELS_PPM:
        right.plot(steps, [float(row[f'{level:g} ppm']) for row in rows], label=f'{level:g} ppm')
    right.set(xlabel='step', ylabel='held-out error / noise', yscale='log')
    right.legend(title='noise', fontsize=8)
    figure.savefig(path, dpi=110)


def draw_pictures(samples: Maps, path: Path) -> None:
    """Draw the three middle slices of each sample, -0.1 to 0.1 ppm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3 * len(samples.chi)), layout='constrained')
    panels = figure.subplots(len(samples.chi), 3, squeeze=False)
    for row, volume, size in zip(panels, samples.chi[:, 0].cpu(), samples.voxel_size, strict=True):
        for axis, panel in enumerate(row):
            slice_ = volume.select(axis, volume.shape[axis] // 2)
            panel.imshow(slice_.T, cmap='gray', vmin=-0.1, vmax=0.1, origin='lower')
            panel.set_axis_off()
        row[0].set_title(f'{float(size[0]):g} mm', loc='left')
    figure.savefig(path, dpi=110)

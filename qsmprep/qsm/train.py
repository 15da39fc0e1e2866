"""Train the prior over susceptibility maps: the command that made the shipped weights.

``python -m qsmprep.qsm.train --labels DIR --out DIR`` draws maps from the simulator without end,
trains the network on them, and writes to the output folder every few minutes: ``checkpoint.pt``
(to go on from, with ``--resume``), ``prior.safetensors`` (the weights, for ``--prior``),
``log.csv`` and ``log.png`` (loss, and held-out denoising error at each noise level), and
``samples.png`` (unconditional samples at three voxel sizes).
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch.utils.data import DataLoader, IterableDataset

from qsmprep.cli.simulate import find_heads, read_head
from qsmprep.qsm.diffusion.denoiser import Architecture, Denoiser
from qsmprep.qsm.diffusion.noise import sigma_levels
from qsmprep.qsm.diffusion.training import Trainer, denoising_error
from qsmprep.qsm.diffusion.weights import save_weights
from qsmprep.qsm.simulate import LabelledHead
from qsmprep.qsm.simulate.stream import Maps, draw_windows, make_specimen, window_stream

HELD_OUT_HEADS = 2
HELD_OUT_WINDOWS = 12
LEVELS_PPM = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
SAMPLE_VOXELS_MM = (0.7, 1.0, 2.0)
CPU_BATCHES = ((48, 2), (48, 2), (48, 2), (64, 1))
GPU_BATCHES = ((48, 32), (64, 16))


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog='python -m qsmprep.qsm.train',
        description='Train the diffusion prior over susceptibility maps on simulated heads.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add('--labels', type=Path, required=True, help='folder of label volumes (FreeSurfer labels)')
    add('--nuclei', type=Path, help='CIT168 label volume, for the nuclei of the midbrain')
    add('--out', type=Path, required=True, help='folder for checkpoints, weights, log, pictures')
    add('--minutes', type=float, default=60, help='time to train in this call')
    add('--device', default='cpu', help="'cpu' or 'cuda[:N]'")
    add('--resume', action='store_true', help='go on from the checkpoint in the output folder')
    add('--seed', type=int, default=0, help='seed of weights, maps and noise')
    add('--threads', type=int, default=1, help='threads of the network on the CPU')
    add('--save-every', type=float, default=5, metavar='MINUTES', help='time between checkpoints')
    add('--channels', type=int, nargs='+', default=list(Architecture().channels))
    add('--blocks', type=int, nargs='+', default=list(Architecture().blocks))
    return parser


class _Batches(IterableDataset):
    """The training stream as a data set, so that a worker can draw ahead."""

    def __init__(self, heads: Sequence[LabelledHead], **keywords) -> None:
        self.heads, self.keywords = heads, keywords

    def __iter__(self) -> Iterator[Maps]:
        torch.set_num_threads(1)
        return window_stream(self.heads, **self.keywords)


def read_heads(labels: Path, nuclei: Path | None) -> tuple[list[LabelledHead], list[LabelledHead]]:
    """Heads to train on, and the last two of the folder, which are held out.

    Raises
    ------
    ValueError
        If the folder holds fewer than three heads.

    """
    files = find_heads(labels)
    if len(files) <= HELD_OUT_HEADS:
        raise ValueError(
            f'{labels} holds {len(files)} label volumes; training needs at least '
            f'{HELD_OUT_HEADS + 1}, of which the last {HELD_OUT_HEADS} are held out.'
        )
    heads = [read_head(file, nuclei) for file in files]
    return heads[:-HELD_OUT_HEADS], heads[-HELD_OUT_HEADS:]


def held_out_windows(heads: Sequence[LabelledHead]) -> list[Maps]:
    """Windows of heads that are never trained on."""
    generator = torch.Generator().manual_seed(12345)
    specimens = [make_specimen(head, generator) for head in heads]
    return [draw_windows(specimens, (64,) * 3, 1, generator) for _ in range(HELD_OUT_WINDOWS)]


@torch.no_grad()
def draw_samples(denoiser: Denoiser, *, edge: int = 64, steps: int = 40, seed: int = 0) -> Maps:
    """Draw unconditional samples, one for each voxel size, by Euler's method.

    Karras et al. 2022, 10.48550/arXiv.2206.00364, Eq. 1 and 3.
    """
    device = next(denoiser.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    voxel_size = torch.tensor(SAMPLE_VOXELS_MM, device=device)[:, None].expand(-1, 3)
    architecture = denoiser.architecture
    levels = sigma_levels(steps, architecture.sigma_max_ppm, architecture.sigma_min_ppm).tolist()
    x = torch.randn((len(voxel_size), 1, edge, edge, edge), generator=generator).to(device)
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


def save(trainer: Trainer, out: Path, record: dict[str, str]) -> None:
    """Write checkpoint and weights, each in one move, so that a kill leaves the old ones."""
    torch.save(trainer.state_dict(), out / 'checkpoint.tmp')
    (out / 'checkpoint.tmp').replace(out / 'checkpoint.pt')
    save_weights(trainer.average, out / 'prior.tmp', record)
    (out / 'prior.tmp').replace(out / 'prior.safetensors')


def log_row(path: Path, row: dict[str, float]) -> list[dict[str, float]]:
    """Append a row to the log; returns all rows."""
    new = not path.exists()
    with path.open('a', newline='') as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def main(argv: Sequence[str] | None = None) -> None:
    """Train for the given time."""
    start = time.monotonic()
    args = build_parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    training, held_out = read_heads(args.labels, args.nuclei)
    architecture = Architecture(channels=tuple(args.channels), blocks=tuple(args.blocks))
    trainer = Trainer(architecture, seed=args.seed, device=args.device)
    if args.resume:
        trainer.load_state_dict(torch.load(args.out / 'checkpoint.pt', map_location=args.device))
    validation = held_out_windows(held_out)
    on_gpu = args.device.startswith('cuda')
    batches = _Batches(
        training,
        batches=GPU_BATCHES if on_gpu else CPU_BATCHES,
        seed=trainer.seed,
        first=trainer.number,
        device=args.device,
    )
    loader = batches if on_gpu else DataLoader(batches, batch_size=None, num_workers=1)
    minutes, losses, saved = 0.0, [], time.monotonic()
    for windows in loader:
        losses.append(trainer.step(windows))
        now = time.monotonic()
        minutes = (now - start) / 60
        if now - saved < 60 * args.save_every and minutes < args.minutes:
            continue
        record = {'steps': str(trainer.number), 'seed': str(trainer.seed)}
        save(trainer, args.out, record)
        row = {'step': trainer.number, 'minutes': round(minutes, 2)}
        row['loss'] = round(sum(losses) / len(losses), 5)
        for level in LEVELS_PPM:
            error = denoising_error(trainer.average, validation, level)
            row[f'{level:g} ppm'] = round(error, 5)
        draw_log(log_row(args.out / 'log.csv', row), args.out / 'log.png')
        draw_pictures(draw_samples(trainer.average), args.out / 'samples.png')
        print(', '.join(f'{name} {value}' for name, value in row.items()), flush=True)
        losses, saved = [], time.monotonic()
        if minutes >= args.minutes:
            break


if __name__ == '__main__':
    main()

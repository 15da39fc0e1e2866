"""Train the prior over susceptibility maps: the command that made the shipped weights.

``python -m qsmprep.training --labels DIR --out DIR`` draws maps from the simulator without end,
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

from qsmprep.qsm.diffusion.denoiser import Architecture
from qsmprep.qsm.diffusion.weights import save_weights
from qsmprep.qsm.simulate import LabelledHead
from qsmprep.qsm.simulate.stream import Maps, window_stream
from qsmprep.training.heads import held_out_windows, read_heads
from qsmprep.training.pictures import LEVELS_PPM, draw_log, draw_pictures, draw_samples
from qsmprep.training.trainer import Trainer, denoising_error

CPU_BATCHES = ((48, 2), (48, 2), (48, 2), (64, 1))
GPU_BATCHES = ((96, 4),)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    parser = argparse.ArgumentParser(
        prog='python -m qsmprep.training',
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
        checkpoint = args.out / 'checkpoint.pt'
        state = torch.load(checkpoint, map_location=args.device, weights_only=True)
        trainer.load_state_dict(state)
    validation = held_out_windows(held_out)
    on_gpu = args.device.startswith('cuda')
    if on_gpu:
        torch.backends.cudnn.benchmark = True
        trainer.network.compile(dynamic=False)
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
        row['loss'] = round(float(sum(losses)) / len(losses), 5)
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

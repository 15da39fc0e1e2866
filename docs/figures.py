"""Draw the figures of these pages that show results at hand.

python docs/figures.py                        how to choose an inversion
python docs/figures.py --demo demo/real       the picture of the README, from `make demo`
"""

from __future__ import annotations

import argparse
import csv
import statistics
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nb
import numpy as np

FIGURES = Path(__file__).parent / 'figures'
IN_VIVO = ('tr-1-1', 'val-1-1')


def costs_and_errors() -> Iterator[dict]:
    """Each inversion of ``inversion.csv``: its NRMSE [%], XSIM and CPU time [s], summed up."""
    with open(FIGURES / 'inversion.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    for method in dict.fromkeys(row['method'] for row in rows):
        summary = {'method': method}
        for where, inside in (('simulated', False), ('in vivo', True)):
            own = [row for row in rows if row['method'] == method]
            own = [row for row in own if (row['scan'] in IN_VIVO) == inside]
            for key in ('NRMSE [%]', 'XSIM', 'CPU [s]'):
                known = [float(row[key]) for row in own if row[key]]
                summary[f'{where} {key}'] = statistics.median(known)
        yield summary


def draw_choice(path: Path) -> None:
    """Draw error over CPU time, simulated and in vivo."""
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.6), layout='constrained')
    for axis, where in zip(axes, ('simulated', 'in vivo'), strict=True):
        for row in costs_and_errors():
            x, y = row[f'{where} CPU [s]'], row[f'{where} NRMSE [%]']
            default = row['method'] == 'tv'
            axis.plot(x, y, 'o', color='C1' if default else 'C0', ms=9 if default else 6)
            axis.annotate(
                f'{row["method"]} (default)' if default else row['method'],
                (x, y),
                xytext=(0, -16) if row['method'] == 'inr' else (4, 6),
                textcoords='offset points',
                rotation=0 if row['method'] == 'inr' else 30,
            )
        axis.set(xscale='log', xlabel='CPU time [s]', ylabel='NRMSE [%]', title=where, ylim=(0, 80))
        axis.margins(x=0.35)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def draw_map(derivatives: Path, path: Path) -> None:
    """Draw magnitude and susceptibility side by side: two slices of the first participant."""
    magnitude = _read(derivatives, 'fmap/*_magnitude.nii.gz')
    chi = _read(derivatives, 'anat/*_Chimap.nii.gz')
    inside = np.argwhere(chi != 0)
    low, high = inside.min(axis=0), inside.max(axis=0)
    window = tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))
    magnitude, chi = magnitude[window], chi[window]
    figure, axes = plt.subplots(1, 4, figsize=(10, 3.1), layout='constrained', facecolor='black')
    planes = {'axial': (2, 0.42), 'sagittal': (0, 0.53)}
    for pair, (axis, part) in zip(axes.reshape(2, 2), planes.values(), strict=True):
        index = round(part * chi.shape[axis])
        bright = np.percentile(magnitude, 99.5)
        for panel, image, limits, title in (
            (pair[0], magnitude, (0, bright), 'magnitude'),
            (pair[1], chi, (-0.1, 0.1), 'susceptibility, \u00b10.1 ppm'),
        ):
            slice_ = np.take(image, index, axis=axis).T
            panel.imshow(
                slice_, 'gray', vmin=limits[0], vmax=limits[1], origin='lower',
                interpolation='bicubic',
            )  # fmt: skip
            panel.set_title(title, color='white', fontsize=10)
            panel.axis('off')
    figure.savefig(path, dpi=100)


def _read(derivatives: Path, pattern: str) -> np.ndarray:
    """Image of the first participant that matches, its axes those of the head."""
    path = sorted(
        path for path in derivatives.glob(f'sub-*/{pattern}') if '_desc-' not in path.name
    )[0]
    return np.asanyarray(nb.as_closest_canonical(nb.load(path)).dataobj)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--demo', type=Path, metavar='DERIVATIVES')
    given = parser.parse_args()
    if given.demo:
        draw_map(given.demo, FIGURES / 'chi-beside-magnitude.png')
    else:
        draw_choice(FIGURES / 'inversion-choice.png')

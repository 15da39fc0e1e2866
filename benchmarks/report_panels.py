"""Panels of the report of a good scan beside those of a bad one, as figures for its page.

    python benchmarks/report_panels.py --work FOLDER --out docs/figures

The real scan in tests/data goes through the command line as it is, and with one of the faults of
``planted_faults.py`` at a time; the upper part of each panel is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw
from planted_faults import FAULTS
from report_faults import REAL, Case

PANELS = {
    'echoes': 'filtered phase (homodyne)',
    'unwrapped': 'wraps left (open-ended fringes)',
    'totalfield': 'SNR of 5',
    'mask': 'mask too big',
    'localfield': 'background left (PDF, two steps)',
    'chi': 'phase sign',
    'residual': 'mask too big',
    'kspace': 'B0 along x',
}
"""Panel -> the fault whose picture of it is shown."""
HEIGHT, GAP = 540, 8
"""Most height that is kept of a panel, and distance between both [px]."""


def pair(good: Path, bad: Path, path: Path) -> None:
    """Save the upper parts of two pictures, one above the other, with their names."""
    pictures = [Image.open(file).convert('RGB') for file in (good, bad)]
    width = max(picture.width for picture in pictures)
    height = min(HEIGHT, *(picture.height for picture in pictures))
    pictures = [picture.crop((0, 0, picture.width, height)) for picture in pictures]
    both = Image.new('RGB', (width, 2 * height + GAP), 'white')
    draw = ImageDraw.Draw(both)
    for number, (picture, name) in enumerate(zip(pictures, ('good', 'bad'), strict=True)):
        top = number * (height + GAP)
        both.paste(picture, (0, top))
        draw.text((width - 16, top + 12), name, fill='yellow', anchor='rt', font_size=28)
    small = both.convert('P', palette=Image.Palette.ADAPTIVE, colors=96)
    small.save(path, optimize=True)


def main() -> None:
    """Run the scan with and without faults, and draw the pairs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--work', type=Path, required=True, help='folder for the runs')
    parser.add_argument('--out', type=Path, required=True, help='folder for the figures')
    args = parser.parse_args()
    Case(REAL).run(args.work / 'none')
    brain = next((args.work / 'none' / 'out').rglob('*_desc-brain_mask.nii.gz'))
    for panel, fault in PANELS.items():
        folder = args.work / ''.join(c if c.isalnum() else '_' for c in fault)
        Case(REAL, brain, FAULTS[fault]).run(folder)
        good, bad = (
            next(place.rglob(f'*_desc-{panel}_*.png')) for place in (args.work / 'none', folder)
        )
        pair(good, bad, args.out / f'panel_{panel}.png')


if __name__ == '__main__':
    main()

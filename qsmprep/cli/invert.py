"""``qsmprep-invert``: a susceptibility map from a local field at hand."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qsmprep.bids.sidecars import FIELD_STRENGTH_RANGE_T
from qsmprep.cli.arguments import Parser, parameter, path_of_file, positive, seed, torch_device
from qsmprep.cli.process import keep_freed_memory
from qsmprep.methods import INVERSIONS, sampling_parameters
from qsmprep.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from qsmprep.qsm.inversion import Inversion


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``qsmprep-invert``."""
    parser = Parser(
        prog='qsmprep-invert',
        usage='%(prog)s FIELD --mask MASK --output CHI [options]',
        description='Dipole inversion of one local field map (NIfTI) to susceptibility in ppm.',
    )
    parser.add_argument('field', type=path_of_file, help='local field')
    parser.add_argument(
        '-m', '--mask', type=path_of_file, required=True, help='voxels that have a local field'
    )
    parser.add_argument('-o', '--output', type=Path, required=True, help='map to write, .nii[.gz]')
    parser.add_argument(
        '--method',
        choices=INVERSIONS,
        default=Settings().processing.inversion,
        help='dipole inversion (default: %(default)s)',
    )
    parser.add_argument(
        '--parameter',
        nargs='+',
        action='extend',
        type=parameter,
        default=[],
        metavar='NAME=VALUE',
        help='parameters of the method, where they differ from its defaults',
    )
    parser.add_argument(
        '--posterior-samples',
        type=positive(int),
        metavar='N',
        help='draw N posterior samples; their spread is the uncertainty (methods that sample)',
    )
    parser.add_argument(
        '--prior', type=path_of_file, help='weights of the learned prior, for methods that use it'
    )
    parser.add_argument(
        '--uncertainty',
        type=Path,
        metavar='FILE',
        help='standard deviation of the map to write, .nii[.gz] (methods that know it)',
    )
    parser.add_argument(
        '--output-resolution',
        type=positive(float),
        metavar='MM',
        help='evaluate the fitted function on voxels of this size '
        f'({", ".join(_giving("function"))})',
    )
    parser.add_argument(
        '--field-units',
        choices=('ppm', 'Hz'),
        default='ppm',
        help='unit of the field and its noise (default: %(default)s)',
    )
    parser.add_argument('--b0', type=_tesla, metavar='T', help='field strength [T], for Hz')
    parser.add_argument(
        '--b0-direction',
        nargs=3,
        type=float,
        metavar=('X', 'Y', 'Z'),
        help='direction of B0 in the voxel frame (default: from the affine)',
    )
    parser.add_argument('--magnitude', type=path_of_file, help='magnitude, for voxel weights')
    parser.add_argument('--noise', type=path_of_file, help='noise SD of the field')
    parser.add_argument('--seed', type=seed, default=0, help='seed of random draws')
    parser.add_argument(
        '--device', type=torch_device, default='auto', help='auto, cpu or cuda[:INDEX]'
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """
    Run ``qsmprep-invert``.

    Parameters
    ----------
    argv
        Arguments; those of the process by default.

    Returns
    -------
    int
        0, or 1 after a message when the inversion failed; wrong arguments end with 2.

    """
    parser = build_parser()
    given = parser.parse_args(argv)
    if argv is None:
        keep_freed_memory()
    if (given.field_units == 'Hz') != (given.b0 is not None):
        parser.error('--field-units Hz and --b0 belong together: give both or neither.')
    inputs = [x.resolve() for x in (given.field, given.mask, given.magnitude, given.noise) if x]
    for flag, path in (('--output', given.output), ('--uncertainty', given.uncertainty)):
        if path is not None and not path.name.endswith(('.nii', '.nii.gz')):
            parser.error(f'{flag} {path}: the name must end with .nii or .nii.gz.')
        if path is not None and path.resolve() in inputs:
            parser.error(f'{flag} {path} is an input, which would be lost; name another file.')

    from nibabel.filebasedimages import ImageFileError

    from qsmprep.cli.device import resolve_device
    from qsmprep.cli.folders import make_folder
    from qsmprep.interfaces.inversion import describe_inversion, invert_image

    try:
        make_folder(given.output.parent, '--output')
        if given.uncertainty:
            make_folder(given.uncertainty.parent, '--uncertainty')
        device = resolve_device(given.device)
        parameters = dict(given.parameter) | sampling_parameters(
            given.method, given.posterior_samples, given.prior and str(given.prior)
        )
        if given.uncertainty and not INVERSIONS[given.method].tells_uncertainty(parameters):
            raise ValueError(
                f'The inversion {given.method!r} gives no uncertainty of its map; drop '
                f'--uncertainty, or choose {" or ".join(_giving("uncertainty"))}, or '
                f'{" or ".join(_giving("samples"))} with --posterior-samples.'
            )
        inversion = invert_image(
            given.field,
            given.mask,
            given.method,
            field_strength_t=given.b0,
            b0_direction=given.b0_direction and tuple(given.b0_direction),
            magnitude=given.magnitude,
            noise=given.noise,
            seed=given.seed,
            device=device,
            parameters=parameters,
            progress=_progress if sys.stderr.isatty() else None,
        )
        record = describe_inversion(given.method, inversion, given.seed, device)
        if given.output_resolution is None:
            _write(inversion.chi_ppm, given.output, given.field, record)
        else:
            _write_finer(inversion, given, record)
        if given.uncertainty:
            _write(inversion.sd_ppm, given.uncertainty, given.field, record)
        return _judge(inversion.chi_ppm, given)
    except (ValueError, OSError, ImageFileError) as error:
        print(f'qsmprep-invert: {error}', file=sys.stderr)
        return 1


def _tesla(text: str) -> float:
    """Field strength [T], for argparse."""
    low, high = FIELD_STRENGTH_RANGE_T
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if not low <= strength <= high:
        raise argparse.ArgumentTypeError(f'{text!r} is no field strength of {low:g} to {high:g} T')
    return strength


def _judge(chi_ppm: np.ndarray, given: argparse.Namespace) -> int:
    """Say what no map can have, as where the unit of the field is another; the exit code."""
    from qsmprep.interfaces import images
    from qsmprep.reports.measures import implausible
    from qsmprep.reports.quality import measure_quality

    mask, grid = images.read(given.mask, bool), images.read_grid(given.field)
    wrong = implausible(measure_quality(grid, given.b0 or 1.0, chi_ppm, mask))
    for sentence in wrong:
        print(f'qsmprep-invert: {sentence} Check --field-units.', file=sys.stderr)
    return 1 if wrong else 0


def _giving(what: str) -> list[str]:
    return [name for name, method in INVERSIONS.items() if what in method.gives]


def _write_finer(inversion: Inversion, given: argparse.Namespace, record: dict) -> None:
    """Write the map of the fitted function on the voxels that were asked for."""

    from qsmprep.interfaces import images
    from qsmprep.qsm.resolution import evaluate_on, finer_affine, finer_grid

    if inversion.function is None:
        raise ValueError(
            f'The inversion {given.method!r} gives voxels and no function that --output-resolution '
            f'could evaluate; choose {" or ".join(_giving("function"))}.'
        )
    grid = images.read_grid(given.field)
    fine = finer_grid(grid, given.output_resolution) or grid
    chi = evaluate_on(inversion.function, images.read(given.mask, bool), grid, fine)
    affine = finer_affine(images.affine_of(given.field), grid, fine)
    record = {**record, 'OutputVoxelSize': fine.voxel_size}
    _write(chi, given.output, given.field, record, affine)


def _write(
    data: np.ndarray, path: Path, reference: Path, record: dict, affine: np.ndarray | None = None
) -> None:
    """Write an image [ppm] on the grid of ``reference`` or with an affine, and its sidecar."""
    from qsmprep.bids.derivatives import write_json
    from qsmprep.bids.files import sidecar_of
    from qsmprep.interfaces import images

    images.save(data, reference, path, affine)
    content = {'Units': 'ppm', 'SkullStripped': True, 'DipoleInversion': record}
    write_json(sidecar_of(path), content)


def _progress(iteration: int, total: int, loss: float) -> None:
    print(f'\r{iteration}/{total} {loss:.4g} ', end='', file=sys.stderr, flush=True)


if __name__ == '__main__':
    sys.exit(main())

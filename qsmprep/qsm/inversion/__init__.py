"""Dipole inversion by any method: the same arguments and the same result for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes
from torch import Tensor

from qsmprep.methods import choose
from qsmprep.qsm.calibration import calibrate
from qsmprep.qsm.grid import Grid, bounding_box, relative_size
from qsmprep.qsm.metrics import nrmse
from qsmprep.qsm.noise import data_weight, field_roughness, noise_share
from qsmprep.qsm.operators import Dipole

LEAST_EXPLAINED = 0.02
NOISE_ALLOWANCE = 0.12
"""A map explains at least 2 % of a clean field, or anything of one that is mostly a remnant of the
background; noise, which it need not explain, may cost 10 %."""

NO_MEASUREMENT = 0.01
"""Weight of a voxel, by its noise, below which its field is unknown."""


@dataclass(frozen=True)
class Inversion:
    """A susceptibility map and how it was made.

    Parameters
    ----------
    chi_ppm
        Susceptibility [ppm], float32, zero outside the tissue.
    estimated
        Tissue without a field of its own, whose susceptibility comes from the field around it.
    parameters
        Every parameter of the method: given, default, or chosen on the scan.
    sd_ppm
        Standard deviation of the map [ppm], float32, zero outside the mask; None from methods
        that know none.
    function
        Susceptibility [ppm] on the product of three vectors of positions, in voxels from the
        centre of the first one of the grid; None from methods whose map is one of voxels.
    explained
        Share of the power of the field in the mask that the map explains, at most 1; see
        :func:`explained_share`.

    """

    chi_ppm: np.ndarray
    estimated: np.ndarray
    parameters: dict[str, Any] = field(default_factory=dict)
    sd_ppm: np.ndarray | None = None
    function: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    explained: float | None = None


def invert(
    field_ppm: np.ndarray,
    mask: np.ndarray,
    grid: Grid,
    method: str = 'tv',
    *,
    tissue: np.ndarray | None = None,
    magnitude: np.ndarray | None = None,
    noise_ppm: np.ndarray | None = None,
    total_noise_ppm: np.ndarray | None = None,
    after_background: bool = False,
    seed: int = 0,
    device: str = 'cpu',
    progress: Callable[[int, int, float], None] | None = None,
    **parameters: Any,
) -> Inversion:
    """Susceptibility map of a local field.

    Work is done on the bounding box of the tissue: outside it there is neither field nor
    susceptibility, and the operator pads by itself. Holes that the mask encloses are tissue
    whose field is unknown: methods with voxel weights allow sources in them, and the map of
    all methods goes on there.

    A dipole field is that of the object at any size: objects of less than 34 ml (animals,
    specimens) are inverted as enlarged to it, so that lengths in millimetres hold that were found
    on heads.

    Parameters
    ----------
    field_ppm
        Local field [ppm] of the shape of the grid; values outside the mask are not looked at.
    mask
        Voxels with a local field.
    grid
        Shape, voxel size and direction of B0.
    method
        Key of :data:`qsmprep.methods.INVERSIONS`.
    tissue
        Voxels of the map beyond the mask and its holes, if any.
    magnitude
        Magnitude [arbitrary] for voxel weights, for methods that use them.
    noise_ppm
        Standard deviation of the field [ppm], used in preference to the magnitude. Where it is a
        hundred times the usual noise the field is unknown.
    total_noise_ppm
        That of the total field, without what background removal added to it [ppm], for methods
        that put back what removal took.
    after_background
        Whether background removal took part of the local field along.
    seed
        Seed of methods that draw numbers.
    device
        'cpu', 'cuda' or 'cuda:N'.
    progress
        Called by iterative methods with iteration, number of iterations and a loss.
    **parameters
        Parameters of the method that differ from their defaults.

    Raises
    ------
    ValueError
        If a name is unknown, shapes differ, the mask is empty, a value inside it is not finite,
        the field is zero in all of it, noise or magnitude are nowhere above zero, or the map
        cannot explain the field.

    """
    chosen = choose('inversion', method)
    settings = chosen.complete(parameters)
    target = _torch_device(device)
    inside = _check_mask(mask, grid)
    whole = inside if tissue is None else inside | _check_mask(tissue, grid)
    whole = binary_fill_holes(whole)
    box = bounding_box(whole)
    field = _cropped('field', field_ppm, inside, box).to(target)
    if not field.any():
        raise ValueError('The field is zero everywhere in the mask; check field and mask.')
    scan: dict[str, Any] = {'progress': progress, 'seed': seed}
    images = {'magnitude': magnitude, 'noise': noise_ppm, 'total_noise': total_noise_ppm}
    for name, image in images.items():
        scan[name] = None if image is None else _cropped(name, image, inside, box).to(target)
        if image is not None and not (scan[name] > 0).any():
            raise ValueError(f'The {name} is nowhere above zero in the mask; check its file.')
    measured = torch.from_numpy(inside[box]).to(target)
    if noise_ppm is not None:
        weight = data_weight(measured, None, scan['noise'], field_roughness(field, measured))
        unknown = (scan['noise'] > 0) & (weight < NO_MEASUREMENT)
        measured &= ~unknown
        inside[box] &= ~unknown.cpu().numpy()
        field, scan['noise'] = field * measured, scan['noise'] * measured
    region = torch.from_numpy(whole[box]).to(target)
    if noise_ppm is None and magnitude is None and not region.equal(measured):
        scan['magnitude'] = measured.to(torch.float32)
    scale = relative_size(whole, grid.voxel_size)
    cropped = replace(grid, shape=inside[box].shape).magnified(1 / scale)
    if chosen.calibrates(settings):
        scan['calibration'] = calibrate(
            field,
            region,
            cropped,
            noise=scan['noise'],
            magnitude=scan['magnitude'],
            error_share=settings.get('error_share'),
            after_background=after_background,
        )
    estimate = chosen.run(field, region, cropped, scan=scan, **settings)
    remnant = any(estimate.chosen.get(f'{kind}_ppm', 0.0) > 0 for kind in ('remnant', 'background'))
    operator = (
        scan['calibration'].dipole if 'calibration' in scan else Dipole(cropped, device=target)
    )
    explained = _check_map(method, estimate.chi.detach(), field, measured, operator, remnant)
    chi = _uncropped(estimate.chi * region, grid, box)
    sd = None if estimate.sd is None else _uncropped(estimate.sd * region, grid, box)
    function = None
    if estimate.function is not None:
        corner = [side.start for side in box]
        function = _from_corner(estimate.function, corner, target)
    parameters = {**settings, **estimate.chosen}
    if scale < 1:
        parameters['length_scale'] = scale
        if 'spectra' in parameters:
            wavenumbers = [k / scale for k in parameters['spectra']['wavenumber']]
            parameters['spectra'] |= {'wavenumber': wavenumbers}
    return Inversion(chi, whole & ~inside, parameters, sd, function, explained)


def explained_share(chi: Tensor, field: Tensor, mask: Tensor, dipole: Dipole) -> float:
    """Share of the power of a field that a map explains, 1 - ||D x - f||^2 / ||f||^2 in the mask.

    The means of D x and f in the mask are taken off: no map explains a constant field. In vivo and
    at an SNR of 10 it is about 0.8. It is zero for an empty map and for a constant field, and below
    that where the field of the map is farther from the measured one than none at all.

    Parameters
    ----------
    chi
        Susceptibility [ppm].
    field
        Measured local field [ppm].
    mask
        Where the two are compared.
    dipole
        The dipole operator on their grid.

    """
    if field[mask].min() == field[mask].max():
        return 0.0
    images = (image.cpu().numpy() for image in (dipole.forward(chi), field, mask))
    return 1 - (nrmse(*images) / 100) ** 2


def _check_map(
    method: str, chi: Tensor, field: Tensor, mask: Tensor, dipole: Dipole, remnant: bool
) -> float:
    """Share of the field that a map explains; complain of a map that cannot explain it."""
    broken = int((~torch.isfinite(chi[mask])).sum())
    if broken:
        raise ValueError(
            f'The map of the inversion {method!r} is not finite in {broken} voxels of the mask, '
            'and is refused; check its parameters, or choose another inversion.'
        )
    explained = explained_share(chi, field, mask, dipole)
    least = (0.0 if remnant else LEAST_EXPLAINED) - NOISE_ALLOWANCE * noise_share(field, mask)
    if explained < least or not chi.any():
        raise ValueError(
            f'The map of the inversion {method!r} explains {100 * explained:.3g} % of the power of '
            f'the field (least accepted: {100 * least:.2g} %) and is refused; check the field for '
            'background that is left, the mask, and parameters such as the file of a prior, or '
            'choose another inversion.'
        )
    return explained


def _from_corner(
    function: Callable[[list[Tensor]], Tensor], corner: list[int], device: torch.device
) -> Callable[[Sequence[np.ndarray]], np.ndarray]:
    """Function of positions in the whole grid, from one of positions in a box of it."""

    def shifted(positions: Sequence[np.ndarray]) -> np.ndarray:
        inside = [
            torch.as_tensor(np.asarray(p) - c, dtype=torch.float32, device=device)
            for p, c in zip(positions, corner, strict=True)
        ]
        return function(inside).cpu().numpy()

    return shifted


def _uncropped(image: Tensor, grid: Grid, box: tuple) -> np.ndarray:
    """Image on the whole grid, zero outside a box."""
    whole = np.zeros(grid.shape, dtype=np.float32)
    whole[box] = image.detach().cpu().numpy()
    return whole


def _torch_device(device: str) -> torch.device:
    kind, _, index = device.partition(':')
    if kind not in ('cpu', 'cuda') or (index and not index.isdigit()):
        raise ValueError(f"The device is 'cpu', 'cuda' or 'cuda:N', not {device!r}.")
    if kind == 'cuda' and int(index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f'The device {device!r} was asked for, but PyTorch finds {torch.cuda.device_count()} '
            "GPUs; choose 'cpu' or install a PyTorch build with CUDA."
        )
    return torch.device(device)


def _check_mask(mask: np.ndarray, grid: Grid) -> np.ndarray:
    inside = np.asarray(mask) > 0
    if inside.shape != grid.shape:
        raise ValueError(
            f'The mask has the shape {inside.shape}, but the grid {grid.shape}; '
            'resample the mask to the field.'
        )
    if not inside.any():
        raise ValueError('The mask is empty, so there is nothing to invert; check the mask.')
    return inside


def _cropped(name: str, image: np.ndarray, inside: np.ndarray, box: tuple) -> Tensor:
    """Checked float32 tensor of an image in a box, zero outside the mask."""
    image = np.asarray(image)
    if image.shape != inside.shape:
        raise ValueError(
            f'The {name} has the shape {image.shape}, but the mask {inside.shape}; '
            'resample them to one grid.'
        )
    broken = int(np.count_nonzero(~np.isfinite(image[inside])))
    if broken:
        raise ValueError(
            f'The {name} is not finite in {broken} voxels of the mask; '
            'repair it or take them out of the mask.'
        )
    return torch.from_numpy(np.where(inside[box], image[box], 0).astype(np.float32))

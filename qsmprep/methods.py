"""The methods that can be chosen: one entry in one table makes a method usable everywhere.

Settings, command lines, checks, nodes, the methods text, the submissions to QSM-CI and the tables
under ``docs/`` are made from these tables. Functions are named and imported at their first use, so
that ``--help`` stays fast.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

SCAN = frozenset({
    'magnitude', 'noise', 'total_noise', 'calibration', 'affine', 'device', 'progress', 'seed',
})  # fmt: skip
"""Arguments that describe the scan or the run: a method gets those that it names."""
LONGEST_MM = 200.0
"""Largest length that a parameter can be: that of a head."""


@dataclass(frozen=True)
class Method:
    """A method that can be chosen.

    Parameters
    ----------
    name
        Name on the command line.
    function
        The function as ``'module:name'``, or itself. Arguments without a default are its data,
        those in :data:`SCAN` come from the scan, all others are parameters of the method.
    summary
        What it is, for tables.
    sentence
        What was done, for the methods text, with citations as ``[@key]``.
    citation
        Key of the main reference in ``boilerplate.bib``.
    needs
        What it makes use of: ``'noise'``, ``'magnitude'``, ``'prior'`` (a file of weights).
    gives
        What it gives besides its image: ``'uncertainty'`` (standard deviation in closed form),
        ``'samples'`` (of the posterior, on request), ``'function'`` (of coordinates),
        ``'rim noise'`` (error of the local field at the rim of the mask), ``'2 pi'`` (phase that
        differs from the wrapped one by multiples of 2 pi).

    """

    name: str
    function: str | Callable[..., Any]
    summary: str
    sentence: str
    citation: str = ''
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    def load(self) -> Callable[..., Any]:
        """Import the function."""
        if callable(self.function):
            return self.function
        module, _, name = self.function.partition(':')
        return getattr(importlib.import_module(module), name)

    def parameters(self) -> dict[str, Any]:
        """Parameters and their defaults; None where the scan decides.

        Examples
        --------
        >>> INVERSIONS['tkd'].parameters()
        {'threshold': 0.25}

        """
        return {
            name: argument.default
            for name, argument in inspect.signature(self.load()).parameters.items()
            if argument.default is not argument.empty and name not in SCAN
        }

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters: those given, and the defaults of the others.

        Raises
        ------
        ValueError
            If the method has no parameter of a given name, or none of that value: numbers are
            finite and not below zero, and counts whole and, unless their default is 0, above it.

        Examples
        --------
        >>> INVERSIONS['tkd'].complete({'threshold': -0.2})
        Traceback (most recent call last):
        ...
        ValueError: tkd: threshold=-0.2, but a number from 0 on is expected; the default is 0.25.

        """
        known = self.parameters()
        unknown = [name for name in given if name not in known]
        if unknown:
            raise ValueError(
                f'{self.name} has no parameter {", ".join(map(repr, unknown))}; '
                f'it has {", ".join(known) or "none"}.'
            )
        for name, value in given.items():
            if expected := _expected(name, known[name], value):
                raise ValueError(
                    f'{self.name}: {name}={value}, but {expected} is expected; '
                    f'the default is {known[name]}.'
                )
        return known | dict(given)

    def run(self, *data: Any, scan: Mapping[str, Any], **parameters: Any) -> Any:
        """Call the function with its data, what it names of the scan, and parameters."""
        function = self.load()
        named = SCAN & scan.keys() & inspect.signature(function).parameters.keys()
        return function(*data, **{name: scan[name] for name in named}, **parameters)

    def calibrates(self, parameters: Mapping[str, Any]) -> bool:
        """Whether it takes a calibration of the field, as the papers' own settings do not.

        Examples
        --------
        >>> INVERSIONS['tv'].calibrates({}), INVERSIONS['tkd'].calibrates({})
        (True, False)

        """
        takes = 'calibration' in inspect.signature(self.load()).parameters
        return takes and not parameters.get('published', False)

    def tells_uncertainty(self, parameters: Mapping[str, Any]) -> bool:
        """Whether its map comes with a standard deviation: in closed form, or from samples.

        Examples
        --------
        >>> INVERSIONS['wiener'].tells_uncertainty({}), INVERSIONS['tv'].tells_uncertainty({})
        (True, False)

        """
        return 'uncertainty' in self.gives or parameters.get('samples', 0) > 1


def _expected(name: str, default: Any, value: Any) -> str:
    """What a parameter with such a default must be; empty where the value is of that kind."""
    if isinstance(default, bool):
        return '' if isinstance(value, bool) else 'true or false'
    if not isinstance(value, bool | int | float):
        return ''
    kind = int if isinstance(default, int) else int | float
    least = 1 if kind is int and default > 0 else 0
    most = LONGEST_MM if name.endswith('_mm') else math.inf
    if isinstance(value, kind) and not isinstance(value, bool) and least <= value < most:
        return ''
    if name.endswith('_mm'):
        return f'a length from 0 to {LONGEST_MM:g} mm'
    return f'a {"whole " if kind is int else ""}number from {least} on'


def _table(*methods: Method) -> dict[str, Method]:
    return {method.name: method for method in methods}


UNWRAPPINGS = _table(
    Method(
        'romeo',
        'qsmprep.interfaces.phase:Romeo',
        'exact: adds multiples of 2 pi, along the edges of best quality first',
        'ROMEO [@romeo; {niimath}]',
        citation='romeo',
        needs=('magnitude',),
        gives=('2 pi',),
    ),
    Method(
        'laplacian',
        'qsmprep.qsm.unwrapping:laplacian_unwrap',
        'smooth, and wrong around open-ended fringe lines; for phase that ROMEO cannot unwrap',
        'a Laplacian method [@laplacian]',
        citation='laplacian',
    ),
)
"""Phase unwrapping: ``method(phase, grid) -> unwrapped`` of one echo [rad]; ROMEO is a node."""

MASKS = _table(
    Method(
        'auto',
        'qsmprep.interfaces.mask:deepbet_or_signal',
        'deepbet where the field of view holds a head and the result is a plausible brain, else '
        'signal',
        "The brain was extracted from the first echo's magnitude with deepbet [@deepbet]",
        citation='deepbet',
    ),
    Method(
        'deepbet',
        'qsmprep.interfaces.mask:deepbet',
        'a neural network that extracts the brain',
        "The brain was extracted from the first echo's magnitude with deepbet [@deepbet]",
        citation='deepbet',
    ),
    Method(
        'signal',
        'qsmprep.qsm.mask:signal_mask',
        'all that is not background: for specimens, animals, and fields of view without a head',
        'All voxels with signal were taken as brain',
    ),
)
"""Brain masks of the first echo: ``method(magnitude) -> mask``, or the mask and its record."""

BACKGROUNDS = _table(
    Method(
        'pdf',
        'qsmprep.qsm.background.pdf:pdf',
        'projection onto dipole fields, to which the local field is coloured noise: keeps all of '
        'the mask. What it leaves at the rim counts as noise, four times the SD of the local '
        'field, falling by e every millimetre',
        'projection onto dipole fields [@pdf], the residual weighted by the inverse power '
        'spectrum of local fields, strong sources in tissue fitted along and kept, and the noise '
        'raised towards the rim of the mask',
        citation='pdf',
        needs=('noise',),
        gives=('rim noise',),
    ),
    Method(
        'pdf+vsharp',
        'qsmprep.qsm.background:pdf_vsharp',
        'the same, then V-SHARP on what that leaves at the rim; the rim of the mask is lost, 10 to '
        '18 % of the brain',
        'projection onto dipole fields [@pdf], followed by V-SHARP [@sharp; @vsharp]',
        citation='vsharp',
        needs=('noise',),
    ),
    Method(
        'vsharp',
        'qsmprep.qsm.background.sharp:vsharp',
        'V-SHARP alone: fast; the rim of the mask is lost',
        'V-SHARP [@sharp; @vsharp]',
        citation='vsharp',
    ),
    Method(
        'resharp',
        'qsmprep.qsm.background.resharp:resharp',
        'regularised SHARP; a rim of 6 mm is lost',
        'RESHARP [@resharp]',
        citation='resharp',
    ),
    Method(
        'ismv',
        'qsmprep.qsm.background.ismv:ismv',
        'iterative spherical mean values; a rim of 4 mm is lost',
        'iterative spherical mean values [@ismv]',
        citation='ismv',
    ),
    Method(
        'lbv',
        'qsmprep.qsm.background.lbv:lbv',
        'Laplacian boundary value method',
        'a Laplacian boundary value method [@lbv]',
        citation='lbv',
    ),
)
"""Background removal: ``method(total_field, mask, grid, tissue) -> (local field, tissue kept)``."""

INVERSIONS = _table(
    Method(
        'tkd',
        'qsmprep.qsm.inversion.tkd:tkd',
        'thresholded k-space division, for comparison',
        'thresholded k-space division [@tkd]',
        citation='tkd',
    ),
    Method(
        'tikhonov',
        'qsmprep.qsm.inversion.tikhonov:tikhonov',
        'closed form, or weighted by the noise where the scan shows no model error, its weight '
        'chosen on the scan; for comparison',
        'Tikhonov regularisation, weighted by the noise as far as the field showed no model error '
        '[@tikhonov]',
        citation='tikhonov',
        needs=('noise', 'magnitude'),
    ),
    Method(
        'tv',
        'qsmprep.qsm.inversion.tv:tv',
        'total variation for a field that the dipole explains, with edges where the magnitude '
        'has them; the more model error the scan shows, the nearer to `wiener` with a sparse prior',
        'total variation regularisation, less at edges of the magnitude [@medi], solved by ADMM '
        '[@tv], and under spectra of susceptibility and model error as far as the field itself '
        'showed such an error [@whittle]',
        citation='tv',
        needs=('noise', 'magnitude'),
    ),
    Method(
        'wiener',
        'qsmprep.qsm.inversion.wiener:wiener',
        "linear, self-calibrated on the scan's own spectra: exact, in about 15 iterations, where "
        'the scan shows no model error, else a filter',
        'the linear posterior mean under spectra of susceptibility and model error that were '
        'fitted to the field itself [@whittle]',
        citation='whittle',
        needs=('noise', 'magnitude'),
        gives=('uncertainty',),
    ),
    Method(
        'inr',
        'qsmprep.qsm.inversion.inr:inr',
        'edge-weighted total variation, fitted on from `tv` ([inr.md](inr.md)); linear between '
        'voxels, so that it can be evaluated at other voxel sizes',
        'edge-weighted total variation under the physics of the whole volume, as in INR-QSM '
        '[@inrqsm], but with the voxels of the map in place of a network',
        citation='inrqsm',
        needs=('noise', 'magnitude'),
        gives=('function',),
    ),
    Method(
        'inr-qsm',
        'qsmprep.qsm.inversion.inr_qsm.fit:inr_qsm',
        'INR-QSM: sine networks of coordinates, fitted to the scan in minutes '
        '([inr.md](inr.md)); `published=true` fits it window by window, in an hour',
        'INR-QSM, sine networks of coordinates that are fitted to the field of the subject '
        'with edge-weighted squared differences [@inrqsm]',
        citation='inrqsm',
        needs=('noise', 'magnitude'),
        gives=('function',),
    ),
    Method(
        'diffusion',
        'qsmprep.qsm.diffusion.annealing:diffusion',
        'annealed proximal steps between a learned prior over susceptibility maps '
        '([prior.md](prior.md)) and the calibrated likelihood; starts from `inr`; the more model '
        'error the scan shows, the nearer to the mean with `tv` and `wiener`',
        'annealed proximal steps between a diffusion prior over susceptibility maps '
        '[@edm; @diffpir] and a likelihood whose spectra were fitted to the field itself '
        '[@whittle], averaged with maps of total variation and of a linear filter as far as the '
        'field shows a model error',
        citation='diffpir',
        needs=('noise', 'magnitude', 'prior'),
        gives=('samples',),
    ),
    Method(
        'diffusion-qsm',
        'qsmprep.qsm.diffusion.ancestral:diffusion_qsm',
        'Diffusion-QSM on the same prior, from the map of `tv` ([diffusion.md](diffusion.md)); '
        '`published=true` runs its 220 passes in windows, about an hour on a CPU',
        'Diffusion-QSM, ancestral sampling of a diffusion prior with data consistency at every '
        'step and time travel [@diffusionqsm]',
        citation='diffusionqsm',
        needs=('noise', 'magnitude', 'prior'),
    ),
    Method(
        'dm-qsm',
        'qsmprep.qsm.diffusion.ancestral:dm_qsm',
        'DM-QSM on the same prior, from the map of `tv` ([diffusion.md](diffusion.md)); '
        '`published=true` takes hours on a CPU',
        'DM-QSM, posterior sampling of a diffusion prior [@dmqsm; @dps]',
        citation='dmqsm',
        needs=('noise', 'magnitude', 'prior'),
    ),
)
"""Dipole inversion: ``method(field, mask, grid) -> Estimate``, on tensors, in ppm."""

SEPARATIONS = _table(
    Method(
        'joint',
        'qsmprep.qsm.separation.joint:joint',
        'both shares at once from field and relaxation rate: likelihood of the field as in the '
        'inversions, total variation of each share, neither of the wrong sign',
        'a joint inversion of the local field and the relaxation rate under total variation, '
        'with 137 1/s per ppm at 3 T [@chisep]',
        citation='chisep',
    ),
    Method(
        'closed-form',
        'qsmprep.qsm.separation.closed_form:closed_form',
        "voxel by voxel from susceptibility map and rate: chi-separation's formula for R2', "
        'R2*-QSM for R2*',
        "the closed form of both shares, with 137 1/s per ppm at 3 T for R2' [@chisep] and 274 for "
        r'R2\* [@r2starqsm]',
        citation='chisep',
    ),
)
"""Susceptibility separation: ``method(sources) -> (positive, negative, constants)``, in ppm."""

KINDS = {
    'unwrapping': UNWRAPPINGS,
    'brain extraction': MASKS,
    'background removal': BACKGROUNDS,
    'inversion': INVERSIONS,
    'separation': SEPARATIONS,
}
"""Kind of method -> its table."""


def choose(kind: str, name: str) -> Method:
    """Entry of a method.

    Parameters
    ----------
    kind
        Key of :data:`KINDS`.
    name
        Name of the method.

    Raises
    ------
    ValueError
        If there is no such method of that kind.

    """
    table = KINDS[kind]
    if name not in table:
        raise ValueError(f'There is no {kind} {name!r}; choose one of {", ".join(table)}.')
    return table[name]


def sampling_parameters(
    inversion: str, samples: int | None = None, prior: str | None = None
) -> dict[str, Any]:
    """Parameters of an inversion that samples a learned prior; those that are None are left out.

    Parameters
    ----------
    inversion
        Key of :data:`INVERSIONS`.
    samples
        Number of posterior samples.
    prior
        File with the weights of the prior.

    Raises
    ------
    ValueError
        If the inversion has no such parameter.

    """
    given = {'samples': samples, 'prior': prior}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in _options(choose('inversion', inversion)):
            having = [other.name for other in INVERSIONS.values() if name in _options(other)]
            what = 'draws no samples' if name == 'samples' else 'has no learned prior'
            raise ValueError(
                f'the inversion {inversion} {what}; choose {" or ".join(having) or "another"} '
                'by --inversion.'
            )
    return given


def _options(method: Method) -> tuple[str, ...]:
    return method.needs + method.gives

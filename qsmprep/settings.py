"""One frozen, typed tree of settings and its TOML form."""

from __future__ import annotations

import os
import tomllib
import types
import typing
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

from qsmprep.methods import BACKGROUNDS, INVERSIONS, MASKS, SEPARATIONS, UNWRAPPINGS

OUTPUT_SPACES = (
    'T1w',
    'MNI152NLin2009cAsym',
    'MNI152NLin2009cAsym:res-1',
    'MNI152NLin2009cAsym:res-2',
)
SR_SOURCES = ('map', 'field')
CONTRASTS = ('swi', 'r2prime', 'chisep')
STARTS = ('echoes', 'unwrapped', 'total-field', 'local-field', 'chi')
IGNORABLE = ('phase-offset', 'brain-extraction', 'phase-quality', 'relaxometry', 't1w', 'regions')
FORCIBLE = ('brain-extraction', 'regions')
CHOICES = {
    'phase_sign': (1, -1),
    'unwrapping': UNWRAPPINGS,
    'brain_extraction': MASKS,
    'background': BACKGROUNDS,
    'inversion': INVERSIONS,
    'sr_source': SR_SOURCES,
    'contrasts': CONTRASTS,
    'start_from': STARTS,
    'separation': SEPARATIONS,
    'output_spaces': OUTPUT_SPACES,
    'ignore': IGNORABLE,
    'force': FORCIBLE,
}
"""Setting -> values that it, or each of its items, can have."""


class SettingsError(ValueError):
    """A settings file that cannot be used."""


@dataclass(frozen=True)
class Inputs:
    """What is read, and how raw values are understood."""

    bids_dir: Path = Path()
    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    filter_file: Path | None = None
    derivatives: dict[str, Path] = field(default_factory=dict)
    phase_range: tuple[float, float] | None = None
    phase_sign: int = 1
    fix_ge_slices: bool = False
    skip_bids_validation: bool = False


@dataclass(frozen=True)
class Processing:
    """Algorithms and their parameters: all that changes the numbers."""

    unwrapping: str = 'romeo'
    brain_extraction: str = 'auto'
    background: str = 'pdf'
    background_parameters: dict[str, float | bool] = field(default_factory=dict)
    inversion: str = 'tv'
    inversion_parameters: dict[str, float | bool] = field(default_factory=dict)
    posterior_samples: int | None = None
    prior: Path | None = None
    sr_resolution: str | None = None
    sr_source: str = 'map'
    contrasts: tuple[str, ...] = ()
    separation: str = 'joint'
    start_from: str = 'echoes'
    cosmos: bool = False
    average_runs: bool = False
    reference: str = 'brain'
    ignore: tuple[str, ...] = ()
    force: tuple[str, ...] = ()
    sloppy: bool = False
    random_seed: int = 0
    device: str = 'auto'


@dataclass(frozen=True)
class Outputs:
    """What is written, and where."""

    output_dir: Path = Path()
    output_echos: bool = False
    output_spaces: tuple[str, ...] = ()
    aggregate_session_reports: int = 4
    md_only_boilerplate: bool = False
    viewer: bool = True


@dataclass(frozen=True)
class Execution:
    """How the graph is run."""

    work_dir: Path = Path('work')
    nprocs: int = 1
    omp_nthreads: int = 1
    mem_gb: float | None = None
    hang_after_min: float = 15.0
    plugin_file: Path | None = None
    stop_on_first_crash: bool = False
    boilerplate_only: bool = False
    reports_only: bool = False
    dry_run: bool = False
    write_graph: bool = False
    clean_workdir: bool = False
    resource_monitor: bool = False
    debug: tuple[str, ...] = ()
    verbosity: int = 0


@dataclass(frozen=True)
class Settings:
    """Everything that a run needs to know.

    Examples
    --------
    >>> Settings.from_toml(Settings().to_toml()) == Settings()
    True

    """

    inputs: Inputs = field(default_factory=Inputs)
    processing: Processing = field(default_factory=Processing)
    outputs: Outputs = field(default_factory=Outputs)
    execution: Execution = field(default_factory=Execution)

    def to_toml(self) -> str:
        """Settings as TOML; values that are not set are left out."""
        import tomli_w

        return tomli_w.dumps(_plain(asdict(self)))

    @classmethod
    def from_toml(cls, text: str) -> Settings:
        """Settings from TOML; sections and keys that are missing keep their defaults.

        Raises
        ------
        SettingsError
            If the text is no TOML, or holds a section, a key, a type or a choice that is unknown.

        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f'The settings are not valid TOML: {error}.') from error
        return _build(cls, table, 'settings')


def available_cpus() -> int:
    """Number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _plain(value):
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _build(cls, table: dict, where: str):
    """Dataclass of type ``cls`` from a table of plain values."""
    hints = typing.get_type_hints(cls)
    known = {item.name for item in fields(cls)}
    unknown = sorted(set(table) - known)
    if unknown:
        raise SettingsError(
            f'Unknown key {unknown[0]!r} in [{where}]; known keys are {", ".join(sorted(known))}.'
        )
    values = {key: _coerce(value, hints[key], key) for key, value in table.items()}
    for key in CHOICES.keys() & values.keys():
        items = values[key] if isinstance(values[key], tuple) else (values[key],)
        for item in items:
            if item not in CHOICES[key]:
                choices = ', '.join(str(choice) for choice in CHOICES[key])
                raise SettingsError(f'{key!r} cannot be {item!r}; choose one of {choices}.')
    return cls(**values)


def _coerce(value, hint, where: str):
    """A plain TOML value as the annotated type."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        return _build(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if type(value) in arguments:
            return value
        return _coerce(value, next(a for a in arguments if a is not type(None)), where)
    if origin is tuple and isinstance(value, list):
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(kinds) == len(value):
            return tuple(_coerce(v, k, where) for v, k in zip(value, kinds, strict=True))
    if origin is dict and isinstance(value, dict):
        return {key: _coerce(item, arguments[1], where) for key, item in value.items()}
    if hint is Path and isinstance(value, str):
        return Path(os.path.expanduser(value))
    if hint is float and type(value) in (int, float):
        return value
    if isinstance(hint, type) and type(value) is hint:
        return value
    kind = getattr(hint, '__name__', str(hint)).replace('|', 'or')
    raise SettingsError(f'The setting {where!r} cannot hold {value!r}; it is of type {kind}.')

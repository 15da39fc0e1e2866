"""Settings that cannot work, refused before anything is loaded."""

from __future__ import annotations

from qsmprep.bids.names import LABEL
from qsmprep.methods import choose, sampling_parameters
from qsmprep.settings import STARTS, Inputs, Processing, Settings, SettingsError

LEFT_OUT = {
    'unwrapped': ('unwrapping', 'phase_sign', 'fix_ge_slices'),
    'local-field': ('background', 'background_parameters'),
    'chi': ('inversion', 'inversion_parameters'),
}
"""Start -> settings that have no use from it on, at that start and all later ones."""


def check_settings(settings: Settings) -> None:
    """
    Refuse settings that contradict each other or name folders that cannot be used.

    Parameters
    ----------
    settings
        Settings with absolute paths.

    Raises
    ------
    SettingsError
        With one sentence on what is wrong and what to do.

    """
    _check_folders(settings)
    _check_inputs(settings.inputs)
    _check_processing(settings.processing)
    _check_use(settings)


def _check_folders(settings: Settings) -> None:
    bids_dir = settings.inputs.bids_dir.resolve()
    output_dir = settings.outputs.output_dir.resolve()
    work_dir = settings.execution.work_dir.resolve()
    if bids_dir.is_file():
        raise SettingsError(f'{bids_dir} is a file; name the root folder of a BIDS dataset.')
    if not bids_dir.is_dir():
        raise SettingsError(f'The BIDS folder {bids_dir} does not exist; check its name.')
    elsewhere = f'use {bids_dir / "derivatives" / "qsmprep"} or a folder outside it.'
    if output_dir == bids_dir:
        raise SettingsError(f'The output folder is the BIDS folder {bids_dir}; {elsewhere}')
    inside = bids_dir in output_dir.parents
    if inside and bids_dir / 'derivatives' not in output_dir.parents:
        raise SettingsError(
            f'The output folder {output_dir} lies inside the BIDS folder; {elsewhere}'
        )
    if work_dir == bids_dir or bids_dir in work_dir.parents:
        raise SettingsError(
            f'The work folder {work_dir} lies inside the BIDS folder; choose another.'
        )
    if work_dir == output_dir:
        raise SettingsError(
            f'The work folder is the output folder {output_dir}; choose another, outside of it.'
        )


def _check_inputs(inputs: Inputs) -> None:
    low_high = inputs.phase_range
    if low_high is not None and not low_high[0] < low_high[1]:
        raise SettingsError(
            f'--phase-range {low_high[0]:g} {low_high[1]:g}: LOW must be below HIGH.'
        )
    for name, path in inputs.derivatives.items():
        if not path.is_dir():
            what = 'the folder does not exist'
            if path.exists():
                what = 'this is a file; give the folder of the dataset that holds it'
            raise SettingsError(f'--derivatives {name}={path}: {what}.')


def _check_processing(processing: Processing) -> None:
    both = sorted(set(processing.ignore) & set(processing.force))
    if both:
        raise SettingsError(f'{both[0]} is both in --ignore and in --force; drop one.')
    if not LABEL.fullmatch(processing.reference):
        raise SettingsError(
            f'--reference {processing.reference!r}: a label has letters and digits.'
        )
    for kind, name, parameters in (
        ('background removal', processing.background, processing.background_parameters),
        ('inversion', processing.inversion, processing.inversion_parameters),
    ):
        if parameters:
            try:
                choose(kind, name).complete(parameters)
            except ValueError as error:
                raise SettingsError(str(error)) from error
    if processing.start_from == 'chi':
        if processing.cosmos:
            raise SettingsError(
                '--start-from chi: --cosmos needs local fields; start from local-field, or drop it.'
            )
        if {'swi', 'chisep'} & set(processing.contrasts):
            raise SettingsError(
                '--start-from chi: there is no local field, which the contrasts swi and chisep '
                'need; start from local-field, or drop them.'
            )
        if processing.sr_resolution and processing.sr_source == 'field':
            raise SettingsError('--start-from chi: --sr-source field needs a local field; use map.')
    _check_sampling(processing)


def _check_use(settings: Settings) -> None:
    """Refuse settings of stages that are left out: who gives them expects an effect."""
    processing = settings.processing
    values, usual = (vars(x.inputs) | vars(x.processing) for x in (settings, Settings()))
    starts = STARTS[: STARTS.index(processing.start_from) + 1]
    start = f'with --start-from {processing.start_from}: drop one of them'
    unused = {key: start for x in starts for key in LEFT_OUT.get(x, ())}
    if not processing.sr_resolution:
        unused['sr_source'] = 'without --sr-resolution: add it, or drop --sr-source'
    if 'chisep' not in processing.contrasts:
        unused['separation'] = 'without --contrasts chisep: add it, or drop --separation'
    for key, reason in unused.items():
        if values[key] != usual[key]:
            flag = f'--{key.replace("_", "-").replace("parameters", "parameter")}'
            raise SettingsError(f'{flag} has no effect {reason}.')


def _check_sampling(processing: Processing) -> None:
    given = {'--posterior-samples': processing.posterior_samples, '--prior': processing.prior}
    flags = ', '.join(flag for flag, value in given.items() if value is not None)
    if not flags:
        return
    from qsmprep.qsm.diffusion.weights import load_weights

    prior = None if processing.sr_resolution else processing.prior
    try:
        sampling_parameters(processing.inversion, processing.posterior_samples, prior)
        if processing.posterior_samples == 1:
            raise ValueError('one sample has no spread; give two or more, or leave the flag out.')
        load_weights(processing.prior)
    except (ValueError, FileNotFoundError) as error:
        raise SettingsError(f'{flags}: {error}') from error

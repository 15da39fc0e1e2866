"""Settings that contradict each other, or name what is not there, are refused with a way out."""

from dataclasses import replace

import pytest

from qsmprep.cli.checks import check_settings
from qsmprep.settings import Settings, SettingsError


@pytest.fixture
def settings(tmp_path):
    """Return settings of a run with folders that exist; each section takes changes."""
    (tmp_path / 'bids').mkdir()

    def make(**sections):
        made = Settings()
        folders = {
            'inputs': {'bids_dir': tmp_path / 'bids'},
            'outputs': {'output_dir': tmp_path / 'out'},
            'execution': {'work_dir': tmp_path / 'work'},
        }
        for section in ('inputs', 'processing', 'outputs', 'execution'):
            changes = folders.get(section, {}) | sections.get(section, {})
            made = replace(made, **{section: replace(getattr(made, section), **changes)})
        return made

    return make


def test_defaults_are_accepted(settings):
    check_settings(settings())


@pytest.mark.parametrize(
    ('section', 'changes', 'message'),
    [
        ('inputs', {'phase_range': (4.0, -4.0)}, '--phase-range 4 -4: LOW must be below HIGH'),
        ('processing', {'reference': 'left cortex'}, "--reference 'left cortex': a label has"),
        ('processing', {'ignore': ('regions',), 'force': ('regions',)}, 'regions is both in'),
        ('processing', {'inversion_parameters': {'speed': 1.0}}, "tv has no parameter 'speed'"),
        ('processing', {'background_parameters': {'speed': 1.0}}, "pdf has no parameter 'speed'"),
        (
            'processing',
            {'background': 'vsharp', 'background_parameters': {'max_radius_mm': -5}},
            'vsharp: max_radius_mm=-5, but a length from 0 to 200 mm is expected; the default is',
        ),
        (
            'processing',
            {'inversion': 'tkd', 'inversion_parameters': {'threshold': float('inf')}},
            'tkd: threshold=inf, but a number from 0 on is expected; the default is 0.25.',
        ),
        ('processing', {'start_from': 'chi', 'cosmos': True}, '--cosmos needs local fields'),
        ('processing', {'start_from': 'chi', 'contrasts': ('swi',)}, 'there is no local field'),
        (
            'processing',
            {'start_from': 'chi', 'sr_resolution': 'iso', 'sr_source': 'field'},
            '--sr-source field needs a local field; use map',
        ),
        ('processing', {'inversion': 'diffusion', 'posterior_samples': 1}, 'no spread; give two'),
        (
            'processing',
            {'posterior_samples': 4},
            '--posterior-samples: the inversion tv draws no samples; choose diffusion by',
        ),
    ],
)
def test_what_cannot_work_is_refused(settings, section, changes, message):
    with pytest.raises(SettingsError) as refused:
        check_settings(settings(**{section: changes}))
    assert message in str(refused.value)
    assert '\n' not in str(refused.value)


def test_a_relaxation_contrast_may_start_from_a_map(settings):
    check_settings(settings(processing={'start_from': 'chi', 'contrasts': ('r2prime',)}))


@pytest.mark.parametrize(
    ('place', 'message'),
    [
        ('bids', 'The output folder is the BIDS folder'),
        ('bids/sub-01', 'lies inside the BIDS folder; use'),
        ('bids/derivatives', 'lies inside the BIDS folder; use'),
    ],
)
def test_outputs_stay_out_of_the_dataset_but_for_derivatives(settings, tmp_path, place, message):
    with pytest.raises(SettingsError, match=message):
        check_settings(settings(outputs={'output_dir': tmp_path / place}))
    inside = tmp_path / 'bids' / 'derivatives' / 'qsmprep'
    check_settings(settings(outputs={'output_dir': inside}))


def test_the_work_folder_is_not_the_output_folder(settings, tmp_path):
    with pytest.raises(SettingsError, match='The work folder is the output folder .*; choose an'):
        check_settings(settings(execution={'work_dir': tmp_path / 'out'}))


def test_links_are_followed_before_folders_are_compared(settings, tmp_path):
    (tmp_path / 'link').symlink_to(tmp_path / 'bids')
    with pytest.raises(SettingsError, match='The output folder is the BIDS folder'):
        check_settings(settings(outputs={'output_dir': tmp_path / 'link'}))
    with pytest.raises(SettingsError, match='The work folder .* lies inside the BIDS folder'):
        check_settings(settings(execution={'work_dir': tmp_path / 'link' / 'work'}))


def test_folders_that_are_not_there_are_named(settings, tmp_path):
    (tmp_path / 'file').touch()
    for path, message in ((tmp_path / 'file', 'is a file'), (tmp_path / 'no', 'does not exist')):
        with pytest.raises(SettingsError, match=message):
            check_settings(settings(inputs={'bids_dir': path}))
        with pytest.raises(SettingsError, match=f'--derivatives masks=.*{message}'):
            check_settings(settings(inputs={'derivatives': {'masks': path}}))


@pytest.mark.parametrize(
    ('start', 'section', 'changes', 'flag'),
    [
        ('unwrapped', 'processing', {'unwrapping': 'laplacian'}, '--unwrapping'),
        ('total-field', 'inputs', {'phase_sign': -1}, '--phase-sign'),
        ('local-field', 'processing', {'background': 'vsharp'}, '--background'),
        ('chi', 'processing', {'inversion_parameters': {'iterations': 5}}, '--inversion-parameter'),
    ],
)
def test_settings_without_an_effect_are_refused(settings, start, section, changes, flag):
    sections = {'processing': {'start_from': start}}
    sections[section] = sections.get(section, {}) | changes
    with pytest.raises(SettingsError, match=f'{flag} has no effect with --start-from {start}'):
        check_settings(settings(**sections))


def test_a_stage_that_is_run_has_its_settings(settings):
    check_settings(
        settings(processing={'start_from': 'total-field', 'background': 'lbv', 'inversion': 'tkd'})
    )


def test_choices_of_maps_that_are_not_made_are_refused(settings):
    for changes, missing in (
        ({'sr_source': 'field'}, '--sr-resolution'),
        ({'separation': 'closed-form'}, '--contrasts chisep'),
    ):
        with pytest.raises(SettingsError, match=f'no effect without {missing}'):
            check_settings(settings(processing=changes))

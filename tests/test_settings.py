"""Settings survive a round trip through TOML and refuse what they do not know."""

import re
from pathlib import Path

import pytest

from qsmprep.methods import choose
from qsmprep.settings import (
    Inputs,
    Processing,
    Settings,
    SettingsError,
)


def test_round_trip_keeps_every_value():
    settings = Settings(
        inputs=Inputs(
            bids_dir=Path('data'),
            participants=('01', '02'),
            derivatives={'masks': Path('m')},
            phase_range=(-4096.0, 4094.0),
        ),
        processing=Processing(
            inversion='tkd', inversion_parameters={'threshold': 0.2, 'iterations': 5}
        ),
    )
    again = Settings.from_toml(settings.to_toml())
    assert again == settings
    assert isinstance(again.processing.inversion_parameters['iterations'], int)


def test_the_settings_file_of_the_documentation_can_be_used():
    usage = (Path(__file__).parent.parent / 'docs' / 'usage.md').read_text()
    (example,) = re.findall(r'```toml\n(.*?)```', usage, flags=re.DOTALL)
    processing = Settings.from_toml(example).processing
    assert processing.background_parameters
    choose('background removal', processing.background).complete(processing.background_parameters)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[inputs]\nbids_dri = "x"', "Unknown key 'bids_dri'"),
        ('[inputs]\nphase_sign = "up"', "'phase_sign' cannot hold 'up'"),
        ('[inputs\n', 'not valid TOML'),
        ('[inputs]\nphase_sign = 0', "'phase_sign' cannot be 0; choose one of 1, -1"),
        ('[processing]\ninversion = "magic"', "'inversion' cannot be 'magic'; choose one of tkd"),
        ('[processing]\nignore = ["lunch"]', "'ignore' cannot be 'lunch'; choose one of phase-"),
    ],
)
def test_what_is_wrong_is_named(text, message):
    with pytest.raises(SettingsError, match=message):
        Settings.from_toml(text)


def test_parameters_of_methods_can_be_logical():
    processing = Processing(inversion='dm-qsm', inversion_parameters={'published': True})
    settings = Settings(processing=processing)
    assert Settings.from_toml(settings.to_toml()) == settings

"""Settings survive a round trip through TOML and refuse what they do not know."""

from pathlib import Path

import pytest

from qsmprep.qsm.background import BACKGROUND_METHODS as BACKGROUNDS
from qsmprep.qsm.invert import METHODS
from qsmprep.settings import (
    BACKGROUND_METHODS,
    INVERSION_METHODS,
    Inputs,
    Processing,
    Settings,
    SettingsError,
)


def test_the_command_line_offers_what_the_numerics_have():
    assert set(BACKGROUND_METHODS) == set(BACKGROUNDS)
    assert set(INVERSION_METHODS) == set(METHODS)


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

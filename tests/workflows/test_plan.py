"""What is made of an acquisition, by what it has and what the settings ask for."""

from dataclasses import replace

import pytest

from qsmprep.bids.acquisitions import find_acquisitions
from qsmprep.bids.layout import open_dataset
from qsmprep.settings import Settings
from qsmprep.workflows.plan import Job, plan_acquisition, plan_anatomy


@pytest.fixture
def plan(tiny_dataset):
    """Return the plan for settings of the processing and the number of echoes."""

    def of(echoes=3, truth=None, **processing):
        times = tuple(0.005 * n for n in range(1, echoes + 1))
        tiny_dataset.add(echo_times_s=times, echo_entity=echoes > 1)
        (scan,), _ = find_acquisitions(open_dataset(tiny_dataset.root), '01')
        settings = Settings()
        settings = replace(settings, processing=replace(settings.processing, **processing))
        job = Job(scan, {'EchoTime': list(times)}, truth=truth)
        return plan_acquisition(job, settings), plan_anatomy(
            job, settings, plan_acquisition(job, settings)
        )

    return of


def test_by_default_maps_fields_masks_and_rates(plan):
    made, anatomy = plan()
    assert {'chi', 'local_field', 'brain_mask', 'r2star'} <= set(made.images)
    assert made.contrasts == ()
    assert made.finer is None
    assert made.inversion == 'tv'
    assert not anatomy.needed


def test_one_echo_has_no_relaxation_rates(plan):
    made, _ = plan(echoes=1, contrasts=('swi', 'chisep'))
    assert not made.relaxometry
    assert 'r2star' not in made.images
    assert made.contrasts == ('swi', 'minimum')


def test_a_given_map_leaves_out_the_images_before_it(plan):
    made, _ = plan(start_from='chi')
    assert 'chi' in made.images
    assert not {'local_field', 'total_field', 'uncertainty'} & set(made.images)
    assert 'residual' not in made.panels


def test_voxels_that_are_as_small_already_stay_and_say_so(plan):
    made, _ = plan(sr_resolution='iso')
    assert made.finer is None
    assert made.metadata['SuperResolution'] == 'none: iso was asked for, 2 x 2 x 2 mm measured'


def test_a_finer_map_tells_both_resolutions(plan):
    made, _ = plan(sr_resolution='1')
    assert made.finer.grid.voxel_size == (1, 1, 1)
    assert made.finer.description == '1 x 1 x 1 mm, super-resolved from 2 x 2 x 2 mm'
    assert 'SuperResolution' not in made.metadata


def test_samples_give_an_uncertainty(plan):
    made, _ = plan(inversion='diffusion', posterior_samples=3)
    assert 'uncertainty' in made.images
    assert made.inversion_parameters['samples'] == 3

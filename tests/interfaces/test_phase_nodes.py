"""Nodes of the field map against a phantom whose field is known."""

import numpy as np
import pytest
from scipy import ndimage

from qsmprep.interfaces import images
from qsmprep.interfaces.coils import CoilDifference, CombineCoils, SplitCoils
from qsmprep.interfaces.inversion import InvertDipole, Reference
from qsmprep.interfaces.phase import (
    CombineEchoes,
    PhaseDifference,
    PrepareEchoes,
    Romeo,
    SplitEchoes,
    UnwrapEchoes,
)
from qsmprep.workflows.fieldmap import init_fieldmap_wf

ECHO_TIMES_S = (0.004, 0.009, 0.014)


def _files(save, array, name):
    return [save(array[..., i], f'{name}{i}') for i in range(array.shape[-1])]


def test_both_forms_of_complex_data_give_the_same_echoes(save, echoes):
    magnitude, phase = echoes['magnitude'], echoes['phase']
    polar = PrepareEchoes(
        magnitude_files=_files(save, magnitude, 'm'),
        phase_files=_files(save, phase / np.pi * 2048 + 2048, 'p'),
        phase_range=(0.0, 4096.0),
        echo_times_s=list(ECHO_TIMES_S),
    ).run()
    polar_phase = images.read_echoes(polar.outputs.phase)
    np.testing.assert_allclose(np.exp(1j * polar_phase), np.exp(1j * phase), atol=1e-4)
    cartesian = PrepareEchoes(
        real_files=_files(save, magnitude * np.cos(phase), 're'),
        imaginary_files=_files(save, magnitude * np.sin(phase), 'im'),
        echo_times_s=list(ECHO_TIMES_S),
    ).run()
    np.testing.assert_allclose(
        np.exp(1j * images.read_echoes(cartesian.outputs.phase)), np.exp(1j * phase), atol=1e-4
    )
    np.testing.assert_allclose(
        images.read_echoes(cartesian.outputs.magnitude), magnitude, rtol=1e-4
    )


def test_romeo_adds_multiples_of_two_pi_only(save, echoes):
    result = Romeo(
        phase=save(echoes['phase'], 'phase'),
        magnitude=save(echoes['magnitude'], 'magnitude'),
        echo_times_s=list(ECHO_TIMES_S),
    ).run()
    unwrapped = images.read(result.outputs.unwrapped, np.float64)
    turns = (unwrapped - echoes['phase']) / (2 * np.pi)
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-5)
    assert np.abs(np.round(turns)).max() > 0
    quality = images.read(result.outputs.quality)
    assert quality[echoes['ball']].mean() > quality[~echoes['ball']].mean()


@pytest.mark.parametrize(('echo_count', 'masked'), [(1, False), (2, False), (3, False), (3, True)])
def test_the_graph_recovers_the_field(save, echoes, tmp_path, echo_count, masked):
    offset_known = echo_count == 1
    phase = echoes['phase'][..., :echo_count]
    if offset_known:
        phase = phase - echoes['offset'][..., None]
        phase = np.angle(np.exp(1j * phase))
    workflow = init_fieldmap_wf(echo_times_s=ECHO_TIMES_S[:echo_count])
    workflow.base_dir = str(tmp_path)
    workflow.inputs.inputnode.magnitude = save(echoes['magnitude'][..., :echo_count], 'magnitude')
    workflow.inputs.inputnode.phase = save(phase, 'phase')
    if masked:
        workflow.inputs.inputnode.brain_mask = save(echoes['ball'], 'ball')
    graph = workflow.run()
    outputs = next(n for n in graph.nodes() if n.name == 'combine_echoes').result.outputs
    ball = echoes['ball']
    error = (images.read(outputs.field) - echoes['field_hz'])[ball]
    error -= np.median(error)
    noise = images.read(outputs.noise)[ball]
    if offset_known:
        assert 0.9 < np.std(error) / np.median(noise) < 1.1
    # what smoothing leaves of the offset's slope at the rim is below half a hertz
    assert np.std(error) < (0.5 if echo_count > 1 else 1.0)


def test_parts_of_a_mask_that_do_not_touch_have_one_field(save, echoes, tmp_path):
    x = np.arange(echoes['ball'].shape[0])[:, None, None]
    middle = echoes['ball'].shape[0] // 2
    parts = [echoes['ball'] & (x < middle - 1), echoes['ball'] & (x > middle + 1)]
    truth = 2 * np.pi * echoes['field_hz'][..., None] * np.array(ECHO_TIMES_S)
    unwrapped = truth + 2 * np.pi * np.array([1, -1, 2]) * parts[1][..., None]
    node = CombineEchoes(
        unwrapped=save(unwrapped, 'unwrapped'),
        magnitude=save(echoes['magnitude'], 'magnitude'),
        mask=save(parts[0] | parts[1], 'mask'),
        echo_times_s=list(ECHO_TIMES_S),
    )
    field = images.read(node.run(cwd=str(tmp_path)).outputs.field)
    for part in parts:
        np.testing.assert_allclose(field[part], echoes['field_hz'][part], atol=0.1)


def test_the_difference_weighs_nothing_outside_the_box_of_a_mask(save, echoes):
    files = {key: save(echoes[key], key) for key in ('magnitude', 'phase')}
    whole = PhaseDifference(**files).run().outputs
    part = PhaseDifference(**files, mask=save(echoes['ball'], 'ball')).run().outputs
    ball = echoes['ball']
    x, y, z = (np.any(ball, axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    box = x[:, None, None] & y[:, None] & z
    assert not box.all()
    np.testing.assert_array_equal(images.read(part.weight), images.read(whole.weight) * box)
    np.testing.assert_array_equal(images.read(part.difference), images.read(whole.difference))


def test_echoes_are_split_in_order(save, echoes):
    files = SplitEchoes(in_file=save(echoes['phase'], 'phase')).run().outputs.out_files
    assert len(files) == 3
    np.testing.assert_allclose(images.read(files[1]), echoes['phase'][..., 1], atol=1e-6)


def test_the_sidecar_tells_a_bipolar_ramp_and_the_phase_has_lost_it(save, echoes):
    ramp = 2.5 * np.linspace(-0.5, 0.5, 32)[:, None, None]
    phase = echoes['phase'].copy()
    phase[..., 1] = np.angle(np.exp(1j * (phase[..., 1] + ramp)))
    outputs = PrepareEchoes(
        magnitude_files=_files(save, echoes['magnitude'], 'm'),
        phase_files=_files(save, phase, 'p'),
        phase_range=(-np.pi, np.pi),
        echo_times_s=list(ECHO_TIMES_S),
    ).run().outputs  # fmt: skip
    record = outputs.parameters['BipolarReadout']
    assert record['Axis'] == 'i'
    assert record['SlopesInRadPerVoxel'][0] == pytest.approx(2.5 / 31, rel=0.02)
    assert 'bipolar' in outputs.parameters['Warnings'][0]
    error = np.angle(np.exp(1j * (images.read_echoes(outputs.phase) - echoes['phase'])))
    assert np.abs(error[echoes['ball']]).max() < 0.05


def test_uncombined_coils_become_echoes_without_their_phases(save, echoes):
    x = np.linspace(-1, 1, 32)[:, None, None, None]
    scan = {'magnitude_files': [], 'phase_files': []}
    for coil, (fall, turn) in enumerate([(0.8, 0.7), (-0.8, -1.2)]):
        phase = np.angle(np.exp(1j * (echoes['phase'] + turn * x + coil)))
        scan['magnitude_files'] += _files(save, echoes['magnitude'] * np.exp(fall * x), f'm{coil}')
        scan['phase_files'] += _files(save, phase, f'p{coil}')
    scan |= {'phase_range': (-np.pi, np.pi), 'echo_times_s': list(ECHO_TIMES_S), 'coils': 2}
    difference = CoilDifference(**scan).run().outputs
    unwrapped = Romeo(phase=difference.difference, magnitude=difference.weight).run().outputs
    outputs = CombineCoils(
        **scan, unwrapped_difference=unwrapped.unwrapped, weight=difference.weight
    ).run().outputs  # fmt: skip
    truth = 2 * np.pi * echoes['field_hz'][..., None] * np.array(ECHO_TIMES_S)
    error = np.angle(np.exp(1j * (images.read_echoes(outputs.phase) - truth)))[echoes['ball']]
    assert np.sqrt(np.mean(error**2)) < 0.03
    assert outputs.parameters['CoilCombination'] == 'MCPC-3D-S of 2 coils'


def test_coils_along_a_fourth_axis_are_split_coil_by_coil(save, echoes):
    factors = np.array([1.0, 2.0])
    together = [
        save(echoes['magnitude'][..., echo, None] * factors, f'together{echo}') for echo in range(3)
    ]
    files = SplitCoils(in_files=together).run().outputs.out_files
    assert len(files) == 6
    np.testing.assert_allclose(images.read(files[4]), 2 * echoes['magnitude'][..., 1], rtol=1e-6)


def test_nodes_alone_say_what_they_lack(save, echoes, tmp_path):
    files = {
        'magnitude_files': _files(save, echoes['magnitude'], 'm'),
        'phase_files': _files(save, echoes['phase'], 'p'),
    }
    with pytest.raises(ValueError, match='phase_files need phase_range'):
        PrepareEchoes(**files, echo_times_s=list(ECHO_TIMES_S)).run(cwd=str(tmp_path))
    milliseconds = [1000 * time for time in ECHO_TIMES_S]
    with pytest.raises(ValueError, match='look like milliseconds'):
        PrepareEchoes(**files, phase_range=(-np.pi, np.pi), echo_times_s=milliseconds).run()
    chi = save(echoes['field_hz'] / 1000, 'chi')
    with pytest.raises(ValueError, match="'CSF' needs its mask as region"):
        Reference(chi=chi, mask=save(echoes['ball'], 'ball'), kind='CSF').run(cwd=str(tmp_path))
    with pytest.raises(ValueError, match='field strength in tesla is expected, not 123.2'):
        InvertDipole(
            field=save(echoes['field_hz'], 'field'),
            mask=save(echoes['ball'], 'ball'),
            field_strength_t=123.2,
            method='tkd',
        ).run(cwd=str(tmp_path))


@pytest.mark.parametrize('count', [0, 2])
def test_romeo_takes_a_time_for_each_echo(save, echoes, tmp_path, monkeypatch, count):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'unwrapped.nii').write_bytes(b'of an earlier run')
    files = {key: save(echoes[key], key) for key in ('phase', 'magnitude')}
    times = {'echo_times_s': list(ECHO_TIMES_S[:count])} if count else {}
    with pytest.raises(ValueError, match=rf'holds 3 echoes, but there are {count} echo_times_s'):
        Romeo(**files, **times).run()


def test_romeo_is_no_function(save, echoes):
    with pytest.raises(ValueError, match='the node Romeo runs it'):
        UnwrapEchoes(phase=save(echoes['phase'], 'phase'), method='romeo').run()


def test_the_sidecar_tells_an_echo_that_is_noisier(save, echoes, tmp_path):
    truth = 2 * np.pi * echoes['field_hz'][..., None] * np.array(ECHO_TIMES_S)
    rng = np.random.default_rng(0)
    signal = echoes['magnitude'] * np.exp(1j * truth)
    sd = 0.005 * echoes['magnitude'].max() * np.array([1, 8, 1])
    signal += sd * (rng.normal(size=signal.shape) + 1j * rng.normal(size=signal.shape))
    turns = np.round((truth - np.angle(signal)) / (2 * np.pi))
    outputs = CombineEchoes(
        unwrapped=save(np.angle(signal) + 2 * np.pi * turns, 'unwrapped'),
        magnitude=save(np.abs(signal), 'magnitude'),
        echo_times_s=list(ECHO_TIMES_S),
    ).run(cwd=str(tmp_path)).outputs  # fmt: skip
    assert outputs.parameters['NoiseOfEchoes'] == pytest.approx([1, 8, 1], rel=0.2)
    assert outputs.parameters['Warnings'][0].startswith('Far noisier than the other echoes')


@pytest.mark.parametrize('soft', [False, True])
def test_phase_times_a_soft_mask_is_doubted(save, echoes, soft):
    weight = echoes['ball'].astype(float)
    if soft:
        weight = ndimage.gaussian_filter(weight, 1.0)
    outputs = PrepareEchoes(
        magnitude_files=_files(save, echoes['magnitude'], 'm'),
        phase_files=_files(save, weight[..., None] * echoes['phase'], 'p'),
        phase_range=(-np.pi, np.pi),
        echo_times_s=list(ECHO_TIMES_S),
    ).run().outputs  # fmt: skip
    assert ('soft mask' in ' '.join(outputs.parameters.get('Doubts', []))) == soft

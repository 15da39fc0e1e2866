"""The participant level, up to the point where computing begins."""

import json

import numpy as np
import pytest

from qsmprep.cli.records import read_record
from qsmprep.cli.run import main


@pytest.fixture
def rehearse(tmp_path, caplog):
    """Run qsmprep without computing anything; return its exit code and what it said."""

    def run(dataset, *options, out=tmp_path / 'out'):
        work = str(tmp_path / 'work')
        flags = ['--dry-run', '--skip-bids-validation', '-w', work]
        code = main([str(dataset.root), str(out), 'participant', *flags, *options])
        return code, caplog.text

    return run


def test_a_rehearsal_leaves_the_record_of_an_earlier_run(tiny_dataset, tmp_path, rehearse):
    tiny_dataset.add()
    record = tmp_path / 'out' / 'logs' / 'sub-01.json'
    record.parent.mkdir(parents=True)
    record.write_text('{"participant": "01", "acquisitions": [], "errors": []}')
    before = record.read_text()
    code, _ = rehearse(tiny_dataset)
    assert code == 0
    assert record.read_text() == before
    assert not list((tmp_path / 'out').glob('*.html'))


def test_a_rehearsal_tells_of_input_that_cannot_be_used(tiny_dataset, rehearse, capsys):
    tiny_dataset.add('sub-01').add('sub-02', parts=('mag',))
    code, said = rehearse(tiny_dataset)
    assert code == 1
    told = 'Participants checked: 2; acquisitions that can be processed: 1 of 2.'
    assert capsys.readouterr().out.startswith(told)
    assert said.count('there is no phase') == 1
    assert 'sub-02_MEGRE: sub-02_MEGRE' not in said


def test_a_filter_that_cannot_be_used_is_one_sentence(tiny_dataset, tmp_path, rehearse):
    (tmp_path / 'filters.json').write_text('{"megre": {"acq": "b"}}')
    code, said = rehearse(tiny_dataset.add(), '--bids-filter-file', str(tmp_path / 'filters.json'))
    assert code == 1
    assert "'acq' is no entity" in said
    assert 'Traceback' not in said


@pytest.mark.parametrize('name', ['a file', 'a file/below'])
def test_an_output_folder_that_cannot_be_made_is_named(tiny_dataset, tmp_path, rehearse, name):
    (tmp_path / 'a file').touch()
    code, said = rehearse(tiny_dataset.add(), out=tmp_path / name)
    assert code == 1
    assert f'{name} cannot be made' in said
    assert 'choose another as OUTPUT_DIR' in said


def test_a_plugin_that_does_not_exist_is_refused_at_once(tiny_dataset, tmp_path, rehearse):
    (tmp_path / 'plugin.yml').write_text('plugin: Magic')
    code, said = rehearse(tiny_dataset.add(), '--use-plugin', str(tmp_path / 'plugin.yml'))
    assert code == 1
    assert "names the plugin 'Magic'" in said


def test_folders_with_spaces_are_like_others(tiny_dataset, tmp_path, rehearse):
    tiny_dataset.add().root.rename(tmp_path / 'a study')
    tiny_dataset.root = tmp_path / 'a study'
    assert rehearse(tiny_dataset, out=tmp_path / 'its results')[0] == 0


def test_the_record_tells_the_command_without_folders(tiny_dataset, tmp_path):
    tiny_dataset.add(parts=('mag',))
    masks = tmp_path / 'other' / 'masks'
    masks.mkdir(parents=True)
    arguments = [str(tiny_dataset.root), str(tmp_path / 'out'), 'participant']
    arguments += ['--skip-bids-validation', '-w', str(tmp_path / 'work')]
    assert main([*arguments, '--derivatives', f'brain={masks}']) == 1
    record = read_record(tmp_path / 'out', '01')
    assert record['command'].endswith('--derivatives brain=masks')
    assert str(tmp_path) not in json.dumps(record['command'])


def give_masks(dataset, tmp_path, *labels):
    """Write a mask of each participant into a derivatives dataset; return its root."""
    root = tmp_path / 'my=masks %s'
    for label in labels:
        path = root / f'sub-{label}' / 'anat' / f'sub-{label}_desc-brain_mask.nii.gz'
        dataset.write_image(path, (dataset.signal > 500).astype(np.uint8), np.uint8)
    return root


def test_a_mask_that_was_not_fetched_stops_its_own_participant_alone(
    tiny_dataset, tmp_path, rehearse
):
    tiny_dataset.add('sub-01').add('sub-02')
    root = give_masks(tiny_dataset, tmp_path, '01')
    missing = root / 'sub-02' / 'anat' / 'sub-02_desc-brain_mask.nii.gz'
    missing.parent.mkdir(parents=True)
    missing.symlink_to('../../.git/annex/objects/x')
    code, said = rehearse(tiny_dataset, '-d', f'masks={root}')
    assert code == 1
    assert f'{missing} is a link whose target is missing; fetch the content first' in said
    assert 'sub-01_desc-brain' not in [line for line in said.splitlines() if 'ERROR' in line]
    missing.unlink()
    code, said = rehearse(tiny_dataset, '-d', str(root))
    assert code == 0


def test_masks_are_checked_before_anything_runs(tiny_dataset, tmp_path, rehearse):
    tiny_dataset.add()
    root = give_masks(tiny_dataset, tmp_path, '01')
    path = next(root.rglob('*.nii.gz'))
    tiny_dataset.write_image(path, np.zeros((12, 10, 8)), np.uint8)
    code, said = rehearse(tiny_dataset, '-d', f'masks={root}')
    assert code == 1
    assert f'{path} holds values from 0 to 0' in said


def test_the_advice_on_a_missing_reference_region_works(tiny_dataset, tmp_path, rehearse):
    tiny_dataset.add()
    root = give_masks(tiny_dataset, tmp_path, '01')
    code, said = rehearse(tiny_dataset, '-d', f'masks={root}', '--reference', 'CSF')
    assert code == 1
    assert 'or use --reference brain' in said
    assert rehearse(tiny_dataset, '-d', f'masks={root}', '--reference', 'brain')[0] == 0


def test_a_dataset_below_a_folder_named_as_a_datatype_is_like_others(
    tiny_dataset, tmp_path, rehearse
):
    tiny_dataset.add()
    (tmp_path / 'motion').mkdir()
    tiny_dataset.root = tiny_dataset.root.rename(tmp_path / 'motion' / 'BIDS')
    assert rehearse(tiny_dataset)[0] == 0


def test_warnings_of_the_input_are_reported_on_the_terminal(tiny_dataset, rehearse):
    code, said = rehearse(tiny_dataset.add(CoilCombinationMethod='Sum of Squares'))
    assert code == 0
    assert 'sub-01_MEGRE: The coils were combined by the sum of squares' in said


def test_an_error_before_the_first_node_is_reported_and_recorded(
    tiny_dataset, tmp_path, monkeypatch, caplog
):
    def fail(*arguments):
        raise OSError(30, 'Read-only file system', '/dev/shm')

    monkeypatch.setattr('qsmprep.cli.execution.RobustMultiProcPlugin', fail)
    arguments = [str(tiny_dataset.add().root), str(tmp_path / 'out'), 'participant']
    assert main([*arguments, '--skip-bids-validation', '-w', str(tmp_path / 'work')]) == 1
    assert 'Read-only file system' in caplog.text
    record = read_record(tmp_path / 'out', '01')
    assert '/dev/shm' in record['errors'][0]['message']
    assert record['acquisitions'][0]['status'] == 'failed'


def test_a_full_output_disk_is_one_line(tiny_dataset, tmp_path, monkeypatch, caplog):
    def fail(*arguments):
        raise OSError(28, 'No space left on device', str(tmp_path / 'out' / 'logs'))

    monkeypatch.setattr('qsmprep.cli.participant.write_dataset_description', fail)
    arguments = [str(tiny_dataset.add().root), str(tmp_path / 'out'), 'participant']
    assert main([*arguments, '--skip-bids-validation', '-w', str(tmp_path / 'work')]) == 1
    assert 'No space left on device' in caplog.text
    assert 'Traceback' not in caplog.text

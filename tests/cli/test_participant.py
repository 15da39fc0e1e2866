"""The participant level, up to the point where computing begins."""

import json

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


def test_a_rehearsal_tells_of_input_that_cannot_be_used(tiny_dataset, rehearse):
    tiny_dataset.add('sub-01').add('sub-02', parts=('mag',))
    code, said = rehearse(tiny_dataset)
    assert code == 1
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


def test_a_plugin_that_does_not_exist_is_told_at_once(tiny_dataset, tmp_path, rehearse):
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

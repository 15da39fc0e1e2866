"""The command line: what it accepts, what it refuses, and how fast it answers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import qsmprep
from qsmprep.cli.parser import build_parser, parse_args
from qsmprep.cli.run import main
from qsmprep.settings import Settings


@pytest.fixture
def folders(tmp_path):
    (tmp_path / 'bids').mkdir()
    return [str(tmp_path / 'bids'), str(tmp_path / 'out')]


def test_flags_reach_the_settings(folders, tmp_path):
    (tmp_path / 'masks').mkdir()
    level, settings = parse_args(
        [
            *folders,
            'participant',
            '--participant-label',
            'sub-01',
            '02',
            '--phase-range',
            '-4096',
            '4094',
            '--derivatives',
            f'masks={tmp_path / "masks"}',
            '--inversion',
            'tkd',
            '--inversion-parameter',
            'threshold=0.2',
            '--mem',
            '4G',
            '--work-dir',
            str(tmp_path / 'work'),
        ]
    )
    assert level == 'participant'
    assert settings.inputs.participants == ('01', '02')
    assert settings.inputs.phase_range == (-4096.0, 4094.0)
    assert settings.inputs.derivatives == {'masks': tmp_path / 'masks'}
    assert settings.processing.inversion_parameters == {'threshold': 0.2}
    assert settings.execution.mem_gb == 4.0


def test_every_flag_has_its_place_in_the_settings():
    sections = [getattr(Settings(), name) for name in Settings.__dataclass_fields__]
    known = {field for section in sections for field in section.__dataclass_fields__}
    flags = {action.dest for action in build_parser()._actions}
    apart = {'help', 'version', 'print_completion', 'analysis_level', 'config_file', 'notrack'}
    apart |= {'bids_database_dir'}
    assert flags - apart <= known


@pytest.mark.parametrize('page', ['docs/usage.md', 'docs/outputs.md'])
def test_the_guide_names_only_flags_that_exist(page):
    text = (Path(__file__).parents[2] / page).read_text()
    known = {flag for action in build_parser()._actions for flag in action.option_strings}
    assert set(re.findall(r'`(--[a-z][a-z-]*)', text)) <= known


def test_a_settings_file_is_overridden_by_flags(folders, tmp_path):
    config = tmp_path / 'run.toml'
    config.write_text('[processing]\ninversion = "tkd"\nreference = "none"\n')
    _, settings = parse_args(
        [*folders, 'participant', '--config-file', str(config), '--reference', 'CSF']
    )
    assert settings.processing.inversion == 'tkd'
    assert settings.processing.reference == 'CSF'


def test_threads_beyond_the_processors_are_told(folders, capsys):
    _, settings = parse_args([*folders, 'participant', '--nprocs', '2', '--omp-nthreads', '3'])
    assert settings.execution.omp_nthreads == 2
    assert '--omp-nthreads 3 is more than the 2 processors' in capsys.readouterr().err
    parse_args([*folders, 'participant', '--nprocs', '2', '--omp-nthreads', '2'])
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--participant-label', '../01'], 'is no label'),
        (['--participant-label', 'sub-../..'], 'is no label'),
        (['--phase-range', '1', '-1'], 'LOW must be below HIGH'),
        (['--mem', 'lots'], 'is no size'),
        (['--mem', '8'], '8 is 8 MB, and 1 GB is the least that helps; a bare number is in MB'),
        (['--mem', '500M'], '500M is 500 MB, and 1 GB is the least that helps.\n'),
        (['--random-seed', '-1'], "'-1' is no whole number from 0"),
        (['--random-seed', str(2**80)], 'is no whole number from 0 to 2^63 - 1'),
        (['--nprocs', '0'], 'not above zero'),
        (['--nprocs', 'two'], "'two' is no whole number"),
        (['--hang-after', 'nan'], 'nan is not above zero'),
        (['--device', 'tpu'], 'is not auto, cpu or cuda'),
        (['--derivatives', 'a=/nowhere'], 'does not exist'),
        (['--derivatives', 'a=.', 'a=.'], 'given twice'),
        (['--ignore', 'brain-extraction', '--force', 'brain-extraction'], 'both in --ignore'),
        (['--inversion', 'magic'], 'invalid choice'),
        (['--inversion-parameter', 'treshold=0.2'], "tv has no parameter 'treshold'; it has"),
        (['--inversion', 'diffusion', '--prior', 'pyproject.toml'], 'does not hold weights'),
        (['--config-file', 'nowhere.toml'], 'does not exist'),
    ],
)
def test_bad_arguments_end_with_code_2_and_a_reason(folders, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        parse_args([*folders, 'participant', *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('[execution]\nmem_gb = -3.0', "mem_gb = -3.0: '-3.0G' is no size"),
        ('[execution]\nhang_after_min = 0', 'hang_after_min = 0: 0 is not above zero'),
        ('[inputs]\nparticipants = ["01", "0 2"]', "participants = 0 2: '0 2' is no label"),
        ('[inputs]\nfilter_file = "/nowhere.json"', 'the file /nowhere.json does not exist'),
        ('[processing]\ndevice = "gpu"', "device = gpu: 'gpu' is not auto, cpu or cuda"),
        ('[processing]\nsr_resolution = "100"', "'100' is neither iso nor an edge of 0.1 to 10"),
        ('[processing]\nposterior_samples = 0', 'posterior_samples = 0: 0 is not above zero'),
        ('[processing]\nrandom_seed = "one"', "'random_seed' cannot hold 'one'; it is of type int"),
    ],
)
def test_a_settings_file_may_hold_what_its_flags_take(folders, tmp_path, capsys, text, message):
    file = tmp_path / 'run.toml'
    file.write_text(text)
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant', '--config-file', str(file)])
    said = capsys.readouterr().err
    assert f'{file}: ' in said
    assert message in said


def test_settings_that_are_not_utf_8_are_refused(folders, tmp_path, capsys):
    file = tmp_path / 'latin.toml'
    file.write_bytes('# Z\xfcrich'.encode('latin-1'))
    with pytest.raises(SystemExit) as ended:
        parse_args([*folders, 'participant', '--config-file', str(file)])
    assert ended.value.code == 2
    assert 'latin.toml is no text in UTF-8' in capsys.readouterr().err


@pytest.mark.parametrize('output', ['.', 'sub-01', 'derivatives'])
def test_output_inside_the_input_is_refused(tmp_path, capsys, output):
    with pytest.raises(SystemExit) as ended:
        parse_args([str(tmp_path), str(tmp_path / output), 'participant'])
    assert ended.value.code == 2
    assert 'derivatives/qsmprep' in capsys.readouterr().err


def test_output_under_derivatives_is_accepted(tmp_path):
    out = tmp_path / 'derivatives' / 'qsmprep'
    _, settings = parse_args([str(tmp_path), str(out), 'participant'])
    assert settings.outputs.output_dir == out


def test_work_inside_the_input_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        parse_args([str(tmp_path), str(tmp_path.parent / 'o'), 'participant', '-w', str(tmp_path)])
    assert 'work folder' in capsys.readouterr().err


def test_help_loads_nothing_heavy_and_few_modules():
    code = (
        'import sys\n'
        'from qsmprep.cli.run import main\n'
        'try: main(["--help"])\n'
        'except SystemExit: pass\n'
        'heavy = {"torch", "numpy", "nipype", "nilearn", "nibabel", "niworkflows", "bids"}\n'
        'print("LOADED", sorted(heavy & set(sys.modules)), len(sys.modules) < 220)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == 'LOADED [] True'


def test_an_error_is_not_hidden_behind_all_options(folders, capsys):
    with pytest.raises(SystemExit):
        parse_args([*folders, 'participant', '--mem', 'lots'])
    usage, error = capsys.readouterr().err.splitlines()
    assert usage == 'usage: qsmprep BIDS_DIR OUTPUT_DIR {participant,group} [options]'
    assert error.startswith('qsmprep: error: ')


def test_a_file_as_dataset_is_named(tmp_path, capsys):
    (tmp_path / 'scan.nii').touch()
    with pytest.raises(SystemExit):
        parse_args([str(tmp_path / 'scan.nii'), str(tmp_path / 'out'), 'participant'])
    assert 'scan.nii is a file; name the root folder' in capsys.readouterr().err


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_args(['--version'])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith('qsmprep v')


def test_a_newcomer_reads_what_to_type(capsys):
    assert main([]) == 2
    assert 'qsmprep BIDS_DIR OUTPUT_DIR participant --dry-run' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'meant'),
    [
        (['partcipant'], 'participant'),
        (['participant', '--inversin', 'tv'], '--inversion'),
        (['participant', '--inversion', 'wienner'], 'wiener'),
        (['participant', '--inversion', 'TV'], 'tv'),
        (['participant', '--particpant-label=01'], '--participant-label'),
        (['participant', '--subjects', '01'], '--participant-label'),
        (['participant', '--mask', 'mask.nii.gz'], '--derivatives'),
        (['participant', '\N{EN DASH}dry-run'], '--dry-run'),
    ],
)
def test_a_mistyped_word_is_answered_with_the_nearest(folders, capsys, words, meant):
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, *words])
    assert f'Did you mean {meant}?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('word', 'advice'),
    [(' ', 'no blank may stand behind the backslash'), ('01', 'write --participant-label 01.')],
)
def test_a_word_too_many_is_answered_with_where_it_comes_from(folders, capsys, word, advice):
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant', word])
    assert advice in capsys.readouterr().err


def test_an_unknown_option_before_the_folders_is_named(folders, capsys):
    with pytest.raises(SystemExit, match='2'):
        parse_args(['--inverson', 'tv', *folders, 'participant'])
    said = capsys.readouterr().err
    assert 'unrecognized arguments: --inverson. Did you mean --inversion?' in said


@pytest.mark.parametrize('given', [0, 1])
def test_an_empty_name_of_a_folder_is_refused(folders, capsys, given):
    folders[given] = ''
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant'])
    assert 'is a variable of the shell not set?' in capsys.readouterr().err


@pytest.mark.parametrize('given', ['masks=', ''])
def test_derivatives_without_a_path_are_refused(folders, capsys, given):
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant', '-d', given])
    assert 'is a variable of the shell not set?' in capsys.readouterr().err


def test_versions_of_all_that_can_change_numbers(capsys):
    assert main(['--version', '-v']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'qsmprep v{qsmprep.__version__}'
    assert lines[1].startswith('Python 3')
    assert any(re.fullmatch(r'torch \d.*', line) for line in lines)


def test_completion_knows_the_options(capsys):
    with pytest.raises(SystemExit, match='0'):
        parse_args(['--print-completion', 'bash'])
    script = capsys.readouterr().out
    assert '--inversion-parameter' in script
    assert 'pdf+vsharp' in script


def test_an_option_that_is_given_twice_keeps_both_and_overrides_the_settings_file(
    folders, tmp_path
):
    """A second list adds to the first one, and does not take its place in silence."""
    config = tmp_path / 'run.toml'
    config.write_text('[inputs]\nparticipants = ["09"]\n')
    given = ['--participant-label', '01', '--participant-label', '02', '03']
    _, settings = parse_args([*folders, 'participant', '--config-file', str(config), *given])
    assert list(settings.inputs.participants) == ['01', '02', '03']


@pytest.mark.parametrize('words', [['--participant-label', '01'], ['-d', 'masks=/tmp']])
def test_an_option_that_takes_the_folders_is_explained(folders, capsys, words):
    with pytest.raises(SystemExit, match='2'):
        parse_args([*words, *folders, 'participant'])
    assert 'put BIDS_DIR, OUTPUT_DIR, ANALYSIS_LEVEL before all options' in capsys.readouterr().err


def test_a_tilde_that_the_shell_left_is_the_home(folders, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'masks').mkdir()
    words = ['participant', '-w', '~/work', '-d', 'masks=~/masks']
    settings = parse_args([folders[0], '~/out', *words])[1]
    assert settings.outputs.output_dir == tmp_path / 'out'
    assert settings.execution.work_dir == tmp_path / 'work'
    assert settings.inputs.derivatives == {'masks': tmp_path / 'masks'}


def test_a_tilde_in_a_settings_file_is_the_home(folders, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'settings.toml').write_text('[execution]\nwork_dir = "~/work"\n')
    words = ['participant', '--config-file', '~/settings.toml']
    assert parse_args([*folders, *words])[1].execution.work_dir == tmp_path / 'work'


@pytest.mark.parametrize(
    ('words', 'left'),
    [
        (['-w', '$SCRATCH/work'], '$SCRATCH'),
        (['-d', 'masks=${HOME}/masks'], '${HOME}'),
        (['-w', '~nobody-is-so-named/work'], '~nobody-is-so-named'),
        (['-w', '%TEMP%/work'], '%TEMP%'),
    ],
)
def test_a_variable_that_nothing_replaced_names_no_folder(folders, capsys, words, left):
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant', *words])
    assert f'has {left}, which nothing has replaced' in capsys.readouterr().err


@pytest.mark.parametrize('text', ['work_dir = "$W/x"', '[inputs.derivatives]\nmasks = "$W/x"'])
def test_nor_in_a_settings_file(folders, tmp_path, capsys, text):
    path = tmp_path / 'settings.toml'
    path.write_text(f'[execution]\n{text}\n')
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant', '--config-file', str(path)])
    assert "'$W/x' has $W" in capsys.readouterr().err


def test_a_folder_may_have_such_a_name(folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / '$odd').mkdir()
    settings = parse_args([*folders, 'participant', '-w', '$odd'])[1]
    assert settings.execution.work_dir == tmp_path / '$odd'


def test_a_folder_in_place_of_a_file_is_named_as_such(folders, tmp_path, capsys):
    with pytest.raises(SystemExit, match='2'):
        parse_args([*folders, 'participant', '--config-file', str(tmp_path)])
    assert f'{tmp_path} is a folder or a pipe, and no file' in capsys.readouterr().err


def test_settings_may_begin_with_a_byte_order_mark(folders, tmp_path):
    path = tmp_path / 'settings.toml'
    path.write_bytes(b'\xef\xbb\xbf[processing]\r\ninversion = "tkd"\r\n')
    settings = parse_args([*folders, 'participant', '--config-file', str(path)])[1]
    assert settings.processing.inversion == 'tkd'


def test_the_package_runs_as_a_module():
    command = [sys.executable, '-m', 'qsmprep', '--version']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f'qsmprep v{qsmprep.__version__}\n')

"""Command lines of ``reported_commands.py``: what is refused, or passes, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

DRY = 'BIDS OUT participant --dry-run --skip-bids-validation -w WORK'


@dataclass(frozen=True)
class Command:
    """A command line.

    Parameters
    ----------
    name
        Of the table.
    words
        Arguments; ``BIDS``, ``OUT``, ``WORK``, ``MASKS`` and ``FILE`` stand for paths.
    said
        Pattern that it must say.
    file
        Content of ``FILE``.
    passes
        Whether it can work; else it must end with 1 or 2.

    """

    name: str
    words: str
    said: str = ''
    file: str = ''
    passes: bool = False


def refused(name: str, words: str, said: str = '', file: str = '') -> Command:
    """A rehearsal on the usual folders that cannot work."""
    return Command(name, f'{DRY} {words}', said, file)


def passes(name: str, words: str, said: str = '', file: str = '') -> Command:
    """A rehearsal on the usual folders that can work."""
    return Command(name, f'{DRY} {words}', said, file, passes=True)


def settings(name: str, file: str, said: str) -> Command:
    """A rehearsal on the usual folders with a settings file that cannot work."""
    return refused(name, '--config-file FILE', said, file)


COMMANDS: tuple[Command, ...] = (
    Command('level first', 'participant BIDS OUT', 'participant|order|BIDS_DIR'),
    Command('no level', 'BIDS OUT', 'participant'),
    Command('folders exchanged', 'OUT BIDS participant', 'does not exist|BIDS'),
    Command('level run', 'BIDS OUT run', 'participant'),
    Command('group before participant', 'BIDS OUT group', 'participant level first'),
    Command('group on the dataset', 'BIDS BIDS group', 'output|derivatives'),
    Command('output in the dataset', 'BIDS BIDS/qsm participant --dry-run', 'derivatives'),
    Command(
        'output in derivatives', 'BIDS BIDS/derivatives/qsmprep participant --dry-run', passes=True
    ),
    Command(
        'output is derivatives itself', 'BIDS BIDS/derivatives participant --dry-run', 'qsmprep'
    ),
    Command('work in the dataset', 'BIDS OUT participant -w BIDS/work --dry-run', 'work'),
    Command(
        'work is output', 'BIDS OUT participant -w OUT --dry-run --skip-bids-validation', 'work'
    ),
    Command(
        'output in the folder of participants', 'BIDS BIDS/sub-01 participant --dry-run', 'inside'
    ),
    refused('label with sub_', '--participant-label sub_01', 'label'),
    refused('label 1', '--participant-label 1', 'sub-01'),
    refused('two labels, one unknown', '--participant-label 01 99', 'sub-99'),
    refused('capital inversion', '--inversion TV', 'Did you mean tv'),
    refused('TKD by another name', '--inversion MEDI', 'choose from'),
    refused('capital mask', '--brain-extraction BET', 'choose from'),
    refused('nprocs 0', '--nprocs 0', 'above zero'),
    refused('memory of 8', '--mem 8', '8G'),
    refused('memory of 500M', '--mem 500M', r'least that helps\.'),
    refused('negative radius', '--background-parameter max_radius_mm=-5', 'max_radius_mm'),
    refused(
        'V-SHARP, negative radius',
        '--background vsharp --background-parameter max_radius_mm=-5',
        'max_radius_mm',
    ),
    refused(
        'V-SHARP, radius of 5 m',
        '--background vsharp --background-parameter max_radius_mm=5000',
        'max_radius_mm',
    ),
    refused('iterations of 0', '--background-parameter iterations=0', 'iterations'),
    refused('iterations of 2.5', '--background-parameter iterations=2.5', 'iterations'),
    refused('iterations true', '--background-parameter iterations=true', 'iterations'),
    refused(
        'TKD, negative threshold',
        '--inversion tkd --inversion-parameter threshold=-0.2',
        'threshold',
    ),
    refused(
        'TKD, threshold not a number',
        '--inversion tkd --inversion-parameter threshold=nan',
        'threshold',
    ),
    refused(
        'TKD, threshold infinite',
        '--inversion tkd --inversion-parameter threshold=inf',
        'threshold',
    ),
    refused(
        'Tikhonov, weight of 0',
        '--inversion tikhonov --inversion-parameter weight=-1',
        'weight|parameter',
    ),
    refused('samples of tv', '--posterior-samples 8', 'posterior-samples'),
    refused('samples -4', '--inversion diffusion --posterior-samples -4', 'zero'),
    refused('range of zero', '--phase-range 0 0', 'LOW'),
    refused('range not a number', '--phase-range nan nan', 'phase-range'),
    refused('range infinite', '--phase-range -inf inf', 'phase-range'),
    refused('sign minus', '--phase-sign -', 'phase-sign'),
    refused('seed of 2 to the 80', '--random-seed 1208925819614629174706176', 'random-seed'),
    refused('seed negative', '--random-seed -1', 'random-seed'),
    passes('derivatives without a mask', '-d masks=BIDS/sub-01', 'There is no'),
    passes('derivatives is the dataset', '-d masks=BIDS', 'derivative'),
    passes('derivatives is the folder of a participant', '-d MASKS/sub-01', 'There is no'),
    refused('filter is no object', '--bids-filter-file FILE', 'map queries', '[1]'),
    refused(
        'filter with an unknown key',
        '--bids-filter-file FILE',
        'bids-filter-file',
        '{"MEGRE": {"acquisition": "hi"}}',
    ),
    passes('filter by suffix', '--bids-filter-file FILE', '', '{"megre": {"suffix": "MEGRE"}}'),
    passes('filter by a null run', '--bids-filter-file FILE', '', '{"megre": {"run": null}}'),
    passes(
        'filter by echoes as text', '--bids-filter-file FILE', '', '{"megre": {"echo": ["1", "2"]}}'
    ),
    settings('settings in JSON', '{"processing": {}}', 'TOML'),
    settings('settings of a flag', '[processing]\nbackground-parameter = 3\n', 'known'),
    settings('settings, inversion unknown', '[processing]\ninversion = "medi"\n', 'choose'),
    settings(
        'settings, parameter as text',
        '[processing]\ninversion = "tikhonov"\ninversion_parameters = {weight = "big"}\n',
        'big',
    ),
    settings('settings, negative memory', '[execution]\nmem_gb = -3\n', 'mem'),
    settings('settings, no processors', '[execution]\nnprocs = 0\n', ''),
    settings('settings, negative hang', '[execution]\nhang_after_min = -1\n', 'hang'),
    settings('settings, resolution of 100', '[processing]\nsr_resolution = "100"\n', 'resolution'),
    settings('settings, label with a blank', '[inputs]\nparticipants = ["01 02"]\n', 'label'),
    settings('settings, device of a friend', '[processing]\ndevice = "gpu"\n', 'device'),
    settings(
        'settings, samples of zero',
        '[processing]\ninversion = "diffusion"\nposterior_samples = 0\n',
        'samples',
    ),
    refused(
        'settings for another inversion, overridden',
        '--config-file FILE --inversion tv',
        'tv has no parameter',
        '[processing]\ninversion = "tkd"\ninversion_parameters = {threshold = 0.2}\n',
    ),
    refused('cosmos of one run', '--cosmos', 'cosmos|COSMOS|orientation'),
    refused('mean of one run', '--average-runs', 'run|mean'),
    refused('R2 prime without an R2 map', '--contrasts r2prime', 'R2map'),
    refused('T1w space without an image', '--output-spaces T1w', 'T1'),
    passes('MNI without an image', '--output-spaces MNI152NLin2009cAsym'),
    refused('reference without a mask', '--reference CSF', 'CSF'),
    refused(
        'start from a field that is not there', '--start-from local-field -d masks=MASKS', 'local'
    ),
    refused('start from unwrapped without derivatives', '--start-from unwrapped', 'unwrapped'),
    passes('plugin without a name', '--use-plugin FILE', '', 'plugin_args: {}\n'),
    refused(
        'prior that is no prior',
        '--inversion diffusion --prior FILE',
        'FILE|prior|safetensors',
        'hello',
    ),
    Command('options first', '--participant-label 01 BIDS OUT participant', 'before all options'),
    Command('masks first', '-d masks=MASKS BIDS OUT participant', 'before all options'),
    refused('flags of fMRIPrep', '--n_cpus 2 --omp_nthreads 1', '--n-cpus, --omp-nthreads'),
    refused('licence of FreeSurfer', '--fs-license-file FILE', 'unrecognized', 'x'),
    refused('label with a star', '--participant-label 0*', 'letters and digits'),
    refused('label of a folder', '--participant-label sub-01/', 'letters and digits'),
    refused('dash of a word processor', '\N{EN DASH}dry-run', 'Did you mean --dry-run'),
    refused('settings are a folder', '--config-file MASKS', 'no file'),
    passes(
        'settings with a byte order mark',
        '--config-file FILE',
        '',
        '\ufeff[processing]\r\ninversion = "tkd"\r\n',
    ),
    refused(
        'sign of a phase that is not used',
        '--start-from local-field -d masks=BIDS/derivatives/simulation --phase-sign -1',
        '--phase-sign has no effect',
    ),
    refused(
        'background of a field that is given',
        '--start-from local-field -d masks=BIDS/derivatives/simulation --background lbv',
        '--background has no effect',
    ),
    refused('a variable that no shell replaced', '-d masks=$HOME/masks', 'nothing has replaced'),
    refused('mask as a file', '-d MASKS/sub-01/anat/sub-01_desc-brain_mask.nii.gz', 'is a file'),
    settings('settings of fMRIPrep', '[workflow]\nanat_only = 1\n', 'known'),
    refused('session that is not there', '--session-label 02', 'no session'),
    passes('memory of 16GiB', '--mem 16GiB'),
    Command('two levels', 'BIDS OUT participant group', 'unrecognized'),
    refused('source of no finer map', '--sr-source field', 'no effect without --sr-resolution'),
    refused('separation of nothing', '--separation closed-form', 'no effect without --contrasts'),
    Command(
        'output in the derivatives of another program',
        'BIDS BIDS/derivatives/simulation participant --dry-run --skip-bids-validation -w WORK',
        'holds the derivatives of',
    ),
    refused('--dryrun', '--dryrun', 'Did you mean --dry-run'),
    refused('--participant-labels', '--participant-labels 01', 'Did you mean --participant-label'),
    refused('--subject', '--subject 01', '--participant.label'),
    refused('--participants', '--participants 01', 'Did you mean --participant.label'),
    Command('-i and -o', '-i BIDS -o OUT participant', 'BIDS_DIR'),
    refused('--work_dir', '--work_dir WORK', 'Did you mean --work-dir'),
    refused('--mem_gb', '--mem_gb 8', '--mem'),
    passes('--output-space', '--output-space MNI152NLin2009cAsym'),
    refused('spaces, MNI152NLin6Asym', '--output-spaces MNI152NLin6Asym', 'MNI152NLin2009cAsym'),
    refused('spaces, res-3', '--output-spaces MNI152NLin2009cAsym:res-3', 'res-2'),
    refused('spaces, fsaverage', '--output-spaces fsaverage', 'MNI152NLin2009cAsym'),
    refused('spaces, MNI', '--output-spaces MNI', 'MNI152NLin2009cAsym'),
    refused('device gpu', '--device gpu', 'cuda'),
    refused('device cuda:7', '--device cuda:7', 'cuda'),
    refused('device 0', '--device 0', 'cuda'),
    refused('flags of QSMxT', '--premade fast --do_qsm', '--premade'),
    refused('--qsm_algorithm of QSMxT', '--qsm_algorithm rts', '--qsm_algorithm'),
    refused('--unwrapping_algorithm of QSMxT', '--unwrapping_algorithm romeo', '--unwrapping'),
    refused('unwrapping bestpath', '--unwrapping bestpath', 'romeo'),
    refused('unwrapping ROMEO', '--unwrapping ROMEO', 'Did you mean romeo'),
    refused('background LBV', '--background LBV', 'Did you mean lbv'),
    refused('--background-removal', '--background-removal pdf', '--background'),
    refused('inversion tgv', '--inversion tgv', 'choose from'),
    refused('tv, parameter alpha', '--inversion-parameter alpha=1e-3', 'alpha'),
    refused('parameter without =', '--inversion-parameter weight 0.1', 'NAME=NUMBER'),
    refused('range with a comma', '--phase-range=-4096,4096', '--phase-range'),
    refused('range from above', '--phase-range 4096 -4096', 'LOW'),
    refused('range in pi', '--phase-range -pi pi', '--phase-range'),
    refused('range of one number', '--phase-range 4096', '--phase-range'),
    refused('sign 0', '--phase-sign 0', '--phase-sign'),
    refused('--mask', '--mask MASKS/sub-01/anat/sub-01_desc-brain_mask.nii.gz', '--derivatives'),
    refused('derivatives that are not there', '-d masks=MASKS/nowhere', 'nowhere'),
    refused('derivatives of an empty path', '-d masks=', 'an empty name'),
    refused('derivatives with a blank', '-d masks MASKS', 'NAME=PATH|masks'),
    refused('derivatives twice by one name', '-d masks=MASKS masks=BIDS', 'twice|more than once'),
    refused('labels with a comma', '--participant-label 01,02', 'not by commas'),
    refused('no label', '--participant-label', 'expected at least one'),
    refused('label all', '--participant-label all', 'sub-all'),
    refused('--resolution', '--resolution 1', '--sr-resolution|unrecognized'),
    refused('resolution 0', '--sr-resolution 0', '--sr-resolution'),
    refused('resolution 1mm', '--sr-resolution 1mm', '--sr-resolution'),
    refused('contrasts in capitals', '--contrasts SWI', 'Did you mean swi'),
    refused('contrasts with a comma', '--contrasts swi,chisep', 'swi'),
    refused('force bet', '--force bet', 'brain-extraction'),
    refused('nprocs all', '--nprocs all', '--nprocs'),
    refused('nprocs -1', '--nprocs -1', 'above zero'),
    refused('memory with a blank', '--mem 8 GB', '8G'),
    refused('verbose 3', '--verbose 3', 'unrecognized|-vvv'),
    passes('-vv', '-vv'),
    refused('--log-level', '--log-level debug', 'unrecognized'),
    refused('filter as text', '--bids-filter-file \'{"megre":{"echo":1}}\'', 'file'),
    refused('seed of 1.5', '--random-seed 1.5', '--random-seed'),
    refused('one sample', '--inversion diffusion --posterior-samples 1', 'two'),
    refused('a flag with a value', '--stop-on-first-crash=true', '--stop-on-first-crash'),
    refused('plugin by its name', '--use-plugin MultiProc', 'file'),
    refused('hang after 0', '--hang-after 0', '--hang-after'),
    refused('hang after 15m', '--hang-after 15m', '--hang-after'),
    refused('flags of fMRIPrep, more', '--low-mem --use-syn-sdc --anat-only', '--low-mem'),
    settings('settings in YAML', 'inversion: tv\n', 'TOML'),
    refused('settings that are not there', '--config-file nowhere.toml', 'nowhere.toml'),
    Command('participants for participant', 'BIDS OUT participants --dry-run', 'participant'),
    Command('Participant', 'BIDS OUT Participant --dry-run', 'participant'),
    Command('level second', 'BIDS participant OUT', 'order|OUTPUT_DIR'),
    Command('help', 'help', 'BIDS_DIR'),
    Command('dataset is a file', 'FILE OUT participant', 'file|folder'),
    Command(
        'dataset is an image',
        'BIDS/sub-01/anat/sub-01_echo-1_part-mag_MEGRE.nii.gz OUT participant',
        'file|folder',
    ),
    Command('output is a file', 'BIDS FILE participant --dry-run', 'file|folder'),
    Command(
        'output is the dataset by a longer way',
        'BIDS BIDS/sub-01/.. participant --dry-run',
        'derivatives',
    ),
    Command(
        'derivatives as the dataset',
        'BIDS/derivatives/simulation OUT participant --skip-bids-validation',
        'derivative',
    ),
    Command(
        'emptying the folder of the dataset',
        'BIDS OUT participant -w BIDS/.. --clean-workdir --skip-bids-validation --sloppy',
        passes=True,
    ),
    Command(
        'emptying a folder of masks',
        'BIDS OUT participant -w MASKS --clean-workdir --skip-bids-validation --sloppy',
        passes=True,
    ),
    Command('work folder is a file', 'BIDS OUT participant -w FILE --dry-run', 'FILE|file|folder'),
    Command('reports before any run', 'BIDS OUT participant --reports-only', 'not been processed'),
    Command('group with an inversion', 'BIDS OUT group --inversion tkd', '--inversion|first'),
    passes('boilerplate alone', '--boilerplate-only'),
)


def filtered(name: str, file: str, said: str = '', works: bool = False) -> Command:
    """A rehearsal with filters of pybids."""
    return (passes if works else refused)(name, '--bids-filter-file FILE', said, file)


COMMANDS += (
    refused('label from a Windows script', '--participant-label "01\r"', r'\\r|line end|Windows'),
    refused('label of an unset variable', '--participant-label ""', 'empty|label'),
    refused('session of an unset variable', '--session-label ""', 'empty|label'),
    refused('a blank behind the backslash', '" " --sloppy', r'blank|backslash|\\'),
    refused('work folder of an unset variable', '-w ""', 'empty|--work-dir'),
    Command('output of an unset variable', 'BIDS "" participant --dry-run', 'empty|OUTPUT_DIR'),
    Command('dataset of an unset variable', '"" OUT participant --dry-run', 'empty|BIDS_DIR'),
    refused('a tilde that no shell replaced', '--work-dir=~of-a-friend/work', '~'),
    refused('regions ignored and forced', '--ignore regions --force regions', 'regions'),
    refused(
        'brain extraction ignored and forced',
        '--ignore brain-extraction --force brain-extraction',
        'brain-extraction',
    ),
    refused(
        'R2 prime without relaxometry', '--ignore relaxometry --contrasts r2prime', 'relaxometry'
    ),
    refused(
        'chi-separation without relaxometry',
        '--ignore relaxometry --contrasts chisep',
        'relaxometry',
    ),
    passes('a label twice', '--participant-label 01 sub-01'),
    refused('label completed by the shell', '--participant-label sub-01/', 'sub-01'),
    refused('--output-echoes', '--output-echoes', '--output-echos'),
    refused('--omp_nthreads', '--omp_nthreads 1', '--omp-nthreads'),
    passes('more threads than processors', '--nprocs 2 --omp-nthreads 8', 'omp-nthreads'),
    passes('memory of 16000MB', '--mem 16000MB'),
    passes('derivatives without a name', '-d MASKS'),
    passes('sloppy with a slow inversion', '--sloppy --inversion diffusion', 'TKD|sloppy'),
    filtered(
        'filter for an acquisition that is not there', '{"megre": {"acquisition": "QSM"}}', 'Q'
    ),
    filtered('filter for no session', '{"megre": {"session": null}}', works=True),
    filtered('filter for runs that are not there', '{"megre": {"run": [1, 2]}}', 'run'),
    filtered('filter for the magnitude alone', '{"megre": {"part": "mag"}}', 'phase'),
    filtered(
        'filter for two suffixes',
        '{"megre": {"suffix": ["MEGRE", "T2starw"], "datatype": "anat"}}',
        works=True,
    ),
    filtered('filter for T1w and nothing else', '{"t1w": {"session": "1"}}', works=True),
    refused('plugin Slurm', '--use-plugin FILE', 'SLURM', 'plugin: Slurm\n'),
    refused('plugin file with a tab', '--use-plugin FILE', 'file|YAML', 'plugin:\n\tname: SLURM\n'),
    refused('space with a cohort', '--output-spaces MNI152NLin2009cAsym:cohort-1', 'cohort'),
    refused('--output-spaces alone', '--output-spaces', 'expected at least one'),
    Command(
        'a folder of images as the dataset', 'BIDS/sub-01/anat OUT participant', 'dataset|sub-'
    ),
    refused('two inversions', '--inversion tv tikhonov', 'tikhonov'),
    Command('label behind the level', 'BIDS OUT participant 01', '--participant-label'),
    passes('seed 0', '--random-seed 0'),
    refused('range below zero', '--phase-range -4096 4094', 'range|filtered'),
    settings('settings of a newer version', '[future]\nx = 1\n', 'future'),
    settings('settings with a Windows path', 'bids_dir = "C:\\data"\n', 'line 1|backslash'),
)

"""The options of qsmprep, by the groups of its help."""

from __future__ import annotations

import argparse

from qsmprep.cli.arguments import (
    NamedNumbers,
    NamedPaths,
    folder,
    label,
    memory_gb,
    named_path,
    parameter,
    path_of_file,
    positive,
    resolution,
    seed,
    torch_device,
)
from qsmprep.methods import BACKGROUNDS, INVERSIONS, MASKS, SEPARATIONS, UNWRAPPINGS
from qsmprep.settings import (
    CONTRASTS,
    FORCIBLE,
    IGNORABLE,
    OUTPUT_SPACES,
    SR_SOURCES,
    STARTS,
    Settings,
)


def add_selection_options(group: argparse._ArgumentGroup) -> None:
    """Add what is processed: dataset, participants, sessions, files."""
    group.add_argument(
        '--participant-label',
        '--participant_label',
        dest='participants',
        nargs='+',
        action='extend',
        type=label('sub'),
        metavar='LABEL',
        help='participants to process, with or without sub- (default: all)',
    )
    group.add_argument(
        '--session-label',
        '--session_label',
        '--session-id',
        dest='sessions',
        nargs='+',
        action='extend',
        type=label('ses'),
        metavar='LABEL',
        help='sessions to process, with or without ses- (default: all)',
    )
    group.add_argument(
        '--bids-filter-file',
        dest='filter_file',
        type=path_of_file,
        metavar='FILE',
        help='JSON file of pybids filters; the key megre selects gradient-echo images',
    )
    group.add_argument(
        '--bids-database-dir',
        metavar='PATH',
        help='accepted, without effect: only the folders of the participants are read',
    )
    group.add_argument(
        '-d',
        '--derivatives',
        nargs='+',
        type=named_path,
        action=NamedPaths,
        metavar='NAME=PATH',
        help='derivatives datasets that hold masks (desc-brain_mask, label-<region>_mask), an '
        'R2map, or what --start-from names; '
        'under the name truth, the true maps of simulated data, which the report compares',
    )
    group.add_argument(
        '--skip-bids-validation',
        '--skip_bids_validation',
        action='store_true',
        help='do not run the BIDS validator (it runs where it is installed)',
    )


def add_phase_options(group: argparse._ArgumentGroup) -> None:
    """Add how stored phase is understood."""
    group.add_argument(
        '--phase-range',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='stored values that stand for -pi and pi (default: from the sidecars)',
    )
    group.add_argument(
        '--phase-sign',
        type=int,
        choices=(1, -1),
        help='-1 where the phase falls as the field rises (default: 1)',
    )
    group.add_argument(
        '--fix-ge-slices',
        action='store_true',
        help='slices of a GE scan alternate by pi, where the phase alone does not show it',
    )


def add_processing_options(group: argparse._ArgumentGroup) -> None:
    """Add what is made, and how."""
    _add_field_options(group)
    _add_map_options(group)
    _add_contrast_options(group)
    _add_choice_options(group)


def _add_field_options(group: argparse._ArgumentGroup) -> None:
    """From phase to the local field."""
    group.add_argument(
        '--start-from',
        choices=STARTS,
        help='take a map from --derivatives and leave out the stages before it: unwrapped phase '
        '(echo-*_part-phase_desc-unwrapped), desc-total_fieldmap, desc-local_fieldmap or Chimap '
        '(default: echoes)',
    )
    group.add_argument(
        '--unwrapping',
        choices=UNWRAPPINGS,
        help=f'phase unwrapping (default: {Settings().processing.unwrapping})',
    )
    group.add_argument(
        '--brain-extraction',
        choices=MASKS,
        help='how the brain is found where no mask is given '
        f'(default: {Settings().processing.brain_extraction})',
    )
    group.add_argument(
        '--background',
        choices=BACKGROUNDS,
        help=f'background field removal (default: {Settings().processing.background})',
    )
    group.add_argument(
        '--background-parameter',
        dest='background_parameters',
        nargs='+',
        type=parameter,
        action=NamedNumbers,
        metavar='NAME=VALUE',
        help='parameters of the background field removal, where they differ from its defaults',
    )


def _add_map_options(group: argparse._ArgumentGroup) -> None:
    """From the local field to the susceptibility map, and finer."""
    group.add_argument(
        '--inversion',
        choices=INVERSIONS,
        help=f'dipole inversion (default: {Settings().processing.inversion})',
    )
    group.add_argument(
        '--inversion-parameter',
        dest='inversion_parameters',
        nargs='+',
        type=parameter,
        action=NamedNumbers,
        metavar='NAME=VALUE',
        help='parameters of the inversion, where they differ from its defaults',
    )
    group.add_argument(
        '--posterior-samples',
        type=positive(int),
        metavar='N',
        help='draw N samples of the posterior, and write their spread as the uncertainty of '
        'the map (inversions that sample)',
    )
    group.add_argument(
        '--prior',
        type=path_of_file,
        metavar='FILE',
        help='weights of the learned prior (default: those that come with qsmprep)',
    )
    group.add_argument(
        '--sr-resolution',
        type=resolution,
        metavar='MM',
        help='write a finer map too: longest edge of its voxels in mm, or iso for the shortest '
        'edge that was measured (voxels that are as small already are kept)',
    )
    group.add_argument(
        '--sr-source',
        choices=SR_SOURCES,
        help='what the finer map is made from: the map (default), or the local field, by '
        'inversion and super-resolution in one',
    )


def _add_contrast_options(group: argparse._ArgumentGroup) -> None:
    """What is made besides of an acquisition or a session."""
    group.add_argument(
        '--contrasts',
        nargs='+',
        action='extend',
        choices=CONTRASTS,
        metavar='CONTRAST',
        help='further images: swi (susceptibility-weighted image and minimum intensity '
        "projection), r2prime (R2', where --derivatives hold an R2map), chisep (para- and "
        "diamagnetic susceptibility apart, by R2' or else R2*)",
    )
    group.add_argument(
        '--separation',
        choices=SEPARATIONS,
        help=f'how chisep is done (default: {Settings().processing.separation})',
    )
    group.add_argument(
        '--cosmos',
        action='store_true',
        help='also make one map of all orientations of a session (COSMOS): three or more runs '
        'between which the head was turned',
    )
    group.add_argument(
        '--average-runs',
        action='store_true',
        help='also write the mean of the susceptibility maps of the runs of a session',
    )


def _add_choice_options(group: argparse._ArgumentGroup) -> None:
    """Choices that concern several stages."""
    group.add_argument(
        '--reference',
        metavar='REGION',
        help="what has zero susceptibility: brain, none, or LABEL for a region's mask "
        '(label-LABEL_mask) among --derivatives (default: brain)',
    )
    group.add_argument(
        '--ignore',
        nargs='+',
        action='extend',
        choices=IGNORABLE,
        metavar='STEP',
        help=f'steps to leave out: {", ".join(IGNORABLE)}',
    )
    group.add_argument(
        '--force',
        nargs='+',
        action='extend',
        choices=FORCIBLE,
        metavar='STEP',
        help='regions: tabulate the regions of the atlas also where there is no T1-weighted image; '
        'brain-extraction: extract the brain also where a mask is given or the field of view '
        'is small',
    )
    group.add_argument(
        '--sloppy',
        action='store_true',
        help='fast and poor: TKD instead of the chosen inversion; for tests only',
    )
    group.add_argument('--random-seed', type=seed, metavar='SEED', help='seed of all random draws')
    group.add_argument(
        '--device',
        type=torch_device,
        metavar='DEVICE',
        help='auto, cpu or cuda[:INDEX] (default: auto, a GPU if there is one)',
    )


def add_outputs_options(group: argparse._ArgumentGroup) -> None:
    """Add what is written."""
    group.add_argument(
        '--output-spaces',
        nargs='+',
        action='extend',
        choices=OUTPUT_SPACES,
        metavar='SPACE',
        help=f'write the maps in other spaces too: {", ".join(OUTPUT_SPACES)}',
    )
    group.add_argument(
        '--output-echos', action='store_true', help='write the unwrapped phase of each echo'
    )
    group.add_argument(
        '--aggregate-session-reports',
        type=positive(int),
        metavar='N',
        help='up to N sessions share one report; of more, each has its own (default: 4)',
    )
    group.add_argument(
        '--md-only-boilerplate',
        action='store_true',
        help='write the methods text as Markdown only, also where pandoc is installed',
    )
    group.add_argument(
        '--no-viewer',
        dest='viewer',
        action='store_false',
        help='leave out the pages that show the maps slice by slice (up to 15 MB a scan)',
    )


def add_execution_options(group: argparse._ArgumentGroup) -> None:
    """Add where and how a run goes."""
    group.add_argument(
        '-w', '--work-dir', type=folder, metavar='PATH', help='intermediate files (default: ./work)'
    )
    group.add_argument(
        '--nprocs',
        '--nthreads',
        '--n-cpus',
        dest='nprocs',
        type=positive(int),
        metavar='N',
        help='processors in all (default: all)',
    )
    group.add_argument(
        '--omp-nthreads',
        type=positive(int),
        metavar='N',
        help='threads of one node (default: one less than --nprocs, at most 8)',
    )
    group.add_argument(
        '--mem',
        '--mem-mb',
        '--mem_mb',
        dest='mem_gb',
        type=memory_gb,
        metavar='SIZE',
        help='upper limit of memory, as 8000 (MB), 8G or 8GB (default: 90 %% of what is there)',
    )
    group.add_argument(
        '--hang-after',
        dest='hang_after_min',
        type=positive(float),
        metavar='MINUTES',
        help='end a node that has used no processor for MINUTES, or has run a hundred times as '
        'long (default: 15)',
    )
    group.add_argument(
        '--use-plugin',
        '--nipype-plugin-file',
        dest='plugin_file',
        type=path_of_file,
        metavar='FILE',
        help='YAML file with plugin and plugin_args for Nipype',
    )
    group.add_argument(
        '--config-file', type=path_of_file, metavar='FILE', help='settings of an earlier run'
    )
    group.add_argument(
        '--boilerplate-only', action='store_true', help='write the methods text only'
    )
    group.add_argument(
        '--reports-only', action='store_true', help='only assemble the reports again'
    )
    group.add_argument('--dry-run', action='store_true', help='build the graph, run nothing')
    group.add_argument('--write-graph', action='store_true', help='draw the graph (needs graphviz)')
    group.add_argument(
        '--stop-on-first-crash', action='store_true', help='stop at the first node that fails'
    )
    group.add_argument(
        '--clean-workdir', action='store_true', help='empty the work folder before the run'
    )
    group.add_argument(
        '--resource-monitor', action='store_true', help="record Nipype's use of memory and CPU"
    )
    group.add_argument(
        '--debug',
        nargs='+',
        action='extend',
        choices=('pdb',),
        help='pdb: run in one process, stop at failures',
    )
    group.add_argument(
        '--notrack', action='store_true', help='accepted; qsmprep never sends anything anywhere'
    )
    group.add_argument(
        '-v', '--verbose', dest='verbosity', action='count', help='more messages, up to -vvv'
    )

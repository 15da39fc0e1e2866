"""A host pipeline that embeds the QSM graph: its own input, its own sink, its own next node.

    python examples/embed_in_a_host.py

qsmprep's graphs never write results: the host decides what is kept, and where. This one takes the
scan in tests/data/philips, keeps the map and its mask in ./example/host, and computes on the map.
"""

from pathlib import Path

from nipype.interfaces.io import DataSink
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from qsmprep.workflows.qsm import init_qsm_wf

SCAN = Path(__file__).parent.parent / 'tests/data/philips/sub-01/anat'


def share_paramagnetic(chi, mask):
    """Share of the voxels of a map that are above zero."""
    import nibabel as nb

    return float((nb.load(chi).get_fdata()[nb.load(mask).get_fdata() > 0] > 0).mean())


def build(folder: Path) -> Workflow:
    """Build the host's graph, with a node before and two nodes after that of qsmprep."""
    host = Workflow('host', base_dir=str(folder))
    qsm_wf = init_qsm_wf(
        echo_times_s=(0.0023, 0.0046),
        field_strength_t=3.0,
        phase_range=(-3.141593, 3.141593),
        brain_extraction='signal',
        relaxometry=False,
        inversion='tkd',
    )
    for part, field in (('mag', 'magnitude_files'), ('phase', 'phase_files')):
        files = [str(SCAN / f'sub-01_echo-{n}_part-{part}_MEGRE.nii.gz') for n in (1, 2)]
        setattr(qsm_wf.inputs.inputnode, field, files)
    count = Node(Function(function=share_paramagnetic, output_names=['share']), name='count')
    keep = Node(DataSink(base_directory=str(folder), container='host'), name='keep')
    host.connect([
        (qsm_wf, count, [('outputnode.chi', 'chi'), ('outputnode.chi_mask', 'mask')]),
        (qsm_wf, keep, [('outputnode.chi', 'maps.@chi'), ('outputnode.chi_mask', 'maps.@mask')]),
    ])  # fmt:skip
    return host


if __name__ == '__main__':
    folder = Path('example').absolute()
    graph = build(folder).run()
    (count,) = (node for node in graph.nodes() if node.name == 'count')
    print(f'{100 * count.result.outputs.share:.1f} % of the voxels are paramagnetic')
    print(*sorted((folder / 'host' / 'maps').iterdir()), sep='\n')

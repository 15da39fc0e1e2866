"""Slurm for real, on the loopback address: arrays, one graph under Nipype's plugin, the group."""

import gzip
import json

import pytest

from benchmarks.slurm import Cluster, run_as_graph, submit_array

FLAGS = (
    '--sloppy', '--device', 'cpu', '--skip-bids-validation', '--no-viewer',
    '--ignore', 'brain-extraction', 'relaxometry', 'phase-offset',
)  # fmt:skip


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    """Return a Slurm of this machine's own; without its packages the error says what to type."""
    with Cluster(tmp_path_factory.mktemp('slurm')) as cluster:
        yield cluster


def _states(out):
    records = [json.loads(path.read_text()) for path in sorted(out.glob('logs/sub-*.json'))]
    return {x['participant']: [a['status'] for a in x['acquisitions']] for x in records}


def _rows(out):
    return [line.split('\t')[0] for line in (out / 'group_qsm.tsv').read_text().splitlines()[1:]]


def test_an_array_processes_a_cohort_and_goes_on_where_it_was(cluster, tmp_path, tiny_dataset):
    tiny_dataset.add('sub-01').add('sub-02')
    image = tiny_dataset.image('sub-02_echo-2_part-phase_MEGRE')
    whole = image.read_bytes()
    image.write_bytes(gzip.compress(gzip.decompress(whole)[:900]))
    submit_array(cluster, tiny_dataset.root, tmp_path, *FLAGS)
    out = tmp_path / 'out'
    assert _states(out)['01'] == ['completed'], cluster.logs()
    assert _states(out)['02'] == ['rejected']
    assert _rows(out) == ['sub-01_MEGRE', 'sub-02_MEGRE']
    results = {path: path.stat().st_mtime_ns for path in tmp_path.glob('work/**/result_*.pklz')}

    image.write_bytes(whole)
    submit_array(cluster, tiny_dataset.root, tmp_path, *FLAGS)
    assert _states(out) == {'01': ['completed'], '02': ['completed']}, cluster.logs()
    assert _rows(out) == ['sub-01_MEGRE', 'sub-02_MEGRE']
    assert (out / 'group.html').is_file()
    slow = {path for path in results if 'invert_dipole' in path.name or 'romeo' in path.name}
    assert slow
    assert all(path.stat().st_mtime_ns == results[path] for path in slow)


def test_a_graph_runs_with_each_node_as_a_job(cluster, tmp_path, tiny_dataset):
    tiny_dataset.add('sub-01')
    given = tmp_path / 'given' / 'sub-01' / 'fmap' / 'sub-01_desc-local_fieldmap.nii.gz'
    tiny_dataset.write_image(given, 0.1 * tiny_dataset.field_hz)
    tiny_dataset.write_json(given.with_name('sub-01_desc-local_fieldmap.json'), {'Units': 'Hz'})
    # from a local field on there are half as many nodes, and as many kinds of job
    late = ('--start-from', 'local-field', '--derivatives', f'given={tmp_path / "given"}')
    done = run_as_graph(cluster, tiny_dataset.root, tmp_path, *FLAGS, *late)
    assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
    assert _states(tmp_path / 'out') == {'01': ['completed']}
    assert (tmp_path / 'out' / 'sub-01' / 'anat' / 'sub-01_Chimap.nii.gz').is_file()

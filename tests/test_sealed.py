"""Runs where containers run: any user, a root file system that is read-only, no network."""

import shutil
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent / 'data'


def test_any_user_without_network_on_a_read_only_root(tmp_path):
    bwrap = shutil.which('bwrap')
    assert bwrap, 'this test needs bubblewrap (Debian: apt-get install bubblewrap)'
    out = tmp_path / 'out'
    out.mkdir()
    variables = {
        'PATH': '/usr/bin:/bin',
        'HOME': '/mnt',
        'XDG_CACHE_HOME': '/mnt/.cache',
        'MPLCONFIGDIR': '/mnt/.cache/matplotlib',
        'NUMBA_CACHE_DIR': '/mnt/.cache/numba',
        'TEMPLATEFLOW_HOME': '/mnt/.cache/templateflow',
        'TMPDIR': '/mnt',
        'NO_ET': '1',
    }
    sealed = [bwrap, '--ro-bind', '/', '/', '--tmpfs', '/mnt', '--dev', '/dev', '--proc', '/proc']
    sealed += ['--bind', out, out]
    sealed += ['--unshare-all', '--uid', '4242', '--gid', '4242', '--chdir', '/mnt', '--clearenv']
    for name, value in variables.items():
        sealed += ['--setenv', name, value]
    command = [sys.executable, '-m', 'qsmprep.cli.run', DATA / 'romeo', out, 'participant']
    done = subprocess.run(
        [*map(str, sealed), *map(str, command), '-w', '/mnt/work', '--sloppy'],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (out / 'sub-01.html').is_file()
    assert (out / 'sub-01' / 'anat' / 'sub-01_Chimap.nii.gz').is_file()

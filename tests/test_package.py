"""The package: built, checked, and installed where nothing of this checkout is."""

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy
import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = Path(numpy.__file__).parents[1]


def run(*command, cwd):
    """Run a command to its end and return what it prints."""
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """Source archive, and the wheel that is built from it."""
    dist = tmp_path_factory.mktemp('dist')
    run(sys.executable, '-m', 'build', '--no-isolation', '--outdir', dist, ROOT, cwd=dist)
    return next(dist.glob('*.tar.gz')), next(dist.glob('*.whl'))


@pytest.fixture(scope='module')
def clean(packages, tmp_path_factory):
    """Environment with the wheel and the libraries of this one."""
    folder = tmp_path_factory.mktemp('clean')
    run(sys.executable, '-m', 'venv', '--without-pip', folder / 'env', cwd=folder)
    python = folder / 'env' / 'bin' / 'python'
    site = run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=folder)
    Path(site.strip(), 'libraries.pth').write_text(f'{LIBRARIES}\n')
    run(
        sys.executable, '-m', 'pip', '--python', python, 'install', '--no-deps', '--no-index',
        packages[1], cwd=folder,
    )  # fmt: skip
    return python


def test_the_archives_are_fit_for_the_index(packages):
    run(sys.executable, '-m', 'twine', 'check', '--strict', *packages, cwd=ROOT)


def test_the_wheel_holds_code_graphs_and_data(packages):
    names = set(zipfile.ZipFile(packages[1]).namelist())
    kept = [
        p for p in (ROOT / 'qsmprep').rglob('*') if p.is_file() and '__pycache__' not in p.parts
    ]
    expected = {p.relative_to(ROOT).as_posix() for p in kept}
    expected |= {f'qsmprep/workflows/{p.name}' for p in (ROOT / 'workflows').glob('*.py')}
    assert expected <= names
    assert not [name for name in names if name.startswith(('tests', 'workflows', 'docs'))]


def test_the_wheel_processes_the_scan_of_the_demo(clean, tmp_path):
    where = run(clean, '-c', 'import qsmprep.workflows.qsm as q; print(q.__file__)', cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(clean.parents[1])
    command = [clean.parent / 'qsmprep', ROOT / 'tests/data/philips', 'out', 'participant']
    run(*command, '--sloppy', cwd=tmp_path)
    assert (tmp_path / 'out/sub-01.html').is_file()
    assert (tmp_path / 'out/sub-01/anat/sub-01_Chimap.nii.gz').is_file()

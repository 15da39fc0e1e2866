"""
Slurm on this machine alone, and what running participants on it costs.

    python benchmarks/slurm.py WORK

Starts munge and Slurm on the loopback address, processes participants (small simulated heads) as an
array of jobs with one, two and four workers, and one participant as one graph under Nipype's SLURM
plugin; prints seconds, participants an hour and the overhead of a node. Needs Debian's packages
slurm-wlm and munge.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from qsmprep.cli.slurm import main as write_script

INSTALL = 'apt-get install --no-install-recommends slurm-wlm munge'
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={run}/munge.sock
CredType=cred/munge
SlurmctldPort={port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobs.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=200000,batch_sched_delay=0,bf_interval=5
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
MinJobAge=300
InactiveLimit=0
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={node_port} CPUs={cpus} RealMemory=8000
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""


class Cluster:
    """
    A throw-away Slurm of one node on the loopback address, as a context.

    Parameters
    ----------
    folder
        For its configuration, state and logs.
    cpus
        Processors that the node claims to have.

    """

    def __init__(self, folder: Path, cpus: int = 2) -> None:
        self.folder, self.run = folder, folder / 'run'
        self.cpus = cpus
        self.environment = os.environ | {'SLURM_CONF': str(folder / 'slurm.conf')}
        self.environment.setdefault('LOGNAME', 'qsmprep')

    def __enter__(self) -> Cluster:
        if shutil.which('slurmctld') is None or shutil.which('munged') is None:
            raise FileNotFoundError(f'Slurm and munge are missing; type: {INSTALL}')
        for name in ('state', 'log', 'run', 'spool.n1'):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        user = 'root' if os.geteuid() == 0 else os.environ['USER']
        ports = _free_ports(2)
        (self.folder / 'slurm.conf').write_text(
            CONFIGURATION.format(
                host=socket.gethostname().partition('.')[0], user=user, folder=self.folder,
                run=self.run, port=ports[0], node_port=ports[1], cpus=self.cpus,
            )
        )  # fmt:skip
        key = self.run / 'munge.key'
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        files = {'socket': 'sock', 'key-file': 'key', 'pid-file': 'pid', 'log-file': 'log'}
        files |= {'seed-file': 'seed'}
        options = [f'--{name}={self.run / f"munge.{end}"}' for name, end in files.items()]
        self._do(['munged', '--force', '--num-threads=2', *options])
        self._do(['slurmctld', '-c'])
        self._do(['slurmd', '-N', 'n1'])
        self.until(lambda: self.ask('sinfo', '-h', '-o', '%T') == 'idle', 30)
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(RuntimeError):
            self._do(['scancel', '-Q', '--partition=main'])
        for name in ('slurmd.n1', 'slurmctld', 'munge'):
            path = self.run / f'{name}.pid'
            if path.is_file():
                pid = int(path.read_text())
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 15)
                    self.until(lambda pid=pid: _is_gone(pid), 10)

    def _do(self, command: list[str]) -> None:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f'{command[0]}: {done.stdout}{done.stderr}{self.logs()}')

    def ask(self, *command: str) -> str:
        """What a command of Slurm says."""
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    def drain(self, limit_s: float) -> None:
        """Wait until no job is left."""
        self.until(lambda: not self.ask('squeue', '-h'), limit_s)

    def until(self, condition, limit_s: float) -> None:
        """Wait for something."""
        end = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(self.ask('squeue') + self.logs())
            time.sleep(0.2)

    def logs(self) -> str:
        """Last lines of all logs."""
        tails = (path.read_text(errors='replace')[-2000:] for path in self.folder.glob('log/*'))
        return '\n'.join(tails)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(('127.0.0.1', 0))
        return [each.getsockname()[1] for each in sockets]


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, or only waits to be reaped."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] == 'Z'
    except OSError:
        return True


def submit_array(
    cluster: Cluster, dataset: Path, folder: Path, *flags: str, options: tuple[str, ...] = ()
) -> None:
    """Write the script for a dataset, submit it, and wait for its end."""
    script = folder / 'submit.sh'
    command = f'{sys.executable} -m qsmprep.cli.run'
    fixed = ['--cpus', '1', '--mem', '1', '--minutes', '10', '--qsmprep', command, *options]
    folders = [str(path) for path in (dataset, folder / 'out', script)]
    assert write_script([*folders, '-w', str(folder / 'work'), *fixed, '--', *flags]) == 0
    subprocess.run(['bash', script], env=cluster.environment, check=True, capture_output=True)
    cluster.drain(1200)


def run_as_graph(
    cluster: Cluster, dataset: Path, folder: Path, *flags: str
) -> subprocess.CompletedProcess:
    """Process a dataset as one graph, each node of which is a job."""
    plugin = folder / 'plugin.yml'
    folder.mkdir(parents=True, exist_ok=True)
    plugin.write_text('plugin: SLURM\nplugin_args: {sbatch_args: "--mem=1G --time=10"}\n')
    folders = [str(dataset), str(folder / 'out'), 'participant', '-w', str(folder / 'work')]
    command = [sys.executable, '-m', 'qsmprep.cli.run', *folders, '--use-plugin', str(plugin)]
    return subprocess.run(
        [*command, *flags], env=cluster.environment, capture_output=True, text=True, check=False
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description='Overhead of Slurm.')
    parser.add_argument('work', type=Path)
    parser.add_argument('--participants', type=int, default=4)
    arguments = parser.parse_args()
    work = arguments.work.absolute()
    data, flags = work / 'data', ['--sloppy', '--device', 'cpu', '--skip-bids-validation']
    mask = data / 'derivatives' / 'simulation'
    if not data.is_dir():
        simulate = [sys.executable, '-m', 'qsmprep.cli.simulate', str(data), '--voxel', '8']
        subprocess.run([*simulate, '--subjects', str(arguments.participants)], check=True)
    flags += ['-d', f'truth={mask}']
    print('| what | workers | s | participants/h | s a node |\n|-|-:|-:|-:|-:|', flush=True)

    def tell(what: str, workers: int, seconds: float, participants: int, out: Path) -> None:
        nodes = sum(1 for _ in out.parent.glob('work/qsmprep_wf/**/result_*.pklz'))
        hourly = 3600 * participants / seconds
        a_node = workers * seconds / max(nodes, 1)
        print(f'| {what} | {workers} | {seconds:.0f} | {hourly:.0f} | {a_node:.2f} |', flush=True)

    folder = work / 'alone'
    shutil.rmtree(folder, ignore_errors=True)
    begin = time.monotonic()
    command = [sys.executable, '-m', 'qsmprep.cli.run', str(data), str(folder / 'out')]
    command += ['participant', '-w', str(folder / 'work'), '--nprocs', '1', *flags]
    subprocess.run([*command, '--participant-label', '01'], check=True, capture_output=True)
    tell('one participant, no Slurm', 1, time.monotonic() - begin, 1, folder / 'out')
    for workers in (1, 2, 4):
        folder = work / f'array-{workers}'
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with Cluster(work / 'slurm' / str(workers), cpus=workers) as cluster:
            begin = time.monotonic()
            submit_array(cluster, data, folder, *flags, options=('--at-once', str(workers)))
            seconds = time.monotonic() - begin
        records = sorted(folder.glob('out/logs/sub-*.json'))
        states = [json.loads(path.read_text())['acquisitions'][0]['status'] for path in records]
        assert states == ['completed'] * arguments.participants, states
        tell('array', workers, seconds, arguments.participants, folder / 'out')
    folder = work / 'graph'
    shutil.rmtree(folder, ignore_errors=True)
    with Cluster(work / 'slurm' / 'graph', cpus=2) as cluster:
        begin = time.monotonic()
        done = run_as_graph(cluster, data, folder, *flags, '--participant-label', '01')
        seconds = time.monotonic() - begin
    assert done.returncode == 0, done.stdout + done.stderr
    tell('one graph, a job for each node', 2, seconds, 1, folder / 'out')


if __name__ == '__main__':
    main()

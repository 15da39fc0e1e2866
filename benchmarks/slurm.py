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
    cluster: Cluster,
    dataset: Path,
    folder: Path,
    *flags: str,
    options: tuple[str, ...] = (),
    wait: bool = True,
) -> None:
    """Write the script for a dataset, submit it, and wait for its end."""
    script = folder / 'submit.sh'
    command = f'{sys.executable} -m qsmprep.cli.run'
    fixed = ['--cpus', '1', '--mem', '1', '--minutes', '10', '--qsmprep', command, *options]
    folders = [str(path) for path in (dataset, folder / 'out', script)]
    with contextlib.redirect_stdout(None):
        assert write_script([*folders, '-w', str(folder / 'work'), *fixed, '--', *flags]) == 0
    subprocess.run(['bash', script], env=cluster.environment, check=True, capture_output=True)
    if wait:
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


def nodes_of(folder: Path) -> dict[Path, int]:
    """Results of nodes in a work folder, and when they were written."""
    results = folder.glob('work/qsmprep_wf/**/result_*.pklz')
    return {path: path.stat().st_mtime_ns for path in results}


def completed(folder: Path) -> int:
    """How many participants have a record of a map."""
    records = (json.loads(path.read_text()) for path in folder.glob('out/logs/sub-*.json'))
    return sum(record['acquisitions'][0]['status'] == 'completed' for record in records)


class Timetable:
    """Rows of the table; each is compared with the first, which uses no Slurm."""

    def __init__(self) -> None:
        self.alone_s: float | None = None
        columns = ('what', 'workers', 'participants', 's', 'participants/h', 'nodes')
        print(f'| {" | ".join(columns)} | worker s a node | more than without Slurm [s] |')
        print('|-|-:|-:|-:|-:|-:|-:|-:|', flush=True)

    def tell(self, what: str, workers: int, participants: int, seconds: float, nodes: int) -> None:
        """Print a row."""
        a_node = workers * seconds / max(nodes, 1)
        self.alone_s = a_node if self.alone_s is None else self.alone_s
        hourly = 3600 * participants / seconds
        row = f'{what} | {workers} | {participants} | {seconds:.0f} | {hourly:.0f} | {nodes}'
        print(f'| {row} | {a_node:.2f} | {a_node - self.alone_s:+.2f} |', flush=True)


def fresh(folder: Path) -> Path:
    """Return an empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def measure_alone(table: Timetable, data: Path, folder: Path, flags: list[str]) -> None:
    """One participant by one worker, without Slurm."""
    begin = time.monotonic()
    command = [sys.executable, '-m', 'qsmprep.cli.run', str(data), str(folder / 'out')]
    command += ['participant', '-w', str(folder / 'work'), '--nprocs', '1', *flags]
    subprocess.run([*command, '--participant-label', '01'], check=True, capture_output=True)
    seconds = time.monotonic() - begin
    table.tell('one participant, no Slurm', 1, 1, seconds, len(nodes_of(folder)))


def measure_array(
    table: Timetable, work: Path, data: Path, participants: int, workers: int, flags: list[str]
) -> None:
    """All participants, a job for each."""
    folder, options = fresh(work / f'array-{workers}'), ('--at-once', str(workers))
    with Cluster(work / 'slurm' / str(workers), cpus=workers) as cluster:
        begin = time.monotonic()
        submit_array(cluster, data, folder, *flags, options=options)
        seconds = time.monotonic() - begin
    assert completed(folder) == participants, folder
    table.tell('array', workers, participants, seconds, len(nodes_of(folder)))


def measure_resumed(
    table: Timetable, work: Path, data: Path, participants: int, flags: list[str]
) -> None:
    """An array that is cancelled half way, and the same script again."""
    folder, options = fresh(work / 'resumed'), ('--at-once', '2')
    with Cluster(work / 'slurm' / 'resumed', cpus=2) as cluster:
        submit_array(cluster, data, folder, *flags, options=options, wait=False)
        cluster.until(lambda: completed(folder) >= participants // 2, 1200)
        cluster.ask('scancel', '--partition=main')
        cluster.drain(60)
        done, results = completed(folder), nodes_of(folder)
        begin = time.monotonic()
        submit_array(cluster, data, folder, *flags, options=options)
        seconds = time.monotonic() - begin
    assert completed(folder) == participants, folder
    later = nodes_of(folder)
    again = {path for path, written in results.items() if later[path] != written}
    computed = sum('sink_' not in path.name for path in again)
    kept = sum('sink_' not in path.name for path in results)
    what = f'cancelled with {done} done, the same again ({computed} of {kept} nodes computed again)'
    table.tell(what, 2, participants - done, seconds, len(later) - len(results) + len(again))


def measure_graph(table: Timetable, work: Path, data: Path, flags: list[str]) -> None:
    """One participant as one graph, a job for each node."""
    folder = fresh(work / 'graph')
    with Cluster(work / 'slurm' / 'graph', cpus=2) as cluster:
        begin = time.monotonic()
        done = run_as_graph(cluster, data, folder, *flags, '--participant-label', '01')
        seconds = time.monotonic() - begin
    assert done.returncode == 0, done.stdout + done.stderr
    table.tell('one graph, a job for each node', 2, 1, seconds, len(nodes_of(folder)))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description='Overhead of Slurm.')
    parser.add_argument('work', type=Path)
    parser.add_argument('--participants', type=int, default=4)
    arguments = parser.parse_args()
    work, participants = arguments.work.absolute(), arguments.participants
    data = work / 'data'
    if not data.is_dir():
        simulate = [sys.executable, '-m', 'qsmprep.cli.simulate', str(data), '--voxel', '8']
        subprocess.run([*simulate, '--subjects', str(participants)], check=True)
    flags = ['--sloppy', '--inversion', 'tikhonov', '--device', 'cpu', '--skip-bids-validation']
    flags += ['-d', f'truth={data / "derivatives" / "simulation"}']
    table = Timetable()
    measure_alone(table, data, fresh(work / 'alone'), flags)
    for workers in (1, 2, 4):
        measure_array(table, work, data, participants, workers, flags)
    measure_resumed(table, work, data, participants, flags)
    measure_graph(table, work, data, flags)


if __name__ == '__main__':
    main()

"""Ways to hurt a run of the real program on purpose; ``faults.py`` has the table of them."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

LIMIT_S = 600.0
PYTHON = sys.executable


@dataclass
class Case:
    """One run of the program on a simulated head, in folders of its own."""

    folder: Path
    data: Path
    flags: tuple[str, ...] = (
        '--sloppy', '--nprocs', '2', '--omp-nthreads', '1', '--ignore', 'relaxometry',
    )  # fmt:skip
    out: Path | None = None
    work: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.out = self.out or self.folder / 'out'
        self.work = self.work or self.folder / 'work'

    @property
    def command(self) -> list[str]:
        fixed = ['participant', '-w', self.work, '--skip-bids-validation', '--device', 'cpu']
        mask = ['-d', f'truth={self.data / "derivatives" / "simulation"}']
        return [PYTHON, '-m', 'qsmprep.cli.run', self.data, self.out, *fixed, *mask, *self.flags]

    def start(self, prefix: str = '', **keywords) -> subprocess.Popen:
        """Start the program; a prefix is a line of shell that ends in ``exec "$@"``."""
        command = [str(part) for part in self.command]
        if prefix:
            command = ['bash', '-c', prefix, 'bash', *command]
        # standard error goes to a file: a pipe that nobody reads would be a fault of its own
        keywords = {
            'stdout': (self.folder / 'said').open('w'),
            'stderr': subprocess.STDOUT,
        } | keywords
        environment = os.environ | {'OMP_NUM_THREADS': '1'} | self.environment
        # a shell starts what runs behind it with SIGINT ignored
        listen = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
        return subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=listen, **keywords
        )

    def said(self) -> str:
        return (self.folder / 'said').read_text(errors='replace')

    def outputs(self) -> dict[str, str]:
        """Checksums of all results; records and logs hold times."""
        return {
            path.relative_to(self.out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.out.glob('sub-*/**/*'))
            if path.is_file()
        }

    def leftovers(self) -> list[str]:
        """Files that were not brought under their final names."""
        return [
            path.name
            for path in self.out.rglob('.*')
            if path.is_file() and path.name != '.bidsignore'
        ]


def wait(process: subprocess.Popen, limit_s: float = LIMIT_S) -> int | str:
    """Exit code, or ``'hangs'`` after a limit, when all is killed."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 'hangs'


def descendants(pid: int) -> dict[int, str]:
    """Process numbers and command lines below a process."""
    parents, names = {}, {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / 'stat').read_text().rpartition(')')[2].split()
                names[int(entry.name)] = (entry / 'cmdline').read_text().replace('\0', ' ')
                parents[int(entry.name)] = int(fields[1])
            except OSError:
                continue
    found, level = {}, {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level}
        found |= {child: names.get(child, '') for child in level}
    return found


def until(condition: Callable[[], object], limit_s: float = 120.0):
    """Wait for something, and return it."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise TimeoutError('what was waited for did not happen')


def reached(case: Case, node: str) -> Callable[[], bool]:
    """Whether the folder of a node is there."""
    return lambda: any(case.work.glob(f'qsmprep_wf/**/{node}'))


def after_signal(number: int, seconds: float):
    """Fault: a signal to the main process some seconds after its start."""

    def inject(case: Case) -> int | str:
        process = case.start()
        time.sleep(seconds)
        process.send_signal(number)
        return wait(process)

    return inject


def kill_below(node: str, wanted: str, first: bool = False):
    """SIGKILL the newest (or first) of some processes below the main one, when a node has begun."""

    def inject(case: Case) -> int | str:
        process = case.start()

        def strike() -> bool:
            everybody = descendants(process.pid) if reached(case, node)() else {}
            victims = sorted(pid for pid, name in everybody.items() if wanted in name)
            for victim in victims[:1] if first else victims[-1:]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    return True
            return False

        until(strike)
        return wait(process)

    return inject


def hang(node: str, wanted: str):
    """Stop the newest worker or command for ever, when a node has begun."""

    def inject(case: Case) -> int | str:
        usual, case.flags = case.flags, (*case.flags, '--hang-after', '0.2')
        process = case.start()

        def strike() -> bool:
            everybody = descendants(process.pid) if reached(case, node)() else {}
            for victim in sorted(pid for pid, name in everybody.items() if wanted in name)[-1:]:
                os.kill(victim, signal.SIGSTOP)
                return True
            return False

        until(strike)
        case.flags = usual
        return wait(process)

    return inject


def kill_main(node: str):
    """Fault: the main process is killed once it has reached a node."""

    def inject(case: Case) -> int | str:
        process = case.start()
        until(reached(case, node))
        helpers = list(descendants(process.pid))
        process.kill()
        code = wait(process)
        time.sleep(3)
        alive = [p for p in helpers if _is_alive(p)]
        return f'{code}, {len(alive)} helpers left' if alive else code

    return inject


def _is_alive(pid: int) -> bool:
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


def shell(prefix: str, **environment: str):
    """Run below a line of shell."""

    def inject(case: Case) -> int | str:
        case.environment = environment
        code = wait(case.start(f'{prefix} exec "$@"'))
        case.environment = {}
        return code

    return inject


def own_mounts(change: str):
    """Run in a mount namespace of its own, after a change that nobody else sees."""

    def inject(case: Case) -> int | str:
        case.out.mkdir()
        inner = shlex.quote(f'{change.format(out=case.out)} && exec "$@"')
        private = 'unshare --mount --propagation private'
        return wait(case.start(f'exec {private} bash -c {inner} bash "$@"'))

    return inject


def pipe(redirection: str):
    """Run with standard streams that lead elsewhere."""

    def inject(case: Case) -> int | str:
        return wait(case.start(f'"$@" {redirection}'))

    return inject


def full_disk(which: str, megabytes: float):
    """Run with the work or the output folder on a disk that is too small."""

    def inject(case: Case) -> int | str:
        folder = getattr(case, which)
        folder.mkdir(parents=True)
        size = f'size={int(megabytes * 1024)}k'
        subprocess.run(['mount', '-t', 'tmpfs', '-o', size, 'tmpfs', folder], check=True)
        try:
            code = wait(case.start())
            kept = case.folder / f'{which}-kept'
            shutil.copytree(folder, kept, symlinks=True)
        finally:
            subprocess.run(['umount', folder], check=True)
        shutil.rmtree(folder)
        kept.rename(folder)
        return code

    return inject


def damage(pattern: str, change: Callable[[Path], object]):
    """Damage a file of the work folder of the undisturbed run, and run that again."""

    def inject(case: Case) -> int | str:
        case.out, case.work = (case.folder.parent / 'reference' / x for x in ('out', 'work'))
        change(next(case.work.glob(pattern)))
        return wait(case.start())

    return inject


def cut(path: Path) -> None:
    """Cut a file to half its length."""
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def change_input(node: str, change: Callable[[Path], object], pattern: str):
    """Damage an input when a node has begun; it is restored for the next run."""

    def inject(case: Case) -> int | str:
        process = case.start()
        path = next(case.data.glob(pattern))
        content = path.read_bytes()
        until(reached(case, node))
        change(path)
        code = wait(process)
        path.write_bytes(content)
        return code

    return inject


def twice(one_work_folder: bool):
    """Fault: the same command twice at once."""

    def inject(case: Case) -> str:
        first = case.start()
        until(reached(case, 'prepare_echoes'))
        other = Case(case.folder, case.data, out=case.out)
        other.work = case.work if one_work_folder else case.folder / 'work2'
        second = other.start(stdout=(case.folder / 'said-2').open('w'))
        return f'{wait(second)} and {wait(first)}'

    return inject

"""What surrounds a run: standard streams, signals, a home folder."""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from threading import Timer

PATIENCE_S = 20.0
"""Time that a run which was asked to stop has to write down what is known [s]."""


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Options of ``mallopt`` in <malloc.h>."""
KEPT_BYTES = 2**30
"""Size of an array, or of free memory at the end of the heap, beyond which it is not kept."""


class Stopped(BaseException):
    """A signal asked the run to stop; ``exit_code`` is 128 and the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f'stopped by {signal.Signals(number).name}')
        self.exit_code = 128 + number


class Unbreakable:
    """
    A text stream that falls silent, instead of raising, when nobody can read it any more.

    Parameters
    ----------
    stream
        The stream; all but writing is left to it.

    """

    def __init__(self, stream) -> None:
        self._stream = stream
        self._silent = False

    def write(self, text: str) -> int:
        """Write text, or drop it where that fails."""
        if not self._silent:
            try:
                return self._stream.write(text)
            except UnicodeEncodeError:
                return self._stream.write(text.encode('ascii', 'backslashreplace').decode())
            except (OSError, ValueError):
                self._fall_silent()
        return len(text)

    def writelines(self, lines) -> None:
        """Write lines, or drop them where that fails."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is kept back, or drop it where that fails."""
        if not self._silent:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._fall_silent()

    def _fall_silent(self) -> None:
        """Send what is left to nowhere, so that no later writer fails either."""
        self._silent = True
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass

    def __getattr__(self, name: str):
        return getattr(self._stream, name)


def guard_streams() -> None:
    """Make standard output and error unbreakable; those that are closed lead nowhere."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # else the next file that is opened would take its place
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name in ('stdout', 'stderr'):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, 'w')  # noqa: SIM115 - it lives as long as the process
        if not isinstance(stream, Unbreakable):
            setattr(sys, name, Unbreakable(stream))


def stop_on_signals() -> None:
    """
    End in order on SIGTERM, SIGINT and SIGHUP: workers first, then a :class:`Stopped`.

    What does not end within :data:`PATIENCE_S`, or is asked twice, ends at once.
    """

    def stop(number: int, frame) -> None:
        for other in HANDLED:
            signal.signal(other, lambda *_: os._exit(128 + number))
        end_workers()
        timer = Timer(PATIENCE_S, os._exit, (128 + number,))
        timer.daemon = True
        timer.start()
        raise Stopped(number)

    for number in HANDLED:
        if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGTERM:
            signal.signal(number, stop)


HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def end_workers() -> None:
    """Kill the worker processes of this one, and the commands that they have started."""
    from multiprocessing import active_children

    for child in active_children():
        kill_with_commands(child)


def kill_with_commands(process) -> None:
    """Kill a worker process, and the commands that it has started."""
    try:
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (OSError, ValueError):
        pass


def leave(exit_code: int) -> int:
    """
    Return the exit code or, where workers cannot be ended, end at once with it.

    Python waits for them at its exit, and one that waits for a dead disk does not end even
    when it is killed.
    """
    if 'multiprocessing' in sys.modules:
        from multiprocessing import active_children

        end_workers()
        for child in active_children():
            child.join(1.0)
        if active_children():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(exit_code)
    return exit_code


def keep_freed_memory() -> None:
    """
    Let large arrays take the memory of those before them, until :func:`give_back_memory`.

    The GNU C library gives each back at once, and the kernel clears its pages for the next one,
    which takes a tenth of the time of a run. With other libraries nothing happens.
    """
    with suppress(OSError, AttributeError):
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(option, KEPT_BYTES)


def give_back_memory() -> None:
    """Give what was freed back to the system."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def forget_peak_memory() -> None:
    """Let :func:`peak_memory_gb` count from here (Linux; elsewhere nothing happens)."""
    with suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def peak_memory_gb() -> float | None:
    """Most memory that this process has used since then [GB]; None where it is unknown."""
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return None
    stated = next((line.split()[1] for line in lines if line.startswith('VmHWM:')), None)
    return None if stated is None else int(stated) * 1024 / 1e9


def processor_times_s(worker: int) -> tuple[float, float]:
    """
    Processor time of a worker, and of the commands that it runs; both with ended children [s].

    Parameters
    ----------
    worker
        Its process number; without ``/proc`` the time that has passed stands for the one used.

    Returns
    -------
    own
        Of the worker.
    commands
        Of the other processes of its group; NaN where there are none.

    """
    if not Path('/proc/self/stat').exists():
        return time.monotonic(), math.nan
    own, commands = 0, math.nan
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                # the name before the parenthesis may hold anything
                fields = (entry / 'stat').read_text(errors='replace').rpartition(')')[2].split()
            except OSError:
                continue
            ticks = sum(int(field) for field in fields[11:15])
            if worker == int(entry.name):
                own = ticks
            elif worker == int(fields[2]):
                commands = ticks + (0 if math.isnan(commands) else commands)
    per_second = os.sysconf('SC_CLK_TCK')
    return own / per_second, commands / per_second


def follow_parent() -> None:
    """Give a worker a process group of its own, which ends with the process that started it."""
    from multiprocessing import parent_process
    from threading import Thread

    os.setpgid(0, 0)
    _end_with_starter()
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    Thread(target=wait, daemon=True).start()


def _end_with_starter() -> None:
    """Have Linux kill this process when the one that forked it ends, whatever it is busy with."""
    if sys.platform == 'linux':
        set_death_signal = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
        ctypes.CDLL(None).prctl(set_death_signal, int(signal.SIGKILL))


def ensure_home() -> None:
    """Put a temporary folder in place of a home that cannot be used, as libraries do use it."""
    home = Path(os.environ.get('HOME') or '/nonexistent')
    if not (home.is_dir() and os.access(home, os.W_OK)):
        os.environ['HOME'] = tempfile.mkdtemp(prefix='qsmprep-home-')

"""What surrounds a run: standard streams, signals, a home folder."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from threading import Timer

PATIENCE_S = 20.0
"""Time that a run which was told to stop has to write down what is known [s]."""


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
        try:
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)
            else:
                child.kill()
        except (OSError, ValueError):
            pass


def follow_parent() -> None:
    """Give a worker a process group of its own, which ends with the process that started it."""
    from multiprocessing import parent_process
    from threading import Thread

    os.setpgid(0, 0)
    parent = parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.killpg(0, signal.SIGKILL)

    Thread(target=wait, daemon=True).start()


def ensure_home() -> None:
    """Put a temporary folder in place of a home that cannot be used, as libraries do use it."""
    home = Path(os.environ.get('HOME') or '/nonexistent')
    if not (home.is_dir() and os.access(home, os.W_OK)):
        os.environ['HOME'] = tempfile.mkdtemp(prefix='qsmprep-home-')

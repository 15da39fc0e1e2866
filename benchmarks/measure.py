"""What a computation costs, and tables of it: printed, as CSV and as a picture."""

from __future__ import annotations

import csv
import multiprocessing
import os
import resource
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from qsmprep.methods import INVERSIONS

SAMPLING_S = 0.02
QUICK_METHODS = tuple(m for m in INVERSIONS if m not in ('inr-qsm', 'diffusion-qsm', 'dm-qsm'))
"""Inversions that take minutes at most; the published ones take an hour or more on a CPU."""


@dataclass(frozen=True)
class Cost:
    """What a computation took, its child processes included.

    Parameters
    ----------
    cpu_s
        User and system time of all threads [s].
    wall_s
        Time on the clock [s].
    peak_gb
        Largest resident memory of the process and its children [GB], interpreter and libraries
        included.

    """

    cpu_s: float
    wall_s: float
    peak_gb: float


def measure(function: Callable, *arguments, repeats: int = 1) -> tuple[object, Cost]:
    """Call a function in a fresh process.

    The modules that the calling script imports are loaded before the measurement starts; they
    count towards memory, not towards time.

    Parameters
    ----------
    function
        Function of a module; its arguments and its result are pickled.
    *arguments
        Its arguments.
    repeats
        Calls, each in a process of its own. The result is that of the last.

    Returns
    -------
    result
        What the function returned.
    cost
        Median of the repeats.

    Raises
    ------
    RuntimeError
        If the function raised an error or its process was killed.

    """
    context = multiprocessing.get_context('spawn')
    costs = []
    for _ in range(repeats):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_call, args=(sender, function, arguments))
        process.start()
        sender.close()
        try:
            result, cost = receiver.recv()
        except EOFError:
            process.join()
            raise RuntimeError(
                f'{function.__name__} ended with exit code {process.exitcode}; its output is above.'
            ) from None
        process.join()
        costs.append(cost)
    return result, median_cost(costs)


def measure_command(command: Sequence[str | Path], repeats: int = 1) -> Cost:
    """Run a command, its output dropped; the start of its interpreter counts as well.

    Parameters
    ----------
    command
        Program and arguments.
    repeats
        The cost is the median of so many runs.

    Raises
    ------
    subprocess.CalledProcessError
        If the command failed.

    """
    costs = []
    for _ in range(repeats):
        start = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL)
        memory = _Memory(process.pid)
        memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_gb = memory.stop()
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        costs.append(Cost(usage.ru_utime + usage.ru_stime, wall, peak_gb))
    return median_cost(costs)


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Median of each number.

    Examples
    --------
    >>> median_cost([Cost(1.0, 2.0, 3.0), Cost(3.0, 2.5, 3.0), Cost(2.0, 9.0, 3.0)])
    Cost(cpu_s=2.0, wall_s=2.5, peak_gb=3.0)

    """
    return Cost(*(statistics.median(getattr(c, f.name) for c in costs) for f in fields(Cost)))


def _call(sender, function: Callable, arguments: tuple) -> None:
    memory = _Memory(os.getpid())
    memory.start()
    cpu, wall = _cpu_s(), time.perf_counter()
    result = function(*arguments)
    cpu, wall = _cpu_s() - cpu, time.perf_counter() - wall
    peak_gb = memory.stop()
    sender.send((result, Cost(max(cpu - memory.cpu_s, 0.0), wall, peak_gb)))
    sender.close()


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class _Memory(threading.Thread):
    """Peak memory of a process and its children, by sampling; its own CPU time is ``cpu_s``."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.cpu_s = 0.0
        self._root = root
        self._done = threading.Event()
        self._peak_kb = 0

    def run(self) -> None:
        while not self._done.wait(SAMPLING_S):
            self._sample()
            self.cpu_s = time.thread_time()

    def stop(self) -> float:
        """End the sampling; return the peak [GB]."""
        self._done.set()
        self.join()
        self._sample()
        return self._peak_kb * 1024 / 1e9

    def _sample(self) -> None:
        family = [self._root, *_descendants(self._root)]
        alone = [_status_kb(pid, 'VmHWM') for pid in family]
        together = sum(_status_kb(pid, 'VmRSS') for pid in family)
        self._peak_kb = max(self._peak_kb, together, *alone)


def _status_kb(pid: int, key: str) -> int:
    """Return a memory entry of a process [kB]; 0 when it has ended."""
    try:
        lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f'{key}:')), 0)


def _descendants(root: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in filter(str.isdigit, os.listdir('/proc')):
        try:
            status = Path('/proc', entry, 'stat').read_text()
        except OSError:
            continue
        children.setdefault(int(status.rpartition(')')[2].split()[1]), []).append(int(entry))
    found, stack = [], [root]
    while stack:
        below = children.get(stack.pop(), [])
        found += below
        stack += below
    return found


@dataclass
class Table:
    """Rows under named columns.

    Parameters
    ----------
    title
        One line above the table.
    columns
        Names, with units.
    rows
        Cells; numbers are shown with three significant digits, None is empty.

    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[object]]

    def add(self, *cells: object) -> None:
        """Add a row, and print it; cells that are left out stay empty."""
        self.rows.append((*cells, *[None] * (len(self.columns) - len(cells))))
        print('  '.join(text for text in map(show, cells) if text), flush=True)

    def markdown(self) -> str:
        """Return the table in Markdown, with its title."""
        rule = ['---' if text else '---:' for text in self._text_columns()]
        lines = [self.columns, rule, *(map(show, row) for row in self.rows)]
        return '\n'.join([f'**{self.title}**', '', *(f'| {" | ".join(row)} |' for row in lines)])

    def write(self, folder: Path, name: str) -> None:
        """Print the table, and :meth:`save` it."""
        print(f'\n{self.markdown()}\n', flush=True)
        self.save(folder, name)

    def save(self, folder: Path, name: str) -> None:
        """Write the table as ``name.csv``, ``name.md`` and ``name.png``."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'{name}.md').write_text(self.markdown() + '\n')
        with (folder / f'{name}.csv').open('w', newline='') as stream:
            csv.writer(stream).writerows([self.columns, *self.rows])
        self._draw(folder / f'{name}.png')

    def _text_columns(self) -> list[bool]:
        """Tell which columns hold no number."""
        return [
            all(isinstance(c, str | None) for c in cells) for cells in zip(*self.rows, strict=True)
        ]

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure

        cells = [list(self.columns), *(list(map(show, row)) for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) + 2 for i in range(len(self.columns))]
        figure = Figure(figsize=(0.1 * sum(widths) + 0.4, 0.28 * len(cells) + 0.6))
        axes = figure.add_axes((0.01, 0, 0.98, 1 - 0.45 / figure.get_figheight()))
        axes.axis('off')
        figure.text(0.01, 1 - 0.12 / figure.get_figheight(), self.title, va='top', weight='bold')
        table = axes.table(
            cells,
            colWidths=[width / sum(widths) for width in widths],
            bbox=(0, 0.02, 1, 0.97),
            cellLoc='right',
        )
        table.auto_set_font_size(False)
        table.set_fontsize(10)
        left = self._text_columns()
        for (row, column), cell in table.get_celld().items():
            cell.visible_edges = 'B'
            cell.set_edgecolor('black' if row == 0 else '0.85')
            cell.get_text().set_weight('bold' if row == 0 else 'normal')
            if left[column]:
                cell.get_text().set_horizontalalignment('left')
        figure.savefig(path, dpi=150)


def show(cell: object) -> str:
    """Text of a cell.

    Examples
    --------
    >>> [show(cell) for cell in ('tv', 1234.5, 12.345, 0.012345, 7, None)]
    ['tv', '1234', '12.3', '0.0123', '7', '']

    """
    if cell is None:
        return ''
    if not isinstance(cell, float):
        return str(cell)
    if abs(cell) >= 100:
        return f'{cell:.0f}'
    return f'{cell:#.3g}'

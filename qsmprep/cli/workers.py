"""Worker processes: one a slot, so that one that dies or hangs leaves the others alone."""

from __future__ import annotations

import configparser
import gc
import logging
import math
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from traceback import format_exception

from nipype import config as nipype_config
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from qsmprep.cli.process import (
    follow_parent,
    forget_peak_memory,
    give_back_memory,
    guard_streams,
    keep_freed_memory,
    kill_with_commands,
    peak_memory_gb,
    processor_times_s,
)
from qsmprep.cli.work_folder import seal

BUSY_SHARE = 1e-3
"""Share of one processor below which a node is taken to do nothing."""
WAITING_SHARE = 0.05
"""The same of a worker that waits for a command: to look whether it has ended takes a hundredth."""
TICK_S = 0.01
"""Time in steps in which the kernel reports the time of processors."""
LONGEST = 100
"""A node may work as many times as long as it may do nothing."""
LOOKS = 20
"""Looks at a node within the time that it may do nothing."""


class Worker:
    """
    One process that runs nodes one after another, and the watch over it.

    Parameters
    ----------
    initargs
        Arguments of what sets up the process.
    context
        Name of the way in which the process is started.

    """

    def __init__(self, initargs: tuple, context: str) -> None:
        self._pool = ProcessPoolExecutor(
            max_workers=1,
            initializer=_start_worker,
            initargs=initargs,
            mp_context=get_context(context),
        )
        self._rest()

    def _rest(self) -> None:
        self._looked, self._used_s = time.monotonic(), (0.0, math.nan)
        self.idle_s = self.busy_s = 0.0

    def run(self, function, *arguments) -> Future:
        """Begin a task; the time that it takes counts from here."""
        self._rest()
        return self._pool.submit(function, *arguments)

    def look(self, every_s: float) -> None:
        """
        Count how long the task has run, and for how long it has done nothing.

        Time during which this process itself was stopped does not count.
        """
        elapsed = time.monotonic() - self._looked
        if elapsed < every_s:
            return
        used_s = next(map(processor_times_s, self._pool._processes or ()), (0.0, math.nan))
        own_s, commands_s = (
            abs(now - before) for now, before in zip(used_s, self._used_s, strict=True)
        )
        waits = not math.isnan(commands_s)
        worked = own_s > (TICK_S + WAITING_SHARE * elapsed if waits else BUSY_SHARE * elapsed)
        worked |= waits and commands_s > BUSY_SHARE * elapsed
        counted = min(elapsed, 2 * every_s)
        self.busy_s += counted
        self.idle_s = 0.0 if worked else self.idle_s + counted
        self._looked, self._used_s = time.monotonic(), used_s

    def end(self) -> None:
        """End the process and the commands that it has started, whatever they do."""
        processes = dict(self._pool._processes or {})
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes.values():
            kill_with_commands(process)

    def dismiss(self) -> None:
        """Let the process end, as it has nothing to do."""
        self._pool.shutdown()


class RobustMultiProcPlugin(MultiProcPlugin):
    """
    MultiProc that notices when a worker dies or hangs.

    Nipype's own plugin waits for ever when a worker process is killed (out of memory, crash of
    a library), hangs or cannot write its result. Here every end of a job becomes a result with
    a traceback, so that the node fails, the others go on, and the exit code shows it. The most
    memory that the process of each node used is kept in ``peaks_gb``.
    """

    def __init__(self, plugin_args=None):
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown()
        self._free: list[Worker] = []
        self._workers: dict[int, Worker] = {}
        self._hang_after_s = 60 * self.plugin_args['hang_after_min']
        self.failures: list[dict] = []
        self.peaks_gb: dict[str, float] = {}

    def _submit_job(self, node, updatehash=False):
        self._taskid += 1
        taskid = self._taskid
        worker = self._free.pop() if self._free else self._new_worker()
        try:
            future = worker.run(_run_and_seal, node, updatehash, taskid)
        except BrokenProcessPool:  # it died while it had nothing to do
            worker = self._new_worker()
            future = worker.run(_run_and_seal, node, updatehash, taskid)
        self._workers[taskid] = worker
        self._task_obj[taskid] = future
        future.add_done_callback(lambda done: self._store_result(taskid, done))
        return taskid

    def _new_worker(self) -> Worker:
        level = logging.getLogger('nipype.workflow').level
        return Worker((self._cwd, level), self.plugin_args.get('mp_context', 'forkserver'))

    def _get_result(self, taskid):
        if taskid not in self._taskresult:
            worker = self._workers[taskid]
            worker.look(self._hang_after_s / LOOKS)
            if worker.idle_s >= self._hang_after_s:
                what = f'has not used a processor for {_duration(worker.idle_s)}'
                self._give_up(taskid, what)
            elif worker.busy_s >= LONGEST * self._hang_after_s:
                self._give_up(taskid, f'has run for {_duration(worker.busy_s)}')
        return super()._get_result(taskid)

    def _give_up(self, taskid: int, what: str) -> None:
        """End a node that hangs."""
        message = TimeoutError(
            f'This node {what} and was ended, for it seems to hang; see whether its disks answer '
            'and run the same command again, or allow more time with --hang-after.'
        )
        self._taskresult.setdefault(taskid, _failed(taskid, message))

    def _clear_task(self, taskid):
        super()._clear_task(taskid)
        worker, result = self._workers.pop(taskid), self._taskresult.pop(taskid)
        if result.get('worker_lost'):
            worker.end()
        else:
            self._free.append(worker)

    def _store_result(self, taskid: int, future) -> None:
        try:
            result = future.result()
        except BrokenProcessPool as error:
            message = RuntimeError(
                'The process of this node was killed, most often because memory ran out; '
                'give more memory, or less parallel work with --nprocs.'
            )
            message.__cause__ = error
            result = _failed(taskid, message)
        except (Exception, CancelledError) as error:
            result = _failed(taskid, error)
        if result.get('memory_gb') is not None:
            self.peaks_gb[result['node']] = result['memory_gb']
        self._taskresult.setdefault(taskid, result)

    def _prerun_check(self, graph):
        super()._prerun_check(graph)
        # Nipype collects garbage ten times a second: what lives as long as the run is none
        gc.collect()
        gc.freeze()

    def _postrun_check(self):
        gc.unfreeze()
        for worker in self._free:
            worker.dismiss()

    def _task_finished_cb(self, jobid, cached=False):
        node = self.procs[jobid]
        if node.run_without_submitting and not cached:
            seal(Path(node.output_dir()))
        super()._task_finished_cb(jobid, cached=cached)

    def _report_crash(self, node, result=None):
        """Write a crash file or, where that fails as on a full disk, remember the failure."""
        try:
            return super()._report_crash(node, result=result)
        except Exception as error:
            trace = ''.join((result or {}).get('traceback') or format_exception(error))
            self.failures.append(
                {
                    'node': node.fullname,
                    'message': trace.strip().rpartition('\n')[2].strip(),
                    'traceback': trace,
                }
            )
            return ''


def take_percent_literally() -> None:
    """Let paths hold a percent sign, which Nipype's configuration would read as a reference."""
    nipype_config._config._interpolation = configparser.Interpolation()


def set_nipype_level(level: int) -> None:
    """Set how much Nipype says."""
    for name in ('nipype.workflow', 'nipype.interface', 'nipype.utils'):
        logging.getLogger(name).setLevel(level)


def _start_worker(cwd: str, level: int) -> None:
    """Set up a worker process, which knows nothing of the main one's logging."""
    guard_streams()
    follow_parent()
    keep_freed_memory()
    process_initializer(cwd)
    take_percent_literally()
    set_nipype_level(level)


def _run_and_seal(node, updatehash: bool, taskid: int) -> dict:
    """Run a node in a worker; record the size of its folder and the memory of its process."""
    forget_peak_memory()
    result = run_node(node, updatehash, taskid)
    result |= {'node': node.fullname, 'memory_gb': peak_memory_gb()}
    give_back_memory()
    if result['traceback'] is None:
        seal(Path(node.output_dir()))
    return result


def _failed(taskid: int, error: BaseException) -> dict:
    """Result of a node whose worker cannot be used again."""
    trace = format_exception(error)
    return {'result': None, 'traceback': trace, 'taskid': taskid, 'worker_lost': True}


def _duration(seconds: float) -> str:
    """
    Time in words.

    Examples
    --------
    >>> _duration(45), _duration(900), _duration(90000)
    ('45 s', '15 min', '25 h')

    """
    for unit, length in (('h', 3600), ('min', 60)):
        if seconds >= 2 * length:
            return f'{seconds / length:.0f} {unit}'
    return f'{seconds:.0f} s'

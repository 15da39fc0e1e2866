"""Running a graph so that whatever happens to a node, the run ends and says so."""

from __future__ import annotations

import configparser
import logging
import sys
import time
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from traceback import format_exception

from nipype import config as nipype_config
from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.plugins.multiproc import MultiProcPlugin, process_initializer, run_node

from qsmprep.cli.process import follow_parent, guard_streams
from qsmprep.cli.records import Outcome
from qsmprep.cli.work_folder import seal
from qsmprep.settings import Execution

LOGGER = logging.getLogger('qsmprep')


class RobustMultiProcPlugin(MultiProcPlugin):
    """
    MultiProc that notices when a worker dies.

    Nipype's own plugin waits for ever when a worker process is killed (out of memory, crash of
    a library) or cannot write its result. Here every end of a job, a broken pool too, becomes a
    result with a traceback, so that the node fails, the others go on, and the exit code tells.
    """

    def __init__(self, plugin_args=None):
        super().__init__(plugin_args=plugin_args)
        self.pool.shutdown()
        self.pool = self._new_pool()
        self.failures: list[dict] = []

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            max_workers=self.processors,
            initializer=_start_worker,
            initargs=(self._cwd, logging.getLogger('nipype.workflow').level),
            mp_context=get_context(self.plugin_args.get('mp_context', 'forkserver')),
        )

    def _submit_job(self, node, updatehash=False):
        self._taskid += 1
        taskid = self._taskid
        try:
            future = self.pool.submit(_run_and_seal, node, updatehash, taskid)
        except BrokenProcessPool:
            self.pool = self._new_pool()
            future = self.pool.submit(_run_and_seal, node, updatehash, taskid)
        self._task_obj[taskid] = future
        future.add_done_callback(lambda done: self._store_result(taskid, done))
        return taskid

    def _store_result(self, taskid: int, future) -> None:
        try:
            self._taskresult[taskid] = future.result()
        except BrokenProcessPool as error:
            message = RuntimeError(
                'The process of this node was killed, most often because memory ran out; '
                'give more memory, or less parallel work with --nprocs.'
            )
            message.__cause__ = error
            self._taskresult[taskid] = {
                'result': None,
                'traceback': format_exception(message),
                'taskid': taskid,
            }
        except (Exception, CancelledError) as error:
            self._taskresult[taskid] = {
                'result': None,
                'traceback': format_exception(error),
                'taskid': taskid,
            }

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


class Progress:
    """A line for each node: live on a terminal, log lines elsewhere."""

    def __init__(self, total: int, stream=sys.stderr):
        self.total = total
        self.stream = stream
        self.live = stream.isatty()
        self.begin = time.monotonic()
        self.started: dict[str, float] = {}
        self.finished: set[str] = set()
        self.failed: set[str] = set()
        self.done = 0
        self._closed = Event()
        if self.live:
            Thread(target=self._tick, daemon=True).start()

    def __call__(self, node, status: str) -> None:
        """Nipype's status callback: ``start``, ``end`` or ``exception`` of a node."""
        now = time.monotonic()
        if status == 'start':
            self.started[node.fullname] = now
        elif node.fullname not in self.failed:
            # nodes of the main process are said to end after they have failed
            (self.finished if status == 'end' else self.failed).add(node.fullname)
            self.done += 1
            elapsed = now - self.started.pop(node.fullname, now)
            word = 'done' if status == 'end' else 'FAILED'
            # sinks run in the main process, in no time
            if status != 'end' or not node.run_without_submitting:
                self._print(f'{node.fullname} {word} in {elapsed:.1f} s', final=not self.live)
        self._show_running()

    def _tick(self) -> None:
        while not self._closed.wait(1.0):
            self._show_running()

    def _show_running(self) -> None:
        running = list(self.started.items())
        if self.live and running:
            name, since = running[0]
            others = f' and {len(running) - 1} more' if len(running) > 1 else ''
            self._print(f'{name}{others}, {time.monotonic() - since:.0f} s', final=False)

    def _print(self, text: str, final: bool) -> None:
        clock = time.strftime('%H:%M:%S', time.gmtime(time.monotonic() - self.begin))
        line = f'[{clock}] {self.done}/{self.total} {text}'
        if final:
            print(line, file=self.stream, flush=True)
        else:
            width = 118
            print(f'\r{line[:width]:<{width}}', end='', file=self.stream, flush=True)

    def close(self) -> None:
        """End the live line."""
        self._closed.set()
        if self.live:
            print(file=self.stream)


def configure_nipype(execution: Execution, crash_dir: Path) -> None:
    """Set Nipype's options; graphs take them over when they are built."""
    crash_dir.mkdir(parents=True, exist_ok=True)
    _take_percent_literally()
    nipype_config.update_config(
        {
            'execution': {
                'crashdump_dir': str(crash_dir),
                'crashfile_format': 'txt',
                'poll_sleep_duration': 0.1,
                'get_linked_libs': False,
                'check_version': False,
                'stop_on_first_crash': execution.stop_on_first_crash,
                'remove_unnecessary_outputs': False,
            },
            'logging': {'log_to_file': False},
            'monitoring': {'enabled': execution.resource_monitor},
        }
    )
    # The progress line and the report name what fails
    _set_nipype_level(max(logging.CRITICAL - 20 * execution.verbosity, logging.DEBUG))


def run_workflow(workflow, execution: Execution, outcome: Outcome | None = None) -> Outcome:
    """
    Run a graph to its end.

    Parameters
    ----------
    workflow
        The graph.
    execution
        Settings of the run.
    outcome
        To be filled on the way, so that it is known also of a run that is stopped.

    Returns
    -------
    Outcome
        What went well; most failures have left crash files.

    """
    outcome = outcome or Outcome()
    names = workflow.list_node_names()
    busy = [n for n in names if not isinstance(workflow.get_node(n).interface, IdentityInterface)]
    progress = Progress(len(busy))
    progress.finished = outcome.finished
    try:
        plugin, arguments = _plugin(execution, progress)
        outcome.failures = getattr(plugin, 'failures', [])
        workflow.run(plugin=plugin, plugin_args=arguments)
    except Exception as problem:
        if execution.debug:
            raise
        LOGGER.info('%s', problem)
        if not progress.failed:
            outcome.error = (
                f'The nodes could not be run: {type(problem).__name__}: {problem}; check the work '
                'folder, its disk, and that /dev/shm can be written to, or run in one process '
                '(--use-plugin FILE with "plugin: Linear").'
            )
            LOGGER.error('%s', outcome.error)
    finally:
        progress.close()
    outcome.ok = outcome.error is None and not progress.failed
    return outcome


def _plugin(execution: Execution, progress: Progress) -> tuple[object, dict]:
    """Nipype's plugin, by name or as an object, and its arguments."""
    if execution.debug:
        return 'Linear', {'status_callback': progress}
    name, arguments = 'MultiProc', {}
    if execution.plugin_file is not None:
        name, arguments = read_plugin(execution.plugin_file)
    if name == 'MultiProc':
        return RobustMultiProcPlugin(_plugin_args(execution, progress) | arguments), {}
    return name, {'status_callback': progress} | arguments


def read_plugin(path: Path) -> tuple[str, dict]:
    """
    Name and arguments of one of Nipype's plugins from a YAML file.

    Parameters
    ----------
    path
        The file, with ``plugin`` and ``plugin_args``.

    Raises
    ------
    ValueError
        If the file is no YAML, has other keys, or names a plugin that Nipype does not have.

    """
    import yaml
    from nipype.pipeline import plugins

    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'{path} is no readable YAML: {" ".join(str(error).split())}.') from error
    if not isinstance(content, dict) or not set(content) <= {'plugin', 'plugin_args'}:
        raise ValueError(f'{path} must hold plugin and plugin_args, as for Nipype, and no more.')
    name, arguments = content.get('plugin', 'MultiProc'), content.get('plugin_args') or {}
    known = sorted(x.removesuffix('Plugin') for x in dir(plugins) if x.endswith('Plugin'))
    if name not in known:
        raise ValueError(f'{path} names the plugin {name!r}; choose one of {", ".join(known)}.')
    if not isinstance(arguments, dict):
        raise ValueError(f'{path}: plugin_args is {arguments!r}; keys with values are expected.')
    return name, arguments


def _plugin_args(execution: Execution, progress: Progress) -> dict:
    arguments = {
        'n_procs': execution.nprocs,
        'n_gpu_procs': 1,
        'raise_insufficient': False,
        'mp_context': 'forkserver',
        'status_callback': progress,
    }
    if execution.mem_gb is not None:
        arguments['memory_gb'] = execution.mem_gb
    return arguments


def _start_worker(cwd: str, level: int) -> None:
    """Set up a worker process, which knows nothing of the main one's logging."""
    guard_streams()
    follow_parent()
    process_initializer(cwd)
    _take_percent_literally()
    _set_nipype_level(level)


def _run_and_seal(node, updatehash: bool, taskid: int) -> dict:
    """Run a node in a worker, and write down what its folder holds then."""
    result = run_node(node, updatehash, taskid)
    if result['traceback'] is None:
        seal(Path(node.output_dir()))
    return result


def _take_percent_literally() -> None:
    """Let paths hold a percent sign, which Nipype's configuration would read as a reference."""
    nipype_config._config._interpolation = configparser.Interpolation()


def _set_nipype_level(level: int) -> None:
    for name in ('nipype.workflow', 'nipype.interface', 'nipype.utils'):
        logging.getLogger(name).setLevel(level)

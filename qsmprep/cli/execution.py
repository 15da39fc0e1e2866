"""Running a graph so that whatever happens to a node, the run ends and says so."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from threading import Event, Thread

from nipype import config as nipype_config
from nipype.interfaces.utility import IdentityInterface

from qsmprep.cli.records import Outcome
from qsmprep.cli.workers import (
    RobustMultiProcPlugin,
    set_nipype_level,
    take_percent_literally,
)
from qsmprep.settings import Execution

LOGGER = logging.getLogger('qsmprep')


class Progress:
    """A line for each node: live on a terminal, log lines elsewhere."""

    def __init__(self, total: int, stream=sys.stderr):
        self.total = total
        self.stream = stream
        self.live = stream.isatty()
        self.begin = time.monotonic()
        self.started: dict[str, float] = {}
        self.finished: set[str] = set()
        self.seconds: dict[str, float] = {}
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
            self.seconds[node.fullname] = elapsed
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
    take_percent_literally()
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
    set_nipype_level(max(logging.CRITICAL - 20 * execution.verbosity, logging.DEBUG))


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
    progress.finished, progress.seconds = outcome.finished, outcome.seconds
    try:
        plugin, arguments = _plugin(execution, progress)
        outcome.failures = getattr(plugin, 'failures', [])
        outcome.memory_gb = getattr(plugin, 'peaks_gb', {})
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
    os.environ.setdefault('LOGNAME', 'qsmprep')  # Nipype's plugins name jobs after it
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
        'hang_after_min': execution.hang_after_min,
        'status_callback': progress,
    }
    if execution.mem_gb is not None:
        arguments['memory_gb'] = execution.mem_gb
    return arguments

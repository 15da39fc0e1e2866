"""Runs of the command line, and the check of what they write, for tests of whole runs."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from qsmprep.cli.run import main
from qsmprep.reports.panels import drawable
from qsmprep.workflows import plan

CONFIG = Path(__file__).parent.parent / 'bids_validator_config.json'


def run_here(
    dataset: Path, out: Path, *options: str | Path, panels: Sequence[str] | None = None
) -> int:
    """
    Run qsmprep in this process, one node after another: no worker has to start.

    Panels of the report take most of the time of a small run: by default all are drawn.
    """
    plugin = Path(f'{out}.yml')
    plugin.write_text('plugin: Linear\n')
    arguments = [dataset, out, 'participant', '-w', f'{out}-work', '--use-plugin', plugin]

    def chosen(drawn: Sequence[str]) -> tuple[str, ...]:
        return tuple(panel for panel in drawn if panel in panels)

    with pytest.MonkeyPatch.context() as patch:
        if panels is not None:
            patch.setattr(plan, 'drawable', lambda images: chosen(drawable(images)))
        return main([*map(str, arguments), '--skip-bids-validation', *map(str, options)])


def run_apart(*arguments: str | Path) -> int:
    """Run qsmprep in a process of its own, with workers and validator, as a user would."""
    command = [sys.executable, '-m', 'qsmprep.cli.run', *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout, done.stderr)
    return done.returncode


def errors_of(dataset: Path, *options: str | Path) -> list[dict]:
    """Errors that the BIDS validator finds."""
    validator = Path(sys.executable).with_name('bids-validator-deno')
    command = [validator, dataset, '--format', 'json', *options]
    done = subprocess.run(map(str, command), capture_output=True, text=True, check=False)
    issues = json.loads(done.stdout)['issues']['issues']
    errors = [issue for issue in issues if issue['severity'] == 'error']
    assert (done.returncode == 0) == (not errors)
    return errors


def validate(derivatives: Path) -> None:
    """Check that derivatives are valid, but for what BIDS does not know yet."""
    assert errors_of(derivatives, '--config', CONFIG, '--ignoreWarnings') == []

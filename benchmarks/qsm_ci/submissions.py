"""Write the submissions of all inversions to QSM-CI, from the table of methods.

``python benchmarks/qsm_ci/submissions.py [FOLDER]``; beside this script by default, where git
ignores them.
"""

from __future__ import annotations

import argparse
import inspect
import re
from importlib.resources import files
from pathlib import Path

import yaml

import qsmprep
from qsmprep.cli.boilerplate import cite
from qsmprep.methods import INVERSIONS, Method

HERE = Path(__file__).parent
RUN = r"""#!/usr/bin/env bash
# Local field [ppm] to susceptibility [ppm] with qsmprep's method '{method}'.
set -euo pipefail
IN="${1:-/input}"
OUT="${2:-/output}"

parameters=()
for name in $(env | sed -n 's/^QSMCI_SET_\([A-Z0-9_]*\)=.*/\1/p'); do
    value="QSMCI_SET_$name"
    parameters+=("${name,,}=${!value}")
done

# Fixed-point numbers: argparse takes -1e-5 for an option.
read -r -a direction <<< "$(printf '%.9f ' ${QSMCI_B0_DIR:-0 0 1})"

qsmprep-invert "$IN/localfield.nii.gz" \
    --mask "$IN/mask.nii.gz" \
    --output "$OUT/chimap.nii.gz" \
    --method {method} \
    --b0-direction "${direction[@]}" \
    ${parameters[@]:+--parameter "${parameters[@]}"}
"""


def describe(method: Method) -> dict:
    """Content of ``algorithm.yml``."""
    bibliography = files('qsmprep.data').joinpath('boilerplate.bib').read_text()
    _, (reference,) = cite(f'@{method.citation}', bibliography)
    citation, _, doi = reference.rpartition(' doi:')
    told = parameter_descriptions(inspect.getdoc(method.load()))
    return {
        'name': f'qsmprep {method.name}',
        'slug': f'qsmprep-{method.name}',
        'stage': 'dipole',
        'description': _plain(method.summary),
        'authors': [{'name': 'The qsmprep developers'}],
        'citation': citation,
        'doi': doi,
        'code_url': 'https://github.com/qsmprep/qsmprep',
        'license': 'Apache-2.0',
        'image': f'qsmprep:{qsmprep.__version__}',
        'run': 'bash run.sh',
        'parameters': [
            {'name': name, 'description': _plain(told[name])} for name in method.parameters()
        ],
    }


def parameter_descriptions(docstring: str) -> dict[str, str]:
    """First sentence that a numpydoc docstring says of each parameter.

    Examples
    --------
    >>> parameter_descriptions('F.\\n\\nParameters\\n----------\\na, b\\n    Two\\n    sums. No.')
    {'a': 'Two sums', 'b': 'Two sums'}

    """
    (section,) = re.findall(r'^Parameters\n-+\n(.*?)(?:\n\n\w+\n-+\n|\Z)', docstring, re.M | re.S)
    told = {}
    for names, text in re.findall(r'^(\w[^\n]*)\n((?:(?:    [^\n]*)?(?:\n|$))+)', section, re.M):
        sentence = re.split(r'\.(?: |$)', ' '.join(text.split()))[0]
        told |= dict.fromkeys(names.partition(' : ')[0].split(', '), sentence)
    return told


def _plain(text: str) -> str:
    """Text without roles, links and code marks."""
    text = re.sub(r':\w+:`~?([^`]*)`', r'\1', text)
    return re.sub(r' ?\(\[[^]]*\]\([^)]*\)\)|`', '', text)


def write(folder: Path) -> None:
    """Write one submission for each inversion."""
    for method in INVERSIONS.values():
        submission = folder / f'qsmprep-{method.name}'
        submission.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(describe(method), sort_keys=False, width=100, allow_unicode=True)
        (submission / 'algorithm.yml').write_text(text)
        script = submission / 'run.sh'
        script.write_text(RUN.replace('{method}', method.name))
        script.chmod(0o755)


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=Path, nargs='?', default=HERE)
    write(parser.parse_args().folder)

"""
What an installation of qsmprep consists of, and under which licences: a CycloneDX list.

    python .ci/components.py LIST.json [LICENCES.md]

Run by the Python whose packages are listed. Where there is dpkg, its packages are listed too.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

UNKNOWN = 'not stated'
DOCUMENTATION = Path('/usr/share/doc')


def python_components() -> Iterator[dict]:
    """Packages of this Python, qsmprep itself left out."""
    for package in distributions():
        name = re.sub(r'[-_.]+', '-', package.metadata['Name']).lower()
        if name != 'qsmprep':
            yield component(f'pkg:pypi/{name}@{package.version}', name, package.version, [
                python_licence(package)
            ])  # fmt:skip


def python_licence(package: Distribution) -> str:
    """Licence by the metadata's expression, else its classifiers, else its own words."""
    metadata = package.metadata
    classifiers = [
        text.rpartition(' :: ')[2]
        for text in metadata.get_all('Classifier', [])
        if text.startswith('License :: OSI Approved :: ')
    ]
    words = (metadata.get('License') or '').strip().splitlines() or ['']
    return metadata.get('License-Expression') or ' or '.join(classifiers) or words[0] or UNKNOWN


def debian_components() -> Iterator[dict]:
    """Packages of dpkg, with the licences of their copyright files."""
    if shutil.which('dpkg-query') is None:
        return
    fields = '${db:Status-Status} ${Package} ${Version}\n'
    listing = subprocess.run(
        ['dpkg-query', '-W', f'-f={fields}'], capture_output=True, text=True, check=True
    ).stdout
    for line in sorted(listing.splitlines()):
        status, name, version = line.split()
        if status == 'installed':
            yield component(
                f'pkg:deb/debian/{name}@{version}', name, version, debian_licences(name)
            )


def debian_licences(name: str) -> list[str]:
    """Licences that the copyright file of a package names, in its machine-readable form."""
    path = DOCUMENTATION / name / 'copyright'
    text = path.read_text(errors='replace') if path.is_file() else ''
    return sorted(set(re.findall(r'^License: *(\S.*?) *$', text, flags=re.M))) or [UNKNOWN]


def component(purl: str, name: str, version: str, licences: list[str]) -> dict:
    """Entry of the list."""
    return {
        'type': 'library',
        'bom-ref': purl,
        'purl': purl,
        'name': name,
        'version': version,
        'licenses': [{'license': {'name': text}} for text in licences],
    }


def bill_of_materials() -> dict:
    """Return the list, as CycloneDX 1.6."""
    found = {item['purl']: item for item in (*python_components(), *debian_components())}
    version = distribution('qsmprep').version
    own = component(f'pkg:pypi/qsmprep@{version}', 'qsmprep', version, ['Apache-2.0'])
    return {
        'bomFormat': 'CycloneDX',
        'specVersion': '1.6',
        'version': 1,
        'metadata': {'component': own | {'type': 'application'}},
        'components': [found[purl] for purl in sorted(found)],
    }


def table(bill: dict) -> str:
    """Return the list as a table in Markdown."""
    lines = ['| component | version | licence |', '|-|-|-|']
    for item in bill['components']:
        licences = '; '.join(entry['license']['name'] for entry in item['licenses'])
        kind = item['purl'].partition(':')[2].partition('/')[0]
        lines.append(f'| {item["name"]} ({kind}) | {item["version"]} | {licences} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    """Write the list."""
    parser = argparse.ArgumentParser(description='List components and licences.')
    parser.add_argument('list', type=Path)
    parser.add_argument('licences', type=Path, nargs='?')
    arguments = parser.parse_args()
    bill = bill_of_materials()
    arguments.list.write_text(json.dumps(bill, indent=1) + '\n')
    if arguments.licences:
        arguments.licences.write_text(table(bill))


if __name__ == '__main__':
    main()

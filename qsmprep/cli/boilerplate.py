"""Methods text and references of a run."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

from qsmprep.settings import Settings

PREAMBLE = (
    'This text was made by qsmprep from the graph that was run, to be copied into a manuscript; '
    'it is in the public domain (CC0).'
)


def write_boilerplate(output_dir: Path, description: str, settings: Settings) -> None:
    """
    Write ``logs/CITATION.md``, ``.tex`` and ``.bib``, and with pandoc ``CITATION.html`` too.

    Parameters
    ----------
    output_dir
        Root of the derivatives dataset.
    description
        Methods text with citations as ``[@key]``.
    settings
        Settings of the run.

    """
    logs = output_dir / 'logs'
    logs.mkdir(parents=True, exist_ok=True)
    bibliography = files('qsmprep.data').joinpath('boilerplate.bib').read_text()
    text, used = cite(description, bibliography)
    references = '\n'.join(f'- {entry}' for entry in used)
    markdown = f'# Methods\n\n{text.strip()}\n\n# References\n\n{references}\n\n---\n\n{PREAMBLE}\n'
    (logs / 'CITATION.md').write_text(markdown)
    (logs / 'CITATION.bib').write_text(bibliography)
    (logs / 'CITATION.tex').write_text(latex(description))
    pandoc = shutil.which('pandoc')
    if pandoc and not settings.outputs.md_only_boilerplate:
        subprocess.run(
            [pandoc, '-s', '--metadata', 'title=Methods', 'CITATION.md', '-o', 'CITATION.html'],
            cwd=logs,
            check=True,
        )


def latex(description: str) -> str:
    r"""
    Methods text as a section of a LaTeX document; its references are in ``CITATION.bib``.

    Parameters
    ----------
    description
        Text with citations as ``[@key]`` or ``[@key; @other]``.

    Examples
    --------
    >>> print(latex('R2\\* rose by 5 % [@a; @b].').splitlines()[1])
    R2* rose by 5 \% \cite{a,b}.

    """

    def plain(text: str) -> str:
        text = text.replace('\\*', '*').replace('\\', r'\textbackslash{}')
        text = re.sub(r'([&%$#_{}])', r'\\\1', text)
        return text.replace('~', r'\textasciitilde{}').replace('^', r'\textasciicircum{}')

    pieces = []
    for text, keys in re.findall(r'(.*?)(\[@[^\]]*\]|\Z)', description.strip(), flags=re.S):
        named = re.findall(r'@(\w+)', keys)
        pieces.append(plain(text) + (rf'\cite{{{",".join(named)}}}' if named else plain(keys)))
    return '\\section{Methods}\n' + ''.join(pieces) + '\n\\bibliography{CITATION}\n'


def cite(description: str, bibliography: str) -> tuple[str, list[str]]:
    """
    Put names and years for citation keys.

    Parameters
    ----------
    description
        Text with citations as ``[@key]`` or ``[@key; more]``.
    bibliography
        BibTeX entries with one field a line.

    Returns
    -------
    text
        The text with citations written out.
    references
        The entries that are cited, in the order of their first citation.

    Raises
    ------
    KeyError
        If a key is not in the bibliography.

    Examples
    --------
    >>> bib = '@article{a, author={Li, W}, title={{T2} of}, journal={J}, year={2014}, doi={1}}'
    >>> cite('By V-SHARP [@a].', bib)
    ('By V-SHARP [Li 2014].', ['Li, W (2014). T2 of. J. doi:1'])

    """
    entries = {}
    for key, body in re.findall(r'@\w+\{(\w+),(.*?)\}\s*(?=@|\Z)', bibliography, flags=re.S):
        fields = re.findall(r'(\w+)\s*=\s*\{((?:[^{}]|\{[^{}]*\})*)\}', body)
        entries[key] = {name: re.sub('[{}]', '', value) for name, value in fields}
    used: dict[str, str] = {}

    def short(match: re.Match) -> str:
        entry = entries[match[1]]
        authors = entry['author'].split(' and ')
        used[match[1]] = (
            f'{"; ".join(authors)} ({entry["year"]}). {entry["title"]}. '
            f'{entry.get("journal") or entry["booktitle"]}. doi:{entry["doi"]}'
        )
        family = authors[0].split(',')[0]
        return f'{family}{" et al." if len(authors) > 1 else ""} {entry["year"]}'

    text = re.sub(r'@(\w+)', short, description)
    return text, list(used.values())

"""Plain text from records and from the methods text, whatever they hold."""

from __future__ import annotations

import re
from pathlib import Path


def plain_text(value: object) -> str:
    """A value of a record as text, without terminal colours and control characters."""
    if value is None:
        return ''
    if isinstance(value, list | tuple):
        return ', '.join(plain_text(item) for item in value)
    plain = re.sub(r'\x1b\[[0-9;]*[A-Za-z]', '', str(value))
    return re.sub(r'[\x00-\x08\x0b-\x1f\x7f]', '', plain)


def pairs(mapping: object) -> list[tuple[str, str]]:
    """Keys and values of a record's table as text; nothing of what is no table."""
    items = mapping.items() if isinstance(mapping, dict) else ()
    return [(plain_text(key), plain_text(value)) for key, value in items]


def texts(items: object) -> list[str]:
    """The items of a record's list as text; nothing of what is no list."""
    return [plain_text(item) for item in items] if isinstance(items, list) else []


def dicts(items: object) -> list[dict]:
    """Those items of a record's list that are tables."""
    return [x for x in items if isinstance(x, dict)] if isinstance(items, list) else []


def read_text(path: Path) -> str:
    """Text of a file; nothing where it cannot be read."""
    try:
        return path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return ''


def read_methods(path: Path) -> list[dict]:
    """Headings, list items and paragraphs of the methods text; links are parts of their text."""
    text = read_text(path)
    blocks = []
    for chunk in filter(str.strip, re.split(r'\n\s*\n', text)):
        lines = [line.strip() for line in chunk.strip().splitlines()]
        paragraph: list[str] = []
        for line in lines:
            mark = re.match(r'(#{1,6}|[-*+]|\d+\.)\s+(.*)', line)
            if mark is None:
                if line.strip('-'):
                    paragraph.append(line)
                continue
            if paragraph:
                blocks.append({'kind': 'paragraph', 'parts': _links(' '.join(paragraph))})
                paragraph = []
            kind = 'heading' if mark[1].startswith('#') else 'item'
            blocks.append({'kind': kind, 'parts': _links(mark[2])})
        if paragraph:
            blocks.append({'kind': 'paragraph', 'parts': _links(' '.join(paragraph))})
    return blocks


def _links(text: str) -> list[tuple[str, str]]:
    """
    Split a text into pieces and the address that each leads to, if any.

    Examples
    --------
    >>> _links('See [the paper](https://doi.org/1) and <b>')
    [('See ', ''), ('the paper', 'https://doi.org/1'), (' and <b>', '')]
    >>> _links('*all* of R2\\*, T2\\*')
    [('all of R2*, T2*', '')]

    """
    text = re.sub(
        r'(?<!\\)(\*\*?|__?)(?=\S)([^*_\n]+?)(?<=[^\s\\])\1(?!\w)', r'\2', plain_text(text)
    )
    text = re.sub(r'\\([*_])', r'\1', text)
    pattern = r'\[([^\]]+)\]\((https?://[^\s)]+)\)|(https?://[^\s<>"\')\]]*[^\s<>"\')\].,;])'
    pieces, end = [], 0
    for link in re.finditer(pattern, text):
        pieces.append((text[end : link.start()], ''))
        pieces.append((link[1] or link[3], link[2] or link[3]))
        end = link.end()
    pieces.append((text[end:], ''))
    return [piece for piece in pieces if piece[0]]

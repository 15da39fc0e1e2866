"""List the pages of the built site and its dead links: ``python docs/check.py SITE``."""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Links and targets of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.targets: set[str] = {''}
        self.feed(path.read_text(encoding='utf-8'))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag refers to, and what refers to it."""
        for name, value in attrs:
            if name in ('id', 'name') and value:
                self.targets.add(value)
            elif name in ('href', 'src') and value:
                self.links.add(value)


def dead_links(site: Path) -> list[str]:
    """Links within the site that lead nowhere."""
    pages = {path.resolve(): Page(path) for path in sorted(site.rglob('*.html'))}
    dead = []
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= 'index.html'
            known = target in pages and unquote(parts.fragment) in pages[target].targets
            if not known and (target in pages or not target.exists()):
                dead.append(f'{path.relative_to(site.resolve())}: {link}')
    return dead


if __name__ == '__main__':
    site = Path(sys.argv[1])
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob('*.html'))
    print(f'{len(pages)} pages:', ' '.join(pages))
    dead = dead_links(site)
    print(*(f'dead link: {link}' for link in dead), sep='\n')
    sys.exit(bool(dead))

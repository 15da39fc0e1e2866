"""Templates filled to pages: everything that comes in is escaped, pages load nothing."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

import qsmprep
from qsmprep.bids.files import write_whole


def write_page(path: Path, template: str, script: str = '', **context: object) -> Path:
    """
    Fill a template of ``qsmprep/data/pages`` and replace a page at once.

    Parameters
    ----------
    path
        The page.
    template
        Name of the template.
    script
        Name of the one script that the page may run; none by default.
    **context
        What the template shows.

    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(page_source),
    )
    code = page_source(script) if script else ''
    page = environment.get_template(template).render(
        version=qsmprep.__version__,
        style=Markup(page_source('style.css')),
        script=Markup(code),
        script_hash=script_hash(code) if code else '',
        **context,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda stream: stream.write(page.encode('utf-8', errors='replace')))
    return path


def page_source(name: str) -> str:
    """Text of a file of ``qsmprep/data/pages``."""
    return resources.files('qsmprep.data.pages').joinpath(name).read_text(encoding='utf-8')


def script_hash(script: str) -> str:
    """
    A script as a content security policy names it.

    Examples
    --------
    >>> script_hash('')
    'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='

    """
    digest = hashlib.sha256(script.encode('utf-8')).digest()
    return 'sha256-' + base64.b64encode(digest).decode('ascii')

"""The documentation as a site: ``make docs`` builds it in ``build/site`` (no network needed)."""

import logging
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS))
import reference  # noqa: E402

reference.write(DOCS / 'api')
logging.getLogger('nipype.workflow').setLevel(logging.WARNING)

project = 'qsmprep'
author = 'The qsmprep developers'
copyright = author
version = release = version_of('qsmprep').partition('+')[0]

extensions = [
    'myst_parser',
    'nipype.sphinxext.plot_workflow',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.napoleon',
]
nitpicky = False

myst_enable_extensions = ['attrs_inline', 'colon_fence', 'dollarmath', 'html_image']
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = 'none'
autodoc_member_order = 'bysource'
napoleon_custom_sections = [('Inputs', 'params_style'), ('Outputs', 'params_style')]
napoleon_use_rtype = False

wf_formats = ['svg']
wf_html_show_formats = False
wf_html_show_source_link = False
wf_template = """
{% for img in images %}
.. figure:: {{ build_dir }}/{{ img.basename }}.svg
   :alt: graph of the workflow
{% endfor %}
"""

html_theme = 'furo'
html_title = f'qsmprep {release}'
html_copy_source = False
html_theme_options = {'navigation_with_keys': True}


def _inline_math(translator, node):
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block_math(translator, node):
    mathml = tex2mathml(node.astext(), as_block=True)
    translator.body.append(f'<div class="math">{mathml}</div>')
    raise nodes.SkipNode


def _add_traits(app, what, name, obj, options, lines):
    """Say in the page of a node which inputs it has, and which outputs."""
    if what != 'class' or not hasattr(obj, 'input_spec'):
        return
    for title, spec in (('Inputs', obj.input_spec), ('Outputs', obj.output_spec)):
        lines += ['', f'.. rubric:: {title}', '']
        for field, trait in sorted(spec().traits(desc=lambda text: text is not None).items()):
            needed = ' (needed)' if trait.mandatory else ''
            lines += [f'``{field}``{needed}', f'    {trait.desc}', '']


def setup(app):
    """Equations as MathML, which browsers draw without script or network; traits of nodes."""
    app.add_html_math_renderer('mathml', (_inline_math, None), (_block_math, None))
    app.connect('autodoc-process-docstring', _add_traits, priority=900)


html_math_renderer = 'mathml'

"""The quality measures: what each means, which values are expected, and why it matters."""

from __future__ import annotations

from qsmprep.reports.catalogue.fields import FIELDS
from qsmprep.reports.catalogue.maps import MAPS
from qsmprep.reports.catalogue.masks import MASKS

MEASURES = (*MASKS, *FIELDS, *MAPS)
"""All measures, in the order of the report."""

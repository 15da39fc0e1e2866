"""Reportlets, quality measures and HTML pages."""

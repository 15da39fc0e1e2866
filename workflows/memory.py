"""Memory that nodes declare, beside what their images take."""

LIBRARIES_GB = 0.65
"""Resident memory of a worker with all libraries loaded [GB], as `benchmarks/memory.py` shows."""

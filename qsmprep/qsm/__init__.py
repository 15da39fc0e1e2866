"""Numerics on arrays: no Nipype, no BIDS, no file access."""

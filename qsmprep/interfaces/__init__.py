"""Nipype nodes around the numerics and around external programs."""

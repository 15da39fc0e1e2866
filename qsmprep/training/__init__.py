"""Training of the prior; the command is ``python -m qsmprep.training``."""

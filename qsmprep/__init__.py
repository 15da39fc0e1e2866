"""qsmprep: quantitative susceptibility mapping as a BIDS App."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version('qsmprep')
except PackageNotFoundError:
    __version__ = '0+unknown'

"""What is said of a scan and asks for nothing."""


class Note(str):
    """
    A sentence that states a fact of a scan, or how it was read; all other sentences warn.

    A warning says that something contradicts what is expected, or may be wrong and must be looked
    at. A note says what limits or explains a map whose scan is as it is meant to be.
    """

    __slots__ = ()


class Doubt(str):
    """A warning of input from which no map can be right: the run counts as failed."""

    __slots__ = ()

"""The error of all input that cannot be used."""


class InputError(ValueError):
    """Input that cannot be used; the message names the file and what to do."""

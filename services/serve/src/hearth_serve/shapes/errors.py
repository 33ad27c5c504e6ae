"""The error of all readers."""


class ShapeError(Exception):
    """A header that cannot be read; the message is one sentence."""

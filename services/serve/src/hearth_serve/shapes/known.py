"""What an engine tells of the files that it loaded: a header that cannot be read is no reason not to serve."""

from pathlib import Path

from hearth_api.wire.serve import WeightsShape
from hearth_serve.logs import log
from hearth_serve.shapes import ShapeError, read_shape


def known_shape(files: tuple[Path, ...], *, hidden_size: int | None = None) -> WeightsShape | None:
    """Return the shape, or None where the header cannot be read."""
    try:
        return read_shape(files, hidden_size=hidden_size)
    except ShapeError as error:
        log.warning("shape_unreadable", error=str(error))
        return None

"""What can go wrong with weights on their way: one code, one sentence that helps, and whether it may pass by itself."""

from hearth_api.wire.weights import WeightsCode


class WeightsError(Exception):
    """A source that cannot be had. `str()` is the sentence."""

    def __init__(self, code: WeightsCode, message: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.passing = passing
        """Whether the same may go well a little later, without anybody doing anything."""


class CutError(WeightsError):
    """The transfer stopped, or the server is busy: what is there stays, and the rest is asked for again."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(WeightsCode.DOWNLOAD_CUT, message, passing=True)
        self.retry_after = retry_after


class GivenUpError(WeightsError):
    """Who hands the file over cannot bring it itself: asked what the source consists of, it says why."""

    def __init__(self, message: str) -> None:
        super().__init__(WeightsCode.DOWNLOAD_CUT, message, passing=True)


def shown(count: int) -> str:
    """Return bytes for a person: decimal units, as disks and downloads are sold."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"

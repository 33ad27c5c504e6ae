"""placeholder"""

from pathlib import Path


def build_office(sources: Path) -> dict[str, bytes]:
    return {}

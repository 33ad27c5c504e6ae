"""When an IngestionSource starts a run outside its schedule."""

from hearth_api.kinds import IngestionSource
from hearth_operator import names

FIRST_RUN = "first"


def next_run(source: IngestionSource, *, active: bool) -> str | None:
    """Return what to call the run that must start now, or None. The same answer until the run was acted upon.

    A source that never ran starts once by itself; later every new value of the annotation starts one.
    """
    if source.spec.suspend or active:
        return None
    asked = asked_for(source)
    if asked is not None and asked != source.status.last_run_now:
        return asked
    if source.status.last_run_now is None and source.status.last_run is None and asked is None:
        return FIRST_RUN
    return None


def asked_for(source: IngestionSource) -> str | None:
    """Return the value of the run-now annotation; an empty one counts as none."""
    return source.metadata.annotations.get(names.ANNOTATION_RUN_NOW, "")[:1024] or None

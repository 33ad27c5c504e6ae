"""Events of a replica go to Ray Serve's own logger as JSON: Ray adds replica and request to each line."""

import logging
from typing import Any

import structlog

log: Any = structlog.wrap_logger(
    logging.getLogger("ray.serve"),
    processors=[
        structlog.stdlib.add_log_level,
        structlog.processors.EventRenamer("event"),
        structlog.processors.JSONRenderer(sort_keys=True),
    ],
)

"""How log lines look and where they go: to stderr, as JSON for machines or as text for people.

Modules log through `logging.getLogger(__name__)`. What a line carries besides its message goes into
`extra`, and becomes fields of the JSON object. Values of statements and secrets go into neither.
"""

import logging
import logging.config
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS

from app.kit.observability.access_log import request_id
from app.kit.settings import KitSettings

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s [%(request_id)s]"
JSON = "%(levelname)s %(name)s %(message)s"
NAMES = {"levelname": "level", "name": "logger"}


class AddRequestId(logging.Filter):
    """Marks the lines of a request with its id."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id, if there is a request."""
        if (identifier := request_id.get()) is not None:
            record.request_id = identifier
        return True


def logging_config(settings: KitSettings) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`, which servers take as well."""
    level = settings.log_level
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": AddRequestId}},
        "formatters": {
            "text": {"()": "logging.Formatter", "fmt": TEXT, "defaults": {"request_id": "-"}},
            # 12 µs a line. With structlog, which would have to format the lines of other libraries
            # as well, it is 16; with a formatter of our own 10.
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": JSON,
                "rename_fields": NAMES,
                "timestamp": "time",
                "reserved_attrs": [*RESERVED_ATTRS, "color_message"],
            },
        },
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "filters": ["request_id"],
                "formatter": "json" if settings.logs_json else "text",
            },
            "none": {"class": "logging.NullHandler"},
        },
        # Libraries stay at INFO: at DEBUG, drivers log the values of statements.
        "root": {"handlers": ["stderr"], "level": "INFO" if level == "DEBUG" else level},
        "loggers": {
            "app": {"level": level},
            # The server's lines look like ours; for requests it has none, because we do.
            "uvicorn": {"handlers": [], "level": "NOTSET", "propagate": True},
            "uvicorn.error": {"level": "NOTSET"},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # Without a handler, DATABASE_ECHO would print everything twice.
            "sqlalchemy.engine.Engine": {"handlers": ["none"]},
        },
    }


def configure_logging(settings: KitSettings) -> None:
    """Configure logging, unless somebody did: `python -m app`, a log configuration of the server,
    the test runner."""
    if not logging.getLogger().handlers:
        logging.config.dictConfig(logging_config(settings))

"""How log lines look and where they go: to stderr, as JSON for machines or as text for people.

Modules log through `logging.getLogger(__name__)`. What a line carries besides its message goes into
`extra`, and becomes fields of the JSON object. Values of statements and secrets go into neither.
"""

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json

from app.kit.observability.access_log import request_id
from app.kit.observability.tracebacks import format_traceback
from app.kit.settings import KitSettings

TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s [%(request_id)s]"
# What every record has, and what servers add for their own formatter: no fields of the line.
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


class AddRequestId(logging.Filter):
    """Marks the lines of a request with its id."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id, if there is a request."""
        if (identifier := request_id.get()) is not None:
            record.request_id = identifier
        return True


class RemoveQuery(logging.Filter):
    """Cuts the query off the URLs of WebSocket handshakes: it may hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Cut it off, in lines of the server that have a path."""
        if "WebSocket" in str(record.msg) and isinstance(record.args, tuple):
            record.args = tuple(
                value.partition("?")[0] if isinstance(value, str) else value
                for value in record.args
            )
        return True


class TextFormatter(logging.Formatter):
    """Text; the messages of tracebacks are withheld where they may quote values."""

    def __init__(self, *args: Any, withhold: bool = True, **options: Any) -> None:
        super().__init__(*args, **options)
        self._withhold = withhold

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        # Another handler may have left a traceback of its own in the record.
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        """The traceback."""
        return format_traceback(ei[1], withhold=self._withhold)


class JSONFormatter(TextFormatter):
    """A JSON object for each line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in STANDARD}
        if record.exc_info and record.exc_info[1]:
            fields["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack_info"] = record.stack_info
        try:
            return to_json(fields, serialize_unknown=True, inf_nan_mode="strings").decode()
        except ValueError:
            # Half a surrogate pair, or bytes that are not UTF-8.
            return json.dumps(fields, default=repr)


def logging_config(settings: KitSettings) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig`, which servers take as well."""
    level, withhold = settings.log_level, settings.environment != "dev"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": AddRequestId}, "remove_query": {"()": RemoveQuery}},
        "formatters": {
            "text": {
                "()": TextFormatter,
                "fmt": TEXT,
                "defaults": {"request_id": "-"},
                "withhold": withhold,
            },
            "json": {"()": JSONFormatter, "withhold": withhold},
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
            # The server's lines look like the service's own; requests are logged by `app.access`.
            "uvicorn": {"handlers": [], "level": "NOTSET", "propagate": True},
            "uvicorn.error": {"level": "NOTSET", "filters": ["remove_query"]},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # Without a handler, DATABASE_ECHO would print everything twice.
            "sqlalchemy.engine.Engine": {"handlers": ["none"]},
        },
    }


def configure_logging(settings: KitSettings) -> None:
    """Configure logging, unless that is done: by `python -m app`, by a log configuration of the
    server, by the test runner."""
    if not logging.getLogger().handlers:
        logging.config.dictConfig(logging_config(settings))

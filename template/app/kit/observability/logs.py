"""Logging to stderr, as JSON or as text.

Modules log through `logging.getLogger(__name__)`. The items of `extra` become fields of the JSON
object. Never log values of statements or secrets.
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
# Attributes of every record, and those that servers add for their own formatter.
STANDARD = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName", "color_message"}


class AddRequestId(logging.Filter):
    """Adds the request id to the records of a request."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the id within a request; never drops the record."""
        if (identifier := request_id.get()) is not None:
            record.request_id = identifier
        return True


class RemoveQuery(logging.Filter):
    """Removes the query from the URLs of WebSocket handshakes: it may contain a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Remove the query from the arguments; never drops the record."""
        if "WebSocket" in str(record.msg) and isinstance(record.args, tuple):
            record.args = tuple(
                value.partition("?")[0] if isinstance(value, str) else value
                for value in record.args
            )
        return True


class TextFormatter(logging.Formatter):
    """Formats as text; withholds exception messages that may quote values."""

    def __init__(self, *args: Any, withhold: bool = True, **options: Any) -> None:
        super().__init__(*args, **options)
        self._withhold = withhold

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        # Another handler may have cached its own traceback in the record.
        record.exc_text = None
        return super().format(record)

    def formatException(self, ei: Any) -> str:
        """Format an exception."""
        return format_traceback(ei[1], withhold=self._withhold)


class JSONFormatter(TextFormatter):
    """Formats as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
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
            # A lone surrogate, or bytes that are not UTF-8.
            return json.dumps(fields, default=repr)


def logging_config(settings: KitSettings) -> dict[str, Any]:
    """The configuration for `logging.config.dictConfig` and for uvicorn."""
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
            # The server's records use this format; requests are logged by `app.access` instead.
            "uvicorn": {"handlers": [], "level": "NOTSET", "propagate": True},
            "uvicorn.error": {"level": "NOTSET", "filters": ["remove_query"]},
            "uvicorn.access": {"handlers": [], "propagate": False},
            # Without a handler of its own, DATABASE_ECHO would log everything twice.
            "sqlalchemy.engine.Engine": {"handlers": ["none"]},
        },
    }


def configure_logging(settings: KitSettings) -> None:
    """Configure logging, unless it is configured: by `python -m app`, by the server's log
    configuration, or by the test runner."""
    if not logging.getLogger().handlers:
        logging.config.dictConfig(logging_config(settings))

"""The database layer. It depends on the settings, but not on HTTP or on features."""

from app.kit.db.base import (
    NEVER_REUSE_IDS,
    Base,
    BigInt,
    Blob,
    Money,
    Timestamps,
    UTCDateTime,
    utc_now,
)
from app.kit.db.database import Database
from app.kit.db.error_kinds import ErrorKind
from app.kit.db.errors import AmbiguousCommitError, DatabaseUnavailableError, classify
from app.kit.db.keyset import InvalidCursorError
from app.kit.db.pagination import Page, PageQuery, paginate
from app.kit.db.sessions import AsyncReadSession, ReadOnlySessionError, TransactionControlError

__all__ = [
    "NEVER_REUSE_IDS",
    "AmbiguousCommitError",
    "AsyncReadSession",
    "Base",
    "BigInt",
    "Blob",
    "Database",
    "DatabaseUnavailableError",
    "ErrorKind",
    "InvalidCursorError",
    "Money",
    "Page",
    "PageQuery",
    "ReadOnlySessionError",
    "Timestamps",
    "TransactionControlError",
    "UTCDateTime",
    "classify",
    "paginate",
    "utc_now",
]

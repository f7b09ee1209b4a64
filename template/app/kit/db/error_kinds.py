"""The kinds of database errors that the service tells apart."""

from enum import Enum, auto


class ErrorKind(Enum):
    """What a database error means, whatever the driver calls it."""

    UNIQUE = auto()
    """The row exists already."""
    FOREIGN_KEY = auto()
    """The row refers to one that does not exist, or is referred to by one."""
    INVALID = auto()
    """A value does not fit its column or breaks a rule of the schema."""
    SERIALIZATION = auto()
    """The transaction lost against another one; run again as a whole, it will pass."""
    VANISHED = auto()
    """A row that was to be changed was deleted by another transaction meanwhile."""
    STALE = auto()
    """A row that was to be changed has another version by now (`version_id_col`)."""
    DISCONNECTED = auto()
    """The connection was lost or could not be made."""
    UNAVAILABLE = auto()
    """The database cannot serve us: wrong password, no such database, broken storage."""
    RESOURCE_EXHAUSTED = auto()
    """No connection, lock, memory or disk space to be had just now."""
    READ_ONLY = auto()
    """The database refuses writes."""
    TIMEOUT = auto()
    """The statement took too long and was cancelled."""
    SCHEMA = auto()
    """A table or column is missing: the migrations have not run."""

    @property
    def retryable(self) -> bool:
        """Whether a transaction that was not committed may be run again as a whole."""
        return self in (ErrorKind.SERIALIZATION, ErrorKind.VANISHED, ErrorKind.DISCONNECTED)

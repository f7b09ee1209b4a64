"""The kinds of database errors that the service distinguishes."""

from enum import Enum, auto


class ErrorKind(Enum):
    """The meaning of a database error, independent of the driver."""

    UNIQUE = auto()
    """A unique constraint is violated: the row already exists."""
    FOREIGN_KEY = auto()
    """The row references one that does not exist, or is itself referenced."""
    INVALID = auto()
    """A value is invalid for its column or violates a constraint."""
    SERIALIZATION = auto()
    """A serialization failure or a deadlock; the whole transaction can be retried."""
    VANISHED = auto()
    """Another transaction has deleted the row that was to be changed."""
    STALE = auto()
    """Another transaction has changed the row that was to be changed (`version_id_col`)."""
    DISCONNECTED = auto()
    """The connection was lost or could not be established."""
    UNAVAILABLE = auto()
    """The database cannot be used: wrong password, no such database, broken storage."""
    RESOURCE_EXHAUSTED = auto()
    """No connection, lock, memory or disk space is available at the moment."""
    READ_ONLY = auto()
    """The database refuses writes."""
    TIMEOUT = auto()
    """The statement took too long and was cancelled."""
    SCHEMA = auto()
    """A table or column is missing: the migrations have not run."""

    @property
    def retryable(self) -> bool:
        """Whether an uncommitted transaction may be retried as a whole."""
        return self in (ErrorKind.SERIALIZATION, ErrorKind.VANISHED, ErrorKind.DISCONNECTED)

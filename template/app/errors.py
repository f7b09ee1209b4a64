"""Domain errors that services raise, each with its HTTP status."""

from app.kit.errors import DomainError


class NotFoundError(DomainError):
    """The requested object does not exist."""

    status = 404

    def __init__(self, what: str, key: object) -> None:
        super().__init__(f"There is no {what} {key}.")


class ConflictError(DomainError):
    """The state of the data does not allow the change; the message says why."""

    status = 409

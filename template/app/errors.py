"""What services raise when a rule of the domain is broken, each with the status for clients."""

from app.kit.errors import DomainError


class NotFoundError(DomainError):
    """What was asked for does not exist."""

    status = 404

    def __init__(self, what: str, key: object) -> None:
        super().__init__(f"There is no {what} {key}.")


class ConflictError(DomainError):
    """The state of the data forbids it; the message says why."""

    status = 409

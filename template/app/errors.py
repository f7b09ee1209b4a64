"""What services raise when a rule of the domain is broken. They know nothing of HTTP."""


class NotFoundError(Exception):
    """What was asked for does not exist."""

    def __init__(self, what: str, key: object) -> None:
        super().__init__(f"There is no {what} {key}.")


class ConflictError(Exception):
    """The state of the data forbids it; the message says why."""

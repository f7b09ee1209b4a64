"""The base class of the errors that services raise."""


class DomainError(Exception):
    """A violated domain rule; the message is the `detail` of the response.

    A subclass sets the HTTP status of the response.
    """

    status: int = 400

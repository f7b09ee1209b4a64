"""The base of the errors that services raise."""


class DomainError(Exception):
    """A rule of the domain is broken; the message is the `detail` of the response.

    A subclass sets the HTTP status of the response.
    """

    status: int = 400

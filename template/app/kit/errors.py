"""The base of the errors that services raise."""


class DomainError(Exception):
    """A rule of the domain is broken; its message is the `detail` of the response.

    A subclass says with which HTTP status clients are answered.
    """

    status: int = 400

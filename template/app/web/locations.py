"""The `Location` of what a request created."""

from typing import Any

from fastapi import Request, Response


def set_location(request: Request, response: Response, endpoint: str, **parameters: Any) -> None:
    """Point to the endpoint, by its name, that gives what was created."""
    response.headers["Location"] = request.url_for(endpoint, **parameters).path

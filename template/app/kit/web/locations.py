"""The `Location` header of what a request created."""

from typing import Any

from fastapi import Request, Response

# For the OpenAPI document: `responses=CREATED` of a route that sets it.
CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {
                "description": "The path of what was created.",
                "schema": {"type": "string", "format": "uri-reference"},
            }
        }
    }
}


def set_location(request: Request, response: Response, endpoint: str, **parameters: Any) -> None:
    """Point to what was created, by the name of the endpoint that returns it."""
    path = request.app.url_path_for(endpoint, **parameters)
    response.headers["Location"] = request.scope.get("root_path", "") + path

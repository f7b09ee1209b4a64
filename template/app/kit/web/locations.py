"""The `Location` header of a created resource."""

from typing import Any

from fastapi import Request, Response

# For the OpenAPI document: set `responses=CREATED` on routes that set the header.
CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "headers": {
            "Location": {
                "description": "The path of the created resource.",
                "schema": {"type": "string", "format": "uri-reference"},
            }
        }
    }
}


def set_location(request: Request, response: Response, endpoint: str, **parameters: Any) -> None:
    """Set `Location` to the path of the endpoint with this name."""
    path = request.app.url_path_for(endpoint, **parameters)
    response.headers["Location"] = request.scope.get("root_path", "") + path

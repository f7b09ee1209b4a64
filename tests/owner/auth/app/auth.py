"""Who sends a request: the subject of a bearer token that the identity provider signed."""

import asyncio
from functools import lru_cache
from typing import Annotated

import jwt
from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from app.kit.web import set_principal
from app.settings import SettingsDep

ALGORITHMS = ["RS256", "ES256"]  # never one that the token chooses
BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT")

Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)]


@lru_cache
def signing_keys(url: str) -> jwt.PyJWKClient:
    """The provider's keys, which are fetched when needed and kept for five minutes."""
    return jwt.PyJWKClient(url, timeout=3)


async def get_subject(request: Request, credentials: Credentials, settings: SettingsDep) -> str:
    """The `sub` of the request's token.

    Raises:
        HTTPException: 401 without a valid token, 503 if the provider's keys cannot be fetched.
    """
    if credentials is None:
        raise _unauthorized("This needs a bearer token.")
    token = credentials.credentials
    try:
        keys = signing_keys(settings.jwks_url)
        key = await asyncio.to_thread(keys.get_signing_key_from_jwt, token)
        claims = jwt.decode(
            token,
            key,
            ALGORITHMS,
            audience=settings.token_audience,
            issuer=settings.token_issuer,
            options={"require": ["exp", "sub"]},
        )
    except jwt.PyJWKClientConnectionError:
        raise HTTPException(503, "The identity provider is unreachable; retry later.") from None
    except jwt.PyJWTError:
        raise _unauthorized("The token is not valid.") from None
    subject: str = claims["sub"]
    set_principal(request, subject)  # an Idempotency-Key is valid for this subject only
    return subject


def _unauthorized(detail: str) -> HTTPException:
    return HTTPException(401, detail, {"WWW-Authenticate": "Bearer"})


Subject = Annotated[str, Depends(get_subject)]

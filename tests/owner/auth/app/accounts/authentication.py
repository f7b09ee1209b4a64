"""Who sends a request: `account: CurrentAccount` in a route."""

from typing import Annotated

import jwt
from fastapi import Depends, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import select
from starlette.requests import HTTPConnection

from app.accounts.keys import SigningKeys
from app.accounts.models import Account
from app.errors import ForbiddenError
from app.kit.web import ReadSession
from app.settings import SettingsDep

ALGORITHMS = ["ES256", "RS256"]

bearer = HTTPBearer(bearerFormat="JWT")


class InvalidTokenError(HTTPException):
    """The token does not say who it is."""

    def __init__(self) -> None:
        headers = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        super().__init__(401, "The token is not valid.", headers)


async def get_signing_keys(connection: HTTPConnection) -> SigningKeys:
    """The keys of the identity provider."""
    keys: SigningKeys = connection.app.state.signing_keys
    return keys


async def get_subject(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    keys: Annotated[SigningKeys, Depends(get_signing_keys)],
    settings: SettingsDep,
) -> str:
    """Whom the bearer token names.

    Raises:
        InvalidTokenError: It was not signed by the identity provider, is not for this service, or
            has expired.
    """
    token = credentials.credentials
    try:
        key = await keys.find(jwt.get_unverified_header(token).get("kid"))
        if key is None:
            raise InvalidTokenError
        claims = jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            audience=settings.token_audience,
            issuer=settings.token_issuer,
            options={"require": ["exp", "sub"]},
        )
    except jwt.InvalidTokenError:
        raise InvalidTokenError from None
    subject: str = claims["sub"]
    return subject


async def get_account(
    subject: Annotated[str, Depends(get_subject)], session: ReadSession
) -> Account:
    """The account of whom the token names."""
    account = await session.scalar(select(Account).where(Account.subject == subject))
    if account is None:
        raise InvalidTokenError
    return account


CurrentAccount = Annotated[Account, Depends(get_account)]


async def get_editor(account: CurrentAccount) -> Account:
    """The account, which may edit what others wrote.

    Raises:
        ForbiddenError: It may not.
    """
    if not account.is_editor:
        raise ForbiddenError("Only editors may do this.")
    return account


CurrentEditor = Annotated[Account, Depends(get_editor)]

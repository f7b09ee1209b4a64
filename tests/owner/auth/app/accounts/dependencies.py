"""Whose account a request is of: `account: CurrentAccount` in a route."""

from typing import Annotated

from fastapi import Depends
from sqlalchemy import select

from app.accounts.models import Account
from app.auth import Subject
from app.errors import ForbiddenError
from app.kit.web import ReadSession


async def get_account(subject: Subject, session: ReadSession) -> Account:
    """The account of whom the token names.

    Raises:
        ForbiddenError: There is none.
    """
    account = await session.scalar(select(Account).where(Account.subject == subject))
    if account is None:
        raise ForbiddenError("You have no account.")
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

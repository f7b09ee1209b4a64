"""The routes of accounts and their articles."""

from typing import Any

from fastapi import Depends
from sqlalchemy import select

from app.accounts.dependencies import CurrentAccount, CurrentEditor, get_editor
from app.accounts.models import Account, Article
from app.accounts.schemas import AccountRead, ArticleRead, ArticleWrite
from app.errors import ForbiddenError, NotFoundError
from app.kit.web import Id, ReadSession, Router, WriteSession

router = Router(tags=["accounts"])


@router.get("/me", response_model=AccountRead)
async def get_me(account: CurrentAccount) -> Account:
    """Get the account of the token."""
    return account


@router.get("/accounts", response_model=list[AccountRead], dependencies=[Depends(get_editor)])
async def list_accounts(session: ReadSession) -> Any:
    """List accounts, for editors."""
    return await session.scalars(select(Account).order_by(Account.id).limit(100))


@router.post("/articles", status_code=201, response_model=ArticleRead)
async def create_article(
    data: ArticleWrite, account: CurrentAccount, session: WriteSession
) -> Article:
    """Create an article."""
    article = Article(title=data.title, author_id=account.id)
    session.add(article)
    await session.flush()
    return article


@router.post("/articles/signed", status_code=201, response_model=ArticleRead)
async def create_signed_article(
    data: ArticleWrite, account: CurrentAccount, session: WriteSession
) -> Article:
    """Create an article with the name of its author below it."""
    article = Article(title=f"{data.title} ({account.name})", author=account)
    session.add(article)
    await session.flush()
    return article


@router.put("/articles/{article_id}", response_model=ArticleRead)
async def change_article(
    article_id: Id, data: ArticleWrite, account: CurrentAccount, session: WriteSession
) -> Article:
    """Change an article of one's own, or any as an editor."""
    article = await session.get(Article, article_id)
    if article is None:
        raise NotFoundError("article", article_id)
    if article.author_id != account.id and not account.is_editor:
        raise ForbiddenError("This article is somebody else's.")
    article.title = data.title
    await session.flush()
    return article


@router.put("/accounts/{account_id}/editor", status_code=204)
async def make_editor(account_id: Id, editor: CurrentEditor, session: WriteSession) -> None:
    """Let an account edit what others wrote."""
    account = await session.get(Account, account_id)
    if account is None:
        raise NotFoundError("account", account_id)
    account.is_editor = True

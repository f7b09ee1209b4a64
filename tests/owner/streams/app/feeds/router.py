"""The routes of messages."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Query, WebSocket
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from app.feeds.models import Message
from app.kit.db import Database
from app.kit.web import DatabaseDep, Id, Router, Text, WriteSession

router = Router(prefix="/messages", tags=["messages"])


class MessageCreate(BaseModel):
    """A new message."""

    text: Text


class MessageRead(BaseModel):
    """A message."""

    model_config = ConfigDict(from_attributes=True)

    id: Id
    text: str


async def next_messages(database: Database, after: int, limit: int = 100) -> list[Message]:
    """The messages after one, read by a session that ends at once."""
    async with database.read() as session:
        statement = select(Message).where(Message.id > after).order_by(Message.id).limit(limit)
        return list(await session.scalars(statement))


@router.post("", status_code=201, response_model=MessageRead)
async def create_message(data: MessageCreate, session: WriteSession) -> Message:
    """Send a message."""
    message = Message(text=data.text)
    session.add(message)
    await session.flush()
    return message


@router.get("/events", response_class=EventSourceResponse)
async def stream_messages(database: DatabaseDep, after: Id = 0) -> AsyncIterator[ServerSentEvent]:
    """Stream the messages after one, until there are no more."""
    while messages := await next_messages(database, after):
        for message in messages:
            yield ServerSentEvent(data=message.text, id=str(message.id))
        after = messages[-1].id


@router.get("/export", response_class=StreamingResponse)
async def export_messages(
    database: DatabaseDep, page: Annotated[int, Query(ge=1, le=1000)] = 100
) -> StreamingResponse:
    """Download all messages, a line for each."""

    async def lines() -> AsyncIterator[str]:
        after = 0
        while messages := await next_messages(database, after, page):
            yield "".join(f"{message.text}\n" for message in messages)
            after = messages[-1].id

    return StreamingResponse(lines(), media_type="text/plain")


@router.websocket("/socket")
async def talk(socket: WebSocket, database: DatabaseDep) -> None:
    """Store each text that comes, and send back its id."""
    await socket.accept()
    async for text in socket.iter_text():
        message = Message(text=text)
        async with database.write() as session:
            session.add(message)
        await socket.send_json({"id": message.id})

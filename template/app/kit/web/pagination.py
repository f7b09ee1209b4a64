"""Pages of a list as clients see them: `?limit=` and `?after=`, answered by items and a cursor."""

import base64
import struct
import zlib
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict

from app.kit.db.pagination import FIRST_PAGE, PageRequest
from app.kit.web.problems import ProblemError

T = TypeVar("T")

# An id and a checksum, which tells our cursors from other text: 12 bytes, so 16 characters.
CURSOR = struct.Struct(">qI")


def encode_cursor(last_id: int | None) -> str | None:
    """The cursor that continues after an id."""
    if last_id is None:
        return None
    packed = CURSOR.pack(last_id, zlib.crc32(str(last_id).encode()))
    return base64.urlsafe_b64encode(packed).decode()


def decode_cursor(cursor: str) -> int:
    """The id after which a cursor continues.

    Raises:
        ValueError: The cursor is not one of ours.
    """
    packed = base64.urlsafe_b64decode(cursor)
    if len(packed) == CURSOR.size:
        last_id = int(CURSOR.unpack(packed)[0])
        if encode_cursor(last_id) == cursor:
            return last_id
    raise ValueError("not a cursor")


class PageRead(BaseModel, Generic[T]):
    """One page of a list, in ascending order of ids. Clients know it by the name of a subclass."""

    model_config = ConfigDict(from_attributes=True)

    items: list[T]
    next: Annotated[str | None, BeforeValidator(encode_cursor)]
    """The cursor of the following page; null on the last one."""


async def _page_query(
    limit: Annotated[int, Query(ge=1, le=1000, description="Items on a page.")] = 50,
    after: Annotated[
        str | None,
        Query(max_length=16, pattern="^[A-Za-z0-9_-]+$", description="`next` of the page before."),
    ] = None,
) -> PageRequest:
    try:
        return PageRequest(FIRST_PAGE if after is None else decode_cursor(after), limit)
    except ValueError:
        raise ProblemError(422, "`after` is not a cursor; take a page's `next`.") from None


PageQuery = Annotated[PageRequest, Depends(_page_query)]

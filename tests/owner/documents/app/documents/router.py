"""The routes of folders and documents."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import HTTPException, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from app.documents.models import Document, Folder, Status
from app.documents.schemas import (
    Anything,
    DocumentCreate,
    DocumentRead,
    DocumentUpdate,
    FolderRead,
    FolderWithChildren,
    FolderWrite,
)
from app.errors import NotFoundError
from app.kit.db import Page, PageQuery, paginate
from app.kit.web import Id, ReadSession, Router, WriteSession

router = Router(tags=["documents"])


@router.post("/folders", status_code=201, response_model=FolderRead)
async def create_folder(data: FolderWrite, session: WriteSession) -> Folder:
    """Create a folder."""
    folder = Folder(**data.model_dump())
    session.add(folder)
    await session.flush()
    return folder


@router.get("/folders/{folder_id}", response_model=FolderWithChildren)
async def get_folder(folder_id: Id, session: ReadSession) -> Folder:
    """Get a folder, and the folders in it."""
    options = [selectinload(Folder.children)]
    folder = await session.get(Folder, folder_id, options=options)
    if folder is None:
        raise NotFoundError("folder", folder_id)
    return folder


@router.put("/folders/{folder_id}", response_model=FolderRead)
async def change_folder(folder_id: Id, data: FolderWrite, session: WriteSession) -> Folder:
    """Rename or move a folder."""
    folder = await session.get(Folder, folder_id)
    if folder is None:
        raise NotFoundError("folder", folder_id)
    if data.parent_id == folder_id:
        raise HTTPException(409, "A folder cannot lie in itself.")
    folder.name, folder.parent_id = data.name, data.parent_id
    await session.flush()
    return folder


@router.post("/documents", status_code=201, response_model=DocumentRead)
async def create_document(data: DocumentCreate, session: WriteSession) -> Document:
    """Create a document."""
    document = Document(**data.model_dump())
    session.add(document)
    await session.flush()
    return document


@router.get("/documents/{document_id}", response_model=DocumentRead)
async def get_document(document_id: UUID, session: ReadSession) -> Document:
    """Get a document."""
    document = await session.get(Document, document_id)
    if document is None:
        raise NotFoundError("document", document_id)
    return document


@router.get("/documents", response_model=Page[DocumentRead])
async def list_documents(
    session: ReadSession,
    page: Annotated[PageQuery, Query()],
    status: Status | None = None,
    folder_id: Id | None = None,
) -> Page[Document]:
    """List documents, newest first."""
    statement = select(Document).order_by(Document.created_at.desc())
    if status is not None:
        statement = statement.where(Document.status == status)
    if folder_id is not None:
        statement = statement.where(Document.folder_id == folder_id)
    return await paginate(session, statement, page)


@router.patch("/documents/{document_id}", response_model=DocumentRead)
async def update_document(
    document_id: UUID, data: DocumentUpdate, session: WriteSession
) -> Document:
    """Change a document."""
    document = await session.get(Document, document_id)
    if document is None:
        raise NotFoundError("document", document_id)
    for name, value in data.model_dump(exclude_unset=True).items():
        setattr(document, name, value)
    await session.flush()
    return document


@router.post("/echo")
async def echo(data: Anything) -> Any:
    """Get back any JSON."""
    return data.value


@router.post("/echo/raw")
async def echo_raw(request: Request) -> Any:
    """Get back any JSON that is no model's."""
    return await request.json()

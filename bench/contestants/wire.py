"""What the two FastAPI contestants have in common: their pydantic models and the check of the key.

Dependencies are coroutines: FastAPI would send plain functions to OS threads, which costs much more. The contestants
skip much of what the server does: keys by hash, limits of size, cursors at deleted objects, error texts.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from fastapi import Header, HTTPException, Request
from pydantic import BaseModel, Field

from bench.operations import KEY

PAGE = 20
Metadata = Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)]


class MessageIn(BaseModel):
    role: Literal["user", "assistant"]
    content: Annotated[str, Field(max_length=256_000)]
    metadata: Metadata = {}


class ThreadIn(BaseModel):
    messages: list[MessageIn] = []
    metadata: Metadata = {}


class ThreadOut(BaseModel):
    id: str
    object: str = "thread"
    created_at: int
    metadata: dict[str, str]
    tool_resources: dict = {}


class TextOut(BaseModel):
    value: str
    annotations: list = []


class PartOut(BaseModel):
    type: str = "text"
    text: TextOut


class MessageOut(BaseModel):
    id: str
    object: str = "thread.message"
    created_at: int
    thread_id: str
    role: str
    content: list[PartOut]
    attachments: list = []
    metadata: dict[str, str]


class ThreadPage(BaseModel):
    object: str = "list"
    data: list[ThreadOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class MessagePage(BaseModel):
    object: str = "list"
    data: list[MessageOut]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    id: str
    object: str = "thread.deleted"
    deleted: bool = True


async def check_key(authorization: str = Header()):
    if authorization != f"Bearer {KEY}":
        raise HTTPException(401)


def new_id(prefix):
    return f"{prefix}_{secrets.token_hex(12)}"


async def filters(request: Request):
    """`metadata[key]=value` of the query."""
    return {name[len("metadata[") : -1]: value for name, value in request.query_params.items()}


def page_of(kind, objects):
    """A page of `PAGE` objects; one more tells that there are more."""
    shown = objects[:PAGE]
    return kind(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(objects) > PAGE,
    )

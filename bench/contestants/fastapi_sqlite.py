"""What a user would write instead: FastAPI, SQLAlchemy (async) and aiosqlite, with the same durability.

The operations of the benchmark in the obvious way: pydantic models, an ORM session for each request, one transaction
each, `synchronous=full` in WAL mode. It skips much of what the server does: keys by hash, limits, cursors at deleted
objects, error texts.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, Field
from sqlalchemy import ForeignKey, event, func, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

sys.path.insert(0, str(Path(__file__).parents[1]))
from operations import MATCHING_ONE_IN, MESSAGES, MESSAGES_EACH, METADATA

KEY = os.environ["THREADKEEP_API_KEY"]
engine = create_async_engine(f"sqlite+aiosqlite:///{os.environ['BENCH_DATABASE']}")
new_session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


@event.listens_for(engine.sync_engine, "connect")
def _pragmas(connection, _record):
    for pragma in ("journal_mode=wal", "synchronous=full", "busy_timeout=30000"):
        connection.execute(f"pragma {pragma}")


class Base(DeclarativeBase):
    pass


class ThreadRow(Base):
    __tablename__ = "threads"
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[int] = mapped_column(index=True)
    meta: Mapped[str]


class MetadataRow(Base):
    __tablename__ = "thread_metadata"
    thread_id: Mapped[str] = mapped_column(ForeignKey("threads.id", ondelete="cascade"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True, index=True)
    value: Mapped[str] = mapped_column(index=True)


class MessageRow(Base):
    __tablename__ = "messages"
    id: Mapped[str] = mapped_column(primary_key=True)
    thread_id: Mapped[str] = mapped_column(ForeignKey("threads.id", ondelete="cascade"), index=True)
    seq: Mapped[int]
    created_at: Mapped[int]
    role: Mapped[str]
    content: Mapped[str]
    meta: Mapped[str]


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


class Deleted(BaseModel):
    id: str
    object: str = "thread.deleted"
    deleted: bool = True


async def session():
    async with new_session() as opened:
        yield opened


def check_key(authorization: str = Header()):
    if authorization != f"Bearer {KEY}":
        raise HTTPException(401)


Session = Annotated[AsyncSession, Depends(session)]
dependencies = [Depends(check_key)]


def thread_out(row):
    return ThreadOut(id=row.id, created_at=row.created_at, metadata=json.loads(row.meta))


def message_row(thread_id, message, seq):
    return MessageRow(
        id=f"msg_{secrets.token_hex(12)}",
        thread_id=thread_id,
        seq=seq,
        created_at=int(time.time()),
        role=message.role,
        content=message.content,
        meta=json.dumps(message.metadata),
    )


def message_out(row):
    return MessageOut(
        id=row.id,
        created_at=row.created_at,
        thread_id=row.thread_id,
        role=row.role,
        content=[PartOut(text=TextOut(value=row.content))],
        metadata=json.loads(row.meta),
    )


async def find(opened, thread_id):
    if (row := await opened.get(ThreadRow, thread_id)) is None:
        raise HTTPException(404)
    return row


@app.post("/v1/threads", dependencies=dependencies)
async def create(body: ThreadIn, opened: Session) -> ThreadOut:
    row = ThreadRow(id=f"thread_{secrets.token_hex(12)}", created_at=int(time.time()), meta=json.dumps(body.metadata))
    opened.add(row)
    opened.add_all(MetadataRow(thread_id=row.id, key=k, value=v) for k, v in body.metadata.items())
    opened.add_all(message_row(row.id, message, seq) for seq, message in enumerate(body.messages, start=1))
    await opened.commit()
    return thread_out(row)


@app.get("/v1/threads", dependencies=dependencies)
async def list_threads(request: Request, opened: Session) -> dict:
    query = select(ThreadRow).order_by(ThreadRow.created_at.desc(), ThreadRow.id.desc()).limit(21)
    for name, value in request.query_params.items():
        matching = select(MetadataRow.thread_id).where(MetadataRow.key == name[9:-1], MetadataRow.value == value)
        query = query.where(ThreadRow.id.in_(matching))
    rows = (await opened.scalars(query)).all()
    return {"object": "list", "data": [thread_out(row) for row in rows[:20]], "has_more": len(rows) > 20}


@app.get("/v1/threads/{thread_id}", dependencies=dependencies)
async def retrieve(thread_id: str, opened: Session) -> ThreadOut:
    return thread_out(await find(opened, thread_id))


@app.post("/v1/threads/{thread_id}", dependencies=dependencies)
async def modify(thread_id: str, body: ThreadIn, opened: Session) -> ThreadOut:
    row = await find(opened, thread_id)
    row.meta = json.dumps(json.loads(row.meta) | body.metadata)
    for key, value in body.metadata.items():
        await opened.merge(MetadataRow(thread_id=thread_id, key=key, value=value))
    await opened.commit()
    return thread_out(row)


@app.delete("/v1/threads/{thread_id}", dependencies=dependencies)
async def delete(thread_id: str, opened: Session) -> Deleted:
    row = await find(opened, thread_id)
    for table in (MetadataRow, MessageRow):
        await opened.execute(table.__table__.delete().where(table.thread_id == thread_id))
    await opened.delete(row)
    await opened.commit()
    return Deleted(id=thread_id)


@app.post("/v1/threads/{thread_id}/messages", dependencies=dependencies)
async def add_message(thread_id: str, body: MessageIn, opened: Session) -> MessageOut:
    await find(opened, thread_id)
    last = await opened.scalar(select(func.max(MessageRow.seq)).where(MessageRow.thread_id == thread_id))
    row = message_row(thread_id, body, (last or 0) + 1)
    opened.add(row)
    await opened.commit()
    return message_out(row)


@app.get("/v1/threads/{thread_id}/messages", dependencies=dependencies)
async def list_messages(thread_id: str, opened: Session) -> dict:
    await find(opened, thread_id)
    query = select(MessageRow).where(MessageRow.thread_id == thread_id).order_by(MessageRow.seq.desc()).limit(21)
    rows = (await opened.scalars(query)).all()
    return {"object": "list", "data": [message_out(row) for row in rows[:20]], "has_more": len(rows) > 20}


async def seed(count, ids_file):
    """The same data as `seed.py` makes, without its long thread."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    ids = [f"thread_{secrets.token_hex(12)}" for _ in range(count)]
    given = [MessageIn(**MESSAGES[n % 2]) for n in range(MESSAGES_EACH)]
    async with new_session() as opened:
        for number, thread_id in enumerate(ids):
            user = METADATA["user"] if number % MATCHING_ONE_IN == 0 else f"user{number}"
            meta = {**METADATA, "user": user}
            opened.add(ThreadRow(id=thread_id, created_at=int(time.time()), meta=json.dumps(meta)))
            opened.add_all(MetadataRow(thread_id=thread_id, key=k, value=v) for k, v in meta.items())
            opened.add_all(message_row(thread_id, message, seq) for seq, message in enumerate(given, start=1))
        await opened.commit()
    Path(ids_file).write_text("\n".join(ids) + "\n")


if __name__ == "__main__":
    if sys.argv[1] == "seed":
        asyncio.run(seed(int(sys.argv[2]), sys.argv[3]))
    else:
        uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)

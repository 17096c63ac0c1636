"""What a user would write on SQLite: FastAPI, SQLAlchemy (async) and aiosqlite, with the server's durability.

python -m bench.contestants.fastapi_sqlite seed FILE IDS_FILE THREADS FULL_ONE_IN LONG_THREAD_MESSAGES
python -m bench.contestants.fastapi_sqlite serve FILE PORT

The obvious way: an ORM session for each request, one transaction each, `synchronous=full` in WAL mode.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import ForeignKey, UniqueConstraint, event, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.contestants.wire import (
    PAGE,
    Deleted,
    MessageIn,
    MessageOut,
    MessagePage,
    PartOut,
    TextOut,
    ThreadIn,
    ThreadOut,
    ThreadPage,
    check_key,
    filters,
    new_id,
    page_of,
)
from bench.data import Data

engine = create_async_engine(f"sqlite+aiosqlite:///{sys.argv[2]}")
new_session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI(dependencies=[Depends(check_key)])


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
    __table_args__ = (UniqueConstraint("thread_id", "seq"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    thread_id: Mapped[str] = mapped_column(ForeignKey("threads.id", ondelete="cascade"))
    seq: Mapped[int]
    created_at: Mapped[int]
    role: Mapped[str]
    content: Mapped[str]
    meta: Mapped[str]


async def session():
    async with new_session() as opened:
        yield opened


Session = Annotated[AsyncSession, Depends(session)]
Filters = Annotated[dict[str, str], Depends(filters)]


def thread_out(row):
    return ThreadOut(id=row.id, created_at=row.created_at, metadata=json.loads(row.meta))


def message_values(thread_id, message, seq, created_at):
    return {
        "id": new_id("msg"),
        "thread_id": thread_id,
        "seq": seq,
        "created_at": created_at,
        "role": message.role,
        "content": message.content,
        "meta": json.dumps(message.metadata),
    }


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


@app.post("/v1/threads")
async def create(body: ThreadIn, opened: Session) -> ThreadOut:
    now = int(time.time())
    row = ThreadRow(id=new_id("thread"), created_at=now, meta=json.dumps(body.metadata))
    opened.add(row)
    opened.add_all(MetadataRow(thread_id=row.id, key=k, value=v) for k, v in body.metadata.items())
    opened.add_all(MessageRow(**message_values(row.id, m, seq, now)) for seq, m in enumerate(body.messages, start=1))
    await opened.commit()
    return thread_out(row)


@app.get("/v1/threads")
async def list_threads(filters: Filters, opened: Session) -> ThreadPage:
    query = select(ThreadRow).order_by(ThreadRow.created_at.desc(), ThreadRow.id.desc()).limit(PAGE + 1)
    for key, value in filters.items():
        matching = select(MetadataRow.thread_id).where(MetadataRow.key == key, MetadataRow.value == value)
        query = query.where(ThreadRow.id.in_(matching))
    return page_of(ThreadPage, [thread_out(row) for row in await opened.scalars(query)])


@app.get("/v1/threads/{thread_id}")
async def retrieve(thread_id: str, opened: Session) -> ThreadOut:
    return thread_out(await find(opened, thread_id))


@app.post("/v1/threads/{thread_id}")
async def modify(thread_id: str, body: ThreadIn, opened: Session) -> ThreadOut:
    row = await find(opened, thread_id)
    row.meta = json.dumps(json.loads(row.meta) | body.metadata)
    for key, value in body.metadata.items():
        await opened.merge(MetadataRow(thread_id=thread_id, key=key, value=value))
    await opened.commit()
    return thread_out(row)


@app.delete("/v1/threads/{thread_id}")
async def delete(thread_id: str, opened: Session) -> Deleted:
    row = await find(opened, thread_id)
    for table in (MetadataRow, MessageRow):
        await opened.execute(table.__table__.delete().where(table.thread_id == thread_id))
    await opened.delete(row)
    await opened.commit()
    return Deleted(id=thread_id)


@app.post("/v1/threads/{thread_id}/messages")
async def add_message(thread_id: str, body: MessageIn, opened: Session) -> MessageOut:
    await find(opened, thread_id)
    last = await opened.scalar(select(func.max(MessageRow.seq)).where(MessageRow.thread_id == thread_id))
    row = MessageRow(**message_values(thread_id, body, (last or 0) + 1, int(time.time())))
    opened.add(row)
    await opened.commit()
    return message_out(row)


@app.get("/v1/threads/{thread_id}/messages")
async def list_messages(thread_id: str, opened: Session) -> MessagePage:
    await find(opened, thread_id)
    query = select(MessageRow).where(MessageRow.thread_id == thread_id).order_by(MessageRow.seq.desc()).limit(PAGE + 1)
    return page_of(MessagePage, [message_out(row) for row in await opened.scalars(query)])


async def seed(ids_file, data):
    """Adds the data, also beside a running server."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with engine.begin() as connection:
        with ids_file.open("w") as ids:
            for given in data.each():
                thread_id = given.thread_id or new_id("thread")
                ids.write("" if given.thread_id else f"{thread_id}\n")
                await _add(connection, thread_id, given)
    async with engine.connect() as connection:
        await connection.execute(text("pragma wal_checkpoint(truncate)"))


async def _add(connection, thread_id, given):
    now, meta = given.created_at, json.dumps(given.metadata)
    await connection.execute(insert(ThreadRow), {"id": thread_id, "created_at": now, "meta": meta})
    pairs = [{"thread_id": thread_id, "key": key, "value": value} for key, value in given.metadata.items()]
    if pairs:
        await connection.execute(insert(MetadataRow), pairs)
    messages = [MessageIn(**message) for message in given.messages]
    rows = [message_values(thread_id, message, seq, now) for seq, message in enumerate(messages, start=1)]
    await connection.execute(insert(MessageRow), rows)


if __name__ == "__main__":
    if sys.argv[1] == "seed":
        asyncio.run(seed(Path(sys.argv[3]), Data.of(sys.argv[4:])))
    else:
        uvicorn.run(app, port=int(sys.argv[3]), log_level="error", access_log=False)

"""What a user would write on PostgreSQL: FastAPI and asyncpg, with the server's durability.

python -m bench.contestants.fastapi_postgres seed URL IDS_FILE THREADS FULL_ONE_IN LONG_THREAD_MESSAGES
python -m bench.contestants.fastapi_postgres serve URL PORT

The obvious way: a pool, jsonb, a connection for each request, and one transaction for each request that writes. Reads
do without one, which is in this contestant's favour.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import asyncpg
import uvicorn
from fastapi import Depends, FastAPI, HTTPException

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

# As many as the server opens by itself.
CONNECTIONS_MAX = 16
SCHEMA = """
create table if not exists threads (
    id text primary key,
    created_at bigint not null,
    metadata jsonb not null
);
create index if not exists threads_newest on threads (created_at desc, id desc);
create index if not exists threads_metadata on threads using gin (metadata jsonb_path_ops);
create table if not exists messages (
    id text primary key,
    thread_id text not null references threads on delete cascade,
    seq bigint not null,
    created_at bigint not null,
    role text not null,
    content text not null,
    metadata jsonb not null,
    unique (thread_id, seq)
);
"""
INSERT_THREAD = "insert into threads (id, created_at, metadata) values ($1, $2, $3)"
INSERT_MESSAGE = """
insert into messages (id, thread_id, seq, created_at, role, content, metadata) values ($1, $2, $3, $4, $5, $6, $7)
"""


async def decode_json(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


@asynccontextmanager
async def lifespan(app):
    async with asyncpg.create_pool(sys.argv[2], init=decode_json, max_size=CONNECTIONS_MAX) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan, dependencies=[Depends(check_key)])


async def reading():
    async with app.state.pool.acquire() as connection:
        yield connection


async def writing():
    async with app.state.pool.acquire() as connection, connection.transaction():
        yield connection


# The end of the dependency is the commit: it must come before the answer.
Writing = Annotated[asyncpg.Connection, Depends(writing, scope="function")]
Reading = Annotated[asyncpg.Connection, Depends(reading, scope="function")]
Filters = Annotated[dict[str, str], Depends(filters)]


def message_values(thread_id, message, seq, created_at):
    return new_id("msg"), thread_id, seq, created_at, message.role, message.content, message.metadata


def message_out(row):
    return MessageOut(
        id=row["id"],
        created_at=row["created_at"],
        thread_id=row["thread_id"],
        role=row["role"],
        content=[PartOut(text=TextOut(value=row["content"]))],
        metadata=row["metadata"],
    )


async def find(connection, thread_id, lock=""):
    row = await connection.fetchrow(f"select id, created_at, metadata from threads where id = $1 {lock}", thread_id)
    if row is None:
        raise HTTPException(404)
    return row


@app.post("/v1/threads")
async def create(body: ThreadIn, connection: Writing) -> ThreadOut:
    thread = ThreadOut(id=new_id("thread"), created_at=int(time.time()), metadata=body.metadata)
    await connection.execute(INSERT_THREAD, thread.id, thread.created_at, thread.metadata)
    for seq, message in enumerate(body.messages, start=1):
        await connection.execute(INSERT_MESSAGE, *message_values(thread.id, message, seq, thread.created_at))
    return thread


@app.get("/v1/threads")
async def list_threads(filters: Filters, connection: Reading) -> ThreadPage:
    query = """
        select id, created_at, metadata from threads where metadata @> $1
        order by created_at desc, id desc limit $2
    """
    rows = await connection.fetch(query, filters, PAGE + 1)
    return page_of(ThreadPage, [ThreadOut(**row) for row in rows])


@app.get("/v1/threads/{thread_id}")
async def retrieve(thread_id: str, connection: Reading) -> ThreadOut:
    return ThreadOut(**await find(connection, thread_id))


@app.post("/v1/threads/{thread_id}")
async def modify(thread_id: str, body: ThreadIn, connection: Writing) -> ThreadOut:
    row = await find(connection, thread_id, "for update")
    thread = ThreadOut(id=row["id"], created_at=row["created_at"], metadata=row["metadata"] | body.metadata)
    await connection.execute("update threads set metadata = $2 where id = $1", thread_id, thread.metadata)
    return thread


@app.delete("/v1/threads/{thread_id}")
async def delete(thread_id: str, connection: Writing) -> Deleted:
    await find(connection, thread_id, "for update")
    await connection.execute("delete from threads where id = $1", thread_id)
    return Deleted(id=thread_id)


@app.post("/v1/threads/{thread_id}/messages")
async def add_message(thread_id: str, body: MessageIn, connection: Writing) -> MessageOut:
    await find(connection, thread_id, "for update")
    last = await connection.fetchval("select max(seq) from messages where thread_id = $1", thread_id)
    row = await connection.fetchrow(
        INSERT_MESSAGE + "returning *", *message_values(thread_id, body, (last or 0) + 1, int(time.time()))
    )
    return message_out(row)


@app.get("/v1/threads/{thread_id}/messages")
async def list_messages(thread_id: str, connection: Reading) -> MessagePage:
    await find(connection, thread_id)
    query = """
        select id, thread_id, created_at, role, content, metadata from messages where thread_id = $1
        order by seq desc limit $2
    """
    rows = await connection.fetch(query, thread_id, PAGE + 1)
    return page_of(MessagePage, [message_out(row) for row in rows])


async def seed(ids_file, data):
    """Adds the data, also beside a running server."""
    connection = await asyncpg.connect(sys.argv[2])
    await decode_json(connection)
    await connection.execute(SCHEMA)
    async with connection.transaction():
        with ids_file.open("w") as ids:
            for given in data.each():
                thread_id = given.thread_id or new_id("thread")
                ids.write("" if given.thread_id else f"{thread_id}\n")
                await _add(connection, thread_id, given)
    await connection.close()


async def _add(connection, thread_id, given):
    await connection.execute(INSERT_THREAD, thread_id, given.created_at, given.metadata)
    messages = [MessageIn(**message) for message in given.messages]
    numbered = enumerate(messages, start=1)
    values = [message_values(thread_id, message, seq, given.created_at) for seq, message in numbered]
    await connection.executemany(INSERT_MESSAGE, values)


if __name__ == "__main__":
    if sys.argv[1] == "seed":
        asyncio.run(seed(Path(sys.argv[3]), Data.of(sys.argv[4:])))
    else:
        uvicorn.run(app, port=int(sys.argv[3]), log_level="error", access_log=False)

"""Copying threads: whole or up to a message, under new ids, so that both can go on.

Differs from OpenAI: there was no way to copy a thread.

A long thread is copied slice by slice, so that nobody waits for it; the copy is seen when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import msgspec
from msgspec import Struct

from threadkeep import ids, messages, metadata, threads
from threadkeep.context import Context
from threadkeep.errors import NotFoundError, StorageUnavailableError
from threadkeep.messages import Message
from threadkeep.metadata import MetadataPatch
from threadkeep.pages import Stored
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Transaction
from threadkeep.threads import Thread

sql = queries.load("copies")

# Messages that one unit of work copies.
COPIED_AT_ONCE = 200
# How long a copy whose process died stays before it is removed.
BROKEN_OFF_S = 600


class ThreadCopyParams(Struct, kw_only=True):
    """The body of copy; without `up_to` all of the thread is copied."""

    up_to: str | None = None
    metadata: MetadataPatch | None = None


class _Copy(Struct):
    """A copy under way: its thread, and how far its messages are copied."""

    thread: Thread
    source_id: str
    done: int
    end: int
    is_shown: bool = False


async def create(ctx: Context, thread_id: str, params: ThreadCopyParams) -> Stored:
    """Copies the thread's messages that are finished; `metadata` is merged into the copy's.

    Runs stay where they are: messages of the copy name no run.
    """
    if params.up_to is not None:
        ids.check("up_to", params.up_to, "msg")
    new_id, created_at = ctx.new_id("thread"), ctx.now()

    def begin(tx: Transaction) -> _Copy:
        ctx.take_key(tx)
        row = tx.one(threads.sql.retrieve_thread, thread_id=thread_id, project_id=ctx.project_id)
        if row is None:
            raise NotFoundError.of("thread", thread_id)
        thread = threads.decode(row[0])
        thread.metadata = metadata.merge(thread.metadata, params.metadata or {}, strict=ctx.settings.strict)
        thread.id, thread.created_at = new_id, created_at
        end = messages.locate_end(tx, thread_id, params.up_to) if params.up_to else BIGINT_MAX
        copy = _Copy(thread, thread_id, 0, end)
        columns = threads.columns(thread, threads.encode(thread))
        tx.run(sql.begin_copy, project_id=ctx.project_id, deleted_at=ctx.now() + BROKEN_OFF_S, **columns)
        return copy if _copy_slice(tx, ctx, copy) else _finish(tx, ctx, copy)

    copy = await ctx.store.write(begin)
    try:
        while not copy.is_shown:
            copy = await ctx.store.write(partial(_go_on, ctx, copy))
    except BaseException:
        await ctx.store.run_all([(sql.schedule_removal, {"thread_id": new_id, "deleted_at": ctx.now()})])
        raise
    return Stored(threads.encode(copy.thread))


def _go_on(ctx: Context, so_far: _Copy, tx: Transaction) -> _Copy:
    """Copies the next slice. Raises `NotFoundError` when the thread is gone meanwhile."""
    # A key without an answer is free: an equal request may have shown a copy of its own since the last slice.
    ctx.take_key(tx)
    messages.require_thread(tx, ctx, so_far.source_id)
    copy = msgspec.structs.replace(so_far)
    if not tx.run(sql.schedule_removal, thread_id=copy.thread.id, deleted_at=ctx.now() + BROKEN_OFF_S):
        raise StorageUnavailableError("Copying took too long. Nothing was changed.")
    return copy if _copy_slice(tx, ctx, copy) else _finish(tx, ctx, copy)


def _copy_slice(tx: Transaction, ctx: Context, copy: _Copy) -> bool:
    """Copies messages behind those that are done; gives whether there may be more."""
    found = messages.list_up_to(tx, copy.source_id, copy.done, copy.end, COPIED_AT_ONCE)
    messages.insert_all(tx, _renamed(found, ctx, copy.thread.id))
    if found:
        copy.done = found[-1][0]
    return len(found) == COPIED_AT_ONCE


def _renamed(found: list[tuple[int, Message]], ctx: Context, thread_id: str) -> Iterator[tuple[int, Message]]:
    for seq, message in found:
        if message.status != "in_progress":
            message.id, message.thread_id, message.run_id = ctx.new_id("msg"), thread_id, None
            yield seq, message


def _finish(tx: Transaction, ctx: Context, copy: _Copy) -> _Copy:
    """Shows the copy."""
    tx.run_all(threads.metadata_changes(ctx.project_id, copy.thread, {}))
    tx.run(sql.finish_copy, thread_id=copy.thread.id)
    # On no database were its messages seen by search as long as nobody could see it.
    tx.run(messages.sql.queue_range, **messages.whole(copy.thread.id))
    copy.is_shown = True
    ctx.keep_answer(tx, threads.encode(copy.thread), copy.thread.id, thread_id=copy.thread.id)
    return copy

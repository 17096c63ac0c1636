"""Threads: conversations, each a list of messages with metadata.

Differs from OpenAI: threads can be listed, newest first, and filtered by metadata; a thread may be created under an id
the client gives, and may say how long it stays. `--strict` takes this back.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from threadkeep import idempotency, ids, invalid, lifecycle, message_versions, messages, metadata, run_rows
from threadkeep.context import Context
from threadkeep.errors import AuthenticationError, NotFoundError
from threadkeep.messages import MessageCreateParams
from threadkeep.metadata import Metadata, MetadataPatch
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.references import ToolResources
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Change, Store, Transaction
from threadkeep.validation import LENIENT_ONLY

sql = queries.load("threads")

SHAPE = 1
STRICT_MESSAGES_MAX = 32
EXPIRES_AFTER_S_MAX = 100 * 366 * 24 * 3600
# How long a deleted thread's place in the list is remembered for cursors.
REMEMBERED_S = 24 * 3600
FORGOTTEN_AT_ONCE = 500
# Threads that one unit of work removes, if they have few messages.
REMOVED_AT_ONCE = 100
FIRST_COUNT = 64
LAST_COUNT = 4096

Anchor: TypeAlias = Literal["created_at", "last_active_at"]


class ExpiresAfter(Struct, kw_only=True):
    """How long a thread stays: so many seconds from its creation, or from its newest message."""

    anchor: Anchor
    seconds: Annotated[int, Meta(ge=1, le=EXPIRES_AFTER_S_MAX)]


class Thread(Struct, kw_only=True):
    """A thread, as it is sent and as it is stored."""

    id: str
    object: Literal["thread"] = "thread"
    created_at: int
    metadata: dict[str, str]
    tool_resources: ToolResources
    # Only in threads that have it.
    expires_after: ExpiresAfter | UnsetType = UNSET


class ThreadCreateParams(Struct, kw_only=True):
    """The body of create; all of it is optional."""

    id: Annotated[str | None, LENIENT_ONLY] = None
    messages: list[MessageCreateParams] | None = None
    metadata: Metadata | None = None
    tool_resources: ToolResources | None = None
    expires_after: Annotated[ExpiresAfter | None, LENIENT_ONLY] = None


class ThreadUpdateParams(Struct, kw_only=True):
    """The body of modify."""

    metadata: MetadataPatch | None = None
    tool_resources: ToolResources | None = None
    # Null leaves it to the project's rule again.
    expires_after: Annotated[ExpiresAfter | UnsetType | None, LENIENT_ONLY] = UNSET


class ThreadListParams(ListParams, kw_only=True, frozen=True):
    """The query of list: `metadata[key]=value`, any number of times; all must match."""

    metadata: dict[str, str] = msgspec.field(default_factory=dict)


class ThreadDeleted(Struct, kw_only=True):
    """The answer of delete."""

    id: str
    object: Literal["thread.deleted"] = "thread.deleted"
    deleted: bool = True


decode = msgspec.json.Decoder(Thread).decode
encode = msgspec.json.Encoder().encode


class NewThread(Struct):
    """A thread that is about to be stored, with its first messages."""

    thread: Thread
    body: bytes
    insertion: Change
    parts: list[Change]
    message_count: int
    has_given_id: bool

    def store(self, tx: Transaction) -> None:
        """Stores it in a unit. Raises `BadRequestError` when its given id is taken."""
        if not self.has_given_id:
            tx.run_all([self.insertion, *self.parts])
            return
        if _remove(tx, self.thread.id) > messages.REMOVED_AT_ONCE:
            raise invalid.invalid_value("id", f"'{self.thread.id}' is still being removed, try again shortly")
        insert_thread, row = self.insertion
        if not tx.run(insert_thread, **row):
            raise invalid.invalid_value("id", f"'{self.thread.id}' is already in use")
        tx.run_all(self.parts)


async def create(ctx: Context, params: ThreadCreateParams) -> Stored:
    """Creates a thread with its first messages: all of it or nothing."""
    made = new(ctx, params)

    def unit(tx: Transaction) -> None:
        ctx.take_key(tx)
        made.store(tx)
        ctx.keep_answer(tx, made.body, made.thread.id, thread_id=made.thread.id)

    if made.has_given_id or ctx.keyed:
        await ctx.store.write(unit)
    else:
        await ctx.store.run_all([made.insertion, *made.parts])
    return Stored(made.body)


def new(ctx: Context, params: ThreadCreateParams, at: str = "") -> NewThread:
    """The thread that `params` describe. `at` is where `params` stand in the request."""
    thread_id = _new_id(ctx, params, at)
    resources = params.tool_resources or ToolResources()
    resources.check(at)
    thread = Thread(
        id=thread_id,
        created_at=ctx.now(),
        metadata=params.metadata or {},
        tool_resources=resources,
        expires_after=params.expires_after or UNSET,
    )
    body = encode(thread)
    first_messages = _first_messages(ctx, thread, params.messages or [], at)
    return NewThread(
        thread,
        body,
        (sql.insert_thread, {"project_id": ctx.project_id, **columns(thread, body)}),
        [*metadata_changes(ctx.project_id, thread, {}), *messages.first(first_messages)],
        len(first_messages),
        has_given_id=params.id is not None,
    )


def columns(thread: Thread, body: bytes) -> dict[str, object]:
    """The columns of a thread, but for its project. `body` is the thread, encoded."""
    return {
        "thread_id": thread.id,
        "created_at": thread.created_at,
        "shape": SHAPE,
        "body": body.decode(),
        "expires_at": _expires_at(thread),
    }


def _expires_at(thread: Thread) -> int | None:
    """The first moment at which the thread may have to go; it may have been active since it was created."""
    if isinstance(thread.expires_after, ExpiresAfter):
        return min(thread.created_at + thread.expires_after.seconds, BIGINT_MAX)
    return None


async def retrieve(ctx: Context, thread_id: str) -> Stored:
    """One thread."""
    row = await ctx.store.one(sql.retrieve_thread, thread_id=thread_id, project_id=ctx.project_id)
    if row is None:
        raise NotFoundError.of("thread", thread_id)
    return Stored(row[0])


async def list_(ctx: Context, params: ThreadListParams) -> Page[Stored]:
    """A page of the project's threads, by time of creation, ties by id; newest first unless `order` says otherwise."""
    if ctx.settings.strict:
        raise AuthenticationError(
            "Your request to GET /v1/threads must be made with a session key (that is, it can only be made from the "
            "browser). You made it with the following key type: secret.",
            code="missing_scope",
        )

    def unit(tx: Transaction) -> Page[Stored]:
        def locate(thread_id: str) -> tuple[int, str]:
            row = tx.one(sql.locate_thread, thread_id=thread_id, project_id=ctx.project_id)
            if row is None:
                raise NotFoundError.of("thread", thread_id)
            return int(row[0]), thread_id

        window = Window.of(params, "thread", (-1, ""), (BIGINT_MAX, ""), locate)
        bounds = {"project_id": ctx.project_id, **window.bounds}
        if not params.metadata:
            query = window.choose(sql.list_threads_ascending, sql.list_threads_descending)
            return window.page(tx.all(query, **bounds))
        (key, value), *others = _rarest_first(tx, ctx.project_id, params.metadata)
        query = window.choose(sql.list_threads_by_metadata_ascending, sql.list_threads_by_metadata_descending)
        return window.page(tx.all(query, key=key, value=value, others=encode(others).decode(), **bounds))

    return await ctx.store.read(unit)


async def update(ctx: Context, thread_id: str, params: ThreadUpdateParams) -> Stored:
    """Merges `metadata` and replaces the resources of each tool that `tool_resources` names."""
    if params.tool_resources:
        params.tool_resources.check_patch(strict=ctx.settings.strict)

    def unit(tx: Transaction) -> bytes:
        row = tx.one(sql.hold_thread, thread_id=thread_id, project_id=ctx.project_id)
        if row is None:
            raise NotFoundError.of("thread", thread_id)
        thread = decode(row[0])
        before = thread.metadata
        thread.metadata = metadata.merge(before, params.metadata or {}, strict=ctx.settings.strict)
        if params.tool_resources:
            thread.tool_resources = thread.tool_resources.replaced_by(params.tool_resources)
        if params.expires_after is not UNSET:
            thread.expires_after = params.expires_after or UNSET
        body = encode(thread)
        changed = {"thread_id": thread_id, "shape": SHAPE, "body": body.decode(), "expires_at": _expires_at(thread)}
        tx.run_all([(sql.update_thread, changed), *metadata_changes(ctx.project_id, thread, before)])
        return body

    return Stored(await ctx.store.write(unit))


async def delete(ctx: Context, thread_id: str) -> ThreadDeleted:
    """Makes the thread and all in it unreachable at once; it is removed seconds later. Its runs are cancelled first."""
    mark = {"thread_id": thread_id, "project_id": ctx.project_id, "deleted_at": ctx.now()}
    if not await ctx.store.run_all([(sql.delete_thread, mark)]):
        await _delete_busy(ctx, thread_id, mark)
    return ThreadDeleted(id=thread_id)


async def _delete_busy(ctx: Context, thread_id: str, mark: dict[str, Any]) -> None:
    """Deletes a thread that a run may hold. Raises `NotFoundError` when there is no such thread."""

    def unit(tx: Transaction) -> list[lifecycle.Cancelled]:
        cancelled = []
        # Each that ends gives the thread to the next that waits.
        while run_id := messages.hold_thread(tx, ctx, thread_id).active_run_id:
            cancelled.append(lifecycle.cancel(tx, ctx, run_rows.hold(tx, thread_id, run_id)))
        tx.run(sql.delete_thread, **mark)
        return cancelled

    for cancelled in await ctx.store.write(unit):
        cancelled.announce(ctx)


async def needs_sweep(store: Store, now: int) -> bool:
    """Whether deleted threads left something behind."""
    return await store.one(sql.find_sweepable, now=now, before=now - REMEMBERED_S) is not None


async def sweep(store: Store, now: int) -> None:
    """Removes what deleted threads left behind, some in each unit of work.

    It goes once from the lowest id to the highest, so that neighbours are removed together: in the order of their
    deletion each would cost three times as much.
    """
    after: str | None = ""
    while after is not None:
        after = await store.write(partial(_remove_some, now, after))


def _remove_some(now: int, after: str, tx: Transaction) -> str | None:
    """Removes deleted threads with ids behind `after`. Gives where to go on, None at the end."""
    forgotten = tx.run(sql.forget_deleted_threads, before=now - REMEMBERED_S, limit=FORGOTTEN_AT_ONCE)
    leftovers = tx.all(sql.list_leftovers, now=now, after=after, limit=REMOVED_AT_ONCE)
    room = messages.REMOVED_AT_ONCE
    for [thread_id] in leftovers:
        found = _remove(tx, thread_id)
        if found > messages.REMOVED_AT_ONCE:
            return after
        after = thread_id
        room -= found
        if room <= 0:
            return after
    there_may_be_more = len(leftovers) == REMOVED_AT_ONCE or forgotten == FORGOTTEN_AT_ONCE
    return after if there_may_be_more else None


def finish_deletions(tx: Transaction) -> None:
    """Removes all that deleted threads left behind, in a database that nobody else uses."""
    for [thread_id] in tx.all(sql.list_leftovers, now=BIGINT_MAX, after="", limit=BIGINT_MAX):
        while _remove(tx, thread_id) > messages.REMOVED_AT_ONCE:
            pass


def _remove(tx: Transaction, thread_id: str) -> int:
    """Removes a deleted thread, or a slice of its messages and runs if there are many.

    Gives how many messages it found; more than `messages.REMOVED_AT_ONCE` means that the thread is not gone yet.
    """
    row = tx.one(sql.hold_leftover, thread_id=thread_id, counted_max=messages.REMOVED_AT_ONCE + 1)
    if row is None:
        return 0
    project_id, created_at, deleted_at, body, has_runs, has_versions, found = row
    if has_runs and not lifecycle.remove_slice(tx, thread_id, messages.REMOVED_AT_ONCE):
        return messages.REMOVED_AT_ONCE + 1
    if has_versions and not message_versions.remove_slice(tx, thread_id, messages.REMOVED_AT_ONCE):
        return messages.REMOVED_AT_ONCE + 1
    if found > messages.REMOVED_AT_ONCE:
        messages.remove_slice(tx, thread_id)
        return int(found)
    idempotency.erase_thread(tx, thread_id)
    thread = decode(body)
    gone, thread.metadata = thread.metadata, {}
    place = {"thread_id": thread_id, "project_id": project_id, "created_at": created_at, "deleted_at": deleted_at}
    tx.run_all(
        [
            *metadata_changes(project_id, thread, gone),
            messages.removal(thread_id),
            (messages.sql.queue_removed, messages.whole(thread_id)),
            (sql.remember_deleted_thread, place),
            (sql.remove_thread, {"thread_id": thread_id}),
        ]
    )
    return int(found)


def _new_id(ctx: Context, params: ThreadCreateParams, at: str) -> str:
    if params.id is None:
        return ctx.new_id("thread")
    ids.check_given(f"{at}id", params.id, "thread")
    return params.id


def _first_messages(
    ctx: Context, thread: Thread, given: list[MessageCreateParams], at: str
) -> list[tuple[messages.Message, bytes]]:
    maximum = STRICT_MESSAGES_MAX if ctx.settings.strict else ctx.settings.thread_create_messages_max
    if len(given) > maximum:
        raise invalid.array_too_long(f"{at}messages", maximum, len(given))
    # All of them are as old as the thread, also when a second ends meanwhile.
    return [
        messages.new(ctx, thread.id, params, f"{at}messages[{index}].", thread.created_at)
        for index, params in enumerate(given)
    ]


def metadata_changes(project_id: str, thread: Thread, before: dict[str, str]) -> list[Change]:
    """What brings the rows that filters look at from `before` to the thread's metadata."""
    place = {"project_id": project_id, "created_at": thread.created_at, "thread_id": thread.id}
    now = thread.metadata
    gone: list[Change] = [
        (sql.delete_thread_metadata, {"key": key, "value": value, **place})
        for key, value in before.items()
        if now.get(key) != value
    ]
    new: list[Change] = [
        (sql.insert_thread_metadata, {"key": key, "value": value, **place})
        for key, value in now.items()
        if before.get(key) != value
    ]
    return gone + new


def _rarest_first(tx: Transaction, project_id: str, filters: dict[str, str]) -> list[tuple[str, str]]:
    """The filters, the one that fewest threads match in front: the list walks that one and probes the others.

    All are counted up to a bound that grows until one stays under it, so the cost is that of the rarest. Where all are
    common, counting on would cost more than any order of the filters can save.
    """
    pairs = list(filters.items())
    bound = FIRST_COUNT
    while len(pairs) > 1 and bound <= LAST_COUNT:
        for pair in pairs:
            row = tx.one(sql.count_threads_by_metadata, project_id=project_id, key=pair[0], value=pair[1], limit=bound)
            if row and row[0] < bound:
                return [pair, *(other for other in pairs if other is not pair)]
        bound *= 4
    return pairs

"""Messages: what was said in a thread, in the exact order in which it was said.

Each message takes the thread's next sequence number inside the transaction that stores it; lists and cursors go by that
number, never by time. A deleted message keeps its number, so that a cursor pointing at it still finds its place.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from threadkeep import events, idempotency, message_parts, message_versions, metadata, references
from threadkeep.context import Context
from threadkeep.errors import BadRequestError, NotFoundError
from threadkeep.message_parts import Content, Part
from threadkeep.message_versions import MessageVersion
from threadkeep.metadata import Metadata, MetadataPatch
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.references import Attachment, ToolType
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Change, Transaction
from threadkeep.validation import LENIENT_ONLY

sql = queries.load("messages")

SHAPE = 1
# Rows that one unit of work removes; a longer thread is removed in several.
REMOVED_AT_ONCE = 200
# Messages that are read together where one of the newest is looked for.
LOOKED_AT_ONCE = 4

NoEnd: TypeAlias = Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]


class IncompleteDetails(Struct):
    """Why a message has no end."""

    reason: NoEnd


class Message(Struct, kw_only=True):
    """A message, as it is sent and as it is stored."""

    id: str
    object: Literal["thread.message"] = "thread.message"
    created_at: int
    assistant_id: str | None = None
    thread_id: str
    run_id: str | None = None
    role: Literal["user", "assistant"]
    content: list[Part]
    attachments: list[Attachment]
    metadata: dict[str, str]
    status: Literal["in_progress", "incomplete", "completed"] = "completed"
    incomplete_details: IncompleteDetails | None = None
    completed_at: int | None = None
    incomplete_at: int | None = None


class MessageCreateParams(Struct, kw_only=True):
    """A message in the body of create-thread or create-run."""

    role: Literal["user", "assistant"]
    content: Content
    attachments: list[Attachment] | None = None
    metadata: Metadata | None = None
    # Differs from OpenAI: the v1 spelling of attachments still works, but not under `--strict`.
    file_ids: Annotated[list[str] | None, LENIENT_ONLY] = None


class MessageAddParams(MessageCreateParams, kw_only=True):
    """The body of create."""

    # Differs from OpenAI: `wait` holds the request until the run that holds the thread is over.
    if_active: Annotated[Literal["reject", "wait"] | None, LENIENT_ONLY] = None


class MessageUpdateParams(Struct, kw_only=True):
    """The body of modify."""

    metadata: MetadataPatch | None = None
    # Differs from OpenAI: what a message says can be edited; what it said before is kept.
    content: Annotated[Content | None, LENIENT_ONLY] = None


class MessageListParams(ListParams, kw_only=True, frozen=True):
    """The query of list."""

    run_id: str | None = None


class MessageDeleted(Struct, kw_only=True):
    """The answer of delete."""

    id: str
    object: Literal["thread.message.deleted"] = "thread.message.deleted"
    deleted: bool = True


decode = msgspec.json.Decoder(Message).decode
encode = msgspec.json.Encoder().encode


class ThreadBusyError(BadRequestError):
    """A run holds the thread."""

    def __init__(self, thread_id: str, run_id: str) -> None:
        super().__init__(f"Can't add messages to {thread_id} while a run {run_id} is active.")
        self.run_id = run_id


async def create(ctx: Context, thread_id: str, params: MessageAddParams) -> Stored:
    """Adds a message at the end of the thread."""
    message, body = new(ctx, thread_id, params)

    def unit(tx: Transaction) -> None:
        ctx.take_key(tx)
        held = hold_thread(tx, ctx, thread_id)
        if held.active_run_id:
            raise ThreadBusyError(thread_id, held.active_run_id)
        append(tx, ctx.settings.thread_messages_max, held.deleted_seq, message, body)
        ctx.keep_answer(tx, body, message.id, thread_id=thread_id)

    try:
        await ctx.store.write(unit)
    except ThreadBusyError as busy:
        if params.if_active != "wait":
            raise
        await _write_when_free(ctx, thread_id, unit, busy)
    return Stored(body)


async def _write_when_free(
    ctx: Context, thread_id: str, unit: Callable[[Transaction], None], busy: ThreadBusyError
) -> None:
    """Waits for the run, and for any that takes the thread after it. Raises `ThreadBusyError` if it takes too long."""
    until = asyncio.get_running_loop().time() + ctx.settings.message_wait_s
    while True:
        try:
            # What is being written must not be given up half way, so this covers the wait alone.
            async with asyncio.timeout_at(until):
                is_over = await ctx.events.wait(thread_id, busy.run_id, events.is_over)
        except TimeoutError:
            is_over = False
        if not is_over:
            raise busy
        try:
            return await ctx.store.write(unit)
        except ThreadBusyError as still_busy:
            busy = still_busy


async def retrieve(ctx: Context, thread_id: str, message_id: str) -> Stored:
    """One message of the thread."""
    row = await ctx.store.one(
        sql.retrieve_message, thread_id=thread_id, project_id=ctx.project_id, message_id=message_id
    )
    if row is None:
        raise NotFoundError.of("thread", thread_id)
    if row[0] is None:
        raise NotFoundError.of("message", message_id)
    return Stored(row[0])


async def list_(ctx: Context, thread_id: str, params: MessageListParams) -> Page[Stored]:
    """A page of the thread's messages, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        require_thread(tx, ctx, thread_id)

        def locate(message_id: str) -> int:
            row = tx.one(sql.locate_message, thread_id=thread_id, message_id=message_id)
            # Differs from OpenAI: a deleted message still marks its place, but not under `--strict`.
            if row is None or (row[1] and ctx.settings.strict):
                raise NotFoundError.of("message", message_id)
            return int(row[0])

        window = Window.of(params, "msg", 0, BIGINT_MAX, locate)
        if params.run_id:
            query = window.choose(sql.list_messages_of_run_ascending, sql.list_messages_of_run_descending)
            return window.page(tx.all(query, thread_id=thread_id, run_id=params.run_id, **window.bounds))
        query = window.choose(sql.list_messages_ascending, sql.list_messages_descending)
        return window.page(tx.all(query, thread_id=thread_id, **window.bounds))

    return await ctx.store.read(unit)


async def update(ctx: Context, thread_id: str, message_id: str, params: MessageUpdateParams) -> Stored:
    """Merges `metadata` into the message's; `content` replaces its own, which is kept as an earlier version."""
    content = (
        None if params.content is None else message_parts.of_request(params.content, "", strict=ctx.settings.strict)
    )
    version_id, now = ctx.new_id("msgver"), ctx.now()

    def unit(tx: Transaction) -> bytes:
        require_thread(tx, ctx, thread_id)
        message = hold(tx, thread_id, message_id)
        if message is None:
            raise NotFoundError.of("message", message_id)
        message.metadata = metadata.merge(message.metadata, params.metadata or {}, strict=ctx.settings.strict)
        is_edited = content is not None and content != message.content
        if content is not None and is_edited:
            _keep_version(tx, message, version_id, now)
            message.content = content
        save(tx, message, says_something_else=is_edited)
        return encode(message)

    return Stored(await ctx.store.write(unit))


async def list_versions(ctx: Context, thread_id: str, message_id: str, params: ListParams) -> Page[Stored]:
    """A page of what the message said before it was edited, newest first unless `order` says otherwise."""

    def unit(tx: Transaction) -> Page[Stored]:
        require_thread(tx, ctx, thread_id)
        if tx.one(sql.find_message, thread_id=thread_id, message_id=message_id) is None:
            raise NotFoundError.of("message", message_id)
        return message_versions.page(tx, thread_id, message_id, params)

    return await ctx.store.read(unit)


async def delete(ctx: Context, thread_id: str, message_id: str) -> MessageDeleted:
    """Removes the message and what it said before; its text is gone, its place in the order is remembered.

    The events of the run that wrote it can no longer be followed again, once the run is over.
    """

    def unit(tx: Transaction) -> None:
        hold_thread(tx, ctx, thread_id)
        deleted = tx.one(sql.delete_message, thread_id=thread_id, message_id=message_id)
        if deleted is None:
            raise NotFoundError.of("message", message_id)
        seq, run_id = deleted
        changes: list[Change] = [
            message_versions.deletion(thread_id, message_id),
            (sql.queue_range, {"thread_id": thread_id, "low": seq - 1, "high": seq}),
            (sql.remember_deleted_message, {"thread_id": thread_id, "seq": seq}),
        ]
        if run_id:
            changes.append(events.withholding(thread_id, run_id, ctx.now_ms()))
        tx.run_all(changes)
        idempotency.erase_message(tx, thread_id, message_id)

    await ctx.store.write(unit)
    return MessageDeleted(id=message_id)


def new(
    ctx: Context, thread_id: str, params: MessageCreateParams, at: str = "", now: int | None = None
) -> tuple[Message, bytes]:
    """The message that `params` describe and its stored text. `at` is where `params` stand in the request."""
    content = message_parts.of_request(params.content, at, strict=ctx.settings.strict)
    now = ctx.now() if now is None else now
    message = Message(
        id=ctx.new_id("msg"),
        created_at=now,
        thread_id=thread_id,
        role=params.role,
        content=content,
        attachments=_attachments(params, at),
        metadata=params.metadata or {},
        completed_at=now,
    )
    return message, encode(message)


class HeldThread(NamedTuple):
    """What a unit that holds a thread needs to know of it."""

    deleted_seq: int
    active_run_id: str | None


def hold_thread(tx: Transaction, ctx: Context, thread_id: str) -> HeldThread:
    """The thread, held until the unit ends. Raises `NotFoundError`."""
    row = tx.one(sql.hold_thread, thread_id=thread_id, project_id=ctx.project_id)
    if row is None:
        raise NotFoundError.of("thread", thread_id)
    return HeldThread(*row)


def append(tx: Transaction, messages_max: int, deleted_seq: int, message: Message, body: bytes) -> int:
    """Adds a message at the end of a thread that this unit holds; gives its number."""
    added = tx.one(sql.append_message, deleted_seq=deleted_seq, **columns(message, body))
    assert added is not None
    if added[0] > messages_max:
        _require_room(tx, messages_max, message.thread_id)
    return int(added[0])


def hold(tx: Transaction, thread_id: str, message_id: str) -> Message | None:
    """A message, held until the unit ends; None when it is deleted."""
    row = tx.one(sql.hold_message, thread_id=thread_id, message_id=message_id)
    return decode(row[0]) if row else None


def find(tx: Transaction, thread_id: str, message_id: str) -> Message | None:
    """A message as it is now; None when it is deleted."""
    row = tx.one(sql.find_message, thread_id=thread_id, message_id=message_id)
    return decode(row[0]) if row else None


def last_seq(tx: Transaction, thread_id: str) -> int:
    """The number of the thread's last message; 0 when there is none."""
    row = tx.one(sql.find_last_seq, thread_id=thread_id)
    return int(row[0]) if row else 0


def earliest(tx: Transaction, thread_id: str) -> tuple[int, Message] | None:
    """The thread's oldest message, with its number."""
    row = tx.one(sql.find_first_message, thread_id=thread_id)
    return (row[0], decode(row[1])) if row else None


def last(tx: Transaction, thread_id: str, before: int, limit: int) -> list[tuple[int, Message]]:
    """The thread's messages below a number, newest first, each with its own."""
    rows = tx.all(sql.list_last_messages, thread_id=thread_id, before=before, limit=limit)
    return [(seq, decode(body)) for seq, body in rows]


def has_user_message(tx: Transaction, thread_id: str, within: int) -> bool:
    """Whether one of the newest messages is a user's. In most threads the newest or the one before it is."""
    before = BIGINT_MAX
    for seen in range(0, within, LOOKED_AT_ONCE):
        page = last(tx, thread_id, before, min(LOOKED_AT_ONCE, within - seen))
        if any(message.role == "user" for _, message in page):
            return True
        if len(page) < LOOKED_AT_ONCE:
            return False
        before = page[-1][0]
    return False


def save(tx: Transaction, message: Message, *, says_something_else: bool = True) -> None:
    """Stores a held message's new state; search is told of a new text that is complete."""
    place = {"thread_id": message.thread_id, "message_id": message.id}
    changes: list[Change] = [(sql.update_message, {**place, "shape": SHAPE, "body": encode(message).decode()})]
    if says_something_else and message.status != "in_progress":
        changes.insert(0, (sql.queue_message, place))
    tx.run_all(changes)


def first(messages: Iterable[tuple[Message, bytes]]) -> list[Change]:
    """What stores the first messages of a new thread, in order."""
    changes: list[Change] = [
        (sql.insert_message, {"seq": seq, **columns(message, body)})
        for seq, (message, body) in enumerate(messages, start=1)
    ]
    if changes:
        added = {"thread_id": changes[0][1]["thread_id"], "low": 0, "high": len(changes)}
        changes.insert(0, (sql.queue_added, added))
    return changes


def whole(thread_id: str) -> dict[str, object]:
    """All of a thread's messages, as search's queue names them."""
    return {"thread_id": thread_id, "low": 0, "high": BIGINT_MAX}


def locate_end(tx: Transaction, thread_id: str, message_id: str) -> int:
    """The number of a message that is written to its end. Raises `NotFoundError`, `BadRequestError`."""
    row = tx.one(sql.locate_message, thread_id=thread_id, message_id=message_id)
    message = find(tx, thread_id, message_id)
    if row is None or message is None:
        raise NotFoundError.of("message", message_id)
    if message.status == "in_progress":
        raise BadRequestError(f"Message {message_id} is still being written.", param="up_to")
    return int(row[0])


def list_up_to(tx: Transaction, thread_id: str, low: int, high: int, limit: int) -> list[tuple[int, Message]]:
    """The thread's messages above the number `low` and up to `high`, oldest first, each with its number."""
    rows = tx.all(sql.list_messages_up_to, thread_id=thread_id, low=low, high=high, limit=limit)
    return [(seq, decode(body)) for seq, body in rows]


def insert_all(tx: Transaction, numbered: Iterable[tuple[int, Message]]) -> None:
    """Stores messages of one or more threads that this unit holds, under the numbers given."""
    tx.run_many(sql.insert_message, [{"seq": seq, **columns(message, encode(message))} for seq, message in numbered])


def removal(thread_id: str) -> Change:
    """What removes all messages of a deleted thread that has few; half the price of choosing the rows first."""
    return sql.remove_all_messages, {"thread_id": thread_id}


def remove_slice(tx: Transaction, thread_id: str) -> None:
    """Removes `REMOVED_AT_ONCE` messages of a deleted thread that has more."""
    tx.run(sql.remove_messages, thread_id=thread_id, limit=REMOVED_AT_ONCE)


def columns(message: Message, body: bytes) -> dict[str, object]:
    """The columns of a message, but for its number. `body` is the message, encoded."""
    return {
        "thread_id": message.thread_id,
        "message_id": message.id,
        "run_id": message.run_id,
        "shape": SHAPE,
        "body": body.decode(),
    }


def _require_room(tx: Transaction, messages_max: int, thread_id: str) -> None:
    """Numbers grow with each message ever added; what is limited is how many there are, the new one included."""
    row = tx.one(sql.count_messages, thread_id=thread_id)
    if row and row[0] > messages_max:
        raise BadRequestError(f"Thread {thread_id} already has {row[0] - 1} messages, the most it can have.")


def require_thread(tx: Transaction, ctx: Context, thread_id: str) -> None:
    """Raises `NotFoundError` unless the project has this thread."""
    if tx.one(sql.find_thread, thread_id=thread_id, project_id=ctx.project_id) is None:
        raise NotFoundError.of("thread", thread_id)


def _keep_version(tx: Transaction, message: Message, version_id: str, now: int) -> None:
    """Keeps what a held message says now, before it says something else."""
    if message.status == "in_progress":
        raise BadRequestError(f"Message {message.id} is still being written.", param="content")
    version = MessageVersion(
        id=version_id,
        created_at=message.created_at,
        replaced_at=now,
        thread_id=message.thread_id,
        message_id=message.id,
        content=message.content,
    )
    message_versions.keep(tx, version)


def _attachments(params: MessageCreateParams, at: str) -> list[Attachment]:
    if not params.attachments and not params.file_ids:
        return []
    attachments = list(params.attachments or ())
    references.check_attachments(f"{at}attachments", attachments)
    references.check_v1_files(f"{at}file_ids", params.file_ids, references.V1_FILES_MAX)
    for_search = [Attachment(file_id=file_id, tools=[ToolType("file_search")]) for file_id in params.file_ids or ()]
    return attachments + for_search

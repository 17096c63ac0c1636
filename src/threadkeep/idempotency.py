"""`Idempotency-Key`: a request that is sent again gets the first answer again, and nothing is done a second time.

Differs from OpenAI: it had no such header, and `--strict` takes no notice of it.

A unit of work that creates something takes the request's key first of all and keeps its answer last of all. So the key,
the answer and what was created are committed together or not at all, and an equal request that comes at the same
moment, on any node, waits in the database for the first one to end. A request that is refused leaves no key behind.
Keys belong to a project.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from threadkeep import invalid
from threadkeep.errors import ConflictError, NotFoundError, ThreadkeepError
from threadkeep.store import queries
from threadkeep.store.interface import Store, Transaction

sql = queries.load("idempotency")

HEADER = "Idempotency-Key"
KEY_CHARACTERS_MAX = 255
FORGOTTEN_AT_ONCE = 500
# Old keys are removed together, not one by one as their time comes.
SWEPT_EVERY_S = 60
# In place of an answer that was erased together with what it was about.
ERASED = ""


class KeyedRequest(Struct, frozen=True):
    """A key, and what tells whether two requests that carry it are the same one."""

    key: str
    request_hash: str


class AnsweredBeforeError(ThreadkeepError):
    """The request was done before: its answer as JSON, and behind which event of its run a stream began."""

    def __init__(self, answer: str, after_event: int | None) -> None:
        super().__init__("answered before")
        self.answer = answer
        self.after_event = after_event


def keyed(header: bytes, address: Sequence[str], body: bytes) -> KeyedRequest:
    """The key in a request's header. `address` is all that decides, with the body, what the request is."""
    key = header.decode("latin-1").strip()
    if not key:
        raise invalid.empty_string(HEADER)
    if len(key) > KEY_CHARACTERS_MAX:
        raise invalid.string_too_long(HEADER, KEY_CHARACTERS_MAX, len(key))
    # JSON text has no line feed of its own, so it is clear where the body begins.
    hashed = hashlib.sha256(msgspec.json.encode(address) + b"\n")
    hashed.update(body)
    return KeyedRequest(key, hashed.hexdigest())


def take(tx: Transaction, project_id: str, request: KeyedRequest, now: int, kept_s: int) -> None:
    """Takes the key for this unit, once no other unit holds it. Raises `AnsweredBeforeError`, or `ConflictError`.

    A key without an answer is free: its request was refused after all.
    """
    place = {"project_id": project_id, "key": request.key}
    if tx.run(sql.take_key, request_hash=request.request_hash, created_at=now, expired_at=now - kept_s, **place):
        return
    row = tx.one(sql.find_answer, **place)
    # The failed attempt holds the row, so it cannot be gone.
    assert row is not None
    request_hash, answer, after_event, object_id = row
    if request_hash != request.request_hash:
        raise ConflictError(
            f"The {HEADER} '{request.key}' was used for another request before. Send a new request with a new key.",
            code="idempotency_key_reused",
        )
    if answer == ERASED:
        raise NotFoundError(f"What this {HEADER} created, '{object_id}', has been deleted.")
    raise AnsweredBeforeError(answer, after_event)


def keep(
    tx: Transaction,
    project_id: str,
    request: KeyedRequest,
    answer: bytes,
    object_id: str,
    thread_id: str | None,
    after_event: int | None,
) -> None:
    """Keeps the answer under the key that this unit took."""
    about = {"object_id": object_id, "thread_id": thread_id, "after_event": after_event}
    tx.run(sql.keep_answer, project_id=project_id, key=request.key, answer=answer.decode(), **about)


def erase_thread(tx: Transaction, thread_id: str) -> None:
    """Erases the answers that are about a deleted thread, or anything in it.

    These are statements of their own: where Citus spreads threads over machines, keys are on all of them.
    """
    tx.run(sql.erase_answers_of_thread, thread_id=thread_id)


def erase_message(tx: Transaction, thread_id: str, message_id: str) -> None:
    """Erases the answer that is about a deleted message."""
    tx.run(sql.erase_answer_of_message, thread_id=thread_id, message_id=message_id)


def erase_object(tx: Transaction, project_id: str, object_id: str) -> None:
    """Erases the answer that is about a deleted object which is in no thread."""
    tx.run(sql.erase_answer_of_object, project_id=project_id, object_id=object_id)


def erase_text(tx: Transaction, project_id: str, object_id: str, text: str) -> None:
    """Cuts a text, such as a secret that was replaced, out of the answers that are about an object in no thread."""
    tx.run(sql.erase_text, project_id=project_id, object_id=object_id, text=text)


async def sweep(store: Store, now: int, kept_s: int) -> None:
    """Removes keys whose time is over, when some have been for a while."""
    before = now - kept_s
    if await store.one(sql.find_old_key, before=before - SWEPT_EVERY_S) is None:
        return
    removed = FORGOTTEN_AT_ONCE
    while removed == FORGOTTEN_AT_ONCE:
        removed = await store.run_all([(sql.forget_keys, {"before": before, "limit": FORGOTTEN_AT_ONCE})])

"""What messages said before they were edited: all of it is kept, until the message or its thread is deleted."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import Struct

from threadkeep.errors import BadRequestError, NotFoundError
from threadkeep.message_parts import Part
from threadkeep.pages import ListParams, Page, Stored, Window
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Change, Transaction

sql = queries.load("message_versions")

SHAPE = 1
# Times that one message can be edited.
VERSIONS_MAX = 1000


class MessageVersion(Struct, kw_only=True):
    """What a message said from `created_at` until it was edited at `replaced_at`."""

    id: str
    object: Literal["thread.message.version"] = "thread.message.version"
    created_at: int
    replaced_at: int
    thread_id: str
    message_id: str
    content: list[Part]


encode = msgspec.json.Encoder().encode


def page(tx: Transaction, thread_id: str, message_id: str, params: ListParams) -> Page[Stored]:
    """A page of a message's versions. Raises `NotFoundError` for a cursor that is none of them."""
    place = {"thread_id": thread_id, "message_id": message_id}

    def locate(version_id: str) -> int:
        row = tx.one(sql.locate_version, version_id=version_id, **place)
        if row is None:
            raise NotFoundError.of("message version", version_id)
        return int(row[0])

    window = Window.of(params, "msgver", 0, BIGINT_MAX, locate)
    query = window.choose(sql.list_versions_ascending, sql.list_versions_descending)
    return window.page(tx.all(query, **place, **window.bounds))


def keep(tx: Transaction, version: MessageVersion) -> None:
    """Stores what a held message says until now; it began to say so when the version before was replaced."""
    row = tx.one(sql.find_last_version, thread_id=version.thread_id, message_id=version.message_id)
    number, version.created_at = row or (0, version.created_at)
    if number >= VERSIONS_MAX:
        raise BadRequestError(
            f"Message {version.message_id} was edited {number} times, the most it can be.", param="content"
        )
    tx.run(sql.insert_version, seq=number + 1, **columns(version))


def columns(version: MessageVersion) -> dict[str, object]:
    """The columns of a version, but for its number."""
    return {
        "thread_id": version.thread_id,
        "message_id": version.message_id,
        "version_id": version.id,
        "replaced_at": version.replaced_at,
        "shape": SHAPE,
        "body": encode(version).decode(),
    }


def deletion(thread_id: str, message_id: str) -> Change:
    """What removes all versions of a message."""
    return sql.delete_versions, {"thread_id": thread_id, "message_id": message_id}


def remove_slice(tx: Transaction, thread_id: str, limit: int) -> bool:
    """Removes some of a deleted thread's versions; gives whether all are gone."""
    return tx.run(sql.remove_versions, thread_id=thread_id, limit=limit) < limit

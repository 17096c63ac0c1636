"""How long threads stay: each may say so itself, a project has a rule for the others, and an operator may clear up.

Differs from OpenAI: threads stayed for a time that nobody could set.

What has stayed long enough is marked as deleted, and removed as deleted threads are (`threads.sweep`). When a thread
was last active is what its newest message says: so nothing has to be written for it when messages are added, and a
thread whose time may have come is looked at when that is due. A thread with an active run stays until that is over.
"""

from __future__ import annotations

from typing import Literal

from threadkeep import messages, threads
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Store, Transaction
from threadkeep.threads import ExpiresAfter, Thread

sql = queries.load("retention")

# Threads that one unit of work looks at.
LOOKED_AT_ONCE = 50
# When a thread is looked at again that a run holds.
BUSY_S = 60


async def expire(store: Store, now: int) -> int:
    """Deletes the threads whose own time has come; gives how many."""
    deleted = 0

    def unit(tx: Transaction) -> tuple[int, int]:
        found = tx.all(sql.list_expired, now=now, limit=LOOKED_AT_ONCE)
        return len(found), sum(_expire(tx, thread_id, project_id, now) for thread_id, project_id in found)

    while await store.one(sql.list_expired, now=now, limit=1):
        looked, some = await store.write(unit)
        deleted += some
        if looked < LOOKED_AT_ONCE:
            break
    return deleted


def _expire(tx: Transaction, thread_id: str, project_id: str, now: int) -> bool:
    held = _hold(tx, thread_id, project_id)
    if held is None:
        return False
    thread, is_busy = held
    rule = thread.expires_after
    if not isinstance(rule, ExpiresAfter):
        tx.run(sql.look_again, thread_id=thread_id, expires_at=None)
        return False
    due = now + BUSY_S if is_busy else _anchor(tx, thread, rule.anchor) + rule.seconds
    if due > now:
        tx.run(sql.look_again, thread_id=thread_id, expires_at=due)
        return False
    return _mark(tx, thread_id, project_id, now)


async def apply_rules(store: Store, now: int) -> int:
    """Deletes what the rules of projects say; gives how many threads that were."""
    rules = await store.read(lambda tx: tx.all(sql.list_rules))
    deleted = 0
    for project_id, anchor, seconds in rules:
        deleted += await prune(store, project_id, ExpiresAfter(anchor=anchor, seconds=seconds), now)
    return deleted


async def prune(
    store: Store, project_id: str, rule: ExpiresAfter, now: int, *, also_own: bool = False, dry_run: bool = False
) -> int:
    """Deletes the project's threads that have stayed as long as `rule` says; gives how many, slice by slice.

    Threads with an `expires_after` of their own are kept unless `also_own` is set. A dry run only counts.
    """
    created_by = now - rule.seconds
    after = (-1, "")
    deleted = 0

    def unit(tx: Transaction) -> tuple[tuple[int, str] | None, int]:
        found = tx.all(
            sql.list_old,
            project_id=project_id,
            at=after[0],
            id=after[1],
            created_by=created_by,
            also_own=int(also_own),
            limit=LOOKED_AT_ONCE,
        )
        some = sum(_prune(tx, thread_id, project_id, rule.anchor, created_by, now, dry_run) for thread_id, _ in found)
        return ((found[-1][1], found[-1][0]) if len(found) == LOOKED_AT_ONCE else None), some

    while True:
        reach, some = await (store.read(unit) if dry_run else store.write(unit))
        deleted += some
        if reach is None:
            return deleted
        after = reach


def _prune(
    tx: Transaction,
    thread_id: str,
    project_id: str,
    anchor: Literal["created_at", "last_active_at"],
    by: int,
    now: int,
    dry_run: bool,  # noqa: FBT001 - private
) -> bool:
    if dry_run:
        row = tx.one(threads.sql.retrieve_thread, thread_id=thread_id, project_id=project_id)
        return row is not None and _anchor(tx, threads.decode(row[0]), anchor) <= by
    held = _hold(tx, thread_id, project_id)
    if held is None or held[1] or _anchor(tx, held[0], anchor) > by:
        return False
    return _mark(tx, thread_id, project_id, now)


def _hold(tx: Transaction, thread_id: str, project_id: str) -> tuple[Thread, bool] | None:
    """The thread, held until the unit ends, and whether a run holds it too."""
    row = tx.one(sql.hold_thread, thread_id=thread_id, project_id=project_id)
    return (threads.decode(row[0]), row[1] is not None) if row else None


def _anchor(tx: Transaction, thread: Thread, anchor: str) -> int:
    """When the thread was created or last active."""
    if anchor == "last_active_at":
        for _, message in messages.last(tx, thread.id, BIGINT_MAX, 1):
            return max(thread.created_at, message.created_at)
    return thread.created_at


def _mark(tx: Transaction, thread_id: str, project_id: str, now: int) -> bool:
    return tx.run(threads.sql.delete_thread, thread_id=thread_id, project_id=project_id, deleted_at=now) > 0

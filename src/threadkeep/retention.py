"""How long threads stay: each may say so itself, a project has a rule for the others, and an operator may clear up.

Differs from OpenAI: threads stayed for a time that nobody could set.

What has stayed long enough is marked as deleted, and removed as deleted threads are (`threads.sweep`). When a thread
was last active is what its newest message says: so nothing has to be written for it when messages are added, and a
thread whose time may have come is looked at when that is due. A thread with an active run stays until that is over.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from threadkeep import messages, threads
from threadkeep.store import queries
from threadkeep.store.interface import BIGINT_MAX, Row, Store, Transaction
from threadkeep.threads import Anchor, ExpiresAfter

log = logging.getLogger(__name__)
sql = queries.load("retention")

# Threads that one unit of work looks at.
LOOKED_AT_ONCE = 50
# When a thread is looked at again that a run holds, and one that cannot be read.
BUSY_S = 60
UNREADABLE_S = 3600
# Between two passes over the threads that a project's rule is about.
RULES_EVERY_S = 300


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
    row = tx.one(sql.hold_thread, thread_id=thread_id, project_id=project_id)
    if row is None:
        return False
    created_at, active_run_id, body = row
    due: int | None
    try:
        rule = threads.decode(body).expires_after
        if not isinstance(rule, ExpiresAfter):
            due = None
        elif active_run_id:
            due = now + BUSY_S
        else:
            due = _anchor(tx, thread_id, created_at, rule.anchor) + rule.seconds
    except msgspec.DecodeError as error:
        # Those behind it must have their turn.
        log.warning("cannot tell whether the time of %s has come: %s", thread_id, error)
        due = now + UNREADABLE_S
    if due is None or due > now:
        tx.run(sql.look_again, thread_id=thread_id, expires_at=due)
        return False
    return _mark(tx, thread_id, project_id, now)


async def apply_rules_if_due(store: Store, now: int) -> None:
    """Deletes what the rules of projects say, if that was not done lately, by whichever process."""
    lately = {"after": now - RULES_EVERY_S, "before": now + RULES_EVERY_S}
    if await store.one(sql.find_pass, **lately):
        return
    if await store.run_all([(sql.claim_pass, {"now": now, **lately})]):
        await apply_rules(store, now)


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
    by = now - rule.seconds
    after = (-1, "")
    deleted = 0

    def look(tx: Transaction) -> tuple[list[Row], list[str]]:
        place = {"project_id": project_id, "at": after[0], "id": after[1], "also_own": int(also_own)}
        found = tx.all(sql.list_old, created_by=by, limit=LOOKED_AT_ONCE, **place)
        return found, [thread_id for thread_id, created_at in found if _is_old(tx, thread_id, created_at, rule, by)]

    while True:
        # Most of them may be active still: only those that are not are held.
        found, old = await store.read_aside(look)
        deleted += len(old) if dry_run else await _delete(store, project_id, old, rule, now)
        if len(found) < LOOKED_AT_ONCE:
            return deleted
        after = (found[-1][1], found[-1][0])


def _is_old(tx: Transaction, thread_id: str, created_at: int, rule: ExpiresAfter, by: int) -> bool:
    try:
        return _anchor(tx, thread_id, created_at, rule.anchor) <= by
    except msgspec.DecodeError as error:
        log.warning("cannot tell when %s was last active: %s", thread_id, error)
        return False


async def _delete(store: Store, project_id: str, thread_ids: Sequence[str], rule: ExpiresAfter, now: int) -> int:
    """Deletes those of the threads that are still old; gives how many."""

    def is_deleted(tx: Transaction, thread_id: str) -> bool:
        row = tx.one(sql.hold_thread, thread_id=thread_id, project_id=project_id)
        if row is None or row[1] or _anchor(tx, thread_id, row[0], rule.anchor) > now - rule.seconds:
            return False
        return _mark(tx, thread_id, project_id, now)

    if not thread_ids:
        return 0
    return await store.write(lambda tx: sum(is_deleted(tx, thread_id) for thread_id in thread_ids))


def _anchor(tx: Transaction, thread_id: str, created_at: int, anchor: Anchor) -> int:
    """When the thread was created or last active. Raises `msgspec.DecodeError`."""
    if anchor == "last_active_at":
        for _, message in messages.last(tx, thread_id, BIGINT_MAX, 1):
            return max(created_at, message.created_at)
    return created_at


def _mark(tx: Transaction, thread_id: str, project_id: str, now: int) -> bool:
    return tx.run(threads.sql.delete_thread, thread_id=thread_id, project_id=project_id, deleted_at=now) > 0

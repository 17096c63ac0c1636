"""How threads whose time has come are found; on every database."""

from __future__ import annotations

import asyncio

from threadkeep import retention, threads
from threadkeep.context import outside_a_server
from threadkeep.messages import MessageCreateParams
from threadkeep.projects import create as create_project
from threadkeep.projects import set_retention
from threadkeep.retention import RULES_EVERY_S, ExpiresAfter
from threadkeep.settings import Settings
from threadkeep.store.queries import Query
from threadkeep.threads import ThreadCreateParams

DAY = 86_400
FAR = 10**11


async def create(store, project_id, thread_id, **params):
    said = [MessageCreateParams(role="user", content="hello")]
    context = outside_a_server(store, Settings(), project_id)
    await threads.create(context, ThreadCreateParams(id=thread_id, messages=said, **params))


async def spoil(store, table, thread_id):
    text = f"update {table} set body = '{{' where thread_id = :thread_id"
    query = Query("spoil", text, text)
    await store.write(lambda tx: tx.run(query, thread_id=thread_id))


async def there(store):
    text = "select thread_id from threads where deleted_at is null order by thread_id"
    query = Query("there", text, text)
    return [thread_id for [thread_id] in await store.read(lambda tx: tx.all(query))]


def test_a_thread_that_cannot_be_read_holds_up_no_other(on_store):
    async def work(store):
        rule = ExpiresAfter(anchor="last_active_at", seconds=1)
        for thread_id in ("thread_a", "thread_b", "thread_c"):
            await create(store, "proj_a", thread_id, expires_after=rule)
        await spoil(store, "threads", "thread_a")
        await spoil(store, "messages", "thread_b")
        return await retention.expire(store, FAR), await there(store)

    assert on_store(work) == (1, ["thread_a", "thread_b"])


def test_a_message_that_cannot_be_read_holds_up_no_rule(on_store):
    async def work(store):
        for thread_id in ("thread_a", "thread_b"):
            await create(store, "proj_a", thread_id)
        await spoil(store, "messages", "thread_a")
        rule = ExpiresAfter(anchor="last_active_at", seconds=1)
        return await retention.prune(store, "proj_a", rule, FAR), await there(store)

    assert on_store(work) == (1, ["thread_a"])


def test_of_many_processes_one_applies_the_rules_once_in_a_while(on_store):
    async def work(store):
        project = await create_project(store, "one", now=0)
        await set_retention(store, project, "created_at", DAY)
        seen = []
        # The last is by a clock that is right again.
        for at in (FAR, FAR + RULES_EVERY_S - 1, FAR + RULES_EVERY_S, FAR - DAY):
            await create(store, project.project_id, f"thread_{len(seen)}")
            await asyncio.gather(*(retention.apply_rules_if_due(store, at) for _ in range(3)))
            seen.append(len(await there(store)))
        return seen

    assert on_store(work) == [0, 1, 0, 0]

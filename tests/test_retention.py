"""How long threads stay, through the SDK against a real server, and the command that clears up."""

from __future__ import annotations

import time

import openai
import pytest

from threadkeep import projects, retention, testing

DAY = 86_400


def now():
    return int(time.time())


@pytest.fixture
def new_thread(client):
    def make(anchor=None, seconds=DAY, **body):
        extra = {"expires_after": {"anchor": anchor, "seconds": seconds}} if anchor else {}
        return client.beta.threads.create(extra_body=extra, **body)

    return make


def expire(server, at):
    server.run(retention.expire(server.app.store, at))


def is_there(client, thread):
    try:
        client.beta.threads.retrieve(thread.id)
    except openai.NotFoundError:
        return False
    return True


def test_a_thread_says_how_long_it_stays(client, new_thread):
    rule = {"anchor": "created_at", "seconds": 60}
    thread = new_thread(**rule)
    assert thread.to_dict()["expires_after"] == rule
    assert client.beta.threads.retrieve(thread.id) == thread
    changed = client.beta.threads.update(thread.id, extra_body={"expires_after": rule | {"seconds": 61}})
    assert changed.to_dict()["expires_after"]["seconds"] == 61
    assert client.beta.threads.update(thread.id, metadata={"a": "b"}).to_dict()["expires_after"]["seconds"] == 61
    removed = client.beta.threads.update(thread.id, extra_body={"expires_after": None})
    assert "expires_after" not in removed.to_dict()


@pytest.mark.parametrize(
    "rule", [{}, {"anchor": "never", "seconds": 1}, {"anchor": "created_at", "seconds": 0}, {"anchor": "created_at"}, 5]
)
def test_a_rule_that_is_none_is_refused(client, rule):
    with pytest.raises(openai.BadRequestError) as caught:
        client.beta.threads.create(extra_body={"expires_after": rule})
    assert caught.value.param.startswith("expires_after")


def test_strict_knows_no_such_rule(strict_client):
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'expires_after'"):
        strict_client.beta.threads.create(extra_body={"expires_after": None})


@pytest.mark.parametrize("anchor", ["created_at", "last_active_at"])
def test_a_thread_goes_when_its_time_has_come(server, client, new_thread, anchor):
    thread, other = new_thread(anchor), new_thread()
    expire(server, now() + DAY - 60)
    assert is_there(client, thread)
    expire(server, now() + DAY + 60)
    assert not is_there(client, thread)
    assert is_there(client, other)


def test_a_message_makes_a_thread_stay_that_goes_by_its_activity(server, client, new_thread):
    by_creation, by_activity = new_thread("created_at"), new_thread("last_active_at")
    for thread in (by_creation, by_activity):
        client.beta.threads.messages.create(thread.id, role="user", content="still here")
    created = by_activity.created_at
    newest = client.beta.threads.messages.list(by_activity.id).data[0].created_at
    expire(server, newest + DAY - 1)
    assert is_there(client, by_activity)
    expire(server, max(newest, created) + DAY)
    assert not is_there(client, by_activity)
    assert not is_there(client, by_creation)


def test_what_is_changed_counts_at_once(server, client, new_thread):
    thread = new_thread("created_at", 100 * DAY)
    rule = {"anchor": "created_at", "seconds": 1}
    client.beta.threads.update(thread.id, extra_body={"expires_after": rule})
    expire(server, now() + DAY)
    assert not is_there(client, thread)


def test_a_thread_with_an_active_run_stays_until_it_is_over(servers, database, new_client):
    with testing.model() as model:
        server = servers(database, upstream_url=model.base_url)
        client = new_client(server)
        assistant = client.beta.assistants.create(model="scripted")
        # So long that the server does not find it over by itself.
        rule = {"anchor": "created_at", "seconds": DAY // 2}
        said = [{"role": "user", "content": "hello"}]
        thread = client.beta.threads.create(messages=said, extra_body={"expires_after": rule})
        model.hold()
        run = client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id)
        expire(server, now() + DAY)
        assert is_there(client, thread)
        client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
        model.release()
        expire(server, now() + 2 * DAY)
        assert not is_there(client, thread)


def test_a_projects_rule_is_for_threads_that_say_nothing_themselves(server, client, new_client, new_thread):
    store = server.app.store
    threads = [new_thread() for _ in range(retention.LOOKED_AT_ONCE + 1)]
    own, other_client = new_thread("created_at", 100 * DAY), new_client(server)
    others = other_client.beta.threads.create()
    project = next(p for p in server.run(projects.list_(store)) if p.project_id == project_of(server, client))
    server.run(projects.set_retention(store, project, "last_active_at", DAY))
    server.run(retention.apply_rules(store, now() + DAY - 60))
    assert is_there(client, threads[0])
    server.run(retention.apply_rules(store, now() + DAY + 60))
    server.run(projects.set_retention(store, project, None, None))
    assert [t["id"] for t in client.get("/threads", cast_to=object)["data"]] == [own.id]
    assert is_there(other_client, others)


def project_of(server, client):
    keys = server.app.authenticator._keys
    return keys.of_hash[projects.hash_of(client.api_key)].project_id


def test_a_dry_run_counts_and_changes_nothing(server, client, new_thread):
    store, project_id = server.app.store, project_of(server, client)
    for _ in range(3):
        new_thread()
    rule = retention.ExpiresAfter(anchor="last_active_at", seconds=DAY)
    counted = [
        server.run(retention.prune(store, project_id, rule, now() + 2 * DAY, also_own=True, dry_run=dry_run))
        for dry_run in (True, True, False, False)
    ]
    assert counted == [3, 3, 3, 0]

"""Webhooks that are changed, switched off, tested and given new secrets, and the attempts that deliveries keep."""

from __future__ import annotations

import dataclasses
import json
import threading
import time

import openai
import pytest
from tests.ports import free_port
from tests.receiver import TELLS, WAIT_S, create, deliveries, finish_run, receiving

from threadkeep import webhooks
from threadkeep.store.queries import Query
from threadkeep.webhook_delivery import Deliverer
from threadkeep.webhook_events import ALL_EVENTS
from threadkeep.webhook_secrets import Secrets, new_secret
from threadkeep.webhooks import LAST_ATTEMPTS_MAX, OVERLAP_S

NOWHERE = "http://127.0.0.1:9/hook"
DAY_MS = 24 * 3600 * 1000


@pytest.fixture
def client(new_client, telling):
    return new_client(telling)


def post(client, webhook, path="", body=None, **options):
    return client.post(f"/webhooks/{webhook['id']}{path}", body=body, cast_to=object, options=options)


def rows(server, text, **parameters):
    """What a statement finds in the server's database."""
    query = Query("of a test", text, text)
    return server.run(server.app.store.read(lambda tx: tx.all(query, **parameters)))


def is_delivered(page):
    return page[0]["status"] == "delivered"


def sweep(server, later_s=0.0):
    """Does at once what is otherwise done every minute, as it would be done so much later."""

    async def work():
        ctx = server.app.context_of("")
        await Deliverer(dataclasses.replace(ctx, clock=lambda: ctx.clock() + later_s))._forget()

    server.run(work())


def test_the_address_is_changed_and_what_waits_goes_to_the_new_one(client, receiver):
    with receiving(free_port()) as gone:
        webhook = create(client, gone.url)
    run = finish_run(client)
    deliveries(client, webhook, until=lambda page: page[0]["error"])
    changed = post(client, webhook, body={"url": receiver.url})
    shown = {name: value for name, value in webhook.items() if name != "secret"}
    assert changed == {**shown, "url": receiver.url}
    assert client.get(f"/webhooks/{webhook['id']}", cast_to=object) == changed
    assert client.get("/webhooks", cast_to=object)["data"] == [changed]
    ((_, headers, body),) = receiver.wait_for(1)
    assert json.loads(body)["data"]["id"] == run.id
    client.webhooks.verify_signature(body, headers, secret=webhook["secret"])


def test_other_events_are_chosen_and_null_chooses_all_of_them(client, receiver):
    webhook = create(client, receiver.url)
    assert post(client, webhook, body={"events": ["thread.run.failed"]})["events"] == ["thread.run.failed"]
    finish_run(client)
    assert post(client, webhook, body={"events": None})["events"] == list(ALL_EVENTS)
    run = finish_run(client)
    (delivery,) = deliveries(client, webhook, until=is_delivered)
    assert delivery["data"]["id"] == run.id


def test_what_is_not_given_stays(client):
    webhook = create(client, NOWHERE, events=["thread.run.failed"], enabled=False)
    changed = post(client, webhook, body={})
    assert changed == {name: value for name, value in webhook.items() if name != "secret"}
    assert (changed["events"], changed["enabled"]) == (["thread.run.failed"], False)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"url": "https://127.0.0.1/hook"}, "url"),
        ({"url": "https://localhost./hook"}, "url"),
        ({"url": "http://app.example.com/hook"}, "url"),
        ({"url": "https://app.example.com/hook#part"}, "url"),
        ({"url": ""}, "url"),
        ({"url": None}, "url"),
        ({"url": "https://app.example.com/" + "x" * 2048}, "url"),
        ({"events": []}, "events"),
        ({"events": ["thread.run.begun"]}, "events[0]"),
        ({"events": ["webhook.test"]}, "events[0]"),
        ({"enabled": "yes"}, "enabled"),
        ({"enabled": None}, "enabled"),
    ],
)
def test_a_change_that_create_would_refuse_is_refused_and_changes_nothing(servers, new_client, body, param):
    client = new_client(servers("sqlite"))
    webhook = create(client, "https://app.example.com/hook")
    before = client.get(f"/webhooks/{webhook['id']}", cast_to=object)
    with pytest.raises(openai.BadRequestError) as caught:
        post(client, webhook, body={"enabled": False, **body})
    assert caught.value.param == param
    assert client.get(f"/webhooks/{webhook['id']}", cast_to=object) == before


def test_changes_at_the_same_moment_are_all_kept(client, at_once):
    webhook = create(client, NOWHERE)
    bodies = [{"url": "http://127.0.0.1:9/other"}, {"events": ["thread.run.failed"]}, {"enabled": False}]

    def work(number):
        post(client, webhook, body=bodies[number % 3])

    at_once(work)
    changed = client.get(f"/webhooks/{webhook['id']}", cast_to=object)
    assert {name: changed[name] for body in bodies for name in body} == {**bodies[0], **bodies[1], **bodies[2]}


def test_what_happens_while_a_webhook_is_off_is_never_told(client, receiver):
    webhook = create(client, receiver.url)
    assert webhook["enabled"] is True
    assert post(client, webhook, body={"enabled": False})["enabled"] is False
    finish_run(client)
    assert client.get(f"/webhooks/{webhook['id']}/deliveries", cast_to=object)["data"] == []
    post(client, webhook, body={"enabled": True})
    run = finish_run(client)
    deliveries(client, webhook, until=is_delivered)
    assert [json.loads(body)["data"]["id"] for _, _, body in receiver.received] == [run.id]


def test_what_waits_when_a_webhook_is_switched_off_is_sent_when_it_is_switched_on(
    serve_by_clock, clock, new_client, model, receiver
):
    with serve_by_clock(upstream_url=model.base_url, **TELLS) as server:
        client = new_client(server)
        webhook = create(client, receiver.url)
        receiver.answers.append((503, {}))
        receiver.may_answer.clear()
        run = finish_run(client)
        receiver.wait_for(1)
        post(client, webhook, body={"enabled": False})
        receiver.may_answer.set()
        (waiting,) = deliveries(client, webhook, until=lambda page: page[0]["status_code"])
        assert (waiting["status"], waiting["status_code"], waiting["attempts"]) == ("pending", 503, 1)
        # It waits for that, and for no time.
        assert waiting["next_attempt_at"] is None
        clock.now += 1
        # What is due later is sent: this would have been sent with it.
        with receiving() as other:
            second = create(client, other.url)
            post(client, second, "/test")
            other.wait_for(1)
        sweep(server)
        assert deliveries(client, webhook) == [waiting]
        assert len(receiver.received) == 1
        post(client, webhook, body={"enabled": True})
        (_, (_, _, body)) = receiver.wait_for(2)
        assert json.loads(body)["data"]["id"] == run.id
        deliveries(client, webhook, until=is_delivered)


def test_what_waits_for_a_webhook_that_stays_off_is_given_up_in_time(client, telling):
    with receiving(free_port()) as gone:
        webhook = create(client, gone.url)
    post(client, webhook, "/test")
    deliveries(client, webhook, until=lambda page: page[0]["error"])
    post(client, webhook, body={"enabled": False})
    # What was under way when it was switched off has ended.
    (waiting,) = deliveries(client, webhook, until=lambda page: len(page[0]["last_attempts"]) == page[0]["attempts"])
    sweep(telling, later_s=telling.app.settings.webhook_give_up_s - 60)
    assert deliveries(client, webhook) == [waiting]
    sweep(telling, later_s=telling.app.settings.webhook_give_up_s + 60)
    (given_up,) = deliveries(client, webhook)
    assert given_up == {**waiting, "status": "failed", "error": "switched off", "next_attempt_at": None}
    post(client, webhook, body={"enabled": True})
    assert post(client, webhook, f"/deliveries/{given_up['id']}/resend")["status"] == "pending"


def test_nothing_is_sent_by_request_to_a_webhook_that_is_off(client, receiver):
    webhook = create(client, receiver.url)
    post(client, webhook, "/test")
    (delivery,) = deliveries(client, webhook, until=is_delivered)
    post(client, webhook, body={"enabled": False})
    for path in ("/test", f"/deliveries/{delivery['id']}/resend"):
        with pytest.raises(openai.BadRequestError, match="is off, so nothing is sent to it"):
            post(client, webhook, path)
    assert deliveries(client, webhook) == [delivery]


def test_a_test_is_an_event_of_its_own_type_and_goes_the_way_of_the_others(client, receiver):
    webhook = create(client, receiver.url, events=["thread.run.failed"])
    asked = post(client, webhook, "/test")
    assert (asked["object"], asked["type"], asked["status"]) == ("webhook.delivery", "webhook.test", "pending")
    ((_, headers, body),) = receiver.wait_for(1)
    event = json.loads(body)
    assert event == {
        "id": asked["id"],
        "object": "event",
        "type": "webhook.test",
        "created_at": asked["created_at"],
        "data": {"id": webhook["id"], "object": "webhook"},
    }
    client.webhooks.verify_signature(body, headers, secret=webhook["secret"])
    (delivery,) = deliveries(client, webhook, until=is_delivered)
    assert (delivery["id"], delivery["data"], delivery["attempts"]) == (asked["id"], event["data"], 1)
    post(client, webhook, f"/deliveries/{asked['id']}/resend")
    receiver.wait_for(2)


def test_a_test_that_is_repeated_under_its_idempotency_key_is_one(client, receiver):
    webhook = create(client, receiver.url)
    asked = [post(client, webhook, "/test", headers={"Idempotency-Key": "once"}) for _ in range(2)]
    assert asked[0] == asked[1]
    assert len(deliveries(client, webhook, until=is_delivered)) == 1


def test_a_new_secret_signs_beside_the_old_one_and_then_alone(client, telling, receiver):
    webhook = create(client, receiver.url)
    rotated = post(client, webhook, "/rotate_secret")
    at = time.time()
    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != webhook["secret"]
    assert abs(rotated["old_secret_expires_at"] - at - OVERLAP_S) < 60
    shown = client.get(f"/webhooks/{webhook['id']}", cast_to=object)
    assert shown == {name: value for name, value in rotated.items() if name != "secret"}
    post(client, webhook, "/test")
    ((_, headers, body),) = receiver.wait_for(1)
    assert len(headers["webhook-signature"].split(" ")) == 2
    for secret in (webhook["secret"], rotated["secret"]):
        client.webhooks.verify_signature(body, headers, secret=secret)
    telling.run(webhooks.erase_old_secrets(telling.app.store, int(at * 1000) + DAY_MS - 60_000))
    assert webhook["secret"] in everything(telling, webhook)
    telling.run(webhooks.erase_old_secrets(telling.app.store, int(at * 1000) + DAY_MS + 60_000))
    assert webhook["secret"] not in everything(telling, webhook)
    assert client.get(f"/webhooks/{webhook['id']}", cast_to=object)["old_secret_expires_at"] is None
    post(client, webhook, "/test")
    _, (_, headers, body) = receiver.wait_for(2)
    client.webhooks.verify_signature(body, headers, secret=rotated["secret"])
    with pytest.raises(ValueError, match="signature"):
        client.webhooks.verify_signature(body, headers, secret=webhook["secret"])


def test_an_overlap_that_is_over_is_shown_as_over_before_the_secret_is_erased(serve_by_clock, clock, new_client):
    with serve_by_clock(**TELLS) as server:
        client = new_client(server)
        webhook = create(client, NOWHERE)
        path = f"/webhooks/{webhook['id']}"
        end = post(client, webhook, "/rotate_secret", {"overlap_seconds": 60})["old_secret_expires_at"]
        clock.now += 59
        assert client.get(path, cast_to=object)["old_secret_expires_at"] == end
        clock.now += 2
        assert client.get(path, cast_to=object)["old_secret_expires_at"] is None
        assert client.get("/webhooks", cast_to=object)["data"][0]["old_secret_expires_at"] is None
        assert post(client, webhook, body={"enabled": False})["old_secret_expires_at"] is None


def everything(server, webhook):
    """All that the database has of a webhook, as one text."""
    found = rows(server, "select * from webhooks where webhook_id = :webhook_id", webhook_id=webhook["id"])
    kept = rows(server, "select * from idempotency_keys where object_id = :webhook_id", webhook_id=webhook["id"])
    return json.dumps([*map(list, found), *map(list, kept)])


def test_without_overlap_no_secret_from_before_signs_any_more_or_is_kept(client, telling, receiver):
    made = create(client, receiver.url)
    before = [made["secret"], post(client, made, "/rotate_secret")["secret"]]
    last = post(client, made, "/rotate_secret", {"overlap_seconds": 0})
    assert last["old_secret_expires_at"] is None
    stored = everything(telling, made)
    assert last["secret"] in stored
    assert not [secret for secret in before if secret in stored]
    post(client, made, "/test")
    ((_, headers, body),) = receiver.wait_for(1)
    assert " " not in headers["webhook-signature"]
    client.webhooks.verify_signature(body, headers, secret=last["secret"])


def test_a_secret_that_is_replaced_is_cut_out_of_the_answers_that_are_kept(client, telling):
    def keyed(key):
        return {"headers": {"Idempotency-Key": key}}

    def make():
        return client.post("/webhooks", body={"url": NOWHERE}, cast_to=object, options=keyed("made"))

    def rotate(key, overlap):
        return post(client, made, "/rotate_secret", {"overlap_seconds": overlap}, **keyed(key))

    made = make()
    first = rotate("first", 60)
    assert rotate("first", 60) == first
    assert make() == made
    second = rotate("second", 0)
    assert made["secret"] not in (stored := everything(telling, made))
    assert first["secret"] not in stored
    assert make() == {name: value for name, value in made.items() if name != "secret"}
    assert "secret" not in rotate("first", 60)
    assert rotate("second", 0) == second


def test_each_delivery_is_signed_by_the_secrets_of_its_moment():
    first, second, third = new_secret(), new_secret(), new_secret()
    secrets = Secrets(first).replaced(second, 1000, 500)
    assert secrets.at(1499).all() == [second, first]
    assert secrets.at(1500).all() == [second]
    # One that was replaced earlier keeps its own end, unless the new one comes sooner.
    assert secrets.replaced(third, 1200, 500).at(1499).all() == [third, second, first]
    assert secrets.replaced(third, 1200, 500).at(1500).all() == [third, second]
    assert secrets.replaced(third, 1200, 100).at(1299).all() == [third, second, first]
    assert secrets.replaced(third, 1200, 100).at(1300).all() == [third]
    assert secrets.replaced(third, 1200, 0).all() == [third]
    assert Secrets.stored(secrets.current, secrets.stored_old) == secrets


def test_a_client_that_repeats_a_rotation_does_not_lose_the_secret_in_use(client, receiver):
    webhook = create(client, receiver.url)
    for _ in range(3):
        rotated = post(client, webhook, "/rotate_secret")
    post(client, webhook, "/test")
    ((_, headers, body),) = receiver.wait_for(1)
    for secret in (webhook["secret"], rotated["secret"]):
        client.webhooks.verify_signature(body, headers, secret=secret)


@pytest.mark.parametrize("overlap", [-1, 604_801, 1.5, "3600", None])
def test_an_overlap_out_of_its_limits_is_refused(client, overlap):
    webhook = create(client, NOWHERE)
    with pytest.raises(openai.BadRequestError) as caught:
        post(client, webhook, "/rotate_secret", {"overlap_seconds": overlap})
    assert caught.value.param == "overlap_seconds"
    assert client.get(f"/webhooks/{webhook['id']}", cast_to=object)["old_secret_expires_at"] is None


def test_a_webhook_that_is_deleted_in_the_overlap_leaves_no_secret(client, telling):
    webhook = create(client, NOWHERE)
    rotated = post(client, webhook, "/rotate_secret", headers={"Idempotency-Key": "once"})
    client.delete(f"/webhooks/{webhook['id']}", cast_to=object)
    stored = everything(telling, webhook)
    assert webhook["secret"] not in stored
    assert rotated["secret"] not in stored
    telling.run(webhooks.erase_old_secrets(telling.app.store, int(time.time() * 1000) + 2 * DAY_MS))


def test_a_delivery_keeps_its_last_attempts_newest_first(client, receiver):
    webhook = create(client, receiver.url)
    receiver.answers.extend([(500, {}), (404, {})])
    post(client, webhook, "/test")
    (delivery,) = deliveries(client, webhook, until=is_delivered)
    kept = delivery["last_attempts"]
    assert [(attempt["status_code"], attempt["error"]) for attempt in kept] == [(200, None), (404, None), (500, None)]
    assert all(0 <= attempt["duration_ms"] < WAIT_S * 1000 for attempt in kept)
    times = [attempt["attempted_at"] for attempt in kept]
    assert times == sorted(times, reverse=True)
    assert times[0] == delivery["last_attempt_at"]


def test_an_attempt_that_got_no_answer_says_why(client):
    with receiving(free_port()) as gone:
        webhook = create(client, gone.url)
    post(client, webhook, "/test")
    (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["error"])
    attempt = delivery["last_attempts"][0]
    assert (attempt["status_code"], attempt["error"]) == (None, "no connection")


def test_no_more_attempts_are_kept_than_so_many(client, receiver):
    webhook = create(client, receiver.url)
    asked = post(client, webhook, "/test")
    for count in range(2, LAST_ATTEMPTS_MAX + 4):
        deliveries(client, webhook, until=is_delivered)
        post(client, webhook, f"/deliveries/{asked['id']}/resend")
        receiver.wait_for(count)
    (delivery,) = deliveries(client, webhook, until=is_delivered)
    assert (delivery["attempts"], len(delivery["last_attempts"])) == (LAST_ATTEMPTS_MAX + 3, LAST_ATTEMPTS_MAX)


def test_the_duration_of_an_attempt_is_that_of_the_receiver(servers, new_client, database, model, receiver):
    server = servers(database, upstream_url=model.base_url, **TELLS, webhook_timeout_s=0.2)
    client = new_client(server)
    webhook = create(client, receiver.url)
    receiver.may_answer.clear()
    post(client, webhook, "/test")
    (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["error"])
    attempt = delivery["last_attempts"][-1]
    assert attempt["error"] == "no answer in time"
    assert attempt["duration_ms"] >= 200


def test_another_projects_webhook_is_not_there(client, new_client, telling):
    webhook = create(client, NOWHERE)
    before = client.get(f"/webhooks/{webhook['id']}", cast_to=object)
    other = new_client(telling)
    for path, body in (("", {"enabled": False}), ("/rotate_secret", None), ("/test", None)):
        with pytest.raises(openai.NotFoundError, match=f"No webhook found with id '{webhook['id']}'"):
            post(other, webhook, path, body)
    assert client.get(f"/webhooks/{webhook['id']}", cast_to=object) == before
    assert client.get(f"/webhooks/{webhook['id']}/deliveries", cast_to=object)["data"] == []


def test_rotations_at_the_same_moment_leave_one_secret_that_one_of_them_was_told(client, at_once, telling):
    webhook = create(client, NOWHERE)
    told, lock = [], threading.Lock()

    def work(_):
        secret = post(client, webhook, "/rotate_secret")["secret"]
        with lock:
            told.append(secret)

    at_once(work)
    [(current, old)] = rows(
        telling, "select secret, old_secrets from webhooks where webhook_id = :webhook_id", webhook_id=webhook["id"]
    )
    kept = Secrets.stored(current, old).all()
    assert len(set(told)) == len(told)
    assert set(kept) <= set(told)
    assert len(kept) == 4

"""Webhooks: who is told of runs, in which form, how often, and to which addresses nothing is sent."""

from __future__ import annotations

import ipaddress
import json
import time

import httpx2
import openai
import pytest
from tests.ports import free_port
from tests.receiver import TELLS, create, deliveries, finish_run, receiving

from threadkeep import testing, webhook_urls
from threadkeep.addresses import is_public
from threadkeep.errors import BadRequestError
from threadkeep.store.queries import Query
from threadkeep.webhook_events import ALL_EVENTS
from threadkeep.webhooks import REMOVED_AT_ONCE


@pytest.fixture
def client(new_client, telling):
    return new_client(telling)


def test_the_end_of_a_run_is_told_in_the_form_that_the_sdk_knows(client, receiver):
    webhook = create(client, receiver.url)
    run = finish_run(client)
    ((path, headers, body),) = receiver.wait_for(1)
    event = json.loads(body)
    assert path == "/hook"
    assert event == {
        "id": headers["webhook-id"],
        "object": "event",
        "type": "thread.run.completed",
        "created_at": run.completed_at,
        "data": {
            "id": run.id,
            "object": "thread.run",
            "thread_id": run.thread_id,
            "assistant_id": run.assistant_id,
            "status": "completed",
            "metadata": {"order": "12"},
        },
    }
    client.webhooks.verify_signature(body, headers, secret=webhook["secret"])
    with pytest.raises(ValueError, match="signature"):
        client.webhooks.verify_signature(body + b" ", headers, secret=webhook["secret"])
    (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
    assert (delivery["id"], delivery["attempts"], delivery["status_code"]) == (event["id"], 1, 200)
    assert (delivery["type"], delivery["data"]) == (event["type"], event["data"])
    assert delivery["next_attempt_at"] is None


def test_a_run_that_waits_for_tool_outputs_is_told_and_its_end_is_another_event(client, receiver):
    create(client, receiver.url)
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    run = finish_run(client, "call:look", tools=[tool])
    client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
    events = [json.loads(body) for _, _, body in receiver.wait_for(2)]
    assert {event["type"] for event in events} == {"thread.run.requires_action", "thread.run.cancelled"}
    assert len({event["id"] for event in events}) == 2


def test_only_what_is_wanted_is_told(client, receiver, model):
    webhook = create(client, receiver.url, events=["thread.run.failed"])
    assert webhook["events"] == ["thread.run.failed"]
    finish_run(client)
    model.reply(testing.error(400))
    run = finish_run(client)
    assert run.status == "failed"
    (delivery,) = deliveries(client, webhook)
    assert delivery["type"] == "thread.run.failed"


def test_an_event_that_is_chosen_twice_is_kept_once(client):
    twice = ["thread.run.failed", "thread.run.expired", "thread.run.failed"]
    webhook = create(client, "http://127.0.0.1:9/hook", events=twice)
    assert webhook["events"] == ["thread.run.failed", "thread.run.expired"]
    changed = client.post(f"/webhooks/{webhook['id']}", body={"events": twice[1:]}, cast_to=object)
    assert changed["events"] == ["thread.run.expired", "thread.run.failed"]


def test_no_more_events_are_chosen_than_there_are(client):
    webhook = create(client, "http://127.0.0.1:9/hook")
    for path in ("/webhooks", f"/webhooks/{webhook['id']}"):
        body = {"url": "http://127.0.0.1:9/hook", "events": ["thread.run.failed"] * (len(ALL_EVENTS) + 1)}
        with pytest.raises(openai.BadRequestError, match="maximum length 6, but got an array with length 7") as caught:
            client.post(path, body=body, cast_to=object)
        assert caught.value.param == "events"


def test_without_a_choice_all_events_are_told(client, receiver):
    assert create(client, receiver.url)["events"] == list(ALL_EVENTS)


def test_another_projects_runs_are_not_told(client, new_client, telling, receiver):
    webhook = create(client, receiver.url)
    finish_run(new_client(telling))
    run = finish_run(client)
    deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
    assert [json.loads(body)["data"]["id"] for _, _, body in receiver.received] == [run.id]


def test_what_is_not_taken_is_told_again_under_the_same_id(client, receiver):
    webhook = create(client, receiver.url)
    receiver.answers.extend([(500, {}), (404, {})])
    finish_run(client)
    received = receiver.wait_for(3)
    assert len({headers["webhook-id"] for _, headers, _ in received}) == 1
    for _, headers, body in received:
        client.webhooks.verify_signature(body, headers, secret=webhook["secret"])
    (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
    assert delivery["attempts"] == 3


def test_a_receiver_that_is_away_is_told_when_it_comes_back(client):
    with receiving(free_port()) as gone:
        webhook = create(client, gone.url)
    finish_run(client)
    (pending,) = deliveries(client, webhook, until=lambda page: page[0]["error"])
    assert (pending["status"], pending["error"], pending["status_code"]) == ("pending", "no connection", None)
    with receiving(gone.port) as back:
        back.wait_for(1)


def test_what_kind_of_connection_failed_is_told(new_client, servers, database, receiver):
    # Not tried again meanwhile: a receiver that goes away during a handshake leaves aiohttp with an open socket.
    client = new_client(servers(database, webhook_private_addresses=True, webhook_retry_s=240))
    for url, error in (
        ("http://nobody.invalid/hook", "name not found"),
        (receiver.url.replace("http:", "https:"), "TLS failed"),
    ):
        webhook = create(client, url)
        client.post(f"/webhooks/{webhook['id']}/test", cast_to=object)
        (pending,) = deliveries(client, webhook, until=lambda page: page[0]["error"])
        assert pending["error"] == error
        client.delete(f"/webhooks/{webhook['id']}", cast_to=object)


def test_one_delivery_is_retrieved(client, new_client, telling, receiver):
    webhook = create(client, receiver.url)
    finish_run(client)
    (delivered,) = deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
    path = f"/webhooks/{webhook['id']}/deliveries/{delivered['id']}"
    assert client.get(path, cast_to=object) == delivered
    other = create(client, receiver.url)
    with pytest.raises(openai.NotFoundError, match="No event found"):
        client.get(path.replace(webhook["id"], other["id"]), cast_to=object)
    with pytest.raises(openai.NotFoundError, match="No webhook found"):
        new_client(telling).get(path, cast_to=object)


def test_a_run_whose_thread_is_deleted_is_told_as_cancelled_and_is_not_there(client, model, receiver):
    create(client, receiver.url, events=["thread.run.cancelled"])
    model.hold()
    assistant = client.beta.assistants.create(model="any", instructions="Be brief.")
    run = client.beta.threads.create_and_run(assistant_id=assistant.id)
    client.beta.threads.delete(run.thread_id)
    ((_, _, body),) = receiver.wait_for(1)
    assert json.loads(body)["data"]["id"] == run.id
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)


def test_gone_means_gone(client, receiver):
    webhook = create(client, receiver.url)
    receiver.answers.append((410, {}))
    finish_run(client)
    (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["status"] != "pending")
    assert (delivery["status"], delivery["attempts"], delivery["status_code"]) == ("failed", 1, 410)


def test_a_redirect_is_not_followed(client, receiver):
    webhook = create(client, receiver.url)
    receiver.answers.append((302, {"location": f"http://127.0.0.1:{receiver.port}/elsewhere"}))
    finish_run(client)
    deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
    assert {path for path, _, _ in receiver.received} == {"/hook"}


def test_it_is_given_up_after_the_time_that_is_set(new_client, servers, database, model):
    server = servers(database, upstream_url=model.base_url, **TELLS, webhook_give_up_s=0.01)
    client = new_client(server)
    with receiving(free_port()) as gone:
        webhook = create(client, gone.url)
    finish_run(client)
    (delivery,) = deliveries(client, webhook, until=lambda page: page[0]["status"] != "pending")
    assert delivery["status"] == "failed"


def test_what_was_taken_or_given_up_is_sent_again_when_asked(client, new_client, telling, receiver):
    webhook = create(client, receiver.url)
    receiver.answers.append((410, {}))
    finish_run(client)
    (failed,) = deliveries(client, webhook, until=lambda page: page[0]["status"] == "failed")
    path = f"/webhooks/{webhook['id']}/deliveries/{failed['id']}/resend"
    for count in (2, 3):
        asked = client.post(path, cast_to=object)
        assert (asked["id"], asked["status"], asked["data"]) == (failed["id"], "pending", failed["data"])
        receiver.wait_for(count)
        (delivered,) = deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")
        assert delivered["attempts"] == count
    assert len({(headers["webhook-id"], body) for _, headers, body in receiver.received}) == 1
    with pytest.raises(Exception, match="No event found"):
        client.post(path.replace(failed["id"], "evt_other"), cast_to=object)
    with pytest.raises(Exception, match="No webhook found"):
        new_client(telling).post(path, cast_to=object)


def test_what_is_over_is_forgotten_in_time(servers, new_client, database, model, receiver):
    server = servers(database, upstream_url=model.base_url, **TELLS, webhook_deliveries_kept_s=0.001)
    client = new_client(server)
    webhook = create(client, receiver.url)
    finish_run(client)
    deliveries(client, webhook, until=lambda page: page[0]["status"] == "delivered")

    async def forget():
        from threadkeep.webhook_delivery import Deliverer  # noqa: PLC0415 - it belongs to the server's loop

        await Deliverer(server.app.context_of(""))._forget()

    server.run(forget())
    assert client.get(f"/webhooks/{webhook['id']}/deliveries", cast_to=object)["data"] == []


def test_the_secret_is_shown_once(client):
    made = create(client, "http://127.0.0.1:9/hook")
    assert made["secret"].startswith("whsec_")
    assert client.get(f"/webhooks/{made['id']}", cast_to=object) == {k: v for k, v in made.items() if k != "secret"}
    assert made["secret"] not in json.dumps(client.get("/webhooks", cast_to=object))


def test_webhooks_are_listed_and_deleted(client):
    made = [create(client, f"http://127.0.0.1:9/{number}") for number in range(3)]
    page = client.get("/webhooks?order=asc", cast_to=object)
    assert {webhook["id"] for webhook in page["data"]} == {webhook["id"] for webhook in made}
    first = page["data"][0]["id"]
    rest = client.get(f"/webhooks?order=asc&after={first}&limit=1", cast_to=object)
    assert (len(rest["data"]), rest["has_more"]) == (1, True)
    gone = client.delete(f"/webhooks/{first}", cast_to=object)
    assert gone == {"id": first, "object": "webhook.deleted", "deleted": True}
    with pytest.raises(Exception, match="No webhook found"):
        client.get(f"/webhooks/{first}", cast_to=object)


def query(text):
    return Query("of a test", text, text)


def count_deliveries(server, webhook_id):
    counted = query("select count(*) from webhook_deliveries where webhook_id = :webhook_id")
    return server.run(server.app.store.one(counted, webhook_id=webhook_id))[0]


def test_what_a_deleted_webhook_was_to_be_told_is_forgotten_however_much_it_is(client, telling):
    webhook = create(client, "http://127.0.0.1:9/hook")
    row = query(
        "insert into webhook_deliveries (webhook_id, event_id, created_ms, type, payload, status, attempts, next_at)"
        " values (:webhook_id, :event_id, 0, 't', '{}', 'pending', 0, :next_at)"
    )

    def leave(next_at, count):
        rows = [{"webhook_id": webhook["id"], "event_id": f"evt_{n}", "next_at": next_at} for n in range(count)]
        telling.run(telling.app.store.write(lambda tx: tx.run_many(row, rows)))

    leave(10**15, REMOVED_AT_ONCE * 2 + 1)
    client.delete(f"/webhooks/{webhook['id']}", cast_to=object)
    assert count_deliveries(telling, webhook["id"]) == 0
    # As a run leaves it that ends while the webhook is deleted.
    leave(0, 3)
    deadline = time.monotonic() + 60
    while count_deliveries(telling, webhook["id"]):
        assert time.monotonic() < deadline


def test_a_project_has_so_many_webhooks_and_no_more(client):
    for number in range(20):
        create(client, f"http://127.0.0.1:9/{number}")
    with pytest.raises(Exception, match="20 webhooks, the most"):
        create(client, "http://127.0.0.1:9/more")


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/hook",
        "https://localhost/hook",
        "https://10.1.2.3/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/hook",
        "https://[::ffff:10.0.0.1]/hook",
        "https://127.1/hook",
        "https://2130706433/hook",
        "https://0x7f000001/hook",
        "https://0177.0.0.0x1/hook",
        "https://127.0.0.1./hook",
        "https://localhost./hook",
        "http://app.example.com/hook",
        "ftp://app.example.com/hook",
        "https://user:word@app.example.com/hook",
        "https://app.example.com/hook#part",
        "https:///hook",
        "app.example.com",
        "https://app.example.com:99999/",
    ],
)
def test_an_address_that_must_not_be_told_is_refused(servers, url):
    server = servers("sqlite")
    answer = httpx2.post(
        f"{server.base_url}/webhooks", json={"url": url}, headers={"Authorization": f"Bearer {server.new_key()}"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "url"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://app.example.com/hook", "expected a URL that begins with 'https://'"),
        ("app.example.com", "expected a URL that begins with 'https://'"),
        (
            "http://app.example.com/hook",
            "expected a URL that begins with 'https://'; plain http needs --webhook-private-addresses on the server",
        ),
        ("https:///hook", "expected a name or an address behind 'https://'"),
        ("https://[::1/hook", "expected a name or an address behind 'https://'"),
        ("https://app..example.com/", "expected a name or an address, not 'app..example.com'"),
        ("https://app%2eexample.com/", "expected a name or an address, not 'app%2eexample.com'"),
        ("https://app.example.com\\.evil/", "expected a name or an address, not 'app.example.com\\\\.evil'"),
        (f"https://{'a' * 64}.example.com/", f"expected a name or an address, not '{'a' * 64}.example.com'"),
        ("https://app.example.com:99999/", "expected a port from 1 to 65535"),
        ("https://app.example.com:0/", "expected a port from 1 to 65535"),
        ("https://app.example.com:x/", "expected a port from 1 to 65535"),
        ("https://user:word@app.example.com/hook", "expected a URL without user and password"),
        ("https://app.example.com/hook#part", "expected a URL without '#' and what follows it"),
        ("https://app.example.com/a hook", "expected a URL without spaces, line breaks or control characters"),
        ("https://app.example.com/\n", "expected a URL without spaces, line breaks or control characters"),
        (
            "https://m\u00fcnchen.example/x",
            "expected a name in its ASCII form, such as 'xn--mnchen-3ya.example' for 'm\u00fcnchen.example'",
        ),
        (
            "https://app.example.com/m\u00fcnchen",
            "expected other letters than ASCII percent-encoded, such as '%C3%BC' for '\u00fc'",
        ),
    ],
)
def test_what_is_wrong_with_an_address_is_named(url, why):
    with pytest.raises(BadRequestError) as caught:
        webhook_urls.check(url, allows_private=False)
    assert caught.value.message == f"Invalid 'url': {why}."


def test_plain_http_is_named_where_it_is_allowed():
    with pytest.raises(BadRequestError, match=r"begins with 'https://' or 'http://'\.$"):
        webhook_urls.check("ftp://app.example.com", allows_private=True)


def test_an_address_may_end_like_a_number():
    webhook_urls.check("https://app.example.com0x1/hook", allows_private=False)
    webhook_urls.check("https://93.184.215.14/hook", allows_private=False)
    webhook_urls.check("https://93.example.com./hook", allows_private=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_nothing_is_sent_to_a_private_address_whatever_its_name(tmp_path, receiver, model, host):
    url = f"sqlite:///{tmp_path / 'a.db'}"
    settings = {"database": url, "upstream_url": model.base_url, "webhook_retry_s": 0.05}
    with testing.serve(**settings, webhook_private_addresses=True) as server:
        key = server.new_key()
        headers = {"Authorization": f"Bearer {key}"}
        hook = f"http://{host}:{receiver.port}/hook"
        webhook = httpx2.post(f"{server.base_url}/webhooks", json={"url": hook}, headers=headers).json()
    with testing.serve(**settings) as server, httpx2.Client(base_url=server.base_url, headers=headers) as http:
        assistant = http.post("/assistants", json={"model": "text:1", "instructions": "Be brief."}).json()
        http.post("/threads/runs", json={"assistant_id": assistant["id"]})
        deadline = time.monotonic() + 60
        while not (page := http.get(f"/webhooks/{webhook['id']}/deliveries").json()["data"]) or not page[0]["error"]:
            assert time.monotonic() < deadline
    assert page[0]["error"] == "private address"
    assert receiver.received == []


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("64:ff9b::5db8:d70e", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("172.16.0.1", False),
        ("192.168.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::127.0.0.1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("fc00::1", False),
        ("fe80::1", False),
        ("ff02::1", False),
    ],
)
def test_which_addresses_are_public(address, expected):
    assert is_public(ipaddress.ip_address(address)) is expected


def test_a_webhook_that_is_made_again_under_the_same_idempotency_key_is_the_first(client):
    options = {"headers": {"Idempotency-Key": "once"}}
    body = {"url": "http://127.0.0.1:9/hook"}
    made = [client.post("/webhooks", body=body, cast_to=object, options=options) for _ in range(2)]
    assert made[0] == made[1]
    assert len(client.get("/webhooks", cast_to=object)["data"]) == 1


def test_a_receiver_that_does_not_answer_holds_up_no_other(client, receiver):
    with receiving() as silent:
        silent.may_answer.clear()
        create(client, silent.url)
        for _ in range(6):
            finish_run(client)
        silent.wait_for(4)
        create(client, receiver.url)
        run = finish_run(client)
        ((_, _, body),) = receiver.wait_for(1)
        assert json.loads(body)["data"]["id"] == run.id
        # So many at once, and no more.
        assert len(silent.received) == 4

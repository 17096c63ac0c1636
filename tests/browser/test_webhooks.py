"""Webhooks in the playground: added, changed, tested, looked at and deleted, with a real receiver behind them."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import expect
from tests.browser.test_looks import CONTRAST_MIN, CONTRASTS, PHONE, fits
from tests.receiver import receiving

from threadkeep import projects, webhooks

RETRIES = {"webhook_private_addresses": True, "webhook_retry_s": 0.2}
# So long that nothing is sent a second time by itself.
PATIENT = {"webhook_private_addresses": True, "webhook_retry_s": 240}
OFF = "The webhook is off. Switch it on first."


@pytest.fixture
def server(new_server):
    return new_server(**PATIENT)


@pytest.fixture
def add(client):
    """Adds a webhook by the API: `add(url)`."""
    return lambda url, **more: client.post("/webhooks", body={"url": url, **more}, cast_to=object)


@pytest.fixture
def run(client, assistant):
    """Has the assistant answer in a thread of its own."""

    def run():
        thread = client.beta.threads.create(
            metadata={"title": "A tale"}, messages=[{"role": "user", "content": "Once upon a time"}]
        )
        return client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)

    return run


def deliveries(page):
    return page.get_by_role("list", name="Deliveries").get_by_role("listitem")


def open_webhooks(page):
    page.get_by_label("Settings").click()
    page.get_by_role("link", name="Webhooks").click()


def test_a_webhook_is_added_and_its_secret_is_shown_once(page, client, receiver, run, shoot):
    open_webhooks(page)
    expect(page).to_have_title("Webhooks · Threadkeep")
    expect(page.get_by_text("No webhooks yet.")).to_be_visible()
    page.get_by_role("button", name="Add a webhook").click()
    form = page.get_by_role("dialog", name="Add a webhook")
    expect(form.get_by_label("Address")).to_be_focused()
    shoot(page, "webhook-form")
    form.get_by_label("Address").fill("ftp://127.0.0.1/hook")
    for name in ("completed", "failed"):
        form.get_by_label(name, exact=True).uncheck()
    form.get_by_role("button", name="Add").click()
    expect(form.get_by_role("alert")).to_contain_text("expected a URL that begins with")
    form.get_by_label("Address").fill(receiver.url)
    form.get_by_label("completed", exact=True).check()
    form.get_by_role("button", name="Add").click()
    kept = page.get_by_role("dialog", name="Keep the secret")
    secret = kept.get_by_label("Secret", exact=True).inner_text()
    shoot(page, "webhook-secret")
    page.keyboard.press("Escape")
    kept.get_by_role("button", name="I have it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".plate")).to_contain_text("incomplete, cancelled, expired, requires action")
    assert secret not in page.content()
    [made] = client.get("/webhooks", cast_to=object)["data"]
    assert (made["url"], "thread.run.failed" in made["events"]) == (receiver.url, False)
    run()
    ((_, headers, body),) = receiver.wait_for(1)
    client.webhooks.verify_signature(body, headers, secret=secret)


def test_an_address_that_must_not_be_told_is_refused_with_what_to_do(new_server, new_page):
    page = new_page()
    page.goto(f"{new_server().url}#/webhooks")
    page.get_by_role("button", name="Add a webhook").click()
    page.get_by_label("Address").fill("https://127.0.0.1/hook")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("--webhook-private-addresses")
    for box in page.get_by_role("checkbox").all():
        box.uncheck()
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_have_text("Choose at least one event.")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_deliveries_say_what_became_of_them_and_are_sent_again(page, receiver, add, run):
    receiver.answers.append((503, {}))
    webhook = add(receiver.url)
    answered = run()
    page.goto(f"{page.url.partition('#')[0]}#/webhooks")
    page.locator(".plate").click()
    assert page.url.endswith(f"#/webhooks/{webhook['id']}")
    row = deliveries(page)
    expect(row).to_contain_text("pending run completed")
    expect(row).to_contain_text("The receiver answered with 503. The fault is at the receiver; its log says more.")
    expect(row).to_contain_text(re.compile(r"1 attempt, the next in [34] min"))
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text("delivered run completed")
    expect(row).to_contain_text(re.compile("2 attempts, answered with 200"))
    # A receiver that lost it wants it once more.
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text(re.compile("3 attempts, answered with 200"))
    assert len({json.loads(body)["id"] for _, _, body in receiver.wait_for(3)}) == 1
    row.get_by_role("link", name="See the run").click()
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    runs = page.get_by_role("complementary", name="Runs")
    expect(runs.locator(".status")).to_have_text("completed")
    expect(runs).to_contain_text(answered.id)
    page.go_back()
    expect(deliveries(page)).to_have_count(1)


def open_webhook(page, webhook):
    page.goto(f"{page.url.partition('#')[0]}#/webhooks/{webhook['id']}")


def test_a_test_is_sent_and_each_attempt_can_be_seen(page, receiver, add):
    receiver.answers.append((503, {}))
    open_webhook(page, add(receiver.url, events=["thread.run.failed"]))
    page.get_by_role("button", name="Send a test").click()
    row = deliveries(page)
    expect(row).to_contain_text("pending test")
    expect(row).to_contain_text("The receiver answered with 503.")
    expect(row.get_by_role("link", name="See the run")).to_have_count(0)
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text("delivered test")
    attempts = row.get_by_role("list", name="Last attempts")
    expect(attempts).to_be_hidden()
    row.get_by_text("2 attempts, answered with 200").click()
    expect(attempts.get_by_role("listitem")).to_have_text(
        [re.compile(r": answered with 200, \d+ ms$"), re.compile(r": answered with 503, \d+ ms$")]
    )
    assert {json.loads(body)["type"] for _, _, body in receiver.received} == {"webhook.test"}


def test_an_address_and_its_events_are_changed(page, client, receiver, add, run):
    webhook = add("http://127.0.0.1:9/hook", events=["thread.run.failed"])
    open_webhook(page, webhook)
    page.get_by_role("button", name="Change").click()
    form = page.get_by_role("dialog", name="Change the webhook")
    expect(form.get_by_label("Address")).to_have_value("http://127.0.0.1:9/hook")
    expect(form.get_by_role("checkbox", checked=True)).to_have_count(1)
    form.get_by_label("Address").fill("ftp://127.0.0.1/hook")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("expected a URL that begins with")
    form.get_by_label("Address").fill(receiver.url)
    form.get_by_label("completed", exact=True).check()
    form.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Change")).to_be_focused()
    expect(page.get_by_role("heading", name=receiver.url)).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("completed, failed")
    run()
    receiver.wait_for(1)
    changed = client.get(f"/webhooks/{webhook['id']}", cast_to=object)
    assert (changed["url"], set(changed["events"])) == (receiver.url, {"thread.run.completed", "thread.run.failed"})


def test_a_webhook_is_switched_off_and_on(page, client, receiver, add, run):
    webhook = add(receiver.url)
    open_webhook(page, webhook)
    page.get_by_role("button", name="Switch off").click()
    expect(page.locator(".facts")).to_contain_text("off What happens now is not told.")
    button = page.get_by_role("button", name="Send a test")
    expect(button).to_be_disabled()
    expect(button).to_have_accessible_description(OFF)
    assert client.get(f"/webhooks/{webhook['id']}", cast_to=object)["enabled"] is False
    run()
    page.get_by_role("link", name="All webhooks").click()
    expect(page.locator(".plate")).to_contain_text("off All events")
    page.locator(".plate").click()
    page.get_by_role("button", name="Switch on").click()
    expect(page.get_by_role("button", name="Switch off")).to_be_focused()
    page.get_by_role("button", name="Send a test").click()
    expect(deliveries(page)).to_contain_text(["delivered test"])
    assert len(receiver.received) == 1


def test_what_waits_for_a_webhook_that_is_off_says_so(page, receiver, add):
    webhook = add(receiver.url)
    receiver.answers.append((503, {}))
    open_webhook(page, webhook)
    page.get_by_role("button", name="Send a test").click()
    expect(deliveries(page)).to_contain_text("1 attempt, the next in")
    page.get_by_role("button", name="Switch off").click()
    expect(deliveries(page)).to_contain_text("1 attempt, waits until the webhook is on")
    button = deliveries(page).get_by_role("button", name="Send again")
    expect(button).to_be_disabled()
    expect(button).to_have_accessible_description(OFF)
    page.get_by_role("button", name="Switch on").click()
    expect(deliveries(page)).to_contain_text("1 attempt, the next in")
    expect(button).to_have_accessible_description("")


def test_a_new_secret_is_made_and_shown_once(page, client, receiver, add, shoot):
    webhook = add(receiver.url)
    open_webhook(page, webhook)
    page.get_by_role("button", name="New secret").click()
    form = page.get_by_role("dialog", name="A new secret")
    expect(form.get_by_label("The old secret signs too")).to_be_focused()
    shoot(page, "webhook-rotation")
    form.get_by_label("The old secret signs too").select_option("for an hour")
    form.get_by_role("button", name="Make a new secret").click()
    kept = page.get_by_role("dialog", name="Keep the secret")
    secret = kept.get_by_label("Secret", exact=True).inner_text()
    assert secret != webhook["secret"]
    kept.get_by_role("button", name="I have it").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".facts")).to_contain_text("signs too until")
    assert secret not in page.content()
    page.get_by_role("button", name="Send a test").click()
    ((_, headers, body),) = receiver.wait_for(1)
    for known in (secret, webhook["secret"]):
        client.webhooks.verify_signature(body, headers, secret=known)


def test_a_dialog_that_is_left_by_the_browsers_own_button_does_not_come_back(page, add):
    add("http://127.0.0.1:9/hook")
    page.goto(f"{page.url.partition('#')[0]}#/webhooks")
    page.locator(".plate").click()
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.locator(".plate").click()
    expect(page.get_by_role("button", name="Change")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_is_pending_changes_by_itself(new_server, new_page, sdk):
    server = new_server(**RETRIES)
    client = sdk(server)
    made = client.beta.assistants.create(model="scripted", instructions="You help.")
    with receiving() as receiver:
        receiver.may_answer.clear()
        webhook = client.post("/webhooks", body={"url": receiver.url}, cast_to=object)
        page = new_page()
        page.goto(f"{server.url}#/webhooks/{webhook['id']}")
        expect(page.get_by_text("Nothing was told yet.")).to_be_visible()
        thread = client.beta.threads.create()
        client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=made.id)
        receiver.wait_for(1)
        page.get_by_role("button", name="Refresh").click()
        expect(deliveries(page)).to_contain_text(["pending run completed"])
        receiver.answers.append((500, {}))
        receiver.may_answer.set()
        expect(deliveries(page)).to_contain_text([re.compile("delivered run completed.*2 attempts", re.DOTALL)])


def test_a_long_list_is_loaded_as_it_is_scrolled(page, receiver, add, server):
    webhook = add(receiver.url)
    fill(server, webhook["id"], 230)
    page.goto(f"{page.url.partition('#')[0]}#/webhooks/{webhook['id']}")
    expect(deliveries(page).first).to_contain_text("run completed")
    expect(deliveries(page)).to_have_count(50)
    box = page.get_by_role("region", name="Deliveries")
    for count in (100, 150, 200, 230):
        box.evaluate("box => { box.scrollTop = box.scrollHeight; }")
        expect(deliveries(page)).to_have_count(count)
    expect(page.get_by_role("button", name="Older deliveries")).to_have_count(0)
    page.get_by_role("button", name="Refresh").click()
    expect(deliveries(page)).to_have_count(230)


def fill(server, webhook_id, count):
    """Makes deliveries that are over."""
    run = {"id": "run_1", "thread_id": "thread_1", "assistant_id": "asst_1", "status": "completed", "metadata": {}}
    data = {"object": "thread.run", **run}

    def unit(tx):
        for number in range(count):
            event = {"id": f"evt_{number:04}", "type": "thread.run.completed", "created_at": number, "data": data}
            about = {"event_id": event["id"], "type": event["type"], "payload": json.dumps(event), "thread_id": None}
            at_ms = 1_800_000_000_000 + number * 1000
            tx.run(webhooks.sql.insert_deliveries, project_id=project_id, now_ms=at_ms, wanted="%", **about)
            became = {"status": "delivered", "http_status": 200, "error": None, "next_at": None, "attempted_at": at_ms}
            became["last_attempts"] = "[]"
            tx.run(webhooks.sql.note_attempt, webhook_id=webhook_id, event_id=event["id"], attempts=0, **became)

    async def work():
        await server.app.store.write(unit)

    project_id = server.run(projects.find(server.app.store, projects.DEFAULT_PROJECT)).project_id
    server.run(work())


def test_a_webhook_is_deleted_with_undo(page, client, add):
    add("http://127.0.0.1:9/first")
    add("http://127.0.0.1:9/second")
    page.goto(f"{page.url.partition('#')[0]}#/webhooks")
    page.locator(".plate").filter(has_text="first").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".plate")).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="http://127.0.0.1:9/first")).to_be_visible()
    assert len(client.get("/webhooks", cast_to=object)["data"]) == 2
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".plate")).to_have_count(1)
    page.reload()
    expect(page.locator(".plate")).to_have_count(1)
    expect(page.locator(".plate")).to_contain_text("second")
    [left] = client.get("/webhooks", cast_to=object)["data"]
    assert left["url"].endswith("second")


def test_a_webhook_that_is_not_there_and_a_server_that_is_away_are_told(new_page, wire, add, run):
    page = new_page()
    page.goto(f"{wire.url}#/webhooks/wh_missing")
    expect(page.get_by_role("alert")).to_contain_text("No webhook found with id 'wh_missing'")
    page.get_by_role("link", name="All webhooks").click()
    expect(page.get_by_text("No webhooks yet.")).to_be_visible()
    webhook = add("http://127.0.0.1:9/hook")
    run()
    page.goto(f"{wire.url}#/webhooks/{webhook['id']}")
    expect(deliveries(page)).to_contain_text(["No connection."])
    wire.cut()
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached.")
    expect(deliveries(page)).to_have_count(1)
    wire.mend()
    page.get_by_role("button", name="Refresh").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_part_of_the_page_that_cannot_be_loaded_is_told(new_page, wire):
    page = new_page()
    page.goto(wire.url)
    expect(page.get_by_text("No threads yet.")).to_be_visible()
    page.get_by_label("Settings").click()
    expect(page.get_by_role("link", name="Webhooks")).to_be_visible()
    wire.cut()
    page.get_by_role("link", name="Webhooks").click()
    expect(page.get_by_role("alert").filter(has_text="could not be loaded")).to_be_visible()
    wire.mend()
    page.get_by_role("button", name="Reload the page").click()
    expect(page.get_by_text("No webhooks yet.")).to_be_visible()


def test_a_server_that_needs_a_key_is_asked_again_with_it(server, new_page):
    server.new_key("other")
    page = new_page()
    page.goto(f"{server.url}#/webhooks")
    question = page.get_by_role("dialog", name="This server needs a key")
    question.get_by_label("Key", exact=True).fill(server.new_key("mine"))
    question.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("No webhooks yet.")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_webhooks_can_be_read_by_everybody(server, new_page, receiver, add, run, shoot, look):
    receiver.answers.extend([(503, {}), (410, {})])
    add("http://127.0.0.1:9/hook", events=["thread.run.failed", "thread.run.expired"])
    add("http://127.0.0.1:9/another/address/that/is/rather/long?with=a-query&and=more-of-it&tenant=acme-corporation")
    webhook = add(receiver.url)
    for count in range(1, 4):
        run()
        receiver.wait_for(count)
    phone = {"viewport": PHONE, "has_touch": True, "color_scheme": "dark"}
    page = new_page(**(phone if look == "phone" else {"color_scheme": look}))
    page.goto(f"{server.url}#/webhooks")
    expect(page.locator(".plate").filter(has=page.locator(".status"))).to_have_count(2)
    shoot(page, f"webhooks-{look}")
    check(page)
    page.locator(f"[href$='{webhook['id']}']").click()
    expect(deliveries(page)).to_have_count(3)
    expect(page.locator(".status.failed")).to_have_count(1)
    page.locator(".deliveries summary").first.click()
    shoot(page, f"deliveries-{look}")
    check(page)


def check(page):
    """All texts can be told from what is behind them, and nothing is wider than the screen."""
    low = [(round(ratio, 2), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < CONTRAST_MIN]
    assert low == []
    fits(page)


def test_the_keyboard_alone_gets_to_a_delivery_and_back(page, receiver, add, run):
    add(receiver.url)
    run()
    page.reload()
    page.get_by_label("Settings").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Webhooks")).to_be_visible()
    press_until(page, page.get_by_role("link", name="Webhooks"))
    expect(page.get_by_role("link", name="API reference")).to_be_hidden()
    press_until(page, page.locator(".plate"))
    # What is under the focus must not change any more.
    expect(deliveries(page)).to_contain_text(["delivered run completed"])
    press_until(page, page.get_by_role("button", name="Send again"))
    receiver.wait_for(2)
    press_until(page, page.get_by_role("link", name="See the run"), "Shift+Tab")
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()


def press_until(page, target, tab="Tab"):
    """Goes to a control and presses it."""
    expect(target).to_be_visible()
    for _ in range(40):
        page.keyboard.press(tab)
        if target.evaluate("target => target === document.activeElement"):
            page.keyboard.press("Enter")
            return
    raise AssertionError(f"no way to {target}")

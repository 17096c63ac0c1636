"""All metadata of threads and messages: shown, changed and removed, within the API's limits."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from tests.browser.test_looks import CONTRAST_MIN, CONTRASTS, PHONE, fits


@pytest.fixture
def thread(client):
    return client.beta.threads.create(
        metadata={"title": "A tale", "user": "ada", "note": "two\nlines"},
        messages=[{"role": "user", "content": "Once upon a time", "metadata": {"source": "book"}}],
    )


@pytest.fixture
def page(new_page, server, thread):
    page = new_page()
    page.goto(f"{server.url}#/{thread.id}")
    return page


def open_form(page):
    page.get_by_role("navigation", name="Thread").get_by_role("button", name="Metadata").click()
    form = page.get_by_role("dialog", name="Metadata of the thread")
    expect(form.get_by_text("pairs", exact=False).first).to_be_visible()
    return form


def add_pair(form, key, value):
    form.get_by_role("button", name="Add a pair").click()
    form.get_by_placeholder("key").last.fill(key)
    form.get_by_placeholder("value").last.fill(value)


def save(form):
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)


def test_pairs_are_added_changed_renamed_and_removed(page, client, thread):
    form = open_form(page)
    expect(form.get_by_text("3 of 16 pairs")).to_be_visible()
    form.get_by_label("Value 1").fill("Another tale")
    form.get_by_label("Key 2").fill("owner")
    form.get_by_role("button", name="Remove pair 3").click()
    expect(form.get_by_role("button", name="Add a pair")).to_be_focused()
    add_pair(form, "color", "blue 🙂")
    expect(form.get_by_text("3 of 16 pairs")).to_be_visible()
    save(form)
    assert client.beta.threads.retrieve(thread.id).metadata == {
        "title": "Another tale",
        "owner": "ada",
        "color": "blue 🙂",
    }
    expect(page.get_by_role("heading", name="Another tale")).to_be_visible()
    expect(page.locator(".row")).to_contain_text("owner=ada")


def test_what_is_not_touched_stays_as_others_have_made_it_meanwhile(page, client, thread):
    form = open_form(page)
    client.beta.threads.update(thread.id, metadata={"user": "grace", "new": "one"})
    add_pair(form, "mine", "two")
    # A row that is left empty is none.
    form.get_by_role("button", name="Add a pair").click()
    form.get_by_label("Value 1").press("Enter")
    expect(form).to_have_count(0)
    kept = {"title": "A tale", "user": "grace", "note": "two\nlines", "new": "one", "mine": "two"}
    assert client.beta.threads.retrieve(thread.id).metadata == kept


def test_limits_are_told_before_anything_is_sent(page, client, thread):
    form = open_form(page)
    problem = form.get_by_role("alert")
    can_save = form.get_by_role("button", name="Save")
    # An emoji is one character, as the server counts.
    form.get_by_label("Value 1").fill("🙂" * 512)
    expect(can_save).to_be_enabled()
    form.get_by_label("Value 1").fill("🙂" * 513)
    expect(problem).to_have_text("The value of “title” has 513 characters; 512 are the most.")
    expect(form.get_by_label("Value 1")).to_have_attribute("aria-invalid", "true")
    expect(can_save).to_be_disabled()
    form.get_by_label("Value 1").fill("🙂" * 512)
    form.get_by_label("Key 2").fill("k" * 65)
    expect(problem).to_have_text(re.compile(r"^The key “k+…” has 65 characters; 64 are the most\.$"))
    form.get_by_label("Key 2").fill("title")
    expect(problem).to_have_text("The key “title” is there twice.")
    form.get_by_label("Key 2").fill("")
    expect(problem).to_have_text("Every value needs a key.")
    form.get_by_label("Key 2").fill("k" * 64)
    for number in range(13):
        add_pair(form, f"key {number}", "")
    expect(form.get_by_text("16 of 16 pairs")).to_be_visible()
    expect(form.get_by_role("button", name="Add a pair")).to_be_disabled()
    save(form)
    assert len(client.beta.threads.retrieve(thread.id).metadata) == 16


def test_what_the_server_refuses_is_told_and_nothing_is_lost(page, client, thread):
    form = open_form(page)
    client.beta.threads.update(thread.id, metadata={f"other {number}": "" for number in range(13)})
    add_pair(form, "mine", "one")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("16")
    expect(form.get_by_label("Value 4")).to_have_value("one")
    form.get_by_role("button", name="Remove pair 2").click()
    expect(form.get_by_role("alert")).to_have_count(0)
    save(form)
    changed = client.beta.threads.retrieve(thread.id).metadata
    assert (len(changed), changed["mine"], "user" in changed) == (16, "one", False)


def test_a_strict_server_says_that_nothing_can_be_removed(new_server, new_page, sdk):
    server = new_server(strict=True)
    thread = sdk(server).beta.threads.create(metadata={"user": "ada"})
    page = new_page()
    page.goto(f"{server.url}#/{thread.id}")
    form = open_form(page)
    form.get_by_role("button", name="Remove pair 1").click()
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_contain_text("metadata.user")


def test_a_message_has_metadata_too(page, client, thread):
    message = page.locator(".message").first
    message.hover()
    message.get_by_role("button", name="Metadata").click()
    form = page.get_by_role("dialog", name="Metadata of the message")
    expect(form.get_by_label("Value 1")).to_have_value("book")
    form.get_by_label("Value 1").fill("film")
    save(form)
    [changed] = client.beta.threads.messages.list(thread.id).data
    assert changed.metadata == {"source": "film"}
    expect(message).to_contain_text("Once upon a time")


def test_a_thread_that_is_gone_meanwhile_is_told(page, client, thread):
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    client.beta.threads.delete(thread.id)
    page.get_by_role("navigation", name="Thread").get_by_role("button", name="Metadata").click()
    form = page.get_by_role("dialog", name="Metadata of the thread")
    expect(form.get_by_role("alert")).to_contain_text("No thread found")
    expect(form.get_by_role("button", name="Save")).to_be_disabled()
    page.keyboard.press("Escape")
    expect(form).to_have_count(0)


def test_the_form_closes_when_the_browsers_own_button_leaves_the_thread(page, server, thread):
    page.goto(f"{server.url}#/new")
    page.goto(f"{server.url}#/{thread.id}")
    open_form(page)
    page.go_back()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_metadata_can_be_read_by_everybody(server, new_page, thread, shoot, look):
    phone = {"viewport": PHONE, "has_touch": True, "color_scheme": "dark"}
    page = new_page(**(phone if look == "phone" else {"color_scheme": look}))
    page.goto(f"{server.url}#/{thread.id}")
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    shoot(page, f"thread-{look}")
    fits(page)
    form = open_form(page)
    add_pair(form, "a key that is rather long for its field", "A value that is rather long too. " * 6)
    add_pair(form, "user", "again")
    expect(form.get_by_role("alert")).to_be_visible()
    shoot(page, f"metadata-{look}")
    low = [(round(ratio, 2), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < CONTRAST_MIN]
    # What is behind a dialog cannot be used, and is not lit.
    assert low == []
    fits(page)

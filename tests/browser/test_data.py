"""Threads as one's own data: searched, copied, and edited with a past."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from threadkeep import testing


def rows(page):
    return page.locator(".row")


def answers(page):
    return page.locator(".message.assistant .content")


def questions(page):
    return page.locator(".message.user .content")


@pytest.fixture
def tale(client):
    """A thread with 120 messages, one of which speaks of a walrus."""
    said = [f"message {number}" for number in range(120)]
    said[30] = "The walrus and the carpenter"
    messages = [{"role": "user", "content": text} for text in said]
    return client.beta.threads.create(metadata={"title": "A tale", "user": "ada"}, messages=messages)


@pytest.mark.usefixtures("tale")
def test_threads_are_found_by_what_was_said_in_them(page, client, shoot):
    other = [{"role": "user", "content": "Another walrus"}]
    client.beta.threads.create(metadata={"title": "Zoo", "user": "bob"}, messages=other)
    page.reload()
    search = page.get_by_role("searchbox", name="Search threads")
    expect(search).to_have_attribute("placeholder", "Search, or name=value")

    # New messages are found after a moment.
    while len(client.get("/threads/search?q=walrus", cast_to=object)["data"]) < 2:
        pass
    search.fill("walr")
    expect(rows(page)).to_have_count(2)
    expect(rows(page).first).to_contain_text("Another walrus")
    shoot(page, "search")
    search.fill("walrus user=ada")
    expect(rows(page)).to_have_count(1)
    rows(page).click()
    # It is further back than what is loaded at first.
    expect(page.locator(".message.found")).to_contain_text("The walrus and the carpenter")
    expect(page.locator(".message.found")).to_be_in_viewport()
    search.fill("unicorn")
    expect(page.get_by_text("Nothing found.")).to_be_visible()


def test_a_thread_is_copied_whole(page, client, tale):
    page.reload()
    rows(page).click()
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("heading", name="A tale (copy)")).to_be_visible()
    expect(page.get_by_text("message 119", exact=True)).to_be_visible()
    expect(rows(page)).to_have_count(2)
    made = page.url.rpartition("/")[2]
    assert made != tale.id
    assert client.beta.threads.retrieve(made).metadata == {"title": "A tale (copy)", "user": "ada"}


@pytest.mark.usefixtures("tale")
def test_a_thread_is_copied_up_to_a_message(page, client):
    page.reload()
    rows(page).click()
    message = page.locator(".message").filter(has_text="message 100")
    message.hover()
    message.get_by_role("button", name="Copy to here").click()
    expect(page.get_by_role("heading", name="A tale (copy)")).to_be_visible()
    expect(page.locator(".message").last).to_contain_text("message 100")
    [last] = client.beta.threads.messages.list(page.url.rpartition("/")[2], limit=1).data
    assert last.content[0].text.value == "message 100"


@pytest.mark.usefixtures("assistant")
def test_an_edited_message_keeps_its_id_and_its_earlier_texts(page, client, model, say):
    model.reply(testing.text("One."), testing.text("Two."), testing.text("Three."))
    say(page, "First text")
    expect(answers(page)).to_have_text(["One."])
    edit(page, "Second text")
    expect(answers(page)).to_have_text(["Two."])
    edit(page, "Third text", earlier=["First text"])
    expect(answers(page)).to_have_text(["Three."])
    expect(questions(page)).to_have_text(["Third text"])
    thread_id = page.url.rpartition("/")[2]
    asked = client.beta.threads.messages.list(thread_id, order="asc").data[0]
    versions = client.get(f"/threads/{thread_id}/messages/{asked.id}/versions", cast_to=object)["data"]
    assert [version["content"][0]["text"]["value"] for version in versions] == ["Second text", "First text"]


def edit(page, text, earlier=()):
    questions(page).first.hover()
    page.get_by_role("button", name="Edit", exact=True).first.click()
    if earlier:
        page.get_by_text("Earlier texts").click()
        for before in earlier:
            expect(page.locator(".editor")).to_contain_text(before)
    page.get_by_role("textbox", name="Edit message").fill(text)
    page.get_by_role("button", name="Run again from here").click()


@pytest.mark.usefixtures("assistant")
def test_what_a_server_cannot_do_is_not_offered(new_page, server, client, model, say):
    """As with an older server, whose description does not have it."""
    client.beta.threads.create(metadata={"title": "A tale", "user": "ada"})
    page = new_page()
    description = json.dumps({"paths": {}, "components": {"schemas": {}}})
    page.route("**/openapi.json", lambda route: route.fulfill(body=description))
    page.goto(server.url)
    search = page.get_by_role("searchbox", name="Search threads")
    expect(search).to_have_attribute("placeholder", "Find by name=value")
    search.fill("walrus")
    expect(page.get_by_text("This server finds threads by metadata only.")).to_be_visible()
    search.fill("user=ada")
    rows(page).click()
    expect(page.get_by_role("button", name="Delete")).to_be_visible()
    model.reply(testing.text("One."), testing.text("Two."))
    say(page, "Question")
    expect(answers(page)).to_have_text(["One."])
    assert page.get_by_role("button", name="Copy", exact=True).count() == 0
    assert page.get_by_role("button", name="Copy to here").count() == 0
    edit(page, "Better question")
    expect(answers(page)).to_have_text(["Two."])
    expect(questions(page)).to_have_text(["Better question"])

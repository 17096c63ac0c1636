"""The list of threads: long, searched, and with threads that are deleted and taken back."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from threadkeep import projects, testing, threads
from threadkeep.threads import ThreadCreateParams

THREADS = 100_000
BATCH = 2_000
ROWS_MAX = 60
# What the page may compute for a frame; 16 ms are there.
FRAME_MS_MAX = 10
FRAMES = 200
FIRST_MESSAGE = re.compile(r"/threads/(\w+)/messages\?limit=1&order=asc")

# Scrolls on by so many pixels in each frame, until it has done so often enough.
SCROLL = """async ({ pixels, frames }) => {
    const list = document.getElementById("threads");
    let most = 0;
    for (let frame = 0; frame < frames; frame++) {
        list.scrollTop += pixels;
        await new Promise(requestAnimationFrame);
        most = Math.max(most, list.querySelectorAll(".row").length);
    }
    return most;
}"""
# Scrolls to the end of what is loaded, as often as that brings more.
TO_THE_END = """async (count) => {
    const list = document.getElementById("threads");
    while (!list.querySelector(`[aria-posinset="${count}"]`)) {
        list.scrollTop = list.scrollHeight;
        await new Promise(requestAnimationFrame);
    }
    return list.querySelectorAll(".row").length;
}"""


def fill(server, count, *, titles=True):
    """Makes threads through the server's own operations, many in one unit of work."""

    def params(number):
        metadata = {"title": f"Thread {number}"} if titles else {}
        return ThreadCreateParams(metadata=metadata)

    async def work():
        app = server.app
        ctx = app.context_of((await projects.find(app.store, projects.DEFAULT_PROJECT)).project_id)
        for first in range(0, count, BATCH):
            made = [threads.new(ctx, params(number)) for number in range(first, min(first + BATCH, count))]
            await app.store.write(lambda tx, made=made: [thread.store(tx) for thread in made])

    server.run(work())


def stop_watch(page):
    """Gives a function that tells for how many milliseconds the page has computed so far."""
    session = page.context.new_cdp_session(page)
    # What the OS thread has computed: on a busy machine more time passes.
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def read():
        metrics = session.send("Performance.getMetrics")["metrics"]
        return 1000 * next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    return read


def rows(page):
    return page.locator(".row")


@pytest.mark.parametrize("titles", [True, False], ids=["titles", "none"])
def test_a_hundred_thousand_threads_scroll_smoothly(server, new_page, shoot, titles):
    fill(server, THREADS, titles=titles)
    page = new_page()
    page.goto(server.url)
    page.set_default_timeout(60_000)
    listed = page.get_by_role("listbox", name="Threads")
    expect(rows(page).first).to_have_attribute("aria-posinset", "1")
    assert page.evaluate(TO_THE_END, THREADS) <= ROWS_MAX
    shoot(page, "100000")
    spent_ms = stop_watch(page)
    before = spent_ms()
    assert page.evaluate(SCROLL, {"pixels": -700, "frames": FRAMES}) <= ROWS_MAX
    assert (spent_ms() - before) / FRAMES < FRAME_MS_MAX
    listed.focus()
    page.keyboard.press("Home")
    expect(page.locator(".row.current")).to_have_attribute("aria-posinset", "1")
    page.keyboard.press("End")
    expect(page.locator(".row.current")).to_have_attribute("aria-posinset", str(THREADS))


def test_threads_are_found_by_metadata(page, client):
    for number in range(6):
        client.beta.threads.create(metadata={"user": f"u{number % 3}", "team": "blue one", "title": f"Thread {number}"})
    page.reload()
    expect(rows(page)).to_have_count(6)
    search = page.get_by_role("searchbox", name="Search threads")
    search.fill("user=u1")
    expect(rows(page)).to_have_text([re.compile("Thread 4.*user=u1"), re.compile("Thread 1.*user=u1")])
    search.fill('user:u2 team:"blue one"')
    expect(rows(page)).to_have_text([re.compile("Thread 5"), re.compile("Thread 2")])
    search.fill("user=nobody")
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    search.fill("")
    expect(rows(page)).to_have_count(6)


def test_a_thread_opens_with_its_messages(page, client):
    thread = client.beta.threads.create(
        metadata={"title": "A tale"}, messages=[{"role": "user", "content": "Once upon a time"}]
    )
    page.reload()
    rows(page).click()
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    expect(page.get_by_role("article", name="You")).to_contain_text("Once upon a time")
    assert page.url.endswith(f"#/{thread.id}")


def asked_for_first_messages(page):
    """The threads whose first message the page asks for, from now on."""
    asked = []
    page.on(
        "request",
        lambda request: asked.append(found[1]) if (found := FIRST_MESSAGE.search(request.url)) else None,
    )
    return asked


def test_a_thread_without_a_title_is_called_after_its_first_message(page, client, shoot):
    asked = asked_for_first_messages(page)
    named = client.beta.threads.create(metadata={"title": "A tale"}, messages=[{"role": "user", "content": "Hello"}])
    empty = client.beta.threads.create()
    said = client.beta.threads.create(
        messages=[{"role": "user", "content": "Where is\nmy *order*?"}, {"role": "user", "content": "Hello?"}]
    )
    page.reload()
    names = page.locator(".row .name")
    expect(names).to_have_text(["Where is my *order*?", f"Untitled {empty.id[-6:]}", "A tale"])
    shoot(page, "untitled")
    rows(page).first.click()
    expect(page.get_by_role("heading", name="Where is my *order*?")).to_be_visible()
    expect(page).to_have_title("Where is my *order*? · Threadkeep")
    assert sorted(asked) == sorted([empty.id, said.id])
    assert named.id not in asked
    assert client.beta.threads.retrieve(said.id).metadata == {}


def test_first_messages_are_asked_for_in_sight_only(server, client, new_page):
    fill(server, 1000, titles=False)
    page = new_page()
    asked = asked_for_first_messages(page)
    page.goto(server.url)
    expect(rows(page).first).to_have_attribute("aria-posinset", "1")
    [oldest] = client.get("/threads?order=asc&limit=1", cast_to=object)["data"]
    with page.expect_request(lambda request: f"{oldest['id']}/messages" in request.url):
        page.evaluate(TO_THE_END, 1000)
    in_sight = page.get_by_role("listbox", name="Threads").evaluate("list => Math.ceil(list.clientHeight / 58) + 1")
    assert len(set(asked)) <= 2 * in_sight


def test_a_title_is_changed_in_its_place(page, client):
    thread = client.beta.threads.create(metadata={"title": "Old", "user": "ada"})
    page.reload()
    rows(page).click()
    expect(page).to_have_title("Old · Threadkeep")
    page.get_by_role("button", name="Old").click()
    page.get_by_role("textbox", name="Title").fill("Not this")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Old").click()
    page.get_by_role("textbox", name="Title").fill("New title")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New title")).to_be_visible()
    expect(rows(page)).to_contain_text("New title")
    assert client.beta.threads.retrieve(thread.id).metadata == {"title": "New title", "user": "ada"}


def test_a_deletion_can_be_undone(page, client, shoot):
    kept = client.beta.threads.create(metadata={"title": "Keep me"}, messages=[{"role": "user", "content": "Hello"}])
    client.beta.threads.create(metadata={"title": "Another"})
    page.reload()
    rows(page).filter(has_text="Keep me").click()
    page.get_by_role("button", name="Delete").click()
    expect(rows(page)).to_have_text([re.compile("Another")])
    shoot(page, "deleted")
    page.get_by_role("button", name="Undo").click()
    expect(rows(page)).to_have_text([re.compile("Another"), re.compile("Keep me")])
    expect(page.get_by_role("article", name="You")).to_contain_text("Hello")
    page.reload()
    expect(rows(page)).to_have_count(2)
    assert client.beta.threads.retrieve(kept.id).id == kept.id


def test_a_deletion_is_carried_out_when_its_notice_goes(page, client):
    client.beta.threads.create(metadata={"title": "Away"})
    page.reload()
    rows(page).click()
    page.get_by_role("button", name="Delete").click()
    with page.expect_response(lambda response: response.request.method == "DELETE") as answered:
        page.get_by_role("button", name="Close", exact=True).click()
    assert answered.value.ok
    assert client.get("/threads", cast_to=object)["data"] == []


def test_a_deletion_is_carried_out_when_the_page_is_left(page, client):
    client.beta.threads.create(metadata={"title": "Away"})
    page.reload()
    rows(page).click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    page.reload()
    expect(page.get_by_text("No threads yet.")).to_be_visible()
    assert client.get("/threads", cast_to=object)["data"] == []


def test_threads_that_others_make_appear_when_one_comes_back(page, client):
    client.beta.threads.create(metadata={"title": "First"})
    page.reload()
    expect(rows(page)).to_have_count(1)
    client.beta.threads.create(metadata={"title": "Second"})
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(rows(page)).to_have_text([re.compile("Second"), re.compile("First")])


def test_an_address_that_leads_nowhere_says_so(page, server):
    page.goto(f"{server.url}#/thread_missing")
    expect(page.get_by_role("alert")).to_have_text("No thread found with id 'thread_missing'.")
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_have_count(0)
    page.goto(f"{server.url}#/%zz")
    expect(page.get_by_role("alert")).to_contain_text("%zz")
    page.get_by_role("link", name="New").click()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()


def test_a_thread_that_could_not_be_loaded_comes_when_the_server_is_back(new_page, wire, client):
    thread = client.beta.threads.create(metadata={"title": "A tale"})
    page = new_page()
    page.goto(wire.url)
    expect(rows(page)).to_have_count(1)
    wire.cut()
    rows(page).click()
    # Something else that the page wanted at that moment may have its own notice, for a while.
    problem = page.get_by_role("region", name="Messages").get_by_role("alert")
    expect(problem).to_have_text("The server cannot be reached.")
    wire.mend()
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_visible()
    assert page.url.endswith(thread.id)


def test_a_strict_server_has_no_list_and_says_so(new_server, new_page, sdk, say):
    server = new_server(strict=True)
    sdk(server).beta.assistants.create(model="scripted", name="Ada", instructions="You help.")
    page = new_page()
    page.goto(server.url)
    expect(page.get_by_text("must be made with a session key")).to_be_visible()
    say(page, "Can we talk?")
    expect(page.locator(".message.assistant .content")).to_have_text("Can we talk?")


def test_a_strict_server_is_asked_again_and_again_after_a_reload(new_server, new_page, sdk, model, say):
    server = new_server(strict=True)
    sdk(server).beta.assistants.create(model="scripted", name="Ada", instructions="You help.")
    page = new_page()
    page.goto(server.url)
    model.reply(testing.text("One ", "two ", "three."))
    model.hold(2)
    say(page, "Count")
    expect(page.locator(".message.assistant .content")).to_have_text("One")
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    model.release()
    expect(page.locator(".message.assistant .content")).to_have_text("One two three.")
    expect(page.get_by_role("button", name="Send")).to_be_visible()

"""Who uses it: with a keyboard alone, with a screen reader, on a phone, in the dark, over a slow line."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from threadkeep import testing

PHONE = {"width": 390, "height": 844}
NARROW = {"width": 320, "height": 600}
WIDE = {"width": 1280, "height": 800}

FIRST_PAINT_BYTES_MAX = 60 * 1024
CONTRAST_MIN = 4.5
TALE = """Of course. **In short**: it depends.

1. Measure first
2. Change one thing

```python
def greet(name: str) -> str:
    # says hello
    return f"Hello {name}"
```

| city | °C |
|------|---:|
| Oslo |  4 |
"""
# The ratios of contrast of all texts that are in sight, with what they say.
CONTRASTS = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (colour) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        return canvas.getImageData(0, 0, 1, 1).data;
    };
    const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = rgba(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return rgba("white");
    };
    const isSeen = (element) =>
        element.checkVisibility({ opacityProperty: true }) && !element.closest(".unseen, :disabled");
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const found = [];
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || !isSeen(element)) continue;
        const [a, b] = [light(rgba(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
        found.push([(a + 0.05) / (b + 0.05), walker.currentNode.data.trim().slice(0, 40)]);
    }
    return found;
}"""


def talk(page, model, say):
    """A conversation that shows most of what there is."""
    model.reply(testing.text(*(TALE[at : at + 9] for at in range(0, len(TALE), 9))), testing.error(401))
    say(page, "How do I make it faster?")
    expect(page.get_by_role("link", name="Run ·")).to_be_visible()


def furnish(client):
    for number in range(12):
        client.beta.threads.create(metadata={"title": f"Conversation number {number}", "user": f"user-{number % 3}"})


@pytest.mark.usefixtures("assistant")
def test_the_keyboard_alone_is_enough(page, client, model):
    client.beta.threads.create(metadata={"title": "Older"})
    client.beta.threads.create(metadata={"title": "Newer"})
    page.reload()
    expect(page.locator(".row")).to_have_count(2)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("listbox", name="Threads")).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Older")).to_be_visible()
    box = page.get_by_role("textbox", name="Message", exact=True)
    expect(box).to_be_focused()
    model.reply(testing.text("One ", "two ", "three."))
    model.hold(2)
    page.keyboard.type("Count")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("to three")
    page.keyboard.press("Enter")
    expect(page.locator(".message.user .content")).to_have_text("Count\nto three")
    expect(page.locator(".message.assistant .content")).to_have_text("One")
    page.keyboard.press("Escape")
    expect(page.get_by_text("Stopped here.")).to_be_visible()
    model.release()
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    page.get_by_role("listbox", name="Threads").focus()
    page.keyboard.press("Home")
    page.keyboard.press("Delete")
    expect(page.get_by_text("Deleted “Newer”")).to_be_visible()
    expect(page.locator(".row")).to_have_count(1)
    undo = page.get_by_role("button", name="Undo")
    for _ in range(40):
        page.keyboard.press("Tab")
        if undo.evaluate("button => button === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(2)


@pytest.mark.parametrize("width", [1280, 900, 600])
@pytest.mark.parametrize("view", ["", "/runs"])
@pytest.mark.usefixtures("assistant")
def test_what_is_typed_after_ctrl_k_is_all_searched_for(new_page, server, client, width, view):
    thread = client.beta.threads.create(metadata={"title": "A tale"})
    page = new_page(viewport={"width": width, "height": 800})
    page.goto(f"{server.url}#/{thread.id}{view}")
    expect(page.locator("[role=listbox] .row")).to_have_count(1)
    if view:
        expect(page.get_by_role("complementary", name="Runs")).to_be_visible()
    # Asked in the task that handles the key, thus before any other key can come.
    page.evaluate("""() => addEventListener("keydown", (event) => {
        if (event.key === "k") queueMicrotask(() => { window.focused = document.activeElement.id; });
    })""")
    page.keyboard.press("Control+k")
    page.keyboard.type("user=ada")
    assert page.evaluate("window.focused") == "search"
    expect(page.get_by_text("Nothing found.")).to_be_visible()
    expect(page.get_by_role("searchbox")).to_have_value("user=ada")
    expect(page.get_by_role("searchbox")).to_be_focused()


@pytest.mark.usefixtures("assistant")
def test_a_dialog_closes_when_the_browsers_own_button_shows_another_page(page, client):
    client.beta.threads.create(metadata={"title": "A tale"})
    page.reload()
    page.locator(".row").click()
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    edit = page.get_by_role("button", name="Edit", exact=True)
    edit.click()
    expect(page.get_by_role("dialog", name="Edit assistant")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_focused()
    # The page can be used, and the dialog opens again when it is asked for.
    edit.click()
    expect(page.get_by_role("dialog", name="Edit assistant")).to_be_visible()
    page.go_forward()
    expect(page.get_by_role("heading", name="A tale")).to_be_visible()
    expect(page.get_by_role("dialog")).to_have_count(0)


@pytest.mark.usefixtures("assistant")
def test_every_control_has_a_name_and_a_visible_focus(page, client, model, say):
    furnish(client)
    page.reload()
    talk(page, model, say)
    page.get_by_role("button", name="Runs").click()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a, input, select, textarea, summary, [role=listbox]")]
            .filter((e) => e.checkVisibility())
            .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.labels?.length || e.title))
            .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    seen = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        tag, outline = page.evaluate(
            """() => { const e = document.activeElement;
                const box = e.closest(".composer");
                return [e.outerHTML.slice(0, 80), getComputedStyle(e).outlineStyle !== "none" || Boolean(box)]; }"""
        )
        assert outline or tag.startswith("<body"), tag
        seen.add(tag)
    assert len(seen) > 10


@pytest.mark.usefixtures("assistant")
def test_a_screen_reader_is_told_the_answer_once(page, model, say):
    model.reply(testing.text("It ", "is ", "four."))
    model.hold(2)
    say(page, "Two and two?")
    told = page.locator(".unseen[role=status]")
    expect(page.locator(".message.assistant .content")).to_have_text("It")
    expect(told).to_have_text("")
    model.release()
    expect(told).to_have_text("Answer: It is four.")
    expect(page.get_by_role("article", name="You")).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)


@pytest.mark.usefixtures("assistant")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_can_be_told_from_what_is_behind_them(new_page, server, client, model, say, scheme, shoot):
    furnish(client)
    page = new_page(color_scheme=scheme)
    page.goto(server.url)
    expect(page.locator(".row")).to_have_count(12)
    talk(page, model, say)
    say(page, "And now fail")
    expect(page.get_by_role("heading", name="The run failed")).to_be_visible()
    page.get_by_role("button", name="Runs").click()
    page.get_by_text("Event log").click()
    page.get_by_text("run.created").click()
    shoot(page, f"whole-{scheme}")
    low = [(round(ratio, 2), text) for ratio, text in page.evaluate(CONTRASTS) if ratio < CONTRAST_MIN]
    assert low == []


def test_colours_can_be_chosen(page):
    page.get_by_label("Settings").click()
    page.get_by_label("Colours").select_option("dark")
    dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == dark == "rgb(22, 24, 26)"


def test_the_menu_is_in_sight_and_closes_by_itself(page, shoot):
    page.get_by_label("Settings").click()
    sheet = page.locator(".sheet")
    expect(sheet.get_by_role("link", name="Webhooks")).to_be_visible()
    shoot(page, "menu")
    assert sheet.bounding_box()["x"] > 0
    assert sheet.evaluate("sheet => sheet.scrollWidth <= sheet.clientWidth")
    page.get_by_role("heading", name="What shall we talk about?").click()
    expect(sheet).to_be_hidden()
    page.get_by_label("Settings").click()
    page.get_by_label("Colours").focus()
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    expect(page.get_by_label("Settings")).to_be_focused()


@pytest.mark.usefixtures("assistant")
def test_what_is_closed_gives_the_focus_back(page, say):
    edit = page.get_by_role("button", name="Edit", exact=True)
    edit.click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(edit).to_be_focused()
    say(page, "Hello")
    expect(page.get_by_role("link", name="Run ·")).to_be_visible()
    title = page.get_by_role("button", name="Hello")
    for key in ("Enter", "Escape"):
        title.click()
        page.get_by_role("textbox", name="Title").press(key)
        expect(title).to_be_focused()
    page.get_by_role("button", name="Runs").click()
    page.get_by_role("button", name="Close runs").click()
    expect(page.get_by_role("button", name="Runs")).to_be_focused()


def test_the_focus_goes_to_the_message_after_the_first_assistant(page):
    page.get_by_role("button", name="Make an assistant").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Model")).to_have_value("scripted")
    page.get_by_label("Name").press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("textbox", name="Message", exact=True)).to_be_focused()


def test_a_narrow_screen_has_room_for_the_title(new_page, server, client, shoot):
    thread = client.beta.threads.create(metadata={"title": "A tale of two cities"})
    page = new_page(viewport=NARROW)
    page.goto(f"{server.url}#/{thread.id}")
    title = page.get_by_role("button", name="A tale of two cities")
    assert title.evaluate("title => title.scrollWidth <= title.clientWidth")
    fits(page)
    shoot(page, "narrow")
    title.click()
    shoot(page, "narrow-edited")
    assert page.get_by_role("textbox", name="Title").bounding_box()["width"] > 200
    fits(page)


@pytest.mark.usefixtures("assistant")
def test_a_phone_shows_one_thing_at_a_time(new_page, server, client, model, say, shoot):
    furnish(client)
    page = new_page(viewport=PHONE, color_scheme="dark", has_touch=True)
    page.goto(server.url)
    expect(page.locator(".row")).to_have_count(12)
    expect(page.get_by_role("main")).to_have_count(0)
    shoot(page, "phone-list")
    page.get_by_role("link", name="New").click()
    talk(page, model, say)
    expect(page.get_by_role("listbox", name="Threads")).to_have_count(0)
    shoot(page, "phone-chat")
    fits(page)
    page.get_by_role("button", name="Runs").click()
    expect(page.get_by_role("complementary", name="Runs")).to_be_visible()
    expect(page.get_by_role("main")).to_have_count(0)
    shoot(page, "phone-runs")
    fits(page)
    page.get_by_role("button", name="Close runs").click()
    page.get_by_role("link", name="All threads").click()
    expect(page.locator(".row").first).to_contain_text("How do I make it faster?")
    page.get_by_role("link", name="New").click()
    page.get_by_role("button", name="Edit").click()
    expect(page.get_by_role("dialog", name="Edit assistant")).to_be_visible()
    shoot(page, "phone-form")
    fits(page)


def fits(page):
    """Nothing is wider than the screen."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


def test_an_assistant_is_made_and_changed(page, client, say, shoot):
    page.get_by_role("button", name="Make your first one.").click()
    form = page.get_by_role("dialog", name="New assistant")
    expect(form.get_by_label("Model")).to_have_value("scripted")
    form.get_by_label("Name").fill("Grace")
    form.get_by_label("Instructions").fill("You count.")
    form.get_by_role("button", name="Add a function").click()
    shoot(page, "form")
    form.get_by_label("Function 1, as JSON").fill("{")
    form.get_by_role("button", name="Save").click()
    expect(form.get_by_role("alert")).to_have_text("Function 1 is not JSON.")
    form.get_by_label("Function 1, as JSON").fill('{"name": "count"}')
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)
    [made] = client.beta.assistants.list().data
    assert (made.name, made.model, made.instructions) == ("Grace", "scripted", "You count.")
    assert [tool.function.name for tool in made.tools] == ["count"]
    expect(page.get_by_role("combobox", name="Assistant", exact=True)).to_have_value(made.id)
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Instructions").fill("")
    page.get_by_role("button", name="Remove function 1").click()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    changed = client.beta.assistants.retrieve(made.id)
    assert (changed.name, changed.instructions, changed.tools) == ("Grace", None, [])
    say(page, "Hello")
    expect(page.get_by_role("article", name="Grace")).to_contain_text("Hello")


@pytest.mark.usefixtures("assistant")
def test_a_run_shows_its_steps_its_tokens_and_its_whole_log(page, client, model, say):
    [assistant] = client.beta.assistants.list().data
    client.beta.assistants.update(assistant.id, tools=[{"type": "function", "function": {"name": "look"}}])
    arguments = {"at": "it" * 100}
    model.reply(testing.tool_calls(testing.call("look", arguments)), testing.text("I ", "have ", "looked."))
    say(page, "Look")
    page.get_by_role("textbox", name="Output of look").fill("seen")
    page.get_by_role("button", name="Send output").click()
    page.get_by_role("link", name="Run ·").click()
    runs = page.get_by_role("complementary", name="Runs")
    expect(runs.locator(".timeline > li")).to_have_text(
        [re.compile("1. Function calls.*tokens"), re.compile("2. Message.*tokens")]
    )
    expect(runs.locator(".status")).to_have_text("completed")
    details = runs.locator(".details")
    assert details.evaluate("details => details.scrollWidth <= details.clientWidth")
    runs.get_by_text("Event log").click()
    expect(runs.get_by_text(re.compile(r"^\d+ events$"))).to_be_visible()
    runs.get_by_label("Show deltas").uncheck()
    names = [text.split()[1] for text in runs.get_by_role("listitem").filter(has_text="run.").all_inner_texts()]
    assert names[:5] == ["run.created", "run.queued", "run.in_progress", "run.step.created", "run.step.in_progress"]
    runs.get_by_role("button", name="run.requires_action").click()
    expect(runs.get_by_role("region", name="Event")).to_contain_text('"status": "requires_action"')


@pytest.mark.usefixtures("assistant")
def test_the_first_paint_needs_little(browser, server, client):
    for _ in range(10):
        furnish(client)
    context = browser.new_context(viewport=WIDE)
    page = context.new_page()
    session = context.new_cdp_session(page)
    session.send("Network.enable")
    urls, sizes = {}, {}
    session.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(server.url)
    expect(page.locator(".row").first).to_be_visible()
    page.wait_for_load_state("networkidle")
    assert all(url.startswith(server.url) for url in urls.values())
    # Which abilities the server has is asked when all of it is painted.
    painted = {urls[request]: size for request, size in sizes.items() if "openapi" not in urls[request]}
    assert sum(painted.values()) <= FIRST_PAINT_BYTES_MAX, painted
    # A second visit asks for the page alone, and is told that it has not changed.
    sizes.clear()
    page.reload()
    expect(page.get_by_role("heading", name="What shall we talk about?")).to_be_visible()
    page.wait_for_load_state("networkidle")
    static = [size for request, size in sizes.items() if "/v1/" not in urls[request] and "openapi" not in urls[request]]
    assert sum(static) < 2000
    context.close()

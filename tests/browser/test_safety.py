"""Keys, and messages that would like to be more than text."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from threadkeep import testing

# Each would call `owned()` or change the page in a browser that took the text for more than text.
HOSTILE = (
    "<script>owned()</script>",
    "<img src=x onerror=owned()>",
    "<svg/onload=owned()>",
    "<iframe src='javascript:parent.owned()'></iframe>",
    "<details open ontoggle=owned()>",
    "<style>body { display: none }</style>",
    "<base href='//evil.example/'><form action=//evil.example><button id=go>x</button></form>",
    "[click](javascript:owned())",
    "[click](JaVaScRiPt:owned())",
    "[click](java\tscript:owned())",
    "[click](&#106;avascript:owned())",
    "[click](data:text/html;base64,PHNjcmlwdD5vd25lZCgpPC9zY3JpcHQ+)",
    "[click](vbscript:owned)",
    "<javascript:owned()>",
    '![x](x" onerror="owned())',
    "![x](javascript:owned())",
    '[x](http://a.example/"onmouseover="owned())',
    "[ref]\n\n[ref]: javascript:owned()",
    "```html\n<script>owned()</script>\n```",
    '```"><img src=x onerror=owned()>\ncode\n```',
    "| <img src=x onerror=owned()> |\n|---|\n| <script>owned()</script> |",
    "<a href='javascript:owned()'>x</a>",
    "<!--><img src=x onerror=owned()>-->",
    "&lt;img src=x onerror=owned()&gt;",
    "<math><mtext><table><mglyph><style><img src=x onerror=owned()>",
    "{{constructor.constructor('owned()')()}}",
    "__proto__ **constructor** `hasOwnProperty`",
)
# Each would keep a careless parser busy for ever, or exhaust its stack.
ENDLESS = (
    ">" * 5000 + " deep",
    "*" * 20_000,
    "[" * 5000,
    "- " * 2000,
    "`" * 9999,
    "![[" * 3000,
    "_a" * 9000,
    "<" * 20_000,
)
DEFINE = "window.owned = () => { window.isOwned = true; }"


def test_no_script_of_a_message_ever_runs(new_page, server, client, model, say, shoot):
    client.beta.assistants.create(model="scripted", name="<img src=x onerror=owned()>", instructions="You help.")
    page = new_page()
    page.add_init_script(DEFINE)
    elsewhere = []
    page.on(
        "request", lambda request: elsewhere.append(request.url) if not request.url.startswith(server.url) else None
    )
    page.goto(server.url)
    whole = "\n\n".join(HOSTILE)
    model.reply(testing.text(*(whole[at : at + 500] for at in range(0, len(whole), 500))))
    say(page, HOSTILE[1])
    expect(page.get_by_role("link", name="Run ·")).to_be_visible()
    check_harmless(page, elsewhere)
    shoot(page, "hostile")
    assert page.locator(".message.assistant pre").count() >= 2
    # As messages of others, too, with all that a thread has beside its text.
    for role in ("assistant", "user"):
        thread = client.beta.threads.create(
            metadata={"title": "<img src=x onerror=owned()>", "<b>": "<script>owned()</script>"},
            messages=[{"role": role, "content": text} for text in HOSTILE + ENDLESS],
        )
        page.goto(f"{server.url}/#/{thread.id}")
        expect(page.get_by_role("heading", name="<img src=x onerror=owned()>")).to_be_visible()
        expect(page.locator(f".message.{role}")).to_have_count(len(HOSTILE + ENDLESS))
        check_harmless(page, elsewhere)


def check_harmless(page, elsewhere):
    for link in page.locator(".message a").all():
        assert link.get_attribute("href").startswith(("http://", "https://", "mailto:"))
        assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert page.locator(".message :is(script, style, iframe, img, svg, form, base, object, embed, math)").count() == 0
    assert (
        page.evaluate(
            "() => [...document.querySelectorAll('*')].flatMap((e) => e.getAttributeNames())"
            ".filter((name) => name.startsWith('on'))"
        )
        == []
    )
    assert page.evaluate("window.isOwned") is None
    assert elsewhere == []
    expect(page.get_by_role("main")).to_be_visible()


def test_arguments_and_outputs_of_functions_are_text(new_page, server, client, model, say):
    bad = "<img src=x onerror=owned()>"
    client.beta.assistants.create(
        model="scripted", name="Ada", tools=[{"type": "function", "function": {"name": "look"}}], instructions="x"
    )
    page = new_page()
    page.add_init_script(DEFINE)
    page.goto(server.url)
    model.reply(testing.tool_calls(testing.call("look", {"at": bad})), testing.text("Seen."))
    say(page, "Look")
    expect(page.get_by_label("Arguments")).to_contain_text(bad)
    page.get_by_role("textbox", name="Output of look").fill(bad)
    page.get_by_role("button", name="Send output").click()
    expect(page.locator(".message.assistant .content")).to_have_text("Seen.")
    assert page.evaluate("window.isOwned") is None


def test_the_policy_refuses_scripts_that_the_page_did_not_bring(browser, server):
    # Not `new_page`: what is refused is told in the console, and here it should be.
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url)
    page.get_by_role("textbox", name="Message", exact=True).wait_for()
    # From a timer, because what a debugger evaluates is excepted.
    refused = page.evaluate(
        """() => new Promise((resolve) => setTimeout(() => {
            const found = [];
            const attempt = (name, work) => { try { work(); } catch (error) { found.push(name); } };
            attempt("eval", () => (0, eval)("1"));
            attempt("Function", () => new Function("1")());
            attempt("innerHTML", () => { document.createElement("div").innerHTML = "<b>x</b>"; });
            attempt("script", () => { document.createElement("script").text = "1"; });
            resolve(found);
        }))"""
    )
    assert refused == ["eval", "Function", "innerHTML", "script"]
    context.close()


def test_a_key_is_asked_for_and_a_wrong_one_refused(new_page, new_server, sdk, shoot):
    server = new_server()
    key = server.new_key()
    sdk(server, key).beta.threads.create(metadata={"title": "Behind the key"})
    page = new_page()
    page.goto(server.url)
    dialog = page.get_by_role("dialog", name="This server needs a key")
    expect(dialog).to_be_visible()
    shoot(page, "key")
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    dialog.get_by_label("Key", exact=True).fill("wrong")
    dialog.get_by_role("button", name="Go on").click()
    expect(dialog.get_by_role("alert")).to_have_text("The server does not know this key.")
    assert page.locator(".row").count() == 0
    dialog.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_contain_text("Behind the key")
    expect(dialog).to_have_count(0)
    page.reload()
    expect(page.locator(".row")).to_contain_text("Behind the key")


def test_the_question_for_a_key_stays_whatever_page_is_shown(new_page, new_server):
    server = new_server()
    server.new_key()
    page = new_page()
    page.goto(server.url)
    dialog = page.get_by_role("dialog", name="This server needs a key")
    expect(dialog).to_be_visible()
    page.goto(f"{server.url}#/webhooks")
    expect(page.get_by_role("region", name="Webhooks", include_hidden=True)).to_be_visible()
    expect(dialog).to_be_visible()


@pytest.mark.parametrize("remember", [True, False])
def test_a_key_is_kept_as_long_as_one_likes(new_page, new_server, remember):
    server = new_server()
    key = server.new_key()
    page = new_page()
    page.goto(server.url)
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_label("Keep it in this browser").set_checked(remember)
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("No threads yet.")).to_be_visible()
    stored = page.evaluate("() => [JSON.stringify(localStorage), JSON.stringify(sessionStorage)]")
    assert [key in json.dumps(place) for place in stored] == [remember, not remember]
    other = page.context.new_page()
    other.goto(server.url)
    if remember:
        expect(other.get_by_text("No threads yet.")).to_be_visible()
    else:
        expect(other.get_by_role("dialog", name="This server needs a key")).to_be_visible()


def test_a_key_that_is_forgotten_is_gone(new_page, new_server):
    server = new_server()
    key = server.new_key()
    page = new_page()
    page.goto(server.url)
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_label("Keep it in this browser").check()
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("No threads yet.")).to_be_visible()
    page.get_by_label("Settings").click()
    page.get_by_role("button", name="Forget the key").click()
    expect(page.get_by_role("dialog", name="This server needs a key")).to_be_visible()
    assert key not in page.evaluate("() => JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")


def test_a_page_that_came_through_a_proxy_is_told_why_it_is_refused(new_page, server):
    page = new_page(extra_http_headers={"x-forwarded-for": "203.0.113.7"})
    page.goto(server.url)
    expect(page.get_by_text("does not answer requests that come through a proxy").first).to_be_visible()

"""Talking to an assistant, and all that can come in between."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect
from tests.ports import free_port

from threadkeep import testing

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
WORDS = tuple(f"word{number} " for number in range(60))
WHOLE = "".join(WORDS).strip()


def answers(page):
    return page.locator(".message.assistant .content")


def questions(page):
    return page.locator(".message.user .content")


@pytest.fixture(autouse=True)
def _assistant(assistant):
    """All of these need one, before the page is opened."""


def test_an_answer_appears_word_by_word(page, model, say):
    model.reply(testing.text(*WORDS))
    model.hold(11)
    say(page, "Count for me")
    expect(answers(page)).to_have_text("".join(WORDS[:10]).strip())
    expect(page.get_by_role("article", name="Ada")).to_have_attribute("aria-busy", "true")
    model.release()
    expect(answers(page)).to_have_text(WHOLE)
    expect(page.get_by_role("article", name="Ada")).to_have_attribute("aria-busy", "false")
    expect(page.get_by_role("button", name="Send")).to_be_visible()


def test_a_thread_is_called_after_its_first_words(page, client, model, say):
    model.reply(testing.text("Fine."))
    say(page, "How are you today?")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row")).to_contain_text("How are you today?")
    expect(answers(page)).to_have_text("Fine.")
    [thread] = client.get("/threads", cast_to=object)["data"]
    assert thread["metadata"] == {"title": "How are you today?"}


def test_a_title_keeps_the_characters_of_the_first_words(page, model, say):
    model.reply(testing.text("Fine."))
    say(page, "Is <b>x</b> `*bold*`\nin my_page?")
    expect(page.locator(".row .name")).to_have_text("Is <b>x</b> `*bold*` in my_page?")


def test_a_long_title_ends_with_a_whole_character(page, client, model, say):
    model.reply(testing.text("Fine."))
    say(page, "🐟" * 100)
    expect(answers(page)).to_have_text("Fine.")
    [thread] = client.get("/threads", cast_to=object)["data"]
    assert thread["metadata"] == {"title": "🐟" * 70 + "…"}


def test_a_reload_in_mid_answer_goes_on_where_it_was(page, model, say, shoot):
    model.reply(testing.text(*WORDS))
    model.hold(21)
    say(page, "Count for me")
    expect(answers(page)).to_have_text("".join(WORDS[:20]).strip())
    page.reload()
    expect(answers(page)).to_have_text("".join(WORDS[:20]).strip())
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    shoot(page, "reloaded")
    model.release(20)
    expect(answers(page)).to_have_text("".join(WORDS[:40]).strip())
    page.reload()
    model.release()
    expect(answers(page)).to_have_text(WHOLE)
    expect(answers(page)).to_have_count(1)
    assert len(model.requests) == 1


def test_a_lost_connection_is_taken_up_again_behind_the_last_event(new_page, model, say, wire, shoot):
    page = new_page()
    page.goto(wire.url)
    model.reply(testing.text(*WORDS))
    model.hold(21)
    say(page, "Count for me")
    expect(answers(page)).to_have_text("".join(WORDS[:20]).strip())
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    wire.cut()
    expect(page.get_by_text("Connection lost. Trying again…")).to_be_visible()
    shoot(page, "lost")
    model.release(20)
    wire.mend()
    expect(answers(page)).to_have_text("".join(WORDS[:40]).strip())
    expect(page.get_by_text("Connection lost")).to_have_count(0)
    model.release()
    expect(answers(page)).to_have_text(WHOLE)
    resumed = [int(found[1]) for url in asked if (found := re.search(r"starting_after=(\d+)", url))]
    assert resumed
    assert min(resumed) > 20


def test_a_server_that_starts_again_goes_on_with_the_answer(new_page, new_server, sdk, model, say, tmp_path, shoot):
    database = f"sqlite:///{tmp_path}/threadkeep.db"
    port = free_port()
    with testing.serve(upstream_url=model.base_url, database=database, port=port) as first:
        sdk(first).beta.assistants.create(model="scripted", name="Ada", instructions="You help.")
        page = new_page()
        page.goto(first.url)
        model.reply(testing.text(*WORDS), testing.text("Done ", "again."))
        model.hold(21)
        say(page, "Count for me")
        expect(answers(page)).to_have_text("".join(WORDS[:20]).strip())
    expect(page.get_by_text("Connection lost")).to_be_visible()
    model.release()
    new_server(database=database, port=port)
    expect(answers(page).last).to_have_text("Done again.")
    expect(page.get_by_text("Connection lost")).to_have_count(0)
    page.get_by_role("button", name="Runs").click()
    expect(page.get_by_text("2: a process stopped once, and another went on.")).to_be_visible()
    begun = page.get_by_role("article", name="Ada").first
    expect(begun).to_contain_text("The server stopped here; the answer was begun again below.")
    expect(page.get_by_text("The run failed here.")).to_have_count(0)
    shoot(page, "taken-over")


def test_stop_ends_the_answer_and_keeps_what_was_said(page, model, say):
    model.reply(testing.text(*WORDS), testing.text("Better."))
    model.hold(21)
    say(page, "Count for me")
    expect(answers(page)).to_have_text("".join(WORDS[:20]).strip())
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("Stopped here.")).to_be_visible()
    expect(page.get_by_role("link", name="Stopped")).to_be_visible()
    model.wait_for_requests(1)[0].wait_closed()
    model.release()
    say(page, "Something else, please")
    expect(answers(page).last).to_have_text("Better.")
    expect(answers(page).first).to_have_text("".join(WORDS[:20]).strip())


def test_function_calls_are_answered_by_hand(page, client, model, say, shoot):
    [assistant] = client.beta.assistants.list().data
    client.beta.assistants.update(assistant.id, tools=[WEATHER])
    oslo, rome = testing.call("get_weather", {"city": "Oslo"}), testing.call("get_weather", {"city": "Rome"})
    model.reply(testing.tool_calls(oslo, rome), testing.text("Cold in Oslo, warm in Rome."))
    say(page, "What is the weather?")
    calls = page.get_by_role("form", name="Function calls")
    expect(calls.get_by_label("Arguments").first).to_have_text('{ "city": "Oslo" }')
    outputs = calls.get_by_role("textbox", name="Output of get_weather")
    expect(outputs).to_have_count(2)
    outputs.first.fill('{"celsius": 4}')
    page.reload()
    expect(outputs).to_have_count(2)
    outputs.first.fill('{"celsius": 4}')
    outputs.last.fill("warm")
    shoot(page, "calls")
    page.get_by_role("button", name="Send outputs").click()
    expect(answers(page)).to_have_text("Cold in Oslo, warm in Rome.")
    told = [message["content"] for message in model.requests[-1].body["messages"] if message["role"] == "tool"]
    assert told == ['{"celsius": 4}', "warm"]
    expect(outputs).to_have_count(0)
    calls.locator("summary").first.click()
    expect(calls.get_by_label("Output", exact=True).first).to_contain_text('"celsius": 4')


def test_a_message_is_edited_and_run_again_from_there(page, model, say):
    model.reply(testing.text("One."), testing.text("Two."), testing.text("Three."))
    say(page, "First question")
    expect(answers(page)).to_have_text(["One."])
    say(page, "Second question")
    expect(answers(page)).to_have_text(["One.", "Two."])
    questions(page).first.hover()
    page.get_by_role("button", name="Edit", exact=True).first.click()
    page.get_by_role("textbox", name="Edit message").fill("A better question")
    page.get_by_role("button", name="Run again from here").click()
    expect(answers(page)).to_have_text(["Three."])
    expect(questions(page)).to_have_text(["A better question"])
    asked = [message["content"] for message in model.requests[-1].body["messages"] if message["role"] == "user"]
    assert asked == ["A better question"]
    page.reload()
    expect(answers(page)).to_have_text(["Three."])
    expect(questions(page)).to_have_text(["A better question"])


def test_an_answer_can_be_had_again(page, model, say):
    model.reply(testing.text("One."), testing.text("Another one."))
    say(page, "Question")
    expect(answers(page)).to_have_text(["One."])
    answers(page).hover()
    page.get_by_role("button", name="Run again").click()
    expect(answers(page)).to_have_text(["Another one."])
    expect(questions(page)).to_have_text(["Question"])


def test_a_failed_run_tells_why_and_what_to_do(page, model, say, shoot):
    model.reply(testing.error(401), testing.text("Now it works."))
    say(page, "Question")
    trouble = page.get_by_role("region", name="The run failed")
    expect(trouble).to_contain_text("refused the key of the upstream 'default'")
    expect(trouble).to_contain_text("Put the right key into the settings")
    shoot(page, "failed")
    page.get_by_role("button", name="Try again").click()
    expect(answers(page)).to_have_text(["Now it works."])
    expect(trouble).to_have_count(0)


def test_a_tool_that_the_server_does_not_have_can_be_taken_out(page, client, model, say, shoot):
    [assistant] = client.beta.assistants.list().data
    client.beta.assistants.update(assistant.id, tools=[WEATHER, {"type": "file_search"}, {"type": "code_interpreter"}])
    page.reload()
    say(page, "Question")
    expect(page.get_by_role("region", name="The run failed")).to_contain_text("Edit, then Other tools")
    page.get_by_role("button", name="Edit", exact=True).last.click()
    form = page.get_by_role("dialog", name="Edit assistant")
    shoot(page, "tools")
    form.get_by_role("button", name="Remove file_search").click()
    form.get_by_role("button", name="Remove code_interpreter").click()
    expect(form.get_by_text("Other tools")).to_have_count(0)
    form.get_by_role("button", name="Save").click()
    expect(form).to_have_count(0)
    assert [tool.type for tool in client.beta.assistants.retrieve(assistant.id).tools] == ["function"]
    model.reply(testing.text("Now it works."))
    page.get_by_role("button", name="Try again").click()
    expect(answers(page)).to_have_text(["Now it works."])


TROUBLES = {
    "The model server's rate limit is exceeded.": (testing.error(429), "Wait a little and run again."),
    "You exceeded your current quota": (testing.error(429, code="insufficient_quota"), "Look at the plan"),
    "The conversation is longer than the model's context window.": (
        testing.error(400, "maximum context length is 8192 tokens"),
        "Shorten the last message",
    ),
    "because of its content policy": (testing.error(400, code="content_policy_violation"), "Say it in other words"),
    "The model server failed with status 500.": (testing.error(500), "its log says more"),
    "sent something that is not Chat Completions": (testing.garbage(), "look at the upstream's address"),
    "refused the request with status 404": (testing.error(404), "look at the assistant's model"),
    "Reason: max_completion_tokens.": (testing.text("Half", finish_reason="length"), "ask the assistant to go on"),
}


def test_every_trouble_has_its_advice(page, model, say):
    for cause, (reply, advice) in TROUBLES.items():
        model.reply(reply)
        say(page, f"Question that ends with: {cause}")
        trouble = page.locator(".trouble").last
        expect(trouble).to_contain_text(cause)
        expect(trouble).to_contain_text(advice)
    model.stop()
    say(page, "Anybody there?")
    expect(page.locator(".trouble").last).to_contain_text("could not be reached")
    expect(page.locator(".trouble").last).to_contain_text("See whether the model server runs")


def test_a_thread_without_an_answer_offers_one(page, client, model):
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "Anybody there?"}])
    model.reply(testing.text("I am."))
    page.goto(f"{page.url.partition('#')[0]}#/{thread.id}")
    page.get_by_role("button", name="Get an answer").click()
    expect(answers(page)).to_have_text(["I am."])


def test_older_messages_come_when_one_scrolls_up(page, client):
    given = [{"role": "user", "content": f"message {number}"} for number in range(120)]
    thread = client.beta.threads.create(messages=given)
    page.goto(f"{page.url.partition('#')[0]}#/{thread.id}")
    expect(page.get_by_text("message 119", exact=True)).to_be_in_viewport()
    expect(page.locator(".message")).to_have_count(50)
    for _ in range(2):
        count = page.locator(".message").count()
        page.get_by_role("region", name="Messages").evaluate("box => { box.scrollTop = 0 }")
        expect(page.locator(".message")).not_to_have_count(count)
    expect(page.locator(".message")).to_have_count(120)
    expect(page.locator(".message").get_by_text("message 0", exact=True)).to_have_count(1)


def test_what_was_written_but_not_sent_survives_a_reload(page):
    box = page.get_by_role("textbox", name="Message", exact=True)
    box.fill("Half a thou")
    page.reload()
    expect(box).to_have_value("Half a thou")

"""Streams and the SDK's helpers on them."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import openai
import pytest

from threadkeep import testing

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("weather", "time")]
CALLS = testing.tool_calls(
    testing.call("weather", {"city": "Oslo"}, "call_oslo"), testing.call("time", call_id="call_time")
)
OUTPUTS = [{"tool_call_id": "call_oslo", "output": "-5"}, {"tool_call_id": "call_time", "output": "12:00"}]
TEXT = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    *["thread.message.delta"] * 2,
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
]


class Notes:
    """What a handler was told, in order."""

    def __init__(self):
        super().__init__()
        self.notes = []

    def note(self, what, value=None):
        self.notes.append((what, value))

    def of(self, what):
        return [value for name, value in self.notes if name == what]


class Handler(Notes, openai.AssistantEventHandler):
    def on_text_created(self, text):
        self.note("text created", text.value)

    def on_text_delta(self, _delta, snapshot):
        self.note("text", snapshot.value)

    def on_text_done(self, text):
        self.note("text done", text.value)

    def on_message_done(self, message):
        self.note("message done", message.status)

    def on_tool_call_created(self, tool_call):
        self.note("call created", tool_call.id)

    def on_tool_call_delta(self, _delta, snapshot):
        self.note("call", snapshot.function.arguments)

    def on_tool_call_done(self, tool_call):
        self.note("call done", (tool_call.id, tool_call.function.name, tool_call.function.arguments))

    def on_run_step_done(self, run_step):
        self.note("step done", run_step.status)

    def on_exception(self, exception):
        self.note("exception", exception)

    def on_end(self):
        self.note("end")


class AsyncHandler(Notes, openai.AsyncAssistantEventHandler):
    async def on_text_done(self, text):
        self.note("text done", text.value)

    async def on_tool_call_done(self, tool_call):
        self.note("call done", (tool_call.id, tool_call.function.arguments))

    async def on_exception(self, exception):
        self.note("exception", exception)

    async def on_end(self):
        self.note("end")


def handled(manager):
    """The handler of a stream, when the stream is over."""
    with manager as handler:
        handler.until_done()
    return handler


def stream(chat, **params):
    return handled(
        chat.runs.stream(thread_id=chat.thread.id, assistant_id=chat.assistant.id, event_handler=Handler(), **params)
    )


def submitted(chat, run, outputs=OUTPUTS):
    return handled(
        chat.runs.submit_tool_outputs_stream(
            run_id=run.id, thread_id=chat.thread.id, tool_outputs=outputs, event_handler=Handler()
        )
    )


def replayed(chat, run, handler):
    """The run's stream from its start, given to a handler."""
    handler._init(chat.follow(run))
    handler.until_done()
    return handler


def test_a_stream_tells_of_everything_in_order(chat, model):
    model.reply(testing.text("Hello ", "world"))
    events = chat.events()
    assert [name for name, _ in events] == TEXT
    created, queued, *_ = (data for _, data in events)
    assert created == queued
    assert (created.status, created.expires_at) == ("queued", created.created_at + 600)
    step, message = events[3][1], events[5][1]
    assert step == events[4][1]
    assert message == events[6][1]
    assert (message.content, message.attachments, message.status) == ([], [], "in_progress")
    assert step.step_details.message_creation.message_id == message.id
    assert step.created_at == message.created_at
    run = events[-1][1]
    assert run.to_dict() == chat.wire(run)
    assert events[-2][1] == chat.steps(run)[0]
    assert events[-3][1] == chat.messages()[-1]


def test_a_handler_builds_the_answer_from_the_stream(chat, model):
    model.reply(testing.text("Hello ", "big ", "world"))
    handler = stream(chat)
    assert handler.of("text") == ["Hello ", "Hello big ", "Hello big world"]
    assert handler.of("text done") == ["Hello big world"]
    assert handler.of("message done") == handler.of("step done") == ["completed"]
    assert handler.notes[-1] == ("end", None)
    run = handler.get_final_run()
    assert (run.status, run.usage.completion_tokens) == ("completed", 3)
    (message,) = handler.get_final_messages()
    assert message.content[0].text.value == "Hello big world"
    (step,) = handler.get_final_run_steps()
    assert step.step_details.message_creation.message_id == message.id


def test_text_alone_can_be_iterated(chat, model):
    model.reply(testing.text("Hello ", "world"))
    with chat.runs.stream(thread_id=chat.thread.id, assistant_id=chat.assistant.id) as handler:
        assert "".join(handler.text_deltas) == "Hello world"


def test_a_thread_is_created_in_the_stream(chat, model):
    model.reply(testing.text("Hello ", "world"))
    names, threads = [], []
    create = chat.client.beta.threads.create_and_run_stream
    said = {"messages": [{"role": "user", "content": "Good day"}]}
    with create(assistant_id=chat.assistant.id, thread=said) as handler:
        for event in handler:
            names.append(event.event)
            if event.event == "thread.created":
                threads.append(event.data)
    assert names == ["thread.created", *TEXT]
    assert chat.client.beta.threads.retrieve(threads[0].id) == threads[0]
    assert handler.get_final_run().thread_id == threads[0].id


def test_a_handler_is_told_of_calls_and_goes_on_with_their_outputs(new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(CALLS, testing.text("Cold ", "noon."))
    handler = stream(chat)
    run = handler.get_final_run()
    assert run.status == "requires_action"
    assert handler.of("call created") == ["call_oslo", "call_time"]
    assert handler.of("call done")[0] == ("call_oslo", "weather", '{"city": "Oslo"}')
    (step,) = handler.get_final_run_steps()
    assert [call.function.arguments for call in step.step_details.tool_calls] == ['{"city": "Oslo"}', "{}"]
    second = submitted(chat, run)
    assert second.of("text done") == ["Cold noon."]
    assert second.get_final_run().status == "completed"
    assert second.get_final_run().usage.to_dict() == chat.wait(run).usage.to_dict()


def test_calls_follow_text_in_one_stream(new_chat, model):
    chat = new_chat(tools=TOOLS)
    says = ("Let ", "me look.")
    model.reply(testing.tool_calls(testing.call("time", call_id="call_a"), says=says), testing.text("Noon."))
    handler = stream(chat)
    assert handler.of("text done")[0] == "Let me look."
    assert handler.of("call created") == ["call_a"]
    second = submitted(chat, handler.get_final_run(), [{"tool_call_id": "call_a", "output": "12"}])
    assert second.of("text done") == ["Noon."]


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (testing.text("Once ", "upon", finish_reason="length"), "incomplete", "incomplete"),
        (testing.text("Once ", "upon", finish_reason="content_filter"), "incomplete", "incomplete"),
        (testing.text("Once ", "upon", ends="cut"), "failed", "incomplete"),
        (testing.error(400), "failed", None),
        (testing.refusal("I ", "cannot."), "completed", "completed"),
        (testing.text(), "completed", "completed"),
    ],
    ids=["length", "content_filter", "cut", "error", "refusal", "empty"],
)
def test_a_handler_sees_each_ending(chat, model, reply, status, message):
    model.reply(reply)
    handler = stream(chat)
    assert handler.get_final_run().status == status
    assert handler.of("message done") == ([message] if message else [])
    assert handler.of("exception") == []
    replay = replayed(chat, handler.get_final_run(), Handler())
    assert replay.notes == handler.notes


def test_a_handler_consumes_a_replay_over_all_turns(new_chat, model):
    chat = new_chat(tools=TOOLS)
    model.reply(CALLS, testing.text("Cold ", "noon."))
    run = stream(chat).get_final_run()
    submitted(chat, run)
    handler = replayed(chat, run, Handler())
    assert handler.get_final_run().status == "completed"
    assert handler.of("call created") == ["call_oslo", "call_time"]
    assert handler.of("text done") == ["Cold noon."]
    assert len(handler.get_final_run_steps()) == 2


def test_the_asynchronous_helpers_work(new_chat, server, model):
    chat = new_chat(tools=TOOLS)
    model.reply(CALLS, testing.text("Cold ", "noon."))

    async def run():
        options = {"base_url": server.base_url, "api_key": chat.client.api_key, "max_retries": 0}
        async with openai.AsyncOpenAI(**options) as client:
            runs = client.beta.threads.runs
            place = {"thread_id": chat.thread.id}
            first = AsyncHandler()
            async with runs.stream(assistant_id=chat.assistant.id, event_handler=first, **place) as handler:
                await handler.until_done()
            waiting = await first.get_final_run()
            second = AsyncHandler()
            async with runs.submit_tool_outputs_stream(
                run_id=waiting.id, tool_outputs=OUTPUTS, event_handler=second, **place
            ) as handler:
                texts = [text async for text in handler.text_deltas]
            third = AsyncHandler()
            events = await client.get(
                f"{chat.path}/{waiting.id}?stream=true",
                cast_to=object,
                stream=True,
                stream_cls=openai.AsyncStream[openai.types.beta.AssistantStreamEvent],
            )
            third._init(events)
            await third.until_done()
            polled = await runs.create_and_poll(assistant_id=chat.assistant.id, **place)
            return first, second, third, texts, (await second.get_final_run()).status, polled.status

    first, second, third, texts, status, polled = asyncio.run(run())
    assert first.of("call done")[0][0] == "call_oslo"
    assert (texts, status, polled) == (["Cold ", "noon."], "completed", "completed")
    assert second.of("text done") == third.of("text done") == ["Cold noon."]
    for handler in (first, second, third):
        assert handler.of("exception") == []
        assert handler.of("end") == [None]


def test_signs_of_life_in_a_silence_are_no_events(servers, database, model, new_client, new_chat):
    client = new_client(servers(database, upstream_url=model.base_url, stream_heartbeat_s=0.05))
    chat = new_chat(on=client, model="text:3@5")
    with chat.runs.with_streaming_response.create(
        chat.thread.id, assistant_id=chat.assistant.id, stream=True
    ) as answer:
        assert b"\n: ping\n" in answer.read()
    assert [name for name, _ in chat.events()].count("thread.message.delta") == 3
    with chat.runs.stream(thread_id=chat.thread.id, assistant_id=chat.assistant.id) as stream:
        stream.until_done()
    assert stream.get_final_run().status == "completed"


def test_a_stream_that_a_stop_cuts_is_an_error_of_the_connection(model, new_client, new_chat):
    with ExitStack() as running:
        server = running.enter_context(testing.serve(upstream_url=model.base_url))
        chat = new_chat(on=new_client(server))
        model.reply(testing.silence("Hello "))
        with chat.start(stream=True) as stream:
            while next(stream).event != "thread.message.delta":
                pass
            running.close()
            with pytest.raises(openai.APIConnectionError):
                list(stream)


def test_what_is_refused_is_refused_before_the_stream(chat):
    with pytest.raises(openai.NotFoundError):
        chat.runs.create(chat.thread.id, assistant_id="asst_missing", stream=True)
    with pytest.raises(openai.BadRequestError):
        chat.start(stream=True, temperature=3)


def test_a_client_that_goes_away_does_not_stop_its_run(chat, model):
    model.hold(after=2)
    model.reply(testing.text("Hello ", "world"))
    with chat.start(stream=True) as events:
        for event in events:
            if event.event == "thread.message.delta":
                break
    run = chat.runs.list(chat.thread.id).data[0]
    assert run.status == "in_progress"
    model.release()
    assert chat.wait(run).status == "completed"
    assert chat.said()[-1] == "Hello world"


def test_streams_do_not_mix(new_chat):
    chats = [new_chat(model=f"text:{n}") for n in (3, 5)]
    for chat, n in zip(chats, (3, 5), strict=True):
        run = stream(chat).get_final_run()
        assert (run.status, run.usage.completion_tokens) == ("completed", n)


def test_text_after_calls_is_a_message_that_every_helper_understands(new_chat, model):
    chat = new_chat(tools=TOOLS)
    calls = testing.tool_calls(testing.call("time", call_id="call_a"), says=("Let me look.",))
    model.reply(
        testing.Reply(deltas=(*calls.deltas, {"content": "Wait."}), finish_reason="tool_calls"), testing.text("Noon.")
    )
    handler = stream(chat)
    run = handler.get_final_run()
    assert run.status == "requires_action"
    assert handler.of("text done") == ["Let me look.", "Wait."]
    second = submitted(chat, run, [{"tool_call_id": "call_a", "output": "12"}])
    assert second.of("text done") == ["Noon."]
    assert replayed(chat, run, Handler()).of("text done") == ["Let me look.", "Wait.", "Noon."]
    assert [step.status for step in chat.steps(run)] == ["completed"] * 4
    # The next turn is told of it all, in an order that model servers take.
    assert [message["role"] for message in model.requests[-1].body["messages"]] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_text_and_refusal_are_two_parts(chat, model):
    model.reply(testing.Reply(deltas=({"content": "Well, "}, {"refusal": "no."}, {"content": "sorry."})))
    handler = stream(chat)
    assert handler.of("exception") == []
    expected = [
        {"type": "text", "text": {"value": "Well, sorry.", "annotations": []}},
        {"type": "refusal", "refusal": "no."},
    ]
    assert [part.to_dict() for part in handler.get_final_messages()[0].content] == expected
    assert [part.to_dict() for part in chat.messages()[-1].content] == expected


@pytest.mark.parametrize(
    "odd", ["a\u2028b\x85c", "a\0b", "\U0001f44b\u200d", "id: 1\n\nevent: done\ndata: x\n\n", "\r\n"]
)
def test_every_character_comes_through(chat, model, odd):
    model.reply(testing.text("<", odd, ">"))
    handler = stream(chat)
    assert handler.get_final_messages()[0].content[0].text.value == f"<{odd}>" == chat.said()[-1]
    assert replayed(chat, handler.get_final_run(), Handler()).of("text done") == [f"<{odd}>"]


def test_a_character_that_the_model_server_cut_in_two_is_whole_everywhere(chat, model):
    model.reply(testing.text("<\ud83d", "\ude00", " \ud83d", ">\ud83d"))
    handler = stream(chat)
    expected = "<\U0001f600 \ufffd>\ufffd"
    assert handler.get_final_messages()[0].content[0].text.value == expected == chat.said()[-1]
    assert handler.get_final_run().status == "completed"
    assert replayed(chat, handler.get_final_run(), Handler()).of("text done") == [expected]

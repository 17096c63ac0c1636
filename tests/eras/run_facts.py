"""Facts about runs and their steps. The model's name says what it does: see `threadkeep.testing`."""

from __future__ import annotations

import inspect

import openai
from facts import V1, V2, fact, refusal

RUN_CALLS = {"create", "retrieve", "update", "list", "cancel", "submit_tool_outputs"}
HELPERS = {"create_and_poll", "create_and_stream", "poll", "stream", "submit_tool_outputs_and_poll"} | {
    "submit_tool_outputs_stream"
}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}


class Chat:
    """An assistant and a thread with one message."""

    def __init__(self, client, model="scripted", **assistant):
        self.client = client
        self.runs = client.beta.threads.runs
        self.assistant = client.beta.assistants.create(model=model, **assistant)
        self.thread = client.beta.threads.create(messages=[{"role": "user", "content": "Hello there"}])

    def start(self, **params):
        return self.runs.create(thread_id=self.thread.id, assistant_id=self.assistant.id, **params)

    def run(self, **params):
        return self.wait(self.start(**params))

    def wait(self, run):
        while run.status in ("queued", "in_progress", "cancelling"):
            run = self.runs.retrieve(run.id, thread_id=run.thread_id)
        return run

    def submit(self, run, output):
        (call,) = run.required_action.submit_tool_outputs.tool_calls
        outputs = [{"tool_call_id": call.id, "output": output}]
        return self.runs.submit_tool_outputs(run.id, thread_id=self.thread.id, tool_outputs=outputs)

    def said(self):
        messages = self.client.beta.threads.messages.list(self.thread.id, order="asc")
        return [message.content[0].text.value for message in messages]


@fact()
def these_are_all_the_calls_of_runs_that_this_sdk_has(client):
    def calls_of(resource):
        functions = inspect.getmembers(type(resource), inspect.isfunction)
        return {name for name, _ in functions if not name.startswith("_")}

    assert calls_of(client.beta.threads.runs) == RUN_CALLS | (HELPERS if V2 else set())
    assert calls_of(client.beta.threads.runs.steps) == {"list", "retrieve"}


@fact()
def a_run_answers_in_its_thread(client):
    chat = Chat(client, instructions="Be brief.")
    run = chat.start(metadata={"a": "b"})
    assert run.id.startswith("run_")
    assert (run.object, run.status, run.metadata) == ("thread.run", "queued", {"a": "b"})
    assert (run.assistant_id, run.thread_id) == (chat.assistant.id, chat.thread.id)
    assert (run.model, run.instructions, run.tools) == ("scripted", "Be brief.", [])
    assert run.expires_at == run.created_at + 600
    ended = chat.wait(run)
    assert ended.status == "completed"
    assert ended.completed_at >= ended.started_at
    assert chat.said() == ["Hello there", "Hello there"]
    (message, _) = client.beta.threads.messages.list(chat.thread.id).data
    assert (message.run_id, message.assistant_id) == (run.id, chat.assistant.id)


@fact()
def a_run_overrides_its_assistant(client):
    chat = Chat(client, tools=[WEATHER])
    run = chat.run(model="text:2", instructions="Be long.", tools=[])
    assert (run.model, run.instructions, run.tools, run.status) == ("text:2", "Be long.", [], "completed")


@fact(V2)
def a_run_has_what_v2_added(client):
    run = Chat(client, model="text:3").run(temperature=0.5, max_completion_tokens=256)
    assert (run.temperature, run.max_completion_tokens, run.response_format) == (0.5, 256, "auto")
    assert (run.truncation_strategy.type, run.tool_choice) == ("auto", "auto")
    assert run.usage.completion_tokens == 3


@fact()
def a_thread_and_its_run_are_created_together(client):
    chat = Chat(client)
    run = client.beta.threads.create_and_run(
        assistant_id=chat.assistant.id, thread={"messages": [{"role": "user", "content": "Good day"}]}
    )
    assert chat.wait(run).status == "completed"
    texts = [message.content[0].text.value for message in client.beta.threads.messages.list(run.thread_id)]
    assert texts == ["Good day", "Good day"]


@fact()
def a_function_is_called_and_its_output_read(client):
    chat = Chat(client, model="call:weather", tools=[WEATHER])
    run = chat.run()
    assert run.status == "requires_action"
    assert run.required_action.type == "submit_tool_outputs"
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    assert (call.type, call.function.name, call.function.arguments) == ("function", "weather", "{}")
    assert chat.submit(run, "It is cold.").status == "queued"
    assert chat.wait(chat.runs.retrieve(run.id, thread_id=chat.thread.id)).status == "completed"
    assert chat.said()[-1] == "It is cold."
    message, tools = chat.runs.steps.list(run.id, thread_id=chat.thread.id).data
    assert (message.type, tools.type) == ("message_creation", "tool_calls")
    assert message.step_details.message_creation.message_id.startswith("msg_")
    (called,) = tools.step_details.tool_calls
    assert (called.id, called.function.output) == (call.id, "It is cold.")
    step = chat.runs.steps.retrieve(tools.id, run_id=run.id, thread_id=chat.thread.id)
    assert step == tools
    assert (step.status, step.run_id) == ("completed", run.id)


@fact()
def a_run_is_cancelled(client):
    chat = Chat(client, model="silence:2")
    run = chat.start()
    assert chat.runs.cancel(run.id, thread_id=chat.thread.id).status == "cancelling"
    assert chat.wait(chat.runs.retrieve(run.id, thread_id=chat.thread.id)).status == "cancelled"
    error = refusal(openai.BadRequestError, chat.runs.cancel, run.id, thread_id=chat.thread.id)
    assert "Cannot cancel run with status 'cancelled'." in str(error)


@fact()
def a_run_that_fails_says_why(client):
    run = Chat(client, model="status:400").run()
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert "The model server refused the request with status 400" in run.last_error.message


@fact()
def a_busy_thread_refuses_runs_and_messages(client):
    chat = Chat(client, model="silence:1")
    run = chat.start()
    error = refusal(openai.BadRequestError, chat.start)
    assert f"Thread {chat.thread.id} already has an active run {run.id}." in str(error)
    add = client.beta.threads.messages.create
    error = refusal(openai.BadRequestError, add, chat.thread.id, role="user", content="x")
    assert f"Can't add messages to {chat.thread.id} while a run {run.id} is active." in str(error)
    chat.runs.cancel(run.id, thread_id=chat.thread.id)
    assert add(chat.thread.id, role="user", content="x").role == "user"


@fact()
def runs_are_listed_and_changed(client):
    chat = Chat(client)
    ids = [chat.run().id for _ in range(3)]
    assert [run.id for run in chat.runs.list(chat.thread.id, limit=2)] == ids[::-1]
    assert chat.runs.update(ids[0], thread_id=chat.thread.id, metadata={"new": "yes"}).metadata == {"new": "yes"}
    error = refusal(openai.NotFoundError, chat.runs.retrieve, "run_x", thread_id=chat.thread.id)
    assert "No run found with id 'run_x'." in str(error)


@fact(V1)
def v1_fields_of_a_run_are_readable(client):
    chat = Chat(client, tools=[{"type": "retrieval"}], file_ids=["file-a"])
    run = chat.start(metadata={"count": 1})
    assert (run.file_ids, run.metadata) == ([], {"count": "1"})
    assert [tool.type for tool in run.tools] == ["retrieval"]
    assert chat.wait(run).status == "failed"
    assert chat.run(tools=[]).status == "completed"


# Helpers


@fact(V2)
def the_polling_helpers_wait(client):
    chat = Chat(client, model="call:weather", tools=[WEATHER])
    run = chat.runs.create_and_poll(thread_id=chat.thread.id, assistant_id=chat.assistant.id)
    assert run.status == "requires_action"
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    run = chat.runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=chat.thread.id, tool_outputs=[{"tool_call_id": call.id, "output": "Cold."}]
    )
    assert (run.status, chat.said()[-1]) == ("completed", "Cold.")
    run = client.beta.threads.create_and_run_poll(
        assistant_id=chat.assistant.id, model="text:1", thread={"messages": [{"role": "user", "content": "x"}]}
    )
    assert run.status == "completed"


@fact(V2)
def a_stream_is_iterated(client):
    # So slow that signs of life come in between.
    chat = Chat(client, model="text:3@5")
    names = [event.event for event in chat.start(stream=True)]
    assert names[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert names.count("thread.message.delta") == 3
    assert names[-1] == "thread.run.completed"


@fact(V2)
def the_streaming_helpers_build_what_was_said(client):
    chat = Chat(client, model="call:weather", tools=[WEATHER])
    with chat.runs.stream(thread_id=chat.thread.id, assistant_id=chat.assistant.id) as stream:
        stream.until_done()
    run = stream.get_final_run()
    assert run.status == "requires_action"
    (call,) = run.required_action.submit_tool_outputs.tool_calls
    (step,) = stream.get_final_run_steps()
    assert step.step_details.tool_calls[0].function.arguments == "{}"
    outputs = [{"tool_call_id": call.id, "output": "It is cold."}]
    submit = chat.runs.submit_tool_outputs_stream
    with submit(run_id=run.id, thread_id=chat.thread.id, tool_outputs=outputs) as stream:
        assert "".join(stream.text_deltas) == "It is cold."
    assert stream.get_final_run().status == "completed"
    (message,) = stream.get_final_messages()
    assert message.content[0].text.value == "It is cold."
    thread = {"messages": [{"role": "user", "content": "Good day"}]}
    with client.beta.threads.create_and_run_stream(
        assistant_id=chat.assistant.id, model="text:2", thread=thread
    ) as stream:
        stream.until_done()
    assert stream.get_final_run().status == "completed"


@fact(V2)
def a_failure_ends_a_stream_without_an_exception(client):
    chat = Chat(client, model="cut:2")
    with chat.runs.stream(thread_id=chat.thread.id, assistant_id=chat.assistant.id) as stream:
        stream.until_done()
    assert (stream.get_final_run().status, stream.get_final_run().last_error.code) == ("failed", "server_error")
    assert stream.get_final_messages()[0].status == "incomplete"


@fact(V2)
async def the_async_helpers_poll_and_stream(client):
    threads = client.beta.threads
    assistant = await client.beta.assistants.create(model="text:2")
    thread = await threads.create(messages=[{"role": "user", "content": "Hello"}])
    place = {"thread_id": thread.id, "assistant_id": assistant.id}
    assert (await threads.runs.create_and_poll(**place)).status == "completed"
    async with threads.runs.stream(**place) as stream:
        texts = [text async for text in stream.text_deltas]
    assert len(texts) == 2
    assert (await stream.get_final_run()).status == "completed"

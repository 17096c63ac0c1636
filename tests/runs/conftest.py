"""Servers with a scripted model behind them, and a short way to let an assistant answer in a thread."""

from __future__ import annotations

from contextlib import suppress

import openai
import pytest


class Chat:
    """An assistant and a thread with one message, and what one does with both."""

    def __init__(self, client, said="Hello there", **assistant):
        self.client = client
        self.runs = client.beta.threads.runs
        self.assistant = client.beta.assistants.create(**{"model": "scripted", **assistant})
        self.thread = client.beta.threads.create(messages=[{"role": "user", "content": said}] if said else [])
        self.path = f"/threads/{self.thread.id}/runs"

    def start(self, **params):
        """A run that has just begun."""
        return self.runs.create(self.thread.id, assistant_id=self.assistant.id, **params)

    def run(self, **params):
        """A run that rests."""
        return self.wait(self.start(**params))

    def wait(self, run):
        return self.runs.poll(run.id, thread_id=self.thread.id)

    def follow(self, run):
        """The run's stream, from its start."""
        return self.client.get(
            f"{self.path}/{run.id}?stream=true",
            cast_to=object,
            stream=True,
            stream_cls=openai.Stream[openai.types.beta.AssistantStreamEvent],
        )

    def wait_for_event(self, run, name):
        """Returns when the run has had such an event."""
        with self.follow(run) as followed:
            next(event for event in followed if event.event == name)

    def submit(self, run, outputs, **params):
        """Outputs by call id."""
        return self.runs.submit_tool_outputs(
            run.id,
            thread_id=self.thread.id,
            tool_outputs=[{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()],
            **params,
        )

    def events(self, **params):
        """All events of a new run that is streamed, as pairs of name and data."""
        return pairs(self.start(stream=True, **params))

    def cancel(self, run):
        return self.runs.cancel(run.id, thread_id=self.thread.id)

    def stop(self):
        """Ends what the test has left under way: the model is the next test's."""
        with suppress(openai.NotFoundError, openai.APIConnectionError):
            for run in self.runs.list(self.thread.id):
                if run.status in ("queued", "in_progress", "requires_action"):
                    with suppress(openai.BadRequestError):
                        self.cancel(run)

    def steps(self, run, **query):
        return self.runs.steps.list(run.id, thread_id=self.thread.id, **{"order": "asc", **query}).data

    def messages(self, **query):
        return self.client.beta.threads.messages.list(self.thread.id, **{"order": "asc", **query}).data

    def said(self, **query):
        """The texts of the thread."""
        return [message.content[0].text.value for message in self.messages(**query)]

    def wire(self, run):
        """The run's JSON as it is sent."""
        return self.client.get(f"{self.path}/{run.id}", cast_to=object)


def pairs(stream):
    """Name and data of each event of a stream."""
    with stream:
        return [(event.event, event.data) for event in stream]


@pytest.fixture
def server(servers, database, model):
    return servers(database, upstream_url=model.base_url)


@pytest.fixture
def strict_server(servers, database, model):
    return servers(database, upstream_url=model.base_url, strict=True)


@pytest.fixture
def hasty_server(serve_by_clock, model):
    """Its runs have two seconds for each turn; between their turns it is the clock that ends them."""
    with serve_by_clock(upstream_url=model.base_url, run_lifetime_s=2) as server:
        yield server


@pytest.fixture
def new_chat(client):
    """`new_chat(**assistant)`; `on` names another client."""
    chats = []

    def make(on=None, **how):
        chats.append(Chat(on or client, **how))
        return chats[-1]

    yield make
    for chat in chats:
        chat.stop()


@pytest.fixture
def chat(new_chat):
    return new_chat()


@pytest.fixture
def events_of():
    return pairs

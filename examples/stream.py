"""Streams an answer, loses the connection half way, and goes on where it broke: the run did not stop.

Needs `pip install openai` and a running server (`make run`). The built-in model `echo` will do; name another with
`MODEL=llama3.1`.
"""

import os
import warnings
from collections.abc import Iterator

import openai
from openai.types.beta import AssistantStreamEvent

warnings.filterwarnings("ignore", message="(The Assistants API is )?deprecated")

client = openai.OpenAI(
    base_url=os.environ.get("THREADKEEP_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("THREADKEEP_KEY", "not-needed"),
)


def show(event: AssistantStreamEvent) -> None:
    """Prints text as it comes, and the run's status when it changes."""
    if event.event == "thread.message.delta":
        for part in event.data.delta.content or []:
            if part.type == "text" and part.text:
                print(part.text.value, end="", flush=True)
    elif event.event.startswith("thread.run.") and not event.event.startswith("thread.run.step."):
        print(f"\n[{event.event}]")


def follow(thread_id: str, run_id: str, seen: int) -> Iterator[AssistantStreamEvent]:
    """The events behind number `seen`, also those that were sent before. The SDK has no method for it."""
    with client.get(
        f"/threads/{thread_id}/runs/{run_id}",
        cast_to=AssistantStreamEvent,
        options={"params": {"stream": True, "starting_after": seen}},
        stream=True,
        stream_cls=openai.Stream[AssistantStreamEvent],
    ) as stream:
        yield from stream


assistant = client.beta.assistants.create(model=os.environ.get("MODEL", "echo"))
thread = client.beta.threads.create(messages=[{"role": "user", "content": "Count from one to ten, please."}])

# Events are numbered from 1 in each run, so counting them is enough.
seen = 0
run_id = ""
with client.beta.threads.runs.create(thread_id=thread.id, assistant_id=assistant.id, stream=True) as stream:
    for event in stream:
        seen += 1
        show(event)
        if event.event == "thread.run.created":
            run_id = event.data.id
        if event.event == "thread.message.delta":
            print("\n[the connection breaks]")
            break

for event in follow(thread.id, run_id, seen):
    show(event)

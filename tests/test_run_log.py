"""What the owner of a run writes into its log."""

import pytest

from threadkeep import testing, turn


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def client(new_client, servers, database, model):
    return new_client(servers(database, upstream_url=model.base_url))


def test_a_message_is_saved_also_when_nothing_was_said_since(client, model, monkeypatch):
    monkeypatch.setattr(turn, "MESSAGE_SAVED_EVERY_S", 0)
    assistant = client.beta.assistants.create(model="scripted")
    model.reply(testing.text("Hello ", "world"))
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hi"}]}
    )
    assert run.status == "completed"
    stream = client.get(f"/threads/{run.thread_id}/runs/{run.id}?stream=true", cast_to=str)
    numbers = [int(line.removeprefix("id: ")) for line in stream.splitlines() if line.startswith("id: ")]
    # The end repeats the last number.
    assert numbers == [*range(1, len(numbers)), len(numbers) - 1]

"""How many statements the hot requests cost. A number that grows here is a regression, or wants a reason."""

from __future__ import annotations

import httpx2
import pytest

from threadkeep import app, search_index, testing, turn, webhook_delivery

THREAD = {"metadata": {"user": "abc123", "modified": "true"}}
ASSISTANT = {"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}]}
MESSAGE = {"role": "user", "content": "How does AI work?"}

# What runs beside the requests, a few times a second.
BESIDE = ("leftover", "revisions", "wake_at <= ", "expires_at <=")
# Without the transaction's own: begin and commit once a group.
REQUESTS = [
    ("POST", "/threads", THREAD, ["insert into threads", *["insert into thread_metadata"] * 2]),
    ("POST", "/threads", {"messages": [MESSAGE] * 2}, ["insert into threads", *["insert into messages"] * 2]),
    ("GET", "/threads/{thread}", None, ["select body from threads"]),
    ("POST", "/threads/{thread}", {"metadata": {"user": "abc123"}}, ["select body from threads", "update threads"]),
    ("GET", "/threads?metadata[user]=abc123", None, ["select t.thread_id, t.body"]),
    ("GET", "/threads", None, ["select thread_id, body from threads"]),
    ("POST", "/threads/{thread}/messages", MESSAGE, ["select deleted_seq", "insert into messages"]),
    ("GET", "/threads/{thread}/messages", None, ["select thread_id from threads", "select message_id, body"]),
    ("GET", "/threads/{thread}/messages/{message}", None, ["select (select body from messages"]),
    ("POST", "/threads/{thread}/messages/{message}", THREAD, ["select thread_id", "select body", "update messages"]),
    ("DELETE", "/threads/{thread}", None, ["update threads set deleted_at"]),
    (
        "DELETE",
        "/threads/{thread}/messages/{message}",
        None,
        [
            "select deleted_seq",
            "update messages",
            "delete from message_versions",
            "insert into search_queue",
            "update threads",
            "update idempotency_keys",
        ],
    ),
    ("POST", "/assistants", ASSISTANT, ["select 1", "insert into assistants"]),
    ("GET", "/assistants", None, ["select assistant_id, body from assistants"]),
    ("GET", "/assistants/{assistant}", None, ["select body from assistants"]),
    ("POST", "/assistants/{assistant}", {"name": "new"}, ["select body from assistants", "update assistants"]),
    ("DELETE", "/assistants/{assistant}", None, ["update assistants set body = null", "update idempotency_keys"]),
]


@pytest.fixture
def statements(servers, model, monkeypatch):
    """Notes the statements of a server that nobody else uses: `statements(request)`."""
    for module in (app, search_index, webhook_delivery):
        monkeypatch.setattr(module, "LOOK_EVERY_S", 3600)
    # However slow the machine is.
    monkeypatch.setattr(turn, "MESSAGE_SAVED_EVERY_S", 3600)
    # A setting of its own gives it a server of its own.
    server = servers("sqlite", keep_alive_s=71.0, upstream_url=model.base_url)
    store = server.app.store
    noted = []

    def note(_cursor, text, _bindings):
        noted.append(" ".join(text.split()))
        return True

    async def trace(tracer):
        store._writer.set_exec_trace(tracer)
        store._reader._connection.set_exec_trace(tracer)

    with httpx2.Client(base_url=server.base_url) as http:

        def run(method, path, body=None):
            server.run(trace(note))
            answer = http.request(method, path, json=body)
            server.run(trace(None))
            seen = [
                text for text in noted if not text.startswith(("begin", "commit", "rollback", "savepoint", "release"))
            ]
            noted.clear()
            return answer, [text for text in seen if not any(word in text for word in BESIDE)]

        run.base_url = server.base_url
        run.trace = lambda: server.run(trace(note))
        yield run


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"), REQUESTS, ids=lambda v: v if isinstance(v, str) else ""
)
def test_a_hot_request_runs_no_more_statements_than_it_needs(statements, method, path, body, expected):
    thread = statements("POST", "/threads", THREAD)[0].json()
    message = statements("POST", f"/threads/{thread['id']}/messages", MESSAGE)[0].json()
    assistant = statements("POST", "/assistants", ASSISTANT)[0].json()
    ids = {"thread": thread["id"], "message": message["id"], "assistant": assistant["id"]}
    answer, seen = statements(method, path.format(**ids), body)
    assert answer.status_code == 200
    assert len(seen) == len(expected), seen
    for text, beginning in zip(seen, expected, strict=True):
        assert text.startswith(beginning)


CREATE_RUN = [
    "select deleted_seq",
    "select body from assistants",
    "select seq, body from messages",
    "select coalesce(max(seq), 0) from messages",
    "select count(*) from ( select 1 from runs",
    "select coalesce(max(seq), 0) from runs",
    "insert into runs",
    "insert into run_events",
    "update threads set active_run_id",
]


def start_run(statements, **params):
    thread = statements("POST", "/threads", {"messages": [MESSAGE]})[0].json()
    assistant = statements("POST", "/assistants", {"model": "scripted"})[0].json()
    return f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **params}


def test_creating_a_run_needs_no_more_statements_than_these(statements, model):
    model.hold()
    path, body = start_run(statements)
    answer, seen = statements("POST", path, body)
    assert answer.status_code == 200
    # What it goes on with is not to be among the statements of another test.
    statements("POST", f"{path}/{answer.json()['id']}/cancel")
    assert len(seen) >= len(CREATE_RUN), seen
    # Behind them come those of the run itself, which has begun.
    for text, beginning in zip(seen, CREATE_RUN, strict=False):
        assert text.startswith(beginning), seen


def test_a_word_that_is_streamed_costs_one_statement(statements, model):
    model.hold(after=2)
    model.reply(testing.text("Once ", "upon ", "a time"))
    path, body = start_run(statements, stream=True)
    with httpx2.stream("POST", f"{statements.base_url}{path}", json=body) as answer:
        lines = answer.iter_lines()
        next(line for line in lines if "Once" in line)
        statements.trace()
        model.release(1)
        next(line for line in lines if "upon" in line)
        _, seen = statements("GET", "/models")
        assert len(seen) == 1, seen
        assert seen[0].startswith("insert into run_events")
        model.release()

"""How many statements the hot requests cost. A number that grows here is a regression, or wants a reason."""

from __future__ import annotations

import httpx2
import pytest

from threadkeep import search

THREAD = {"metadata": {"user": "abc123", "modified": "true"}}
ASSISTANT = {"model": "m", "tools": [{"type": "function", "function": {"name": "f"}}]}
MESSAGE = {"role": "user", "content": "How does AI work?"}

# Without the transaction's own: begin and commit once a group.
REQUESTS = [
    ("POST", "/threads", THREAD, ["insert into threads", *["insert into thread_metadata"] * 2]),
    ("POST", "/threads", {"messages": [MESSAGE] * 2}, ["insert into threads", *["insert into messages"] * 2]),
    ("GET", "/threads/{thread}", None, ["select body from threads"]),
    ("POST", "/threads/{thread}", {"metadata": {"user": "abc123"}}, ["select created_at, body", "update threads"]),
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
        ],
    ),
    ("POST", "/assistants", ASSISTANT, ["select project_id from projects", "insert into assistants"]),
    ("GET", "/assistants", None, ["select assistant_id, body from assistants"]),
    ("GET", "/assistants/{assistant}", None, ["select body from assistants"]),
    ("POST", "/assistants/{assistant}", {"name": "new"}, ["select body from assistants", "update assistants"]),
    ("DELETE", "/assistants/{assistant}", None, ["update assistants set body = null"]),
]


@pytest.fixture
def statements(servers, monkeypatch):
    """Notes the statements of a server that nobody else uses: `statements(request)`."""
    # A setting of its own gives it a server of its own.
    monkeypatch.setattr(search, "LOOK_EVERY_S", 3600)
    server = servers("sqlite", keep_alive_s=71.0, worker=False)
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
            # What runs beside the requests, a few times a second.
            beside = ("leftover", "revisions", "expires_at <=")
            return answer, [text for text in seen if not any(word in text for word in beside)]

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

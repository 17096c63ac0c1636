"""Whatever has the fields of threads, messages and pages, however they are nested, import answers with a report."""

from __future__ import annotations

import json
import uuid

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

KINDS = ["assistant", "thread", "thread.message", "thread.message.version", "thread.run", "thread.run.step"]
NAMES = [
    *("id", "object", "type", "kind", "format", "export_schema", "created_at", "thread_id", "run_id", "message_id"),
    *("role", "content", "text", "value", "metadata", "attachments", "tools", "model", "status", "step_details"),
    *("thread", "threads", "messages", "runs", "steps", "data", "items", "has_more", "conversation", "assistants"),
]
words = st.sampled_from([*KINDS, "list", "conversation", "message", "user", "text", "thread_1", "msg_1", "run_1", ""])
atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words | st.text()
values = st.recursive(
    atoms,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=30,
)


@pytest.mark.parametrize("dry_run", [False, True])
def test_every_import_is_answered_with_a_report(servers, database, dry_run):
    server = servers(database)
    headers = {"Authorization": f"Bearer {server.new_key(uuid.uuid4().hex)}"}

    with httpx2.Client(base_url=server.base_url, headers=headers, timeout=60) as http:

        @settings(max_examples=300)
        @given(st.lists(values, max_size=4), st.sampled_from([None, 1]))
        def is_answered(lines, indent):
            text = "\n".join(json.dumps(line, indent=indent) for line in lines)
            answer = http.post("/import", content=text.encode(), params={"dry_run": dry_run})
            assert answer.status_code == 200 or "format" in answer.json()["error"]["message"], answer.text

        is_answered()

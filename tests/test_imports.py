"""Exports and imports, over HTTP and at the command line."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from concurrent.futures import ThreadPoolExecutor
from time import tzset

import httpx2
import openai
import pytest

from threadkeep import exports, imports, testing
from threadkeep.store.checkpoints import PAGES_BEFORE_CHECKPOINT

HEADER = {"format": exports.FORMAT, "version": exports.VERSION}


def export(client):
    answer = client.get("/export", cast_to=httpx2.Response)
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def take_in(client, *lines, text=None, **query):
    if text is None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
    url = f"{client.base_url}import"
    headers = {"Authorization": f"Bearer {client.api_key}"}
    answer = httpx2.post(url, content=text.encode(), params=query, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def problems(report):
    return [(problem["where"], problem["problem"]) for problem in report["problems"]]


@pytest.fixture
def server(servers, database):
    """A server of which each test may empty the database: ids that are taken in are those of other tests too."""
    return servers(database, keep_alive_s=72.0)


def test_an_export_has_all_that_is_there_and_counts_it(client):
    assistant = client.beta.assistants.create(model="m", name="Ann")
    thread = client.beta.threads.create(metadata={"a": "b"}, messages=[{"role": "user", "content": "x"}] * 3)
    message = client.beta.threads.messages.list(thread.id, order="asc").data[0]
    client.beta.threads.messages.update(message.id, thread_id=thread.id, extra_body={"content": "y"})
    client.beta.threads.delete(client.beta.threads.create().id)
    lines = export(client)
    assert lines[0] == HEADER
    assert [line["kind"] for line in lines[1:]] == [
        *("assistant", "thread", "message", "message", "message", "message_version", "end")
    ]
    assert lines[1]["object"] == assistant.to_dict()
    assert lines[2]["object"] == thread.to_dict()
    assert lines[-1]["object"] == {"assistant": 1, "thread": 1, "message": 3, "message_version": 1}


def test_what_is_taken_in_is_what_was_exported(servers, database, new_client):
    with testing.model() as model:
        client = new_client(servers(database, upstream_url=model.base_url))
        assistant = client.beta.assistants.create(model="scripted")
        thread = client.beta.threads.create(
            messages=[{"role": "user", "content": "hello"}], extra_body={"expires_after": RULE}
        )
        client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
        client.beta.threads.create(metadata={"user": "ann"})
        exported = export(client)
    other = new_client(servers(OTHER[database], keep_alive_s=72.0))
    report = take_in(other, *exported, dry_run=True)
    assert (report["dry_run"], report["refused"]) == (True, 0)
    assert export(other) == [HEADER, {"kind": "end", "object": {}}]
    counts = report["created"]
    report = take_in(other, *exported)
    assert report["created"] == counts == exported[-1]["object"]
    assert export(other) == exported
    again = take_in(other, *exported)
    assert (again["created"], again["known"], again["refused"]) == ({}, counts, 0)
    assert export(other) == exported
    run = other.beta.threads.runs.list(thread.id).data[0]
    steps = other.beta.threads.runs.steps.list(run.id, thread_id=thread.id).data
    assert [step.type for step in steps] == ["message_creation"]
    found = other.get("/threads", cast_to=object, options={"params": {"metadata[user]": "ann"}})
    assert len(found["data"]) == 1
    other.beta.threads.messages.create(thread.id, role="user", content="it goes on")
    for one in other.get("/threads", cast_to=object)["data"]:
        other.beta.threads.delete(one["id"])


@pytest.mark.parametrize(("rows", "size"), [(1, 10**6), (2, 10**6), (1000, 1), (1000, 1200)])
def test_an_export_is_the_same_however_much_is_read_at_once(
    servers, database, new_client, model, monkeypatch, rows, size
):
    client = new_client(servers(database, upstream_url=model.base_url))
    assistant = client.beta.assistants.create(model="scripted")
    for _ in range(2):
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "hello"}] * 3)
        for _ in range(2):
            model.reply(testing.tool_calls(testing.call("f")))
            model.reply(testing.text("done"))
            run = client.beta.threads.runs.create_and_poll(
                thread_id=thread.id,
                assistant_id=assistant.id,
                tools=[{"type": "function", "function": {"name": "f"}}],
            )
            outputs = [
                {"tool_call_id": call.id, "output": "x"} for call in run.required_action.submit_tool_outputs.tool_calls
            ]
            client.beta.threads.runs.submit_tool_outputs_and_poll(
                run_id=run.id, thread_id=thread.id, tool_outputs=outputs
            )
        for message in client.beta.threads.messages.list(thread.id, order="asc").data[:2]:
            for text in "ab":
                client.beta.threads.messages.update(message.id, thread_id=thread.id, extra_body={"content": text})
    whole = export(client)
    assert whole[-1]["object"] == {
        "assistant": 1, "thread": 2, "message": 10, "message_version": 8, "run": 4, "run_step": 8
    }  # fmt: skip
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", rows)
    monkeypatch.setattr(exports, "BYTES_AT_ONCE", size)
    assert export(client) == whole


RULE = {"anchor": "last_active_at", "seconds": 10**9}
OTHER = {"sqlite": "postgres", "postgres": "sqlite"}


def thread_line(thread_id="thread_{}", **fields):
    thread = {"id": thread_id, "object": "thread", "created_at": 1, "metadata": {}, "tool_resources": {}}
    return {"kind": "thread", "object": thread | fields}


def message(thread_id, message_id, text="x", **fields):
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    return {
        "id": message_id,
        "object": "thread.message",
        "created_at": 5,
        "thread_id": thread_id,
        "role": "user",
        "content": content,
    } | fields


def new_id(client, name):
    """An id that no other test has: ids are unique on the whole server."""
    return f"{name}_{client.api_key[-8:]}"


def texts(client, thread_id):
    page = client.beta.threads.messages.list(thread_id, order="asc", limit=100)
    return [one.content[0].text.value for one in page]


def test_each_line_that_cannot_be_taken_in_is_told_with_the_reason(client):
    thread_id = new_id(client, "thread")
    report = take_in(
        client,
        HEADER,
        thread_line(thread_id),
        {"kind": "message", "object": message(thread_id, "msg_1")},
        {"kind": "message", "object": message("thread_none", "msg_2")},
        {"kind": "message", "object": message(thread_id, "msg_3", role="system")},
        {"kind": "message", "object": message(thread_id, "no_message")},
        {"kind": "message", "object": message(thread_id, "msg_4", text="nul \0")},
        {"kind": "message", "object": message(thread_id, "msg_5", created_at=-1)},
        {"kind": "run_step", "object": {"id": "step_1"}},
        {"kind": "file", "object": {"id": "file-1"}},
        {"kind": "thread", "object": 5},
        {"kind": "end", "object": {}},
    )
    assert report["created"] == {"thread": 1, "message": 1}
    told = dict(problems(report))
    assert report["refused"] == len(told) == 8
    assert told["line 4"] == "there is no thread thread_none"
    assert told["line 5"] == "role: Invalid value: 'system'. Supported values are: 'user' and 'assistant'."
    assert "'msg'" in told["line 6"]
    assert "U+0000" in told["line 7"]
    assert told["line 8"] == "a time is out of range"
    assert told["line 10"] == "objects of the kind 'file' are not imported"


@pytest.mark.parametrize("kind", ["implied_thread", "file", "end_", "thread.message"])
def test_a_kind_that_no_export_has_is_refused(client, kind):
    report = take_in(client, {"kind": kind, "object": thread_line(new_id(client, "thread"))["object"]})
    assert report["created"] == {}
    assert problems(report) == [("line 1", f"objects of the kind {kind!r} are not imported")]


def nested(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("levels", [150, 330, 5000])
@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{{"object": "list", "data": {}}}',
        '{{"thread_id": "thread_x", "role": "user", "content": {}}}',
        '{{"kind": "thread", "object": {}}}',
        '{{"kind": "run_step", "object": {{"step_details": {}}}}}',
    ],
)
def test_what_is_nested_too_deeply_is_refused(client, levels, line):
    report = take_in(client, text=line.format(nested(levels)) + "\n")
    assert problems(report) == [("line 1", "it is nested too deeply, at most 120 levels are taken in")]


@pytest.mark.parametrize("part", ["1e999", '"\\ud800"', '"\\x"', "NaN"])
@pytest.mark.parametrize("kind", ["assistant", "thread", "message", "message_version", "run", "run_step"])
def test_what_is_no_json_is_refused_also_in_fields_that_nobody_reads(client, kind, part):
    report = take_in(client, text=f'{{"kind": "{kind}", "object": {{"id": "x", "nobody": {part}}}}}\n{part}\n')
    assert (report["created"], report["refused"]) == ({}, 2)


def test_numbers_out_of_range_are_refused(client):
    thread_id = new_id(client, "thread")
    flat = {"thread_id": thread_id, "role": "user", "text": "x"}
    report = take_in(client, {**flat, "created_at": 1e300}, {**flat, "run_id": 2**70})
    assert [problem for _, problem in problems(report)] == [
        "a time is out of range",
        "Invalid type for 'run_id': expected a string, but got an integer instead.",
    ]


def function_tool(name):
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("kind", "fields", "problem"),
    [
        ("thread", {"metadata": {"a": "x" * 513}}, "'metadata.a': string too long"),
        ("thread", {"metadata": {str(n): "" for n in range(17)}}, "'metadata': too many properties"),
        ("thread", {"expires_after": {"anchor": "created_at", "seconds": 0}}, "'expires_after.seconds'"),
        ("message", {"metadata": {"a" * 65: ""}}, "Invalid property name in 'metadata'"),
        ("message", {"content": [{"type": "text", "text": {"value": "x" * 256_001}}]}, "'content[0].text.value'"),
        ("message", {"content": [{"type": "video"}]}, "content[0].type: Invalid value: 'video'"),
        ("message", {"created_at": None}, "'created_at'"),
        ("message_version", {"content": [{"type": "text", "text": {"value": "x" * 4_096_001}}]}, "string too long"),
        ("run", {"model": ""}, "'model': empty string"),
        ("run", {"tools": [function_tool("f")] * 129}, "'tools': array too long"),
        ("run", {"temperature": 3}, "'temperature': decimal above maximum"),
        ("run", {"metadata": {"a": "x" * 513}}, "'metadata.a': string too long"),
        ("assistant", {"model": ""}, "'model': empty string"),
        ("assistant", {"name": "x" * 257}, "'name': string too long"),
        ("assistant", {"tools": [function_tool("a b")]}, "does not match pattern"),
        ("assistant", {"instructions": "x" * 256_001}, "'instructions': string too long"),
    ],
)
def test_what_no_request_may_have_is_refused(client, kind, fields, problem):
    thread_id = new_id(client, "thread")
    whole = {
        "thread": thread_line(thread_id)["object"],
        "message": message(thread_id, "msg_1"),
        "message_version": version(thread_id, "msg_1", "msgver_1"),
        "run": run_of(thread_id, "run_1"),
        "assistant": {"id": "asst_1", "object": "assistant", "created_at": 1, "model": "m", "tools": []},
    }
    report = take_in(client, {"kind": kind, "object": whole[kind] | fields})
    assert report["created"] == {}
    assert problem in report["problems"][0]["problem"]
    assert "$" not in report["problems"][0]["problem"].replace("]+$", "").replace("*$", "")


def test_the_report_is_short_whatever_the_lines_are(client):
    long = "x" * 1_000_000
    report = take_in(
        client,
        {"kind": long, "object": {"id": long}},
        {"kind": "thread", "object": thread_line(long)["object"]},
        {"object": long},
    )
    assert report["refused"] == 3
    assert len(json.dumps(report)) < 10_000


def test_what_a_model_wrote_in_a_run_may_be_longer(client):
    thread_id = new_id(client, "thread")
    long = message(thread_id, "msg_1", "x" * 300_000, role="assistant", run_id="run_1")
    assert take_in(client, long)["created"] == {"thread": 1, "message": 1}


def test_a_thread_takes_no_more_messages_than_it_may_have(servers, database, new_client):
    client = new_client(servers(database, thread_messages_max=5))
    thread_id = new_id(client, "thread")
    lines = [message(thread_id, f"msg_{n}", str(n)) for n in range(8)]
    report = take_in(client, *lines[:4])
    client.beta.threads.messages.delete("msg_1", thread_id=thread_id)
    report = take_in(client, *lines)
    assert (report["created"], report["known"]) == ({"message": 2}, {"thread": 1, "message": 4})
    assert [problem for _, problem in problems(report)] == [
        "its thread already has 5 messages, the most it can have"
    ] * 2
    assert texts(client, thread_id) == ["0", "2", "3", "4", "5"]


def test_what_is_left_out_of_an_object_is_told(client):
    thread_id = new_id(client, "thread")
    report = take_in(
        client,
        thread_line(thread_id, files=[{"id": "file-1"}], tags=["a"]),
        {"kind": "message", "object": message(thread_id, "msg_1", reactions={"data": [{"by": "ann"}]}, seen=True)},
    )
    assert report["created"] == {"thread": 1, "message": 1}
    assert [problem for _, problem in problems(report)] == [
        "its 'files' are not imported",
        "its 'reactions' are not imported",
    ]


def test_an_export_without_its_end_is_told(client):
    report = take_in(client, HEADER, thread_line(new_id(client, "thread")))
    assert problems(report) == [("after line 2", "the export is not complete, its end is missing")]
    assert report["created"] == {"thread": 1}


@pytest.mark.parametrize(("name", "told"), [(HEADER["format"], "'threadkeep-export' 2"), ("x" * 100_000, "xxx")])
def test_a_format_of_tomorrow_is_refused(client, name, told):
    answer = httpx2.post(
        f"{client.base_url}import",
        content=json.dumps({"format": name, "version": 2}),
        headers={"Authorization": f"Bearer {client.api_key}"},
    )
    assert answer.status_code == 400
    assert f"{told} is not known here" in answer.json()["error"]["message"]
    assert len(answer.content) < 1000


def test_another_projects_thread_takes_nothing_in(server, client, new_client):
    thread = client.beta.threads.create()
    report = take_in(
        new_client(server),
        thread_line(thread.id),
        {"kind": "message", "object": message(thread.id, "msg_x")},
    )
    assert [problem for _, problem in problems(report)] == ["its id is in use", f"there is no thread {thread.id}"]
    assert texts(client, thread.id) == []


def test_what_was_under_way_is_taken_in_as_history(client):
    thread_id = new_id(client, "thread")
    run = {
        "id": "run_1",
        "object": "thread.run",
        "created_at": 5,
        "thread_id": thread_id,
        "assistant_id": "asst_1",
        "model": "m",
        "status": "in_progress",
        "tools": [],
    }
    step = {
        "id": "step_1",
        "object": "thread.run.step",
        "created_at": 5,
        "thread_id": thread_id,
        "run_id": "run_1",
        "assistant_id": "asst_1",
        "type": "tool_calls",
        "status": "in_progress",
        "step_details": {
            "type": "tool_calls",
            "tool_calls": [
                {"id": "call_1", "type": "code_interpreter", "code_interpreter": {"input": "1", "outputs": []}}
            ],
        },
    }
    report = take_in(
        client,
        thread_line(thread_id),
        {"kind": "message", "object": message(thread_id, "msg_1", status="in_progress")},
        {"kind": "run", "object": run},
        {"kind": "run_step", "object": step},
    )
    assert report["refused"] == 0, report
    assert client.beta.threads.messages.list(thread_id).data[0].status == "incomplete"
    assert client.beta.threads.runs.retrieve("run_1", thread_id=thread_id).status == "expired"
    told = client.beta.threads.runs.steps.retrieve("step_1", run_id="run_1", thread_id=thread_id)
    assert told.status == "expired"
    assert told.step_details.tool_calls[0].code_interpreter.input == "1"
    client.beta.threads.messages.create(thread_id, role="user", content="the thread is free")


def test_an_import_that_was_broken_off_can_be_gone_on_with(client):
    thread_id = new_id(client, "thread")
    lines = [
        thread_line(thread_id),
        *({"kind": "message", "object": message(thread_id, f"msg_{n}", str(n))} for n in range(9)),
    ]
    take_in(client, *lines[:5])
    report = take_in(client, *lines)
    assert (report["created"], report["known"]) == ({"message": 5}, {"thread": 1, "message": 4})
    assert texts(client, thread_id) == [str(n) for n in range(9)]


def version(thread_id, message_id, version_id):
    fields = {"object": "thread.message.version", "message_id": message_id, "replaced_at": 9}
    return message(thread_id, version_id) | fields


def run_of(thread_id, run_id):
    fields = {"assistant_id": "asst_1", "model": "m", "status": "completed", "tools": []}
    return {"id": run_id, "object": "thread.run", "created_at": 5, "thread_id": thread_id} | fields


def step_of(thread_id, run_id, step_id):
    fields = {"object": "thread.run.step", "type": "tool_calls", "status": "completed"}
    details = {"type": "tool_calls", "tool_calls": []}
    place = {"id": step_id, "thread_id": thread_id, "run_id": run_id}
    return place | fields | {"created_at": 5, "assistant_id": "asst_1", "step_details": details}


def test_kinds_may_take_turns_and_what_belongs_to_nothing_is_told(client):
    ids = [new_id(client, f"thread_{n}") for n in range(3)]
    lines = [
        {"kind": kind, "object": found}
        for thread_id in ids
        for kind, found in (
            ("thread", thread_line(thread_id)["object"]),
            ("message", message(thread_id, "msg_1")),
            ("message_version", version(thread_id, "msg_1", "msgver_1")),
            ("message_version", version(thread_id, "msg_1", "msgver_2")),
            ("message_version", version(thread_id, "msg_none", "msgver_1")),
            ("run", run_of(thread_id, "run_1")),
            ("run_step", step_of(thread_id, "run_1", "step_1")),
            ("run_step", step_of(thread_id, "run_none", "step_1")),
            ("run_step", step_of(thread_id, "run_1", "step_2")),
        )
    ]
    created = {"thread": 3, "message": 3, "message_version": 6, "run": 3, "run_step": 6}
    why = ["there is no message msg_none", "there is no run run_none"] * 3
    for query in ({"dry_run": True}, {}):
        report = take_in(client, *lines, **query)
        assert report["created"] == created
        assert [problem for _, problem in problems(report)] == why
    more = [
        {"kind": "message_version", "object": version(ids[0], "msg_1", "msgver_3")},
        {"kind": "run_step", "object": step_of(ids[0], "run_1", "step_3")},
    ]
    report = take_in(client, *lines, *more)
    assert (report["created"], report["known"]) == ({"message_version": 1, "run_step": 1}, created)
    steps = client.beta.threads.runs.steps.list("run_1", thread_id=ids[0], order="asc").data
    assert [step.id for step in steps] == ["step_1", "step_2", "step_3"]
    path = f"/threads/{ids[0]}/messages/msg_1/versions?order=asc"
    versions = client.get(path, cast_to=object)["data"]
    assert [one["id"] for one in versions] == ["msgver_1", "msgver_2", "msgver_3"]


def test_imports_and_clients_may_write_to_a_thread_at_the_same_time(client):
    thread_id = new_id(client, "thread")
    take_in(client, thread_line(thread_id))

    def write(number):
        if number % 2:
            client.beta.threads.messages.create(thread_id, role="user", content="x")
            return 0
        report = take_in(client, *(message(thread_id, f"msg_{number}_{n}") for n in range(20)))
        return report["created"]["message"]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(write, range(32))) == 320
    assert len(list(client.beta.threads.messages.list(thread_id, limit=100))) == 336


def test_the_same_file_may_be_taken_in_twice_at_the_same_time(client):
    ids = [new_id(client, f"thread_{n}") for n in range(20)]
    lines = [line for one in ids for line in (thread_line(one), *(message(one, f"msg_{n}") for n in range(5)))]
    with ThreadPoolExecutor(4) as pool:
        reports = list(pool.map(lambda _: take_in(client, *lines), range(4)))
    assert sum(report["created"].get("thread", 0) for report in reports) == 20
    assert sum(report["created"].get("message", 0) for report in reports) == 100
    assert [len(texts(client, one)) for one in ids] == [5] * 20


def listed(data):
    return {"object": "list", "data": data, "has_more": False}


class TestOfOthers:
    @pytest.mark.parametrize("wrapped", [list, listed])
    @pytest.mark.parametrize(
        "form",
        [
            lambda thread, said, runs: [{**thread, "messages": said, "runs": runs}],
            lambda thread, said, runs: {"thread": thread, "messages": said, "runs": runs},
            lambda thread, said, runs: {"thread": {**thread, "messages": said}, "runs": runs},
            lambda thread, said, runs: {**thread, "object": "", "messages": said, "runs": runs},
            lambda thread, said, runs: listed([{**thread, "messages": said, "runs": runs}]),
            lambda thread, said, runs: {"threads": [{**thread, "messages": said, "runs": runs}]},
        ],
    )
    @pytest.mark.parametrize("indent", [None, 2])
    def test_a_thread_with_its_messages_and_runs(self, client, wrapped, form, indent):
        thread_id = new_id(client, "thread")
        said = [message(thread_id, f"msg_{n}", str(n), created_at=n) for n in range(3)]
        run = {**run_of(thread_id, "run_1"), "steps": wrapped([step_of(thread_id, "run_1", "step_1")])}
        thread = thread_line(thread_id, metadata={"a": "b"})["object"]
        text = json.dumps(form(thread, wrapped(said[::-1]), wrapped([run])), indent=indent)
        created = {"thread": 1, "message": 3, "run": 1, "run_step": 1}
        assert take_in(client, text=text)["created"] == created
        assert texts(client, thread_id) == ["0", "1", "2"]
        assert client.beta.threads.retrieve(thread_id).metadata == {"a": "b"}
        report = take_in(client, text=text)
        assert (report["created"], report["known"], report["refused"]) == ({}, created, 0)

    def test_messages_inside_a_thread_need_not_say_much(self, client):
        thread_id = new_id(client, "thread")
        said = [{"role": "user", "content": "hello"}, {"role": "assistant", "text": "hi"}, {"text": "who?"}, 5]
        report = take_in(client, {"thread_id": thread_id, "messages": said, "notes": [{"by": "ann"}]})
        assert texts(client, thread_id) == ["hello", "hi"]
        assert [problem.partition(":")[0] for _, problem in problems(report)] == [
            "its 'notes' are not imported",
            "it is nothing that is known here",
            "it is nothing that is known here",
        ]

    @pytest.mark.parametrize("content", ["hello", [{"type": "text", "text": {"value": "hello", "annotations": []}}]])
    def test_messages_one_a_line_may_say_content(self, client, content):
        thread_id = new_id(client, "thread")
        line = {"thread_id": thread_id, "role": "user", "content": content, "metadata": {"a": "b"}}
        assert take_in(client, line)["created"] == {"thread": 1, "message": 1}
        told = client.beta.threads.messages.list(thread_id).data[0]
        assert (told.content[0].text.value, told.metadata) == ("hello", {"a": "b"})

    def test_lists_of_objects_that_nobody_knows_are_told(self, client):
        thread_id = new_id(client, "thread")
        lines = [
            {"thread": thread_line(thread_id)["object"], "notes": [{"by": "ann"}]},
            {**listed([message(thread_id, "msg_1")]), "notes": [{"by": "ann"}]},
            {"thread_id": thread_id, "role": "user", "text": "x", "tool_calls": [{"id": "call_1"}]},
        ]
        report = take_in(client, *lines)
        assert report["created"] == {"thread": 1, "message": 2}
        assert [(problem["kind"], problem["problem"]) for problem in report["problems"]] == [
            ("notes", "these are not imported"),
            ("notes", "these are not imported"),
            ("message", "its 'tool_calls' are not imported"),
        ]

    def test_a_thread_is_not_made_for_a_message_that_is_refused(self, client):
        thread_id = new_id(client, "thread")
        report = take_in(client, message(thread_id, "msg_1", role="system"), message("other", "msg_1"))
        assert (report["created"], report["refused"]) == ({}, 2)
        assert "Expected an ID that begins with 'thread'" in problems(report)[1][1]
        with pytest.raises(openai.NotFoundError):
            client.beta.threads.retrieve(thread_id)

    def test_a_conversation_may_have_its_items_inside(self, client):
        name = new_id(client, "conv")
        items = [{"type": "message", "role": "user", "content": "hello"}]
        report = take_in(client, {"object": "conversation", "id": name, "metadata": {"a": "b"}, "items": listed(items)})
        assert report["created"] == {"thread": 1, "message": 1}
        assert client.beta.threads.retrieve(f"thread_{name}").metadata == {"a": "b"}

    def test_messages_one_a_line(self, client):
        thread_id = new_id(client, "thread")
        flat = {"thread_id": thread_id, "assistant_id": "asst_1", "created_at": "2026-01-02T03:04:05Z"}
        lines = [
            {**flat, "message_id": "msg_1", "role": "user", "text": "hello"},
            {**flat, "message_id": None, "role": "assistant", "text": "hi"},
        ]
        report = take_in(client, *lines)
        assert report["created"] == {"thread": 1, "message": 2}
        assert texts(client, thread_id) == ["hello", "hi"]
        assert client.beta.threads.retrieve(thread_id).created_at == 1767323045
        assert take_in(client, *lines)["known"] == {"thread": 1, "message": 2}

    def test_pages_of_an_sdk_newest_first_and_over_many_lines(self, client):
        thread_id = new_id(client, "thread")
        data = [message(thread_id, f"msg_{n}", str(n), created_at=n // 3) for n in range(9)]
        page = {"object": "list", "data": data[::-1], "has_more": False}
        report = take_in(client, text=json.dumps(page, indent=2))
        assert report["created"] == {"thread": 1, "message": 9}
        assert texts(client, thread_id) == [str(n) for n in range(9)]

    def test_old_objects_without_what_came_later(self, client):
        thread_id = new_id(client, "thread")
        old = message(thread_id, "msg_1", "old", file_ids=[], metadata=None, assistant_id=None)
        take_in(client, {"id": thread_id, "object": "thread", "created_at": 1, "metadata": None}, old)
        told = client.beta.threads.messages.retrieve("msg_1", thread_id=thread_id)
        assert (told.status, told.attachments, told.metadata) == ("completed", [], {})

    def test_an_assistant_of_a_model_that_takes_no_temperature(self, client):
        assistant_id = new_id(client, "asst")
        assistant = {"id": assistant_id, "object": "assistant", "created_at": 1, "model": "o3-mini"}
        report = take_in(client, {**assistant, "temperature": None, "top_p": None})
        assert report["created"] == {"assistant": 1}
        told = client.beta.assistants.retrieve(assistant_id)
        assert (told.temperature, told.top_p) == (1.0, 1.0)

    def test_a_folder_of_threads(self, client, tmp_path, server):
        thread_id = new_id(client, "thread")
        exported = {
            "export_schema": "assistants-thread-export/v1",
            "thread_id": thread_id,
            "thread": thread_line(thread_id)["object"],
            "messages": [message(thread_id, "msg_1", "one"), message(thread_id, "msg_2", "two")],
            "runs": [],
            "files": {},
            "errors": [],
        }
        gone = {"export_schema": "assistants-thread-export/v1", "thread_id": "thread_gone", "thread": None}
        (tmp_path / "threads").mkdir()
        (tmp_path / "threads" / "a.json").write_text(json.dumps(exported, indent=2))
        # Its name is no text.
        (tmp_path / "threads" / "b\udcff.json").write_text(json.dumps(gone, indent=2))
        (tmp_path / "assistants.json").write_text(
            json.dumps([{"id": "asst_a", "object": "assistant", "created_at": 1, "model": "m", "tools": []}], indent=2)
        )
        done = run_command(server, "projects", "create", thread_id)
        done = run_command(server, "import", tmp_path, "--project", thread_id, "--json")
        report = json.loads(done.stdout)
        assert done.returncode == 1
        assert report["created"] == {"assistant": 1, "thread": 1, "message": 2}
        assert problems(report) == [
            ("threads/b\ufffd.json", "the export of thread_gone has no thread: it was gone already")
        ]

    def test_conversations_and_their_items(self, client):
        name = new_id(client, "conv")
        items = [
            {"type": "message", "id": "msg_i1", "role": "user", "content": [{"type": "input_text", "text": "hello"}]},
            {"type": "function_call", "id": "fc_1"},
            {
                "type": "message",
                "id": "msg_i2",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "hi", "annotations": []}],
            },
        ]
        report = take_in(
            client, {"object": "conversation", "id": name, "created_at": 7, "metadata": {"a": "b"}}, *items
        )
        assert texts(client, f"thread_{name}") == ["hello", "hi"]
        assert client.beta.threads.retrieve(f"thread_{name}").metadata == {"a": "b"}
        assert [problem for _, problem in problems(report)] == ["objects of the kind 'function_call' are not imported"]

    def test_what_is_not_understood_in_a_page_is_told_and_the_rest_taken_in(self, client):
        name = new_id(client, "conv")
        hello = {"type": "message", "role": "user", "content": "hello"}
        hi = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]}
        items = [hello, {"type": "reasoning", "id": "rs_1"}, {**hello, "content": None}, 5, hi]
        report = take_in(
            client,
            {"object": "conversation", "id": name, "created_at": 7},
            {"object": "list", "data": items, "has_more": False},
        )
        assert texts(client, f"thread_{name}") == ["hello", "hi"]
        assert [(problem["kind"], problem["id"]) for problem in report["problems"]] == [
            ("reasoning", "rs_1"),
            ("message", ""),
            ("unknown", ""),
        ]

    def test_pages_in_one_array_are_put_in_order_together(self, client):
        thread_id, other = new_id(client, "thread"), new_id(client, "thread_other")
        data = [message(thread_id, f"msg_{n}", str(n), created_at=9 + n // 4) for n in range(9)]
        older = {"data": [message(other, f"msg_{n}", str(n), created_at=1) for n in range(3)]}
        take_in(client, text=json.dumps([{"data": data[:3:-1]}, {"data": data[3::-1]}, older]))
        assert texts(client, thread_id) == [str(n) for n in range(9)]
        assert texts(client, other) == ["0", "1", "2"]

    @pytest.mark.parametrize("is_cut", [False, True])
    def test_pages_one_a_line_are_put_in_order_together(self, client, is_cut):
        thread_id = new_id(client, "thread")
        data = [message(thread_id, f"msg_{n}", str(n), created_at=9 + n // 4) for n in range(9)]
        pages = [
            {"object": "list", "data": some, "has_more": some[-1] != data[0]}
            for some in (data[:5:-1], data[5:2:-1], data[2::-1])
        ]
        take_in(client, *pages[: 2 if is_cut else 3])
        assert texts(client, thread_id) == [str(n) for n in range(3 if is_cut else 0, 9)]

    @pytest.mark.parametrize("indent", [None, 2])
    def test_a_mark_in_front_of_the_text_does_no_harm(self, client, indent):
        thread_id = new_id(client, "thread")
        page = {"object": "list", "data": [message(thread_id, "msg_1")], "has_more": False}
        assert take_in(client, text="\ufeff" + json.dumps(page, indent=indent))["refused"] == 0

    def test_a_thread_that_cannot_be_taken_in_is_named(self, client, new_client, server):
        thread_id = new_id(client, "thread")
        take_in(client, thread_line(thread_id))
        [problem] = take_in(new_client(server), thread_line(thread_id))["problems"]
        assert problem["id"] == thread_id

    def test_an_export_that_begins_with_the_newest_message(self, client):
        thread_id = new_id(client, "thread")
        data = [message(thread_id, f"msg_{n}", str(n), created_at=n // 3) for n in range(9)]
        exported = {"thread": thread_line(thread_id)["object"], "messages": data[::-1], "runs": [5]}
        report = take_in(client, {"export_schema": "assistants-thread-export/v1", **exported})
        assert texts(client, thread_id) == [str(n) for n in range(9)]
        assert [problem["kind"] for problem in report["problems"]] == ["run"]

    def test_a_message_with_another_programs_id_gets_one_that_stays_the_same(self, client):
        thread_id = new_id(client, "thread")
        lines = [{"thread_id": thread_id, "message_id": given, "role": "user", "text": "x"} for given in (7, "abc")]
        assert take_in(client, *lines)["created"] == {"thread": 1, "message": 2}
        assert take_in(client, *lines)["known"] == {"thread": 1, "message": 2}

    def test_what_is_said_twice_without_id_and_time_is_there_twice(self, client):
        thread_id = new_id(client, "thread")
        lines = [{"thread_id": thread_id, "role": "user", "text": text} for text in ("yes", "no", "yes")]
        take_in(client, *lines)
        assert texts(client, thread_id) == ["yes", "no", "yes"]
        assert take_in(client, *lines)["known"] == {"thread": 1, "message": 3}

    @pytest.mark.parametrize("time", [1767323045, 1767323045.9, 1767323045123, "1767323045", "2026-01-02T03:04:05"])
    def test_a_time_may_be_written_in_several_ways(self, client, time, monkeypatch):
        monkeypatch.setenv("TZ", "Asia/Tokyo")
        tzset()
        thread_id = new_id(client, "thread")
        take_in(client, {"thread_id": thread_id, "role": "user", "text": "x", "created_at": time})
        monkeypatch.undo()
        tzset()
        assert client.beta.threads.retrieve(thread_id).created_at == 1767323045

    def test_a_time_that_is_no_time_is_told(self, client):
        thread_id = new_id(client, "thread")
        flat = {"thread_id": thread_id, "role": "user", "text": "x", "created_at": 10**400}
        listed_newest_first = {"data": [flat, {**flat, "created_at": 1}], "has_more": False}
        for lines in ([flat], [[flat]], [listed_newest_first]):
            report = take_in(client, *lines)
            assert (1, "a time is out of range") in [(report["refused"], problem) for _, problem in problems(report)]

    @pytest.mark.parametrize("text", ["nonsense\n", "5\n", '{"a": 1}\n', "[[[[\n", '{"object": "list", "data": [5]}\n'])
    def test_what_nobody_understands_is_told(self, client, text):
        report = take_in(client, text=text)
        assert report["refused"] == 1
        assert report["created"] == {}

    def test_an_empty_file_has_nothing(self, client):
        assert take_in(client, text="")["created"] == {}


def run_command(server, *arguments, **options):
    command = [sys.executable, "-m", "threadkeep", *map(str, arguments), "--database", server.app.settings.database]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def test_the_commands_move_a_project_through_a_pipe(server, client, tmp_path):
    thread_id = new_id(client, "thread")
    other = {"database": f"sqlite:///{tmp_path / 'other.db'}"}
    run_command(server, "projects", "create", thread_id)
    lines = "".join(json.dumps(line) + "\n" for line in (thread_line(thread_id), message(thread_id, "msg_1")))
    done = run_command(server, "import", "-", "--project", thread_id, input=lines.encode())
    assert done.stdout.decode() == "imported 1 thread, 1 message\n"
    exported = run_command(server, "export", "-", "--project", thread_id)
    assert exported.stderr.decode() == "wrote 1 thread, 1 message\n"
    file = tmp_path / "export.jsonl"
    assert run_command(server, "export", file, "--project", thread_id).returncode == 0
    assert file.read_bytes() == exported.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    for there in (file, "."):
        assert b"exists already" in run_command(server, "export", there).stderr
    command = [sys.executable, "-m", "threadkeep", "import", "-", "--database", other["database"]]
    moved = subprocess.run(command, input=exported.stdout, capture_output=True, check=True)
    assert moved.stdout.decode() == "imported 1 thread, 1 message\n"


@pytest.fixture
def importing(tmp_path):
    """`threadkeep import` of a pipe that has nothing yet, and what writes to it."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [sys.executable, "-m", "threadkeep", "import", pipe, "--database", f"sqlite:///{tmp_path / 'test.db'}"]
    # Tests that a script began in the background ignore Ctrl-C, and what they start would too.
    ours = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        signal.signal(signal.SIGINT, ours)
        # It is open as soon as the other end is.
        with pipe.open("wb") as out:
            yield process, out
        process.kill()


def test_an_empty_input_is_told(client):
    assert problems(take_in(client)) == [("the input", "it is empty")]
    assert problems(take_in(client, text="\n")) == [("the input", "it is empty")]


def test_a_pipe_can_be_imported_by_its_name(importing):
    process, out = importing
    out.write(json.dumps(message("thread_1", "msg_1")).encode())
    out.close()
    told, aside = process.communicate(timeout=60)
    assert told == b"imported 1 thread, 1 message\n"
    assert aside.startswith(b"made a new database: sqlite:////")


def test_what_others_have_written_does_not_move_about_on_the_terminal(importing):
    process, out = importing
    out.write(json.dumps(message("thread_1", "msg_1\x1b[2J", role="\nline 9: fine")).encode())
    out.close()
    told = process.communicate(timeout=60)[0].decode().splitlines()
    assert told[0] == "imported nothing"
    assert told[1].startswith("line 1: message msg_1\\x1b[2J: role: Invalid value: '\\nline 9: fine'.")
    assert len(told) == 2


def test_ctrl_c_ends_an_import_that_waits_for_a_silent_pipe(importing):
    process, out = importing
    # It comes back for more as soon as it has read this.
    out.write(b"\n")
    out.flush()
    while not is_drained(out):
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    told, aside = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, b"")
    assert aside.startswith(b"made a new database: ")
    assert aside.count(b"\n") == 1


def is_drained(pipe):
    """Whether all that was written has been read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) == 0


def test_a_long_import_leaves_no_log_of_its_size(tmp_path):
    database = tmp_path / "test.db"
    lines = [message(f"thread_{n // 10}", f"msg_{n}", "x" * 10_000) for n in range(10_000)]
    command = [sys.executable, "-m", "threadkeep", "import", "-", "--database", f"sqlite:///{database}"]
    longest = 0
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as importing:
        for line in lines:
            importing.stdin.write(json.dumps(line).encode() + b"\n")
            log = database.with_name("test.db-wal")
            longest = max(longest, log.stat().st_size if log.exists() else 0)
        importing.stdin.close()
    assert importing.returncode == 0
    assert database.stat().st_size > 100_000_000
    assert 0 < longest < 3 * PAGES_BEFORE_CHECKPOINT * 4096


def test_a_body_may_be_larger_than_that_of_other_requests(servers, database, new_client):
    client = new_client(servers(database, body_bytes_max=100_000))
    thread_id = new_id(client, "thread")
    lines = [message(thread_id, f"msg_{n}", "x" * 1000) for n in range(imports.OBJECTS_AT_ONCE * 2)]
    assert take_in(client, *lines)["created"]["message"] == imports.OBJECTS_AT_ONCE * 2


def test_what_waits_for_the_rest_of_its_line_counts_as_a_body_in_memory(servers, database, new_client):
    client = new_client(servers(database, bodies_bytes_max=8_000_000))
    thread_id = new_id(client, "thread")
    headers = {"Authorization": f"Bearer {client.api_key}"}
    for _ in range(2):
        answer = httpx2.post(f"{client.base_url}import", content=b"x" * 12_000_000, headers=headers, timeout=60)
        assert answer.status_code == 503
        assert "it holds too many large requests" in answer.json()["error"]["message"]
    assert take_in(client, text="x" * 6_000_000)["refused"] == 1
    lines = [message(thread_id, f"msg_{n}", "x" * 100_000) for n in range(160)]
    assert take_in(client, *lines)["created"]["message"] == 160


def test_others_are_answered_while_a_long_document_is_read(client):
    thread_id = new_id(client, "thread")
    # Nothing of it is stored, so nobody waits for the database.
    text = json.dumps([message(thread_id, "msg_1", created_at=-1) for _ in range(30_000)])
    answered = 0
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(take_in, client, text=text)
        while not report.done():
            client.beta.assistants.list()
            answered += 1
    assert report.result()["refused"] == 30_000
    # A few come through while the document is sent.
    assert answered > 20


def test_export_and_import_need_a_key(server):
    server.new_key()
    for method, path in (("GET", "export"), ("POST", "import")):
        answer = httpx2.request(method, f"{server.base_url}/{path}", headers={"Authorization": "Bearer wrong"})
        assert answer.status_code == 401


def test_unknown_parameters_are_refused(client):
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'dryrun'"):
        client.post("/import", cast_to=object, options={"params": {"dryrun": "true"}})

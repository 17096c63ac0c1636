"""Traces by OpenTelemetry: a request, its run, the call of the model; wherever they happen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests import banner
from tests.receiver import receiving

from threadkeep import testing

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET = "a word that nobody else says"


@pytest.fixture(scope="module")
def exporter():
    """What every server of this module that traces sends its spans to."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture(scope="module")
def model():
    with testing.model() as model:
        yield model


@pytest.fixture
def spans(exporter):
    """The spans of the trace by name, once there are as many as are waited for."""
    exporter.clear()

    def wait(*names):
        deadline = time.monotonic() + 60
        while True:
            found = {span.name: span for span in exporter.get_finished_spans() if f"{span.context.trace_id:x}" == TRACE}
            if set(names) <= set(found):
                return found
            assert time.monotonic() < deadline, list(found)

    return wait


def start_run(http, model_name="text:3", **body):
    assistant = http.post("/assistants", json={"model": model_name, "instructions": "Be brief."}).json()
    thread = {"messages": [{"role": "user", "content": SECRET}]}
    answer = http.post(
        "/threads/runs",
        json={"assistant_id": assistant["id"], "thread": thread, **body},
        headers={"traceparent": TRACEPARENT},
    )
    return assistant, answer.json()


@pytest.fixture
def http_of(servers, database, model):
    """A client of a server that traces."""

    def make(**settings):
        server = servers(database, upstream_url=model.base_url, tracing=True, **settings)
        return httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {server.new_key()}"})

    return make


def test_a_runs_work_belongs_to_the_trace_of_its_request(exporter, http_of, spans):
    assert exporter
    with http_of() as http:
        assistant, run = start_run(http)
        found = spans("POST /threads/runs", "invoke_agent", "chat text:3")
    request, agent, chat = found["POST /threads/runs"], found["invoke_agent"], found["chat text:3"]
    assert f"{request.parent.span_id:016x}" == PARENT
    assert agent.parent.span_id == request.context.span_id
    assert chat.parent.span_id == agent.context.span_id
    assert request.attributes["http.response.status_code"] == 200
    assert agent.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert agent.attributes["gen_ai.agent.id"] == assistant["id"]
    assert agent.attributes["gen_ai.conversation.id"] == run["thread_id"]
    assert agent.attributes["threadkeep.run.status"] == "completed"
    assert chat.attributes["gen_ai.request.model"] == "text:3"
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert chat.attributes["gen_ai.usage.output_tokens"] > 0
    assert [event.name for event in chat.events] == ["gen_ai.first_token"]


def test_what_was_said_is_left_out_unless_it_is_asked_for(exporter, http_of, spans):
    with http_of() as http:
        start_run(http)
        spans("invoke_agent")
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())
    exporter.clear()
    with http_of(tracing_content=True) as http:
        start_run(http)
        chat = spans("chat text:3", "invoke_agent")["chat text:3"]
    assert SECRET in chat.attributes["gen_ai.input.messages"]
    (said,) = json.loads(chat.attributes["gen_ai.output.messages"])
    assert said["role"] == "assistant"
    assert said["parts"][0]["content"]


def test_calls_of_functions_and_their_outputs_are_content_too(exporter, http_of, spans, model):
    call = testing.call("weather", '{"city": "Lisbon"}', call_id="call_1")
    model.reply(testing.tool_calls(call, says=("Let me see.",)), testing.text("Sunny."))
    with http_of(tracing_content=True) as http:
        tools = [{"type": "function", "function": {"name": "weather"}}]
        _, run = start_run(http, tools=tools)
        asked = spans("invoke_agent", "chat text:3")["chat text:3"]
        exporter.clear()
        http.post(
            f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs",
            json={"tool_outputs": [{"tool_call_id": "call_1", "output": "21 degrees"}]},
            headers={"traceparent": TRACEPARENT},
        )
        told = spans("invoke_agent", "chat text:3")["chat text:3"]
    parts = [
        {"type": "text", "content": "Let me see."},
        {"type": "tool_call", "id": "call_1", "name": "weather", "arguments": '{"city": "Lisbon"}'},
    ]
    assert json.loads(asked.attributes["gen_ai.output.messages"]) == [{"role": "assistant", "parts": parts}]
    *_, called, output = json.loads(told.attributes["gen_ai.input.messages"])
    assert called["parts"] == parts
    assert output["parts"] == [{"type": "tool_call_response", "id": "call_1", "response": "21 degrees"}]


def test_a_fault_of_the_model_is_an_error_of_the_call_and_of_the_run(http_of, spans, model):
    model.reply(testing.error(400))
    with http_of() as http:
        start_run(http)
        found = spans("invoke_agent", "chat text:3")
    assert found["chat text:3"].attributes["error.type"] == "server_error"
    assert not found["invoke_agent"].status.is_ok
    assert found["invoke_agent"].attributes["threadkeep.run.status"] == "failed"


def test_a_stream_is_traced_too(http_of, spans):
    with http_of() as http:
        assistant = http.post("/assistants", json={"model": "text:3", "instructions": "Be brief."}).json()
        body = {"assistant_id": assistant["id"], "stream": True}
        with http.stream("POST", "/threads/runs", json=body, headers={"traceparent": TRACEPARENT}) as answer:
            assert "event: done" in "".join(answer.iter_text())
        spans("POST /threads/runs", "invoke_agent", "chat text:3")


def test_the_worker_of_another_process_goes_on_with_the_trace(exporter, postgres, model, spans):
    assert exporter
    url = postgres()
    with (
        testing.serve(database=url, tracing=True, worker=False, upstream_url=model.base_url) as server,
        testing.serve(database=url, tracing=True, upstream_url=model.base_url),
        httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {server.new_key()}"}) as http,
    ):
        start_run(http)
        found = spans("POST /threads/runs", "invoke_agent")
    assert found["invoke_agent"].parent.span_id == found["POST /threads/runs"].context.span_id


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{'0' * 32}-{PARENT}-01"])
def test_a_request_without_a_sensible_trace_begins_one(exporter, http_of, spans, traceparent):
    assert spans
    with http_of() as http:
        http.get("/threads", headers={"traceparent": traceparent})
    deadline = time.monotonic() + 60
    while not (found := [span for span in exporter.get_finished_spans() if span.name == "GET /threads"]):
        assert time.monotonic() < deadline
    assert found[0].parent is None


def test_without_the_setting_nothing_is_traced(exporter, servers, spans, model):
    assert spans
    server = servers("sqlite", upstream_url=model.base_url, keep_alive_s=77.0)
    with httpx2.Client(base_url=server.base_url, headers={"Authorization": f"Bearer {server.new_key()}"}) as http:
        start_run(http)
    assert exporter.get_finished_spans() == ()


def serve(tmp_path, *, before="pass", **environ):
    """`threadkeep serve --tracing` as a process."""
    program = f"import sys; {before}; from threadkeep.cli import main; main(sys.argv[1:])"
    return subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--port", "0", "--tracing", "--no-request-log"],
        cwd=tmp_path,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_server_that_stops_has_sent_its_spans_to_the_collector(tmp_path):
    with receiving() as collector:
        collector_url = collector.url.removesuffix("/hook")
        with serve(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=collector_url, OTEL_SERVICE_NAME="of-a-test") as process:
            address = banner.read(process.stdout)
            httpx2.get(f"{address}/threads", headers={"traceparent": TRACEPARENT})
            process.terminate()
            assert process.wait(60) == 0, process.stderr.read()
    ((path, _, body),) = collector.received
    assert path == "/v1/traces"
    assert bytes.fromhex(TRACE) in body
    assert b"of-a-test" in body


def test_without_the_packages_the_server_says_how_to_install_them(tmp_path):
    with serve(tmp_path, before="sys.modules['opentelemetry'] = None") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "pip install --editable '.[otel]'" in errors

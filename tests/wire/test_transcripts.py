"""Every sequence of events, compared with a text file in `transcripts/`. `make transcripts` writes the files anew.

Ids and times are replaced by names. An object is shown in full the first time, later only by what has changed.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import httpx2
import pytest

from threadkeep import testing
from threadkeep.errors import InternalServerError
from threadkeep.http.streams import error_event

FOLDER = Path(__file__).parent / "transcripts"
REWRITE = bool(os.environ.get("REWRITE_TRANSCRIPTS"))
FUNCTIONS = [{"type": "function", "function": {"name": name}} for name in ("weather", "time")]
OSLO = testing.call("weather", {"city": "Oslo"}, "call_oslo")
TIME = testing.call("time", call_id="call_time")
INDENT = " " * 4


class Stage:
    """One conversation with a server, and what is written down of it."""

    def __init__(self, server, model):
        self.server = server
        self.model = model
        self._headers = {"Authorization": f"Bearer {server.new_key()}", "OpenAI-Beta": "assistants=v2"}
        self._names = {}
        self._known = {}
        self._lines = []

    @property
    def transcript(self):
        return "\n".join(self._lines) + "\n"

    def post(self, path, body):
        """A request that is not written down."""
        answer = httpx2.post(f"{self.server.base_url}{path}", headers=self._headers, json=body, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def set_up(self, **assistant):
        self.assistant = self.post("/assistants", {"model": "scripted", **assistant})["id"]
        self.thread = self.post("/threads", {"messages": [{"role": "user", "content": "Hello there"}]})["id"]
        self.runs = f"/threads/{self.thread}/runs"

    def run(self, act=None, **params):
        """A run that is streamed; gives its id."""
        return self.stream("POST", self.runs, {"assistant_id": self.assistant, **params, "stream": True}, act)

    def submit(self, run, outputs):
        given = [{"tool_call_id": call_id, "output": output} for call_id, output in outputs.items()]
        return self.stream("POST", f"{self.runs}/{run}/submit_tool_outputs", {"tool_outputs": given, "stream": True})

    def replay(self, run, after=0):
        return self.stream("GET", f"{self.runs}/{run}?stream=true&starting_after={after}")

    def stream(self, method, path, body=None, act=None):
        """Writes a stream down. `act(name, data)` is called for each event as it comes."""
        said = f" {json.dumps(body)}" if body else ""
        self._lines += [*([""] if self._lines else []), self._named(f"> {method} {path}{said}")]
        run = None
        url = f"{self.server.base_url}{path}"
        with httpx2.stream(method, url, headers=self._headers, json=body, timeout=30) as answer:
            for number, name, data in frames(answer.iter_lines()):
                self._write(number, name, data)
                if name.startswith("thread.run.") and "delta" not in name and "step" not in name:
                    run = json.loads(data)["id"]
                if act:
                    act(name, run)
        return run

    def _write(self, number, name, data):
        self._lines += ["", f"{number} {name}"]
        value = json.loads(data) if name != "done" else None
        if value is None or ".delta" in name or name == "error":
            self._lines.append(INDENT + self._named(data))
            return
        value = timeless(value)
        known, self._known[value["id"]] = self._known.get(value["id"]), value
        if known is None or list(known) != list(value):
            shown = value
        else:
            shown = {key: value[key] for key in value if value[key] != known[key]}
            self._lines.append(INDENT + self._named(value["id"]) + (" with" if shown else " as it was"))
        self._lines += [self._named(f"{INDENT}{key}: {json.dumps(item)}") for key, item in shown.items()]

    def _named(self, text):
        def name(found):
            prefix = found[1]
            numbered = self._names.setdefault(prefix, {})
            return f"{prefix}_{numbered.setdefault(found[0], len(numbered) + 1)}"

        return re.sub(r"\b(asst|thread|msg|run|step|call|req)_[A-Za-z0-9]{24,}\b", name, text)


def frames(lines):
    """Number, name and data of each frame, as they come."""
    frame = {}
    for line in lines:
        if line:
            field, _, value = line.partition(": ")
            frame[field] = value
        elif frame:
            if "data" in frame:
                yield frame.get("id", "-"), frame["event"], frame["data"]
            frame = {}


def timeless(value):
    """The object with words for its times."""
    return {
        key: item if not isinstance(item, int) or not key.endswith("_at") else times(key) for key, item in value.items()
    }


def times(key):
    return "<expiry>" if key == "expires_at" else "<now>"


# The scenes


def text(stage):
    stage.model.reply(testing.text("Hello ", "world."))
    stage.set_up(instructions="Be brief.", metadata={"a": "b"})
    stage.run(metadata={"c": "d"})


def thread_and_run(stage):
    stage.model.reply(testing.text("Good day."))
    stage.set_up()
    thread = {"messages": [{"role": "user", "content": "Good day"}]}
    stage.stream("POST", "/threads/runs", {"assistant_id": stage.assistant, "thread": thread, "stream": True})


def functions(stage):
    stage.model.reply(testing.tool_calls(OSLO), testing.text("Cold."))
    stage.set_up(tools=FUNCTIONS)
    stage.submit(stage.run(), {"call_oslo": "-5"})


def parallel_functions(stage):
    stage.model.reply(testing.tool_calls(OSLO, TIME), testing.tool_calls(TIME), testing.text("Cold ", "noon."))
    stage.set_up(tools=FUNCTIONS)
    run = stage.run()
    stage.submit(run, {"call_oslo": "-5", "call_time": "11:59"})
    stage.submit(run, {"call_time": "12:00"})


def text_then_functions(stage):
    stage.model.reply(testing.tool_calls(TIME, says=("Let me ", "look.")))
    stage.set_up(tools=FUNCTIONS)
    stage.run()


def functions_then_text(stage):
    calls = testing.tool_calls(TIME, says=("Let me look.",))
    stage.model.reply(testing.Reply(deltas=(*calls.deltas, {"content": "Wait."}), finish_reason="tool_calls"))
    stage.set_up(tools=FUNCTIONS)
    stage.run()


def refusal(stage):
    stage.model.reply(testing.refusal("I ", "cannot."))
    stage.set_up()
    stage.run()


def nothing(stage):
    stage.model.reply(testing.text())
    stage.set_up()
    stage.run()


def max_tokens(stage):
    stage.model.reply(testing.text("Once ", "upon ", finish_reason="length"))
    stage.set_up()
    stage.run(max_completion_tokens=256)


def max_tokens_in_a_call(stage):
    stage.model.reply(testing.tool_calls(OSLO, finish_reason="length"))
    stage.set_up(tools=FUNCTIONS)
    stage.run()


def content_filter(stage):
    stage.model.reply(testing.text("Once ", "upon ", finish_reason="content_filter"))
    stage.set_up()
    stage.run()


def cancel(stage):
    stage.model.hold(after=3)
    stage.model.reply(testing.text("Once ", "upon ", "a time"))
    stage.set_up()
    seen = []

    def act(name, run):
        seen.append(name)
        if seen.count("thread.message.delta") == 2:
            stage.post(f"{stage.runs}/{run}/cancel", {})
            seen.clear()

    stage.run(act)


def cancel_while_the_client_is_awaited(stage):
    stage.model.reply(testing.tool_calls(TIME))
    stage.set_up(tools=FUNCTIONS)
    run = stage.run()
    stage.post(f"{stage.runs}/{run}/cancel", {})
    stage.replay(run, after=9)


def expire(stage):
    stage.model.reply(testing.silence("Once ", "upon "))
    stage.set_up()
    stage.run()


def fail_before_the_first_word(stage):
    stage.model.reply(testing.error(400, "Bad prompt."))
    stage.set_up()
    stage.run()


def fail_after_the_first_word(stage):
    stage.model.reply(testing.text("Once ", "upon ", ends="cut"))
    stage.set_up()
    stage.run()


def replay(stage):
    stage.model.reply(testing.tool_calls(TIME), testing.text("Noon."))
    stage.set_up(tools=FUNCTIONS)
    run = stage.run()
    stage.submit(run, {"call_time": "12:00"})
    stage.replay(run, after=7)
    stage.replay(run, after=1000)


SCENES = [
    text,
    thread_and_run,
    functions,
    parallel_functions,
    text_then_functions,
    functions_then_text,
    refusal,
    nothing,
    max_tokens,
    max_tokens_in_a_call,
    content_filter,
    cancel,
    cancel_while_the_client_is_awaited,
    fail_before_the_first_word,
    fail_after_the_first_word,
    replay,
]


def compare(name, transcript):
    path = FOLDER / f"{name}.txt"
    if REWRITE:
        path.write_text(transcript, encoding="utf-8")
    assert transcript == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_stream_is_as_it_is_written_down(servers, database, model, scene):
    stage = Stage(servers(database, upstream_url=model.base_url), model)
    scene(stage)
    compare(scene.__name__, stage.transcript)


def test_a_stream_of_a_run_that_expires_is_as_it_is_written_down(serve_by_clock, model):
    # The clock stands still, so the model has two whole seconds for its words.
    with serve_by_clock(upstream_url=model.base_url, run_lifetime_s=2) as server:
        stage = Stage(server, model)
        expire(stage)
    compare("expire", stage.transcript)


def test_a_run_that_is_taken_over_begins_its_turn_again(postgres, postgres_settings, database, model, tmp_path):
    place = {"database": postgres(), **postgres_settings} if database == "postgres" else {}
    place = place or {"database": f"sqlite:///{tmp_path / 'threadkeep.db'}"}
    model.reply(testing.text("Once ", "upon ", "a time"), testing.text("Once ", "more."))
    model.hold(after=3)
    with testing.serve(upstream_url=model.base_url, **place) as first:
        stage = Stage(first, model)
        stage.set_up()
        run = stage.post(stage.runs, {"assistant_id": stage.assistant})["id"]
        key = stage._headers
        with httpx2.stream("GET", f"{first.base_url}{stage.runs}/{run}?stream=true", headers=key, timeout=30) as answer:
            # Until both words are in the log.
            next(data for _, _, data in frames(answer.iter_lines()) if "upon" in data)
    model.release()
    with testing.serve(upstream_url=model.base_url, **place) as second:
        stage.server = second
        stage.replay(run)
    compare("take_over", stage.transcript)


def test_a_fault_of_the_stream_itself_is_told_in_both_forms(server, model):
    stage = Stage(server, model)
    for number, name, data in frames(error_event(InternalServerError(f"req_{'0' * 32}")).decode().split("\n")):
        stage._write(number, name, data)
    compare("error", stage.transcript.lstrip())


def test_every_transcript_is_compared():
    others = {"take_over", "expire", "error"}
    assert {path.stem for path in FOLDER.glob("*.txt")} == {scene.__name__ for scene in SCENES} | others

"""Model servers, asked over real HTTP; the scripted one stands for all their faults and habits."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from contextlib import ExitStack, aclosing, contextmanager, suppress

import pytest
from tests import certificates

from threadkeep import testing
from threadkeep.ids import IdSource
from threadkeep.settings import Settings
from threadkeep.testing import call, error, garbage, refusal, silence, text, tool_calls
from threadkeep.upstream import (
    ChatRequest,
    Counts,
    Finished,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    UnknownModelError,
    UpstreamError,
    Upstreams,
    catalogue,
)
from threadkeep.upstream.faults import fault_of_status
from threadkeep.upstream_settings import UpstreamSettings

HELLO = [{"role": "user", "content": "Hello you there"}]
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}


@pytest.fixture
def model():
    with testing.model() as model:
        yield model


def with_upstreams(settings, work):
    """Runs `work(upstreams)` on an event loop of its own."""

    async def run():
        upstreams = Upstreams(settings, IdSource())
        await upstreams.open()
        try:
            return await work(upstreams)
        finally:
            await upstreams.close()

    return asyncio.run(run())


async def answer_of(upstreams, request):
    """The parts of the answer of the model that the request names."""
    route = await upstreams.find(request.model)
    async with aclosing(route.stream(request)) as answer:
        async for parts in answer:
            yield parts


def ask(model, name="scripted", *, lacks=(), retries=1, patience_s=60.0, **request):
    """All parts of the answer, in the order in which they came."""
    settings = Settings(
        upstreams=(UpstreamSettings(name="test", url=model.base_url, lacks=frozenset(lacks)),),
        upstream_retries=retries,
        upstream_idle_timeout_s=patience_s,
    )

    async def work(upstreams):
        wanted = ChatRequest(model=name, **({"messages": HELLO} | request))
        return [part async for parts in answer_of(upstreams, wanted) for part in parts]

    return with_upstreams(settings, work)


def fault(model, *arguments, **options):
    with pytest.raises(UpstreamError) as caught:
        ask(model, *arguments, **options)
    return caught.value.code, caught.value.message


def calls_of(parts):
    """The calls put together; the first delta of each has its id and name, and no other has."""
    calls = {}
    for part in parts:
        if isinstance(part, ToolCallDelta):
            assert (part.index in calls) == (part.name is None) == (part.call_id is None)
            known = calls.setdefault(part.index, [part.call_id, part.name, ""])
            known[2] += part.arguments
    assert list(calls) == list(range(len(calls)))
    return list(calls.values())


def body_sent(model, *arguments, **request):
    ask(model, *arguments, **request)
    return model.requests[-1].body


# What comes back


def test_text_comes_token_by_token_then_the_reason_then_the_counts(model):
    model.reply(text("Hello ", "world"))
    assert ask(model) == [TextDelta("Hello "), TextDelta("world"), Finished("stop"), Counts(3, 2)]


def test_all_counts_are_read(model):
    details = {"prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}}
    model.reply(text("x", usage={"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11, **details}))
    assert ask(model)[-1] == Counts(7, 4, cached_tokens=5, reasoning_tokens=3)


def test_a_refusal_is_kept_apart_from_text(model):
    model.reply(refusal("I ", "decline."))
    assert ask(model)[:3] == [RefusalDelta("I "), RefusalDelta("decline."), Finished("stop")]


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_early_end_keeps_its_reason(model, reason):
    model.reply(text("Half", finish_reason=reason))
    assert ask(model)[:2] == [TextDelta("Half"), Finished(reason)]


def test_an_unknown_reason_is_a_plain_end(model):
    model.reply(text("Bye", finish_reason="eos_token"))
    assert ask(model)[1] == Finished("stop")


def test_thoughts_are_dropped(model):
    model.reply(text("42", reasoning="Let me think."))
    assert ask(model)[:2] == [TextDelta("42"), Finished("stop")]


def test_parallel_calls_are_numbered_and_keep_their_ids(model):
    model.reply(tool_calls(call("f", {"a": 1}, "call_a"), call("g", {"b": [2]}, "call_b"), says=("Wait. ",)))
    parts = ask(model)
    assert parts[0] == TextDelta("Wait. ")
    assert calls_of(parts) == [["call_a", "f", '{"a": 1}'], ["call_b", "g", '{"b": [2]}']]
    assert parts[-2] == Finished("tool_calls")


HABITS = {
    "whole": {"whole": True},
    "index 0": {"index": "zero"},
    "index 0, whole": {"index": "zero", "whole": True},
    "no index": {"index": "none"},
    "no index, whole": {"index": "none", "whole": True},
    "no ids": {"with_ids": False},
    "no ids, whole": {"with_ids": False, "whole": True},
    "no ids, index 0": {"with_ids": False, "index": "zero"},
    "no ids, index 0, whole": {"with_ids": False, "index": "zero", "whole": True},
    "nothing": {"with_ids": False, "index": "none"},
    "nothing, whole": {"with_ids": False, "index": "none", "whole": True},
    "says stop": {"finish_reason": "stop"},
    "says function_call": {"finish_reason": "function_call"},
}


@pytest.mark.parametrize("habit", HABITS)
def test_calls_are_told_apart_whatever_the_server_leaves_out(model, habit):
    wanted = [("f", '{"a": 1}'), ("f", '{"a": 2}'), ("g", '{"b": "x"}')]
    model.reply(tool_calls(*(call(*each) for each in wanted), **HABITS[habit]))
    parts = ask(model)
    assert [(name, arguments) for _, name, arguments in calls_of(parts)] == wanted
    ids = [call_id for call_id, _, _ in calls_of(parts)]
    assert len(set(ids)) == 3
    assert all(call_id.startswith("call_") for call_id in ids)
    assert parts[-2] == Finished("tool_calls")


def test_an_id_that_is_missing_is_made_like_ours(model):
    model.reply(tool_calls(call("f"), with_ids=False))
    ((call_id, _, _),) = calls_of(ask(model))
    assert len(call_id) == len("call_") + 24


def test_a_call_without_arguments_has_an_empty_object(model):
    model.reply(tool_calls(call("f", "")))
    assert [arguments for _, _, arguments in calls_of(ask(model))] == ["{}"]


def test_arguments_may_come_as_an_object(model):
    function = {"name": "f", "arguments": {"a": 1}}
    model.reply(testing.Reply(deltas=({"tool_calls": [{"index": 0, "id": "call_x", "function": function}]},)))
    assert calls_of(ask(model)) == [["call_x", "f", '{"a": 1}']]


def test_two_calls_under_one_id_get_different_ids(model):
    model.reply(tool_calls(call("f", {}, "call_0"), call("g", {}, "call_0")))
    first, second = calls_of(ask(model))
    assert first[0] == "call_0"
    assert second[0] != "call_0"


def test_a_call_without_a_name_is_a_fault(model):
    model.reply(
        testing.Reply(deltas=({"tool_calls": [{"index": 0, "id": "call_x", "function": {"arguments": "{}"}}]},))
    )
    assert fault(model) == ("server_error", "The model server called a function without a name.")


def test_a_call_whose_name_comes_after_another_call_is_told_after_that(model):
    late = {"index": 0, "id": "call_a", "function": {"arguments": '{"a"'}}
    whole = {"index": 1, "id": "call_b", "function": {"name": "g", "arguments": "{}"}}
    named = {"index": 0, "function": {"name": "f", "arguments": ": 1}"}}
    model.reply(testing.Reply(deltas=tuple({"tool_calls": [piece]} for piece in (late, whole, named))))
    assert calls_of(ask(model)) == [["call_b", "g", "{}"], ["call_a", "f", '{"a": 1}']]


def test_a_reason_for_calls_without_calls_is_a_plain_end(model):
    model.reply(text("Well.", finish_reason="tool_calls"))
    assert ask(model)[1] == Finished("stop")


def test_calls_that_were_cut_short_by_the_limit_say_so(model):
    model.reply(tool_calls(call("f", '{"a": '), finish_reason="length"))
    assert Finished("length") in ask(model)


def test_counts_that_never_come_are_made_up_for(model):
    model.reply(text("Hello ", "world", usage=False))
    assert ask(model)[-1] == Counts(9, 2, are_estimated=True)


def test_the_end_of_the_stream_needs_no_done(model):
    model.reply(text("Hello", ends="eof"))
    assert ask(model) == [TextDelta("Hello"), Finished("stop"), Counts(3, 1)]


def stream_of(*chunks, end=b"\n\n"):
    lines = [f"data: {chunk if isinstance(chunk, str) else json.dumps(chunk)}" for chunk in chunks]
    return garbage("\n\n".join(lines).encode("utf-8", "surrogatepass") + end)


def chunk_of(content, finish_reason=None, **more):
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish_reason}], **more}


def test_done_without_a_reason_is_an_end(model):
    model.reply(stream_of(chunk_of("Hi"), "[DONE]"))
    assert ask(model)[:2] == [TextDelta("Hi"), Finished("stop")]


def test_a_last_line_needs_no_end(model):
    model.reply(stream_of(chunk_of("Hi"), chunk_of("", "stop"), end=b""))
    assert ask(model)[:2] == [TextDelta("Hi"), Finished("stop")]


def test_an_empty_reason_in_each_chunk_is_none(model):
    model.reply(stream_of(chunk_of("a", ""), chunk_of("b", ""), chunk_of("", "stop")))
    assert ask(model)[:3] == [TextDelta("a"), TextDelta("b"), Finished("stop")]


def test_the_last_of_several_counts_holds(model):
    counts = [{"usage": {"prompt_tokens": 3, "completion_tokens": number}} for number in (1, 2)]
    model.reply(stream_of(chunk_of("a", **counts[0]), chunk_of("b", "stop", **counts[1])))
    assert ask(model)[-1] == Counts(3, 2)


def test_comments_fields_and_other_line_ends_are_understood(model):
    chunk = json.dumps(chunk_of("Hi", "stop"))
    model.reply(garbage(f": ping\r\n\r\nevent: message\r\nid: 1\r\ndata:{chunk}\r\n\r\ndata: [DONE]\r\n\r\n".encode()))
    assert ask(model)[:2] == [TextDelta("Hi"), Finished("stop")]


def test_other_choices_are_left_out(model):
    other = {"choices": [{"index": 1, "delta": {"content": "not this"}, "finish_reason": "stop"}]}
    model.reply(stream_of(other, chunk_of("this", "stop")))
    assert ask(model)[:2] == [TextDelta("this"), Finished("stop")]


def test_a_whole_completion_is_understood_where_a_stream_was_asked_for(model):
    message = {"role": "assistant", "content": "Hello"}
    answer = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    model.reply(garbage(json.dumps(answer).encode(), content_type="application/json"))
    assert ask(model) == [TextDelta("Hello"), Finished("stop"), Counts(1, 1)]


def test_a_stream_that_claims_to_be_json_is_understood(model):
    body = b"data: %b\n\n" % json.dumps(chunk_of("Hi", "stop")).encode()
    model.reply(garbage(body, content_type="application/json"))
    assert ask(model)[:2] == [TextDelta("Hi"), Finished("stop")]


def test_content_in_pieces_is_its_text(model):
    pieces = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}, {"type": "text", "text": "Hi"}]
    model.reply(stream_of(chunk_of(pieces), chunk_of("!", "stop")))
    assert ask(model)[:3] == [TextDelta("Hi"), TextDelta("!"), Finished("stop")]


def test_what_is_null_or_empty_is_left_out(model):
    odd = {"choices": [{"index": None, "delta": {"content": "Hi", "tool_calls": None}}], "usage": None, "error": None}
    model.reply(stream_of("", odd, {"choices": None}, chunk_of(None, "stop")))
    assert ask(model)[:2] == [TextDelta("Hi"), Finished("stop")]


def test_one_item_holds_all_that_one_read_brought(model):
    model.reply(stream_of(*(chunk_of(letter) for letter in "abc"), chunk_of("", "stop"), "[DONE]"))

    async def work(upstreams):
        request = ChatRequest(model="scripted", messages=HELLO)
        return [[type(part) for part in parts] async for parts in answer_of(upstreams, request)]

    items = with_upstreams(Settings(upstream_url=model.base_url), work)
    assert items == [[TextDelta, TextDelta, TextDelta, Finished], [Counts]]


# What goes wrong


def test_a_failing_server_is_asked_again_before_the_first_token(model):
    model.reply(error(500, retry_after_s=0), error(503, retry_after_s=0), text("There"))
    assert ask(model, retries=2)[0] == TextDelta("There")
    assert len(model.requests) == 3


def test_a_pause_grows_where_the_server_names_none(model):
    model.reply(error(502), text("There"))
    assert ask(model)[0] == TextDelta("There")


def test_a_stream_that_breaks_before_its_first_token_is_asked_for_again(model):
    model.reply(text(ends="cut"), text("There"))
    assert ask(model)[0] == TextDelta("There")


def test_the_log_has_what_is_not_shown_but_no_key(model, caplog):
    model.reply(error(500, "out of memory, said sk-live-abcdef123456"))
    assert "memory" not in fault(model, retries=0)[1]
    assert f"upstream test at {model.base_url}: status 500: out of memory, said ***" in caplog.text


def test_tries_come_to_an_end(model):
    model.reply(error(500, "Traceback: secret", retry_after_s=0), error(500, retry_after_s=0))
    assert fault(model) == ("server_error", "The model server failed with status 500.")
    assert len(model.requests) == 2


def test_nothing_is_tried_again_after_the_first_token(model):
    model.reply(text("Half", ends="cut"), text("Whole"))
    assert fault(model) == ("server_error", "The model server broke off its answer.")
    assert len(model.requests) == 1


@pytest.mark.parametrize("ends", ["cut", "eof"])
def test_what_came_before_a_cut_was_handed_on(model, ends):
    model.reply(text("Half", ends=ends, finish_reason=None))
    seen = []

    async def work(upstreams):
        async for parts in answer_of(upstreams, ChatRequest(model="scripted", messages=HELLO)):
            seen.extend(parts)

    with pytest.raises(UpstreamError):
        with_upstreams(Settings(upstream_url=model.base_url), work)
    assert seen == [TextDelta("Half")]


def test_what_came_before_a_cut_is_handed_on_to_a_slow_reader_too(model):
    model.hold(after=2)
    model.reply(text("Half ", "of it", ends="cut"))
    settings = Settings(upstreams=(UpstreamSettings(name="test", url=model.base_url),))
    parts = []

    async def work(upstreams):
        async for found in answer_of(upstreams, ChatRequest(model="scripted", messages=HELLO)):
            parts.extend(found)
            # Everything else comes while nobody reads.
            model.release()
            await asyncio.to_thread(model.requests[0].wait_closed)
            for _ in range(10):
                await asyncio.sleep(0)

    with pytest.raises(UpstreamError, match="broke off"):
        with_upstreams(settings, work)
    assert parts == [TextDelta("Half "), TextDelta("of it")]


def test_a_rate_limit_is_named(model):
    model.reply(error(429, retry_after_s=0), error(429, retry_after_s=0))
    assert fault(model) == ("rate_limit_exceeded", "The model server's rate limit is exceeded.")
    assert len(model.requests) == 2


def test_a_server_that_wants_to_be_left_alone_for_long_is(model):
    model.reply(error(429, retry_after_s=3600))
    assert fault(model)[0] == "rate_limit_exceeded"
    assert len(model.requests) == 1


def test_an_exhausted_quota_is_not_tried_again(model):
    model.reply(error(429, "You exceeded your current quota.", code="insufficient_quota"))
    code, message = fault(model)
    assert code == "rate_limit_exceeded"
    assert message.startswith("You exceeded your current quota")
    assert len(model.requests) == 1


INVALID = [
    ("This model's maximum context length is 8192 tokens.", "context_length_exceeded", "context window"),
    ("the request exceeds the available context size", None, "context window"),
    ("The response was filtered due to our content management policy.", "content_filter", "content policy"),
]


@pytest.mark.parametrize(("said", "code", "told"), INVALID)
def test_a_prompt_that_is_refused_is_invalid(model, said, code, told):
    model.reply(error(400, said, code=code))
    found, message = fault(model)
    assert found == "invalid_prompt"
    assert told in message
    assert len(model.requests) == 1


def test_another_refusal_is_told_without_keys(model):
    model.reply(error(400, "Unknown\nfield, said\x00 sk-live-abcdef123456."))
    assert fault(model) == (
        "server_error",
        "The model server refused the request with status 400: Unknown field, said ***",
    )


@pytest.mark.parametrize("body", [b'{"error": "model not found"}', b'{"detail": "model not found"}'])
def test_errors_in_other_shapes_are_read(model, body):
    model.reply(garbage(body, status=404))
    assert fault(model)[1] == "The model server refused the request with status 404: model not found"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"404 page not found", "."),
        (b'{"detail": "Not Found"}', ": Not Found"),
        (b'{"error": {"message": "Invalid URL (POST /chat/completions)"}}', ": Invalid URL (POST /chat/completions)"),
    ],
)
def test_a_404_of_an_address_says_that_its_url_may_lack_v1(body, told):
    def message(url):
        return fault_of_status(404, body, UpstreamSettings(name="test", url=url)).message

    refused = f"The model server refused the request with status 404{told}"
    assert message("http://127.0.0.1:7778") == f"{refused} (Does the URL of this upstream lack `/v1`?)"
    assert message("http://127.0.0.1:7778/v1/") == refused


def test_a_404_of_a_model_says_nothing_of_the_url():
    body = b'{"error": {"message": "model not found"}}'
    upstream = UpstreamSettings(name="test", url="http://127.0.0.1:7778")
    assert fault_of_status(404, body, upstream).message.endswith(": model not found")


def test_an_error_without_words_has_its_status(model):
    model.reply(garbage(b"<html>Moved</html>", status=302))
    assert fault(model) == ("server_error", "The model server refused the request with status 302.")


def test_a_key_that_is_refused_is_never_shown():
    with testing.model(key="right") as model:
        settings = Settings(upstream_url=model.base_url, upstream_key="wrong-key")

        async def work(upstreams):
            return [parts async for parts in answer_of(upstreams, ChatRequest(model="scripted", messages=HELLO))]

        with pytest.raises(UpstreamError) as caught:
            with_upstreams(settings, work)
        assert caught.value.message == "The model server refused the key of the upstream 'default'."
        right = Settings(upstream_url=model.base_url, upstream_key="right")
        assert with_upstreams(right, work)[0]


GARBAGE = [b"<html>It works!</html>", b"data: <html>\n\n", b'data: {"choices": 5}\n\n', b"\xff\xfe\x00", b""]


@pytest.mark.parametrize("body", GARBAGE)
def test_garbage_is_a_fault(model, body):
    model.reply(garbage(body))
    assert fault(model) == ("server_error", "The model server sent something that is not Chat Completions.")


HIGH, LOW = "\ud83d", "\ude00"
# What a server sends, and what of it is text.
HALVED = {
    "halves that meet": ((f"Hi {HIGH}", f"{LOW}!"), ["Hi ", "\U0001f600!"]),
    "halves alone in their chunks": ((HIGH, "", LOW), ["\U0001f600"]),
    "several": ((HIGH, LOW + HIGH, LOW), ["\U0001f600", "\U0001f600"]),
    "a first half alone": ((f"a{HIGH}", "b", "c"), ["a", "\ufffdb", "c"]),
    "a second half alone": (("a", f"{LOW}b"), ["a", "\ufffdb"]),
    "a first half at the end": ((f"a{HIGH}",), ["a", "\ufffd"]),
    "two first halves": ((HIGH, HIGH, LOW), ["\ufffd", "\U0001f600"]),
    "a half in the middle": ((f"a{HIGH}b{LOW}c",), ["a\ufffdb\ufffdc"]),
}


@pytest.mark.parametrize("sent", HALVED)
def test_characters_in_halves_are_joined_when_they_meet(model, sent):
    pieces, texts = HALVED[sent]
    model.reply(text(*pieces), refusal(*pieces))
    assert ask(model)[:-2] == [TextDelta(piece) for piece in texts]
    assert ask(model)[:-2] == [RefusalDelta(piece) for piece in texts]


@pytest.mark.parametrize("sent", HALVED)
def test_characters_of_arguments_in_halves_are_joined_when_they_meet(model, sent):
    pieces, texts = HALVED[sent]
    head = {"index": 0, "id": "call_x", "function": {"name": "f", "arguments": '"'}}
    calls = [head, *({"index": 0, "function": {"arguments": piece}} for piece in pieces)]
    model.reply(testing.Reply(deltas=tuple({"tool_calls": [piece]} for piece in calls)))
    assert calls_of(ask(model)) == [["call_x", "f", '"' + "".join(texts)]]


def test_a_half_waits_for_its_own_text_alone(model):
    first = {"index": 0, "id": "call_0", "function": {"name": "f", "arguments": HIGH}}
    second = {"index": 1, "id": "call_1", "function": {"name": f"g{HIGH}", "arguments": LOW}}
    last = {"index": 0, "function": {"arguments": LOW}}
    deltas = [{"content": HIGH}, *({"tool_calls": [piece]} for piece in (first, second, last))]
    model.reply(testing.Reply(deltas=tuple(deltas)))
    parts = ask(model)
    assert parts[0] == TextDelta("\ufffd")
    assert calls_of(parts[1:]) == [["call_0", "f", "\U0001f600"], ["call_1", "g\ufffd", "\ufffd"]]


def test_a_whole_completion_may_hold_half_a_character(model):
    message = {"role": "assistant", "content": f"{HIGH}{LOW} {HIGH}"}
    body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    model.reply(garbage(body, content_type="application/json"))
    assert ask(model)[:2] == [TextDelta("\U0001f600 "), TextDelta("\ufffd")]


def test_halves_that_are_bytes_are_joined_too(model):
    model.reply(stream_of(*(json.dumps(chunk_of(half), ensure_ascii=False) for half in (HIGH, LOW)), "[DONE]"))
    assert ask(model)[:1] == [TextDelta("\U0001f600")]


def test_an_error_in_the_stream_is_a_fault(model):
    model.reply(stream_of({"error": {"message": "Traceback ...", "code": 500}}))
    assert fault(model, retries=0) == ("server_error", "The model server failed with status 500.")


def test_what_came_with_an_error_is_handed_on_first(model):
    model.reply(stream_of(chunk_of("Half"), {"error": {"message": "Traceback ...", "code": 500}}), text("Whole"))
    seen = []

    async def work(upstreams):
        async for parts in answer_of(upstreams, ChatRequest(model="scripted", messages=HELLO)):
            seen.extend(parts)

    with pytest.raises(UpstreamError, match="status 500"):
        with_upstreams(Settings(upstream_url=model.base_url), work)
    assert seen == [TextDelta("Half")]
    assert len(model.requests) == 1


def test_garbage_behind_a_whole_answer_spoils_nothing(model):
    model.reply(stream_of(chunk_of("Hi"), chunk_of("", "stop"), "<html>"))
    assert ask(model)[:2] == [TextDelta("Hi"), Finished("stop")]


def test_a_rate_limit_in_the_stream_is_named(model):
    model.reply(*[stream_of({"error": {"message": "Rate limit reached"}})] * 2)
    assert fault(model)[0] == "rate_limit_exceeded"


def test_a_reason_that_means_failure_is_a_fault(model):
    model.reply(text("Half", finish_reason="error"))
    assert fault(model) == ("server_error", "The model server could not finish its answer.")


@pytest.mark.parametrize("tokens", [(), ("Half",)])
def test_a_silent_server_is_given_up(model, tokens):
    model.reply(silence(*tokens))
    assert fault(model, patience_s=0.3) == ("server_error", "The model server was silent for too long.")
    assert len(model.requests) == 1


def test_a_refused_connection_is_a_fault(model):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        model.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        assert fault(model, retries=0) == ("server_error", "The model server could not be reached.")


def test_a_server_that_is_stopped_breaks_off():
    with testing.model() as model:
        model.hold(after=2)

        async def work(upstreams):
            async with aclosing(answer_of(upstreams, ChatRequest(model="text:5", messages=HELLO))) as stream:
                await anext(stream)
                model.stop()
                async for _ in stream:
                    pass

        with pytest.raises(UpstreamError, match="broke off"):
            with_upstreams(Settings(upstream_url=model.base_url), work)


@pytest.mark.parametrize("long", [b"data: " + b"x" * 5_000_000, b"data: {}\n" * 8_000_000])
def test_an_endless_answer_is_stopped(model, long):
    model.reply(garbage(long))
    code, message = fault(model)
    assert code == "server_error"
    assert message.endswith("is too long.")


def test_too_many_calls_are_stopped(model):
    model.reply(tool_calls(*(call("f", {"a": number}) for number in range(1100)), whole=True))
    assert fault(model)[1] == "The model server sent too many tool calls."


def test_closing_the_iterator_closes_the_connection(model):
    model.hold(after=2)

    async def work(upstreams):
        async with aclosing(answer_of(upstreams, ChatRequest(model="text:5", messages=HELLO))) as stream:
            await anext(stream)
        await asyncio.to_thread(model.requests[0].wait_closed)

    with_upstreams(Settings(upstream_url=model.base_url), work)


def test_cancelling_a_request_that_has_no_answer_closes_the_connection(model):
    model.hold()

    async def consume(upstreams):
        async for _ in answer_of(upstreams, ChatRequest(model="text:5", messages=HELLO)):
            pass

    async def work(upstreams):
        task = asyncio.create_task(consume(upstreams))
        (request,) = await asyncio.to_thread(model.wait_for_requests, 1)
        task.cancel()
        await asyncio.to_thread(request.wait_closed)
        assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError

    with_upstreams(Settings(upstream_url=model.base_url), work)


def test_a_connection_is_used_again_after_a_whole_answer(model):
    async def work(upstreams):
        for _ in range(3):
            async for _ in answer_of(upstreams, ChatRequest(model="text:3", messages=HELLO)):
                pass
        return [request.closed.is_set() for request in model.requests]

    assert with_upstreams(Settings(upstream_url=model.base_url), work) == [False] * 3


# The way there


def first_part(url, **settings):
    async def work(upstreams):
        async with aclosing(answer_of(upstreams, ChatRequest(model="scripted", messages=HELLO))) as stream:
            return (await anext(stream))[0]

    return with_upstreams(Settings(upstream_url=url, upstream_retries=0, **settings), work)


def test_a_proxy_of_the_environment_is_used(model, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", model.url)
    model.reply(text("By way of the proxy"))
    assert first_part("http://models.invalid/v1") == TextDelta("By way of the proxy")


def test_a_password_for_another_program_is_not_sent(model, monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert first_part(model.base_url) == TextDelta("Hello")
    assert "authorization" not in model.requests[0].headers


def test_a_server_that_accepts_no_connection_is_given_up():
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as waiting:
        port = listener.getsockname()[1]
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        with pytest.raises(UpstreamError, match="could not be reached"):
            first_part(f"http://127.0.0.1:{port}/v1", upstream_connect_timeout_s=0.2)


def test_no_proxy_is_used_for_the_hosts_that_need_none(model, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.invalid:1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert first_part(model.base_url) == TextDelta("Hello")


@pytest.fixture
def tls(tmp_path):
    """A server's side of TLS, and the file with the certificate that a client must trust."""
    certificate, key = certificates.made(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context, certificate


def test_certificates_are_those_of_the_system(tls, monkeypatch):
    context, certificate = tls
    with testing.model(tls=context) as model:
        with pytest.raises(UpstreamError, match="could not be reached"):
            first_part(model.base_url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert first_part(model.base_url) == TextDelta("Hello")


@contextmanager
def tunnel(port):
    """A proxy that leads every tunnel to `port`; gives its own port and the first lines of what it was asked."""
    asked = []

    def relay(source, target):
        # Either end may be gone first.
        with suppress(ConnectionError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def serve():
        client, _ = listener.accept()
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            asked.append(client.recv(65536).partition(b"\r\n")[0])
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=relay, args=(server, client))
            back.start()
            relay(client, server)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], asked
        thread.join()


def test_a_proxy_leads_to_a_server_with_tls(tls, monkeypatch):
    context, certificate = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with testing.model(tls=context) as model:
        port = int(model.url.rpartition(":")[2])
        with tunnel(port) as (proxy_port, asked):
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
            assert first_part(model.base_url) == TextDelta("Hello")
        assert asked == [f"CONNECT 127.0.0.1:{port} HTTP/1.1".encode()]


# What is sent


def test_what_is_not_set_is_not_sent(model):
    body = body_sent(model)
    assert body == {
        "model": "scripted",
        "messages": HELLO,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_everything_that_is_set_is_sent(model):
    request = {
        "tools": [FUNCTION],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0.0,
        "top_p": 0.5,
        "response_format": SCHEMA,
        "reasoning_effort": "low",
        "max_completion_tokens": 100,
    }
    assert body_sent(model, **request).items() >= request.items()


def test_a_choice_is_not_sent_without_tools(model):
    body = body_sent(model, tools=[], tool_choice="auto", parallel_tool_calls=True)
    assert body.keys() == {"model", "messages", "stream", "stream_options"}


def test_a_server_without_tools_is_sent_none(model):
    body = body_sent(model, lacks=["tools"], tools=[FUNCTION], tool_choice="auto", parallel_tool_calls=True)
    assert body.keys() == {"model", "messages", "stream", "stream_options"}


def test_a_server_without_parallel_tool_calls_is_not_asked_for_them(model):
    body = body_sent(model, lacks=["parallel_tool_calls"], tools=[FUNCTION], parallel_tool_calls=False)
    assert "parallel_tool_calls" not in body
    assert body["tools"] == [FUNCTION]


def test_a_server_without_usage_is_not_asked_and_the_tokens_are_counted_here(model):
    assert isinstance(ask(model, lacks=["usage"])[-1], Counts)
    assert "stream_options" not in model.requests[0].body


def test_a_server_without_max_completion_tokens_gets_the_old_name(model):
    body = body_sent(model, lacks=["max_completion_tokens"], max_completion_tokens=7)
    assert body["max_tokens"] == 7
    assert "max_completion_tokens" not in body


def test_a_server_without_json_schema_is_told_the_schema(model):
    body = body_sent(model, lacks=["json_schema"], response_format=SCHEMA)
    assert body["response_format"] == {"type": "json_object"}
    assert body["messages"][0]["role"] == "system"
    assert body["messages"][0]["content"].endswith('\n{"type":"object"}')
    assert body["messages"][1:] == HELLO


def test_the_schema_joins_the_system_message_that_is_there(model):
    messages = [{"role": "system", "content": "Be brief."}, *HELLO]
    body = body_sent(model, lacks=["json_schema"], response_format=SCHEMA, messages=messages)
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert body["messages"][0]["content"].startswith("Be brief.\n\n")


# Who is asked


def settings_of(*upstreams):
    return Settings(upstreams=tuple(UpstreamSettings(**({"name": "one"} | upstream)) for upstream in upstreams))


def route(settings, name):
    async def work(upstreams):
        found = await upstreams.find(name)
        return found.server and found.server.settings.name, found.model, found.context_tokens

    return with_upstreams(settings, work)


URL = "http://127.0.0.1:1/v1"


def test_an_alias_goes_before_a_pattern_and_a_pattern_before_a_default():
    settings = settings_of(
        {"name": "first", "url": URL, "models": ("llama*",), "default_model": "llama3.1"},
        {"name": "second", "url": URL, "models": ("gpt-4o", "qwen*"), "aliases": {"llama-large": "qwen3"}},
    )
    assert route(settings, "llama3.2")[:2] == ("first", "llama3.2")
    assert route(settings, "llama-large")[:2] == ("second", "qwen3")
    assert route(settings, "gpt-4o")[:2] == ("second", "gpt-4o")
    assert route(settings, "gpt-4o-mini")[:2] == ("first", "llama3.1")


def test_a_server_without_patterns_answers_for_every_name():
    assert route(settings_of({"url": URL}), "anything")[:2] == ("one", "anything")


def test_a_default_model_answers_for_what_the_server_does_not_list():
    with testing.model(["llama3.1:latest", "qwen3"]) as model:
        settings = Settings(upstream_url=model.base_url, upstream_model="qwen3")
        assert route(settings, "gpt-4o")[1] == "qwen3"
        assert route(settings, "llama3.1")[1] == "llama3.1"


def test_a_default_model_answers_for_everything_when_there_is_no_list():
    assert route(Settings(upstream_url=URL, upstream_model="qwen3"), "gpt-4o")[1] == "qwen3"


def test_a_model_that_nobody_has_says_what_to_configure():
    with pytest.raises(UnknownModelError, match="`aliases` of one in the settings") as caught:
        route(settings_of({"url": URL, "models": ("llama*",)}), "gpt-4o")
    assert caught.value.code == "server_error"


def test_a_context_window_is_that_of_the_first_pattern():
    settings = settings_of({"url": URL, "context_tokens": {"llama3*": 8192, "*": 4096}})
    assert route(settings, "llama3.1")[2] == 8192
    assert route(settings, "other")[2] == 4096
    assert route(settings_of({"url": URL, "context_tokens": 1000}), "x")[2] == 1000


@pytest.mark.parametrize("name", ["max_model_len", "context_length", "context_window", "max_context_length"])
def test_a_context_window_is_that_of_the_servers_list_where_the_settings_say_nothing(name):
    with testing.model(["llama3.1:latest", "qwen3"]) as model:
        model.listed_with = {name: 8192}
        assert route(settings_of({"url": model.base_url}), "llama3.1")[2] == 8192
        assert route(settings_of({"url": model.base_url}), "unlisted")[2] == 32_768
        in_part = {"url": model.base_url, "context_tokens": {"llama*": 4096}, "aliases": {"gpt-4o": "qwen3"}}
        assert route(settings_of(in_part), "llama3.1")[2] == 4096
        assert route(settings_of(in_part), "gpt-4o")[2] == 8192


@pytest.mark.parametrize("told", [None, "8192", 0, -1, True, 8192.0, {}])
def test_a_list_that_tells_no_context_window_is_read_all_the_same(told):
    with testing.model(["a"]) as model:
        model.listed_with = {"context_length": told}
        assert route(settings_of({"url": model.base_url}), "a")[2] == 32_768


def test_no_run_waits_for_a_newer_list(monkeypatch):
    monkeypatch.setattr(catalogue, "LIST_S", -1.0)
    with testing.model(["a"]) as model:
        model.listed_with = {"context_length": 8192}

        async def work(upstreams):
            sizes = [(await upstreams.find("a")).context_tokens]
            model.listed_with = {"context_length": 4096}
            # What is known already is said before anything else can happen; then the newer list comes.
            sizes.append((await upstreams.find("a")).context_tokens)
            await upstreams.models()
            return [*sizes, (await upstreams.find("a")).context_tokens]

        assert with_upstreams(settings_of({"url": model.base_url}), work) == [8192, 8192, 4096]


def test_an_alias_is_asked_for_under_its_real_name(model):
    settings = settings_of({"url": model.base_url, "aliases": {"gpt-4o": "llama3.1"}})

    async def work(upstreams):
        return [parts async for parts in answer_of(upstreams, ChatRequest(model="gpt-4o", messages=HELLO))]

    with_upstreams(settings, work)
    assert model.requests[0].body["model"] == "llama3.1"


def listed(settings):
    async def work(upstreams):
        return {model.id: model.owned_by for model in await upstreams.models()}

    return with_upstreams(settings, work)


def test_models_are_aliases_names_and_what_the_patterns_let_through():
    with testing.model(["llama3.1", "llama3.2", "embedder"]) as model:
        settings = settings_of(
            {
                "url": model.base_url,
                "models": ("llama*", "hidden"),
                "aliases": {"gpt-4o": "llama3.1"},
            },
            {"name": "away", "url": URL, "models": ("far", "away*")},
        )
        assert listed(settings) == {
            "gpt-4o": "scripted",
            "hidden": "one",
            "llama3.1": "scripted",
            "llama3.2": "scripted",
            "far": "away",
        }


def test_a_list_is_asked_for_once_in_a_while():
    with testing.model(["a"]) as model:

        async def work(upstreams):
            first, second = await asyncio.gather(upstreams.models(), upstreams.models())
            model.models = ("b",)
            return [[each.id for each in models] for models in (first, second, await upstreams.models())]

        assert with_upstreams(Settings(upstream_url=model.base_url), work) == [["a"]] * 3


# The built-in model


def echo(content, **request):
    async def work(upstreams):
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": content}]
        wanted = ChatRequest(model="echo", messages=messages, **request)
        return [part async for parts in answer_of(upstreams, wanted) for part in parts]

    return with_upstreams(Settings(), work)


def test_without_a_model_server_echo_repeats_the_user_word_by_word():
    assert echo("Hello  you there") == [
        TextDelta("Hello"),
        TextDelta("  you"),
        TextDelta(" there"),
        Finished("stop"),
        Counts(5, 3),
    ]


def test_echo_reads_text_parts_and_keeps_to_the_limit():
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]
    assert echo(parts, max_completion_tokens=1) == [TextDelta("One"), Finished("length"), Counts(4, 1)]


def test_echo_has_an_answer_to_nothing():
    assert echo("  ")[0] == TextDelta("There was nothing to repeat.")


def test_without_a_model_server_echo_is_the_only_model():
    assert listed(Settings()) == {"echo": "threadkeep"}


def test_without_a_model_server_another_name_says_what_to_configure():
    with pytest.raises(UnknownModelError, match="THREADKEEP_UPSTREAM_URL"):
        route(Settings(), "gpt-4o")


def test_with_a_model_server_there_is_no_echo(model):
    assert "echo" not in listed(Settings(upstream_url=model.base_url))

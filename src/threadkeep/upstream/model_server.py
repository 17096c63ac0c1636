"""One model server: asks it for Chat Completions, waits and tries again before the first part, and says in plain words
what went wrong.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec
from msgspec import Struct

from threadkeep import chance, tokens
from threadkeep.outbound import ConnectionBrokenError, HttpClient, Response, proxy_for
from threadkeep.upstream.chunks import AnswerReader, broken
from threadkeep.upstream.faults import PassingError, fault_in_stream, fault_of_status
from threadkeep.upstream.wire import ChatRequest, Counts, Listed, Part, UpstreamError
from threadkeep.upstream_settings import UpstreamSettings

log = logging.getLogger(__name__)

# The pause before the first retry. It doubles, and chance shortens it, so that many do not come back at once.
PAUSE_S = 0.5
# A server that wants to be left alone for longer is not asked again.
RETRY_AFTER_MAX_S = 30.0
# How long to wait for the token counts after the answer has ended, and for the end of the stream after its last word.
COUNTS_S = 5.0
END_S = 0.1
LIST_TIMEOUT_S = 5.0
OK = 200


class _List(Struct):
    data: list[Listed]


class ModelServer:
    """A client of one server."""

    def __init__(
        self, settings: UpstreamSettings, http: HttpClient, new_id: Callable[[str], str], *, retries: int
    ) -> None:
        self.settings = settings
        self._http = http
        self._new_id = new_id
        self._retries = retries
        self._url = settings.url.rstrip("/")
        self._proxy = proxy_for(self._url)
        self._headers = {"content-type": "application/json"}
        if settings.key:
            self._headers["authorization"] = f"Bearer {settings.key}"

    async def _request(self, method: str, path: str, body: bytes | None = None) -> Response:
        return await self._http.request(method, self._url + path, self._headers, body, self._proxy)

    async def models(self) -> list[Listed]:
        """What it says it has. Raises `UpstreamError`."""
        try:
            async with asyncio.timeout(LIST_TIMEOUT_S):
                response = await self._request("GET", "/models")
                try:
                    body = await response.body()
                finally:
                    response.close()
        except (TimeoutError, ConnectionBrokenError) as error:
            raise _away(error) from None
        if response.status != OK:
            raise fault_of_status(response.status, body, self.settings)
        try:
            return msgspec.json.decode(body, type=_List).data
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise broken("has no list of models") from None

    async def stream(self, request: ChatRequest) -> AsyncGenerator[list[Part], None]:
        """The parts of its answer, those of one network read at a time. Raises `UpstreamError`."""
        exchange = await self._begin(_body_of(request, self.settings))
        answer = exchange.answer
        try:
            while True:
                if exchange.parts:
                    yield exchange.parts
                if exchange.is_over:
                    break
                await exchange.read()
            usage = answer.usage() or Counts(
                prompt_tokens=await tokens.count_messages(request.messages, request.tools),
                completion_tokens=await tokens.count("".join(answer.written)),
                are_estimated=True,
            )
            yield [usage]
            await exchange.finish()
        finally:
            exchange.close()

    async def _begin(self, body: bytes) -> _Exchange:
        """An exchange whose first part has come. Until then what passes is tried again."""
        for attempt in itertools.count():
            exchange = _Exchange(AnswerReader(self._new_id, lambda error: fault_in_stream(error, self.settings)))
            try:
                await exchange.begin(self._request("POST", "/chat/completions", body), self.settings)
            except PassingError as error:
                exchange.close()
                pause_s = error.after_s
                if pause_s is None:
                    pause_s = PAUSE_S * 2**attempt * chance.uniform(0.5, 1)
                if attempt == self._retries or pause_s > RETRY_AFTER_MAX_S:
                    raise
                log.warning("upstream %s, try %d: %s", self.settings.name, attempt + 1, error.message)
                await asyncio.sleep(pause_s)
            except BaseException:
                exchange.close()
                raise
            else:
                return exchange
        raise AssertionError


class _Exchange:
    """One request and its answer."""

    def __init__(self, answer: AnswerReader) -> None:
        self.answer = answer
        self.parts: list[Part] = []
        self.is_over = False
        self._response: Response | None = None

    async def begin(self, request: Awaitable[Response], upstream: UpstreamSettings) -> None:
        """Sends the request and reads until the first part."""
        try:
            response = self._response = await request
            if response.status != OK:
                raise fault_of_status(response.status, await response.body(), upstream, response.headers)
            if response.headers.get("content-type", "").startswith("application/json"):
                # It does not stream, though it was asked to.
                self.parts = self.answer.whole(await response.body())
                self._end()
        except TimeoutError:
            raise _silent() from None
        except ConnectionBrokenError as error:
            log.warning("upstream %s at %s: %s", upstream.name, upstream.url, error)
            raise _away(error) from None
        while not self.parts:
            await self.read()

    async def read(self) -> None:
        """Waits for what comes next and puts it into `parts`; it may hold none."""
        assert self._response is not None
        self.parts = []
        if self.answer.fault:
            self.is_over = True
            # What a server sends behind a whole answer spoils nothing.
            if self.answer.finish_reason is None:
                raise self.answer.fault
            return
        try:
            if self.answer.finish_reason is None:
                data = await self._response.read()
            else:
                async with asyncio.timeout(COUNTS_S):
                    data = await self._response.read()
        except (TimeoutError, ConnectionBrokenError) as error:
            self.is_over = True
            # After the finish reason the answer is whole; counts that do not come are made up for.
            if self.answer.finish_reason is None:
                raise (_silent() if isinstance(error, TimeoutError) else _cut()) from None
            return
        if data:
            self.parts = self.answer.feed(data)
            self.is_over = self.answer.is_done
        else:
            self.parts = self.answer.end()
            self._end()

    def _end(self) -> None:
        if self.answer.fault:
            # The parts before it are handed on first.
            return
        self.is_over = True
        if self.answer.finish_reason is None:
            raise _cut() if self.answer.has_data else broken("sent something that is not Chat Completions")

    async def finish(self) -> None:
        """Reads to the end of the response, so that its connection can be used again; but not for long."""
        assert self._response is not None
        try:
            async with asyncio.timeout(END_S):
                await self._response.body()
        except (TimeoutError, ConnectionBrokenError) as error:
            log.debug("the connection of a whole answer is not kept: %r", error)

    def close(self) -> None:
        """Closes the connection, unless the response was read to its end."""
        if self._response is not None:
            self._response.close()


def _silent() -> UpstreamError:
    """It has said nothing for too long. Not tried again: that would take as long."""
    return UpstreamError("server_error", "The model server was silent for too long.")


def _cut() -> PassingError:
    """Its answer has no end."""
    return PassingError("server_error", "The model server broke off its answer.")


def _away(error: Exception) -> PassingError:
    """It cannot be reached."""
    at_once = isinstance(error, ConnectionBrokenError) and error.at_once
    return PassingError("server_error", "The model server could not be reached.", 0 if at_once else None)


def _body_of(request: ChatRequest, upstream: UpstreamSettings) -> bytes:
    """The request as the server understands it."""
    lacks = upstream.lacks
    body: dict[str, Any] = {key: value for key, value in msgspec.structs.asdict(request).items() if value is not None}
    body["stream"] = True
    if "usage" not in lacks:
        body["stream_options"] = {"include_usage": True}
    if "tools" in lacks or not request.tools:
        # OpenAI refuses a choice where there is nothing to choose from.
        for key in ("tools", "tool_choice", "parallel_tool_calls"):
            body.pop(key, None)
    if "parallel_tool_calls" in lacks:
        body.pop("parallel_tool_calls", None)
    if "max_completion_tokens" in lacks and "max_completion_tokens" in body:
        body["max_tokens"] = body.pop("max_completion_tokens")
    wanted = request.response_format or {}
    if "json_schema" in lacks and wanted.get("type") == "json_schema":
        body["response_format"] = {"type": "json_object"}
        body["messages"] = _told(request.messages, wanted["json_schema"].get("schema") or {})
    return msgspec.json.encode(body)


def _told(messages: list[dict[str, Any]], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages, with the schema in the system's words."""
    text = msgspec.json.encode(schema).decode()
    instructions = f"Answer with one JSON object that follows this JSON Schema, and with nothing else:\n{text}"
    first = messages[0] if messages else {}
    if first.get("role") in ("system", "developer") and isinstance(first.get("content"), str):
        # Many models' templates allow one such message.
        return [{**first, "content": f"{first['content']}\n\n{instructions}"}, *messages[1:]]
    return [{"role": "system", "content": instructions}, *messages]

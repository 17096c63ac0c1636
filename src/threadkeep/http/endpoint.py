"""The adapter between a route and its operation: path, query and body in the route's types, the result as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from threadkeep import idempotency, ids, invalid, validation
from threadkeep.context import Context
from threadkeep.errors import BadRequestError, OutcomeUnknownError, StorageUnavailableError
from threadkeep.http import dialect, query
from threadkeep.http.exchange import Answer
from threadkeep.idempotency import AnsweredBeforeError, KeyedRequest
from threadkeep.pages import Stored
from threadkeep.streaming import Download, EventStream, Header, Pieces, WithHeaders

OK = 200
_NOT_PLAIN = (Download, EventStream, WithHeaders)
_encode = msgspec.json.Encoder().encode
_KEY = idempotency.HEADER.lower().encode()
# Tells a client that this is the answer to an earlier request.
REPLAYED = ((b"idempotent-replayed", b"true"),)

# What is wrong with a body of many elements takes seconds to find. Bodies over this size are decoded in an OS thread,
# one at a time because of the memory it takes, so that other requests are answered meanwhile.
DECODED_ON_LOOP_BYTES_MAX = 256 * 1024
_large_bodies = ThreadPoolExecutor(1, thread_name_prefix="body")


@dataclass(frozen=True)
class Route:
    """A row of the route table: the one source of dispatch, decoding and `/openapi.json`.

    The operation gets the context, the ids of the path, and `body` or `query` as its params, in that order; beside a
    body, a query is only checked. Request headers that `headers` names, in lower case, come as keyword arguments, None
    where the request has none: `last-event-id` as `last_event_id`. It gives its result, the same `WithHeaders`, or, if
    the row says that it `streams`, an `EventStream`.
    """

    method: str
    path: str
    operation: Callable[..., Awaitable[Any]]
    summary: str
    _: KW_ONLY
    # None for what is downloaded.
    result: Any
    body: Any = None
    query: Any = None
    headers: tuple[str, ...] = ()
    # Whether it may answer with events in place of `result`.
    streams: bool = False
    # Whether an `Idempotency-Key` keeps it from being done twice: its unit of work takes the key and keeps the answer.
    takes_key: bool = False
    # Whether it takes the pieces of its body as they come, however many, as its last argument.
    takes_stream: bool = False
    # Whether the original asked for its beta header.
    beta: bool = True
    # Not part of the original's API.
    ours: bool = False


# The prefix that each path parameter's ids begin with; what is not here, a model's name, is no id.
PREFIXES = {
    "thread_id": "thread",
    "message_id": "msg",
    "assistant_id": "asst",
    "run_id": "run",
    "step_id": "step",
    "webhook_id": "wh",
    "event_id": "evt",
}


class NoParams(Struct, frozen=True):
    """For requests that take no query, or no body."""


class Endpoint:
    """A route made ready: decoders built, path parameters named."""

    def __init__(self, route: Route, *, strict: bool) -> None:
        self.route = route
        self.name = f"{route.method} {route.path}"
        # What is ours has no old clients to be patient with: a misspelt filter must not list everything.
        self._knows_all_names = strict or route.ours
        self._operation = route.operation
        self._parameters = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
        self._headers = [(name.replace("-", "_"), name.encode()) for name in route.headers]
        self._takes_key = route.takes_key and not strict
        # Nor must a body be lost on what takes none.
        self._body = route.body or (NoParams if route.ours and route.method == "POST" else None)
        self._decoder = msgspec.json.Decoder(self._body) if self._body else None

    async def call(
        self,
        ctx: Context,
        path_ids: Sequence[str],
        query_string: bytes,
        headers: Mapping[bytes, bytes],
        body: bytes,
        *,
        v1: bool,
    ) -> Answer | EventStream | Download:
        """Runs the operation for one request; gives what to send. Raises `APIError`."""
        arguments: list[Any] = [ctx]
        if len(body) > DECODED_ON_LOOP_BYTES_MAX:
            decode = partial(self._params, query_string, body, v1=v1)
            params = await asyncio.get_running_loop().run_in_executor(_large_bodies, decode)
        else:
            params = self._params(query_string, body, v1=v1)
        for name, value in zip(self._parameters, path_ids, strict=True):
            if prefix := PREFIXES.get(name):
                ids.check(name, value, prefix)
            arguments.append(value)
        if params is not None:
            arguments.append(params)
        if self._takes_key and _KEY in headers:
            arguments[0] = replace(ctx, keyed=await self._keyed(headers[_KEY], path_ids, body, v1=v1))
            result = await self._once(arguments)
        elif self._headers:
            result = await self._operation(*arguments, **self._chosen(headers))
        else:
            result = await self._operation(*arguments)
        answer_headers: tuple[Header, ...] = ()
        if isinstance(result, _NOT_PLAIN):
            if isinstance(result, (Download, EventStream)):
                return result
            result, answer_headers = result.result, result.headers
        payload = _encode(result)
        return Answer(OK, dialect.answer_to_v1(payload) if v1 else payload, answer_headers)

    async def take_in(self, ctx: Context, query_string: bytes, pieces: Pieces) -> Answer:
        """Runs an operation that takes its body piece by piece. Raises `APIError`."""
        params = self._params(query_string, b"", v1=False)
        return Answer(OK, _encode(await self._operation(ctx, params, pieces)))

    async def _keyed(self, key: bytes, path_ids: Sequence[str], body: bytes, *, v1: bool) -> KeyedRequest:
        keyed = partial(idempotency.keyed, key, [self.name, "v1" if v1 else "v2", *path_ids], body)
        if len(body) > DECODED_ON_LOOP_BYTES_MAX:
            return await asyncio.get_running_loop().run_in_executor(_large_bodies, keyed)
        return keyed()

    async def _once(self, arguments: list[Any]) -> Any:
        """Runs the operation, or gives what it gave the first time."""
        try:
            return await self._operation(*arguments)
        except AnsweredBeforeError as before:
            return WithHeaders(Stored(before.answer), REPLAYED)
        except OutcomeUnknownError:
            # The SDKs may try again: the key tells what became of the first try.
            raise StorageUnavailableError(
                f"The database went away while it was saving. Send it again with the same {idempotency.HEADER}."
            ) from None

    def _chosen(self, headers: Mapping[bytes, bytes]) -> dict[str, str | None]:
        """The headers that the operation wants, as its keyword arguments."""
        return {
            keyword: headers[name].decode("latin-1") if name in headers else None for keyword, name in self._headers
        }

    def _params(self, query_string: bytes, body: bytes, *, v1: bool) -> Any:
        if self.route.ours and self.route.query is None:
            query.parse(query_string, NoParams, strict=True)
        params = None
        if self._decoder is not None:
            # No body at all means no field at all, which is fine where none is required.
            body = body if body and not body.isspace() else b"{}"
            decoded = self._decode(dialect.body_from_v1(body) if v1 else body)
            params = decoded if self.route.body else None
        if self.route.query is not None:
            asked = query.parse(query_string, self.route.query, strict=self._knows_all_names)
            params = asked if params is None else params
        return params

    def _decode(self, body: bytes) -> Any:
        assert self._decoder is not None
        try:
            # The decoder does not look into the text of fields it skips.
            _ = body.isascii() or body.decode()
            params = self._decoder.decode(body)
        except msgspec.ValidationError:
            raise self._refusal(body) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            validation.parse(body)
            raise invalid.not_json() from None
        if self._knows_all_names:
            error = validation.explain(validation.parse(body), self._body, strict=True)
            if error:
                raise error
        if b"\\u0000" in body:
            validation.refuse_nul(validation.parse(body))
        return params

    def _refusal(self, body: bytes) -> Exception:
        error = validation.explain(validation.parse(body), self._body, strict=self._knows_all_names)
        # The decoder stops at the first of two values for one name, the second look sees the last.
        return error or BadRequestError("Invalid request body: a property is given twice.")

"""Traces by OpenTelemetry, and the one place that knows of it: requests, runs, calls of models.

A run outlives its request and may be executed by another process, so what links it to its request, a `traceparent`,
is kept with the run. The names are those of OpenTelemetry's conventions for generative AI, which are still in
development; the version they follow is `SCHEMA`. What was said is left out unless the settings ask for it.

Where to send, how much, and under which name is said by OpenTelemetry's own variables, such as
`OTEL_EXPORTER_OTLP_ENDPOINT`. A program that runs the server inside itself may set a tracer provider before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from threadkeep import __version__
from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.upstream import ChatRequest, Counts, Finished, ModelRoute, Part, TextDelta, ToolCallDelta, UpstreamError

if TYPE_CHECKING:
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer

    from threadkeep.run_rows import HeldRun

SCHEMA = "https://opentelemetry.io/schemas/1.40.0"
FAILING = 500

_encode = msgspec.json.Encoder().encode
# The span of the run that is executed here.
_run_span: ContextVar[Span | None] = ContextVar("run_span", default=None)


class Tracing:
    """The traces of one process. Switched off, each of its methods does nothing."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._wanted = settings is not None and settings.tracing
        self._with_content = settings is not None and settings.tracing_content
        # Whether anything is traced; every request looks at it.
        self.is_on = False
        self._tracer: Tracer | None = None
        self._own: TracerProvider | None = None

    def open(self) -> None:
        """Gets ready. Raises `CommandError` when OpenTelemetry is not installed."""
        if not self._wanted:
            return
        try:
            from opentelemetry import trace  # noqa: PLC0415 - an optional extra
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        except ModuleNotFoundError:
            raise CommandError(
                "OpenTelemetry is not installed.",
                "Install it with the extra `otel`; in a clone: .venv/bin/pip install --editable '.[otel]'",
            ) from None
        provider = trace.get_tracer_provider()
        if not isinstance(provider, TracerProvider):
            provider = self._own = _provider()
        self._tracer = provider.get_tracer("threadkeep", __version__, schema_url=SCHEMA)
        self.is_on = True

    async def close(self) -> None:
        """Sends what has not been sent."""
        self.is_on, self._tracer = False, None
        if self._own:
            await asyncio.to_thread(self._own.shutdown)

    @contextmanager
    def request(self, method: str, headers: Mapping[bytes, bytes]) -> Iterator[RequestSpan]:
        """A request that is answered; the trace of who sent it goes on."""
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - see `open`

        assert self._tracer is not None
        parent = _context_of(headers.get(b"traceparent", b"").decode("latin-1"))
        attributes = {"http.request.method": method}
        with self._tracer.start_as_current_span(method, parent, SpanKind.SERVER, attributes) as span:
            yield RequestSpan(span, method)

    def carrier(self) -> str:
        """What links later work to the present request."""
        if self._tracer is None:
            return ""
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        carrier: dict[str, str] = {}
        TraceContextTextMapPropagator().inject(carrier)
        return carrier.get("traceparent", "")

    @contextmanager
    def run(self, held: HeldRun) -> Iterator[None]:
        """A run that is executed, from a claim to where it rests."""
        if self._tracer is None:
            yield
            return
        run = held.run
        attributes: dict[str, str | int] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": run.assistant_id,
            "gen_ai.conversation.id": run.thread_id,
            "gen_ai.request.model": run.model,
            "threadkeep.run.id": run.id,
            "threadkeep.run.attempt": held.attempt,
        }
        parent = _context_of(held.plan.trace)
        with self._tracer.start_as_current_span("invoke_agent", parent, attributes=attributes) as span:
            token = _run_span.set(span)
            try:
                yield
            finally:
                _run_span.reset(token)

    def rested(self, status: str) -> None:
        """The run that is executed here has entered a status."""
        if self._tracer is None or (span := _run_span.get()) is None:
            return
        span.set_attribute("threadkeep.run.status", status)
        if status == "failed":
            _fail(span, "run_failed")

    def call(self, route: ModelRoute, request: ChatRequest, thread_id: str) -> AsyncGenerator[list[Part], None]:
        """A model's answer, as it is."""
        if self._tracer is None:
            return route.stream(request)
        return self._traced_call(self._tracer, route, request, thread_id)

    async def _traced_call(
        self,
        tracer: Tracer,
        route: ModelRoute,
        request: ChatRequest,
        thread_id: str,
    ) -> AsyncGenerator[list[Part], None]:
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - see `open`

        attributes = _attributes(route, request) | {"gen_ai.conversation.id": thread_id}
        if self._with_content:
            attributes["gen_ai.input.messages"] = _encode([_message(message) for message in request.messages]).decode()
        span = tracer.start_span(f"chat {route.model}", kind=SpanKind.CLIENT, attributes=attributes)
        said = _Said()
        is_first = True
        try:
            async with aclosing(route.stream(request)) as answer:
                async for parts in answer:
                    if is_first:
                        span.add_event("gen_ai.first_token")
                        is_first = False
                    for part in parts:
                        self._note(span, part, said)
                    yield parts
        except UpstreamError as error:
            _fail(span, error.code)
            raise
        finally:
            if self._with_content:
                span.set_attribute("gen_ai.output.messages", _encode([_message(said.message())]).decode())
            span.end()

    def _note(self, span: Span, part: Part, said: _Said) -> None:
        if self._with_content:
            said.add(part)
        match part:
            case Finished(reason=reason):
                span.set_attribute("gen_ai.response.finish_reasons", [reason])
            case Counts():
                span.set_attribute("gen_ai.usage.input_tokens", part.prompt_tokens)
                span.set_attribute("gen_ai.usage.output_tokens", part.completion_tokens)
            case ToolCallDelta(name=str(name)):
                span.add_event("gen_ai.tool_call", {"gen_ai.tool.name": name})


class _Said:
    """What a model has said so far, as a chat message."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, part: Part) -> None:
        match part:
            case TextDelta(text=text):
                self._texts.append(text)
            case ToolCallDelta():
                begun = {"id": part.call_id, "function": {"name": part.name, "arguments": ""}}
                self._calls.setdefault(part.index, begun)["function"]["arguments"] += part.arguments

    def message(self) -> dict[str, Any]:
        return {"role": "assistant", "content": "".join(self._texts), "tool_calls": list(self._calls.values())}


class RequestSpan:
    """The span of a request; its route and status are known later."""

    def __init__(self, span: Span, method: str) -> None:
        self._span = span
        self._method = method

    def answered(self, route: str, status: int) -> None:
        """The answer is there, or begins."""
        self._span.update_name(f"{self._method} {route}")
        self._span.set_attributes({"http.route": route, "http.response.status_code": status})
        if status >= FAILING:
            _fail(self._span, str(status))


OFF = Tracing()


def _provider() -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - see `open`
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    ours = Resource({"service.name": "threadkeep", "service.version": __version__})
    # What the variables say comes first.
    provider = TracerProvider(resource=Resource.create().merge(ours).merge(OTELResourceDetector().detect()))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _context_of(traceparent: str) -> TraceContext:
    """The context that a `traceparent` names; a new one where there is none, or nothing sensible."""
    from opentelemetry.context import Context  # noqa: PLC0415 - see `Tracing.open`
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent}, Context())


def _fail(span: Span, error_type: str) -> None:
    from opentelemetry.trace import StatusCode  # noqa: PLC0415 - see `Tracing.open`

    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)


def _attributes(route: ModelRoute, request: ChatRequest) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": route.name,
        "gen_ai.request.model": route.model,
        "gen_ai.request.temperature": request.temperature,
        "gen_ai.request.top_p": request.top_p,
        "gen_ai.request.max_tokens": request.max_completion_tokens,
    }
    if route.server:
        parts = urlsplit(route.server.settings.url)
        found |= {"server.address": parts.hostname, "server.port": parts.port}
    return {name: value for name, value in found.items() if value is not None}


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    """A chat message in the form of the conventions."""
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [part.get("text", "") for part in content or ()]
    if message.get("role") == "tool":
        response = {"type": "tool_call_response", "id": message.get("tool_call_id"), "response": "".join(texts)}
        return {"role": "tool", "parts": [response]}
    parts: list[dict[str, Any]] = [{"type": "text", "content": text} for text in texts if text]
    calls = message.get("tool_calls") or ()
    parts += [{"type": "tool_call", "id": call.get("id"), **call["function"]} for call in calls]
    return {"role": message.get("role"), "parts": parts}

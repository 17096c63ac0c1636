"""`/metrics`: the counts of this process, and what the database says of runs, in the format of Prometheus.

Who may read it: on loopback, any program of this machine, as long as no `metrics_key` is set; else who has that key. It
tells how busy a server is, so it is not for everybody; and the API's own keys open more than a monitor should have.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from threadkeep import __version__, lifecycle, runs
from threadkeep.context import Context
from threadkeep.errors import APIError, AuthenticationError, InternalServerError, PermissionDeniedError
from threadkeep.http import api
from threadkeep.http.auth import Authenticator
from threadkeep.http.exchange import Answer, Request, answer_of
from threadkeep.metrics import Answered, Histogram
from threadkeep.runs import Backlog

if TYPE_CHECKING:
    from prometheus_client.metrics_core import HistogramMetricFamily, Metric

log = logging.getLogger(__name__)

METRICS_PATH = "/metrics"
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
ANSWERED = ("method", "route", "status")


class MetricsPage:
    """Answers one address. `ctx` belongs to no project."""

    def __init__(self, ctx: Context, authenticator: Authenticator) -> None:
        self._ctx = ctx
        self._authenticator = authenticator

    async def answer(self, request: Request) -> Answer:
        """The page. Raises `APIError`."""
        if not self._ctx.settings.metrics:
            raise api.not_found(request.method, request.path)
        if request.method not in ("GET", "HEAD"):
            raise api.not_allowed(request.method, request.path, (b"allow", b"GET, HEAD"))
        self._require_reader(request.headers)
        return Answer(HTTPStatus.OK, await self._page(), content_type=CONTENT_TYPE)

    async def answer_alone(self, request: Request) -> Answer:
        """For an address of its own, at which there is nothing else."""
        try:
            if request.path != METRICS_PATH:
                raise api.not_found(request.method, request.path)
            return await self.answer(request)
        except APIError as error:
            return answer_of(error)
        except Exception:
            log.exception("%s failed: the page of metrics", request.request_id)
            return answer_of(InternalServerError(request.request_id))

    def _require_reader(self, headers: Mapping[bytes, bytes]) -> None:
        key = self._ctx.settings.metrics_key.encode()
        if key:
            if not hmac.compare_digest(headers.get(b"authorization", b""), b"Bearer " + key):
                raise AuthenticationError("Metrics need the key of the setting `metrics_key`, as a bearer token.")
            return
        try:
            if not self._ctx.settings.is_loopback:
                raise PermissionDeniedError("")
            self._authenticator.refuse_outsiders(headers)
        except PermissionDeniedError:
            raise PermissionDeniedError(
                "Without a key, metrics are for programs on this machine. Set THREADKEEP_METRICS_KEY, and send it as "
                "a bearer token."
            ) from None

    async def _page(self) -> bytes:
        # Imported when first needed: most servers are never asked.
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # noqa: PLC0415

        try:
            backlog = await self._ctx.store.read(lambda tx: runs.backlog(tx, self._ctx))
        except APIError:
            backlog = None
        families = [*_counts(self._ctx), *_state(self._ctx, backlog)]

        class Collector:
            def collect(self) -> Iterator[Metric]:
                return iter(families)

        registry = CollectorRegistry()
        registry.register(Collector())
        ProcessCollector(registry=registry)
        return generate_latest(registry)


def _counts(ctx: Context) -> Iterator[Metric]:
    """What this process has done since it started."""
    metrics = ctx.metrics
    answered = {
        key: sum(sum(kind[key].counts) for kind in (metrics.requests, metrics.streams) if key in kind)
        for key in (*metrics.requests, *metrics.streams)
    }
    yield _counter("requests", "Answers sent.", ANSWERED, answered)
    yield _histograms("request_duration_seconds", "Answers in one piece.", ANSWERED[:2], _by_route(metrics.requests))
    yield _histograms("stream_duration_seconds", "Answers made of events.", ANSWERED[:2], _by_route(metrics.streams))
    statuses = {(status,): count for status, count in metrics.statuses.items()}
    yield _counter("run_changes", "Runs that entered a status here.", ("status",), statuses)
    yield _counter(
        "run_take_overs",
        "Runs taken over from an owner who is gone, by the attempt that began.",
        ("attempt",),
        {(str(attempt),): count for attempt, count in metrics.take_overs.items()},
    )
    yield _counter("run_losses", "Runs that were taken from this process.", (), {(): metrics.lost})
    tokens = {(name, "in"): count for name, count in metrics.tokens_in.items()}
    tokens |= {(name, "out"): count for name, count in metrics.tokens_out.items()}
    yield _counter("tokens", "Tokens of models' answers that are whole.", ("upstream", "direction"), tokens)
    first = {(name,): histogram for name, histogram in metrics.first_token.items()}
    yield _histograms("first_token_seconds", "From asking a model to its first word.", ("upstream",), first)
    errors = {(code,): count for code, count in metrics.upstream_errors.items()}
    yield _counter("upstream_errors", "Runs that a model server failed, by the run's error code.", ("code",), errors)
    attempts = {(outcome,): count for outcome, count in metrics.webhook_attempts.items()}
    yield _counter("webhook_attempts", "Attempts to tell webhooks, by what came of them.", ("outcome",), attempts)
    lag = "From a word of the model to the moment in which it is stored and followers see it."
    yield _histograms("log_lag_seconds", lag, (), {(): metrics.log_lag})


def _state(ctx: Context, backlog: Backlog | None) -> Iterator[Metric]:
    """What is going on at this moment."""
    load = ctx.store.load()
    yield _gauge("info", "The version that runs.", ("version",), {(__version__,): 1})
    yield _gauge(
        "waiting_writes", "Writes that wait; on PostgreSQL, with those under way.", (), {(): load.waiting_writes}
    )
    yield _gauge("oldest_write_wait_seconds", "How long the oldest of them has waited.", (), {(): load.oldest_wait_s})
    if load.groups:
        yield _histograms("commit_group_units", "Writes that shared one commit, on SQLite.", (), {(): load.groups})
    yield _gauge("running_runs", "Runs that this process executes.", (), {(): ctx.worker.running})
    yield _gauge("followers", "Streams and held requests that follow runs here.", (), {(): ctx.events.followers})
    yield _gauge("database_up", "Whether the database answered just now.", (), {(): int(backlog is not None)})
    if backlog:
        unfinished = {(status,): backlog.unfinished.get(status, 0) for status in sorted(lifecycle.ACTIVE)}
        yield _gauge("runs", "Unfinished runs of the whole database, by status.", ("status",), unfinished)
        due = "Runs of the whole database that wait to be claimed, taken over or ended."
        yield _gauge("due_runs", due, (), {(): backlog.due})
        yield _gauge(
            "oldest_due_run_seconds", "How long the oldest of them has waited.", (), {(): backlog.oldest_due_s}
        )


def _by_route(histograms: Mapping[Answered, Histogram]) -> dict[tuple[str, ...], Histogram]:
    """The statuses of a route together."""
    found: dict[tuple[str, ...], Histogram] = {}
    for (method, route, _), histogram in histograms.items():
        summed = found.setdefault((method, route), Histogram(histogram.bounds))
        summed.counts = [one + other for one, other in zip(summed.counts, histogram.counts, strict=True)]
        summed.total += histogram.total
    return found


def _counter(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily  # noqa: PLC0415 - see `_page`

    family = CounterMetricFamily(f"threadkeep_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric([str(part) for part in key], value)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily  # noqa: PLC0415 - see `_page`

    family = GaugeMetricFamily(f"threadkeep_{name}", text, labels=labels)
    for key, value in values.items():
        family.add_metric([str(part) for part in key], value)
    return family


def _histograms(
    name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, Histogram]
) -> HistogramMetricFamily:
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - see `_page`

    family = HistogramMetricFamily(f"threadkeep_{name}", text, labels=labels)
    for key, histogram in values.items():
        buckets, below = [], 0
        for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
        family.add_metric([str(part) for part in key], buckets, histogram.total)
    return family

"""What this process has done, in numbers: gathered in plain counts, which cost next to nothing, and made into a page
when somebody asks (`http/metrics_page.py`).

Labels name routes, statuses, model servers: never an id, a key, a project or anything a client made up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence

# Seconds. A stored answer takes a fraction of a millisecond, a model a minute.
REQUEST_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
STREAM_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
FIRST_TOKEN_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
LAG_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
GROUP_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128)

# Method, route, status.
Answered = tuple[str, str, int]


class Histogram:
    """How many values fell between which bounds, and their sum. The last count is of those above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One more value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Metrics:
    """The counts of one process since its start."""

    def __init__(self) -> None:
        self.requests: dict[Answered, Histogram] = {}
        # Answers made of events; they last as long as their runs.
        self.streams: dict[Answered, Histogram] = {}
        # How often runs entered each status here, as far as followers were told.
        self.statuses: Counter[str] = Counter()
        # Runs that were taken from an owner who is gone, by the attempt that began.
        self.take_overs: Counter[int] = Counter()
        # Runs that others took from this process.
        self.lost = 0
        # By model server.
        self.tokens_in: Counter[str] = Counter()
        self.tokens_out: Counter[str] = Counter()
        self.first_token: dict[str, Histogram] = {}
        # By error code of the run, where a model server was to blame.
        self.upstream_errors: Counter[str] = Counter()
        # By what came of them: delivered, failed, or to be made again.
        self.webhook_attempts: Counter[str] = Counter()
        # From a word of the model to the moment in which it is safe and followers see it.
        self.log_lag = Histogram(LAG_BOUNDS)

    def request(self, answered: Answered, duration_s: float) -> None:
        """An answer has been sent."""
        histogram = self.requests.get(answered)
        if histogram is None:
            histogram = self.requests[answered] = Histogram(REQUEST_BOUNDS)
        histogram.add(duration_s)

    def stream(self, answered: Answered, duration_s: float) -> None:
        """A stream has ended."""
        self.streams.setdefault(answered, Histogram(STREAM_BOUNDS)).add(duration_s)

    def token_came(self, upstream: str, after_s: float) -> None:
        """The first part of a model's answer has come, so long after it was asked."""
        self.first_token.setdefault(upstream, Histogram(FIRST_TOKEN_BOUNDS)).add(after_s)

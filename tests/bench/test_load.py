"""What is read out of wrk's report, and when a figure is void."""

from __future__ import annotations

import pytest
from bench import contest
from bench.load import Load, parse

REPORT = """\
Running 2s test @ http://127.0.0.1:9700
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     8.65ms   20.11ms 173.73ms   94.41%
    Req/Sec    12.37k     2.10k   16.02k    75.00%
  Latency Distribution
     50%  850.00us
     75%    5.98ms
     90%   10.79ms
     99%    1.25s
  24807 requests in 2.01s, 9.98MB read
{problems}Requests/sec:  12341.79
Transfer/sec:      4.97MB
"""
REFUSED = "  Non-2xx or 3xx responses: 17\n"
LOST = "  Socket errors: connect 1, read 2, write 3, timeout 4\n"


def report(problems=""):
    return REPORT.format(problems=problems)


def test_a_report_is_read():
    assert parse(report(), cpu_s=2.4807) == Load(
        requests=24807, failed=0, per_s=12341.79, p50_ms=0.85, p99_ms=1250, cpu_us=pytest.approx(100)
    )


@pytest.mark.parametrize(("problems", "failed"), [(REFUSED, 17), (LOST, 10), (LOST + REFUSED, 27)])
def test_refused_and_lost_requests_are_failures(problems, failed):
    assert parse(report(problems), cpu_s=1).failed == failed


def loads(*per_s, failed=0, requests=1000):
    return [Load(requests, failed, rate, p50_ms=1.0, p99_ms=2.0, cpu_us=1e6 / rate) for rate in per_s]


def test_sides_are_compared_in_cpu_and_rate():
    ratios = contest.compare(loads(500, 1000), loads(1000, 1000))
    assert ratios.per_s.rounds == (0.5, 1)
    assert ratios.cpu.rounds == (2, 1)


@pytest.mark.parametrize("spoilt", [loads(1000, failed=1), loads(1000, requests=0)])
def test_one_failed_request_makes_every_comparison_void(spoilt):
    good = loads(1000)
    assert contest.compare(good + good, spoilt + good) is None
    assert contest.compare(spoilt + good, good + good) is None
    assert contest.latencies({"good": good, "spoilt": spoilt}, "p50_ms") == {"good": 1.0, "spoilt": None}

"""Many OS threads that do something at the same moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

AT_ONCE = 64


@contextmanager
def crowd() -> Iterator[Callable[[Callable[[int], Any]], list[Any]]]:
    """Gives what runs `work(n)` for n from 0 to 63, each in an OS thread of its own, all starting together."""
    start = threading.Barrier(AT_ONCE)

    def run(work, n):
        start.wait()
        return work(n)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield lambda work: list(pool.map(run, [work] * AT_ONCE, range(AT_ONCE)))

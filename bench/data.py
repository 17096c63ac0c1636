"""What is in every contestant's database before the load: the same threads, metadata and messages for all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import NamedTuple

METADATA = {"user": "abc123", "modified": "true"}
MESSAGES = [
    {"role": "user", "content": "How does AI work? Explain it in simple terms."},
    {"role": "assistant", "content": "It learns from many examples what usually comes next."},
]
LONG_THREAD = "thread_bench_long"
LONG_THREAD_MESSAGES = 100_000
# One thread in so many matches the filter of the list by metadata.
MATCHING_ONE_IN = 10
# A page of messages and no more; the threads that are not full have a first question and its answer.
FULL, FEW = 20, 2


class Thread(NamedTuple):
    """A thread to be stored. `thread_id` is empty where any id will do."""

    thread_id: str
    created_at: int
    metadata: dict[str, str]
    messages: list[dict[str, str]]


@dataclass(frozen=True)
class Data:
    """So many threads, one in `full_one_in` of them full (0: none), and one long thread (0: none)."""

    threads: int
    full_one_in: int = 0
    long_thread_messages: int = 0

    @classmethod
    def of(cls, arguments: list[str]) -> Data:
        """From the words of a command line."""
        return cls(*map(int, arguments))

    @property
    def arguments(self) -> list[str]:
        """The words of a command line for it."""
        return list(map(str, astuple(self)))

    def each(self) -> Iterator[Thread]:
        """The threads, oldest first, one made each second until now; the long one last."""
        now = int(time.time())
        for number in range(self.threads):
            user = METADATA["user"] if number % MATCHING_ONE_IN == 0 else f"user{number}"
            is_full = self.full_one_in and number % self.full_one_in == 0
            yield Thread(
                thread_id="",
                created_at=now - self.threads + number,
                metadata={**METADATA, "user": user},
                messages=MESSAGES * ((FULL if is_full else FEW) // 2),
            )
        if self.long_thread_messages:
            yield Thread(LONG_THREAD, now, {}, MESSAGES * (self.long_thread_messages // 2))

    def full(self, ids: list[str]) -> list[str]:
        """Of the threads' ids in the order of `each`, those of full threads."""
        return ids[:: self.full_one_in]

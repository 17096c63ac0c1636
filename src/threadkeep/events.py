"""The event log of runs: every event a follower is sent, numbered from 1 in each run, durable before anyone sees it.

An *entry* is one row of the log: the ready-to-send frames of the events that were committed together. Followers on the
process that appends are fed from memory. Followers elsewhere, and those that come back, read the log; one task looks
for news of all runs that are followed here, often while there is some and seldom while there is none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from threadkeep.metrics import Metrics
from threadkeep.store import queries
from threadkeep.store.interface import Change, Store, Transaction
from threadkeep.tasks import Trouble

sql = queries.load("events")

# An event's name and its data, one line of JSON.
Event: TypeAlias = tuple[str, bytes]
Key: TypeAlias = tuple[str, str]

# A status in which a run is over, and one in which it may also wait for its client: there streams end.
OverStatus: TypeAlias = Literal["completed", "incomplete", "failed", "cancelled", "expired"]
OVER: frozenset[str] = frozenset(get_args(OverStatus))
RESTING = OVER | {"requires_action"}
READ_AT_ONCE = 200
# What is read of each run when news of several are looked for: none of them can keep the others waiting.
READ_OF_EACH = 50
# What is kept in memory of a followed run; a follower that is further behind reads the log.
KEPT_CHARACTERS = 32 * 1024
# How long a run's events stay after its end when a message of it was deleted: who follows it reads them to the end.
WITHHELD_FOR_MS = 10_000
LOOK_AFTER_S = 0.02
LOOK_AT_LEAST_EVERY_S = 0.25
SLOWER = 1.4

_encode = msgspec.json.Encoder().encode


def is_over(status: str | None) -> bool:
    """Whether a run with this status, or one that is gone, is over."""
    return status is None or status in OVER


class Entry(Struct):
    """One row of the log. `status` is the run's after it, None where the row does not change it."""

    seq: int
    last_seq: int
    status: str | None
    frames: str

    def after(self, cursor: int) -> str:
        """The frames of the events behind number `cursor`."""
        if cursor < self.seq:
            return self.frames
        return "".join(f"{frame}\n\n" for frame in self.frames.split("\n\n")[cursor - self.seq + 1 : -1])


def frame(seq: int, event: Event) -> str:
    """One event as it is sent."""
    name, data = event
    return f"id: {seq}\nevent: {name}\ndata: {data.decode()}\n\n"


def done(seq: int) -> str:
    """The last frame of a stream; it repeats the number of the last event."""
    return f"id: {seq}\nevent: done\ndata: [DONE]\n\n"


def entry(seq: int, events: Sequence[Event], status: str | None = None) -> Entry:
    """The entry of `events`, of which the first has number `seq`."""
    frames = "".join([frame(number, event) for number, event in enumerate(events, start=seq)])
    return Entry(seq, seq + len(events) - 1, status, frames)


def last_seq(tx: Transaction, thread_id: str, run_id: str) -> int:
    """The number of the run's last event; 0 when there is none."""
    row = tx.one(sql.find_last_seq, thread_id=thread_id, run_id=run_id)
    return int(row[0]) if row else 0


def append(tx: Transaction, thread_id: str, run_id: str, events: Sequence[Event], status: str | None) -> Entry:
    """Appends events in a unit that holds the run; to be published once the unit is committed."""
    appended = entry(last_seq(tx, thread_id, run_id) + 1, events, status)
    if events:
        # An empty row would take the number of the event after it.
        tx.run_all([insertion(thread_id, run_id, appended)])
    return appended


def insertion(thread_id: str, run_id: str, appended: Entry) -> Change:
    """What appends an entry, for a unit that holds the run."""
    return sql.append_events, {"thread_id": thread_id, "run_id": run_id, **msgspec.structs.asdict(appended)}


def fenced_insertion(thread_id: str, run_id: str, appended: Entry, fence: int) -> Change:
    """What appends an entry on its own: one row if the run is still under `fence`, otherwise none."""
    parameters = {"seq": appended.seq, "last_seq": appended.last_seq, "frames": appended.frames, "fence": fence}
    return sql.append_events_fenced, {"thread_id": thread_id, "run_id": run_id, **parameters}


def withholding(thread_id: str, run_id: str, now_ms: int) -> Change:
    """What takes the run's events from the log soon after its end, since they tell what a deleted message said."""
    return sql.withhold_events, {"thread_id": thread_id, "run_id": run_id, "soon": now_ms + WITHHELD_FOR_MS}


def read(tx: Transaction, thread_id: str, run_id: str, after: int, limit: int = READ_AT_ONCE) -> list[Entry]:
    """The entries with events behind number `after`, oldest first."""
    rows = tx.all(sql.list_events, thread_id=thread_id, run_id=run_id, after=after, limit=limit)
    return [Entry(*row) for row in rows]


class Channel:
    """A run that somebody on this process follows: its newest entries, and who waits for the next."""

    def __init__(self) -> None:
        self.users = 0
        # The number of the newest event that is known here.
        self.last_seq = 0
        # Grows with each entry that changed the run's status, or may have.
        self.status_changes = 0
        self._entries: deque[Entry] = deque()
        self._characters = 0
        # Those who wait for the next entry, one future each: cheaper than one that all share and must not cancel.
        self._waiting: set[asyncio.Future[None]] = set()
        self._change_of_status: asyncio.Future[None] | None = None
        # When the log is looked at for it, by the loop's clock, and how long after that again.
        self.look_at = 0.0
        self.pause_s = LOOK_AFTER_S

    def publish(self, entry: Entry) -> None:
        """A committed entry; one that is known already, or empty, is passed over."""
        if entry.last_seq <= self.last_seq or not entry.frames:
            return
        if entry.seq != self.last_seq + 1:
            self._entries.clear()
            self._characters = 0
        self.last_seq = entry.last_seq
        self._entries.append(entry)
        self._characters += len(entry.frames)
        while self._characters > KEPT_CHARACTERS and len(self._entries) > 1:
            self._characters -= len(self._entries.popleft().frames)
        self._wake()
        if entry.status:
            self.status_changes += 1
            self.release()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def release(self) -> None:
        """Has those who wait for a status look at it."""
        if self._change_of_status and not self._change_of_status.done():
            self._change_of_status.set_result(None)

    def reach(self, seq: int) -> None:
        """Somebody has read up to event `seq`: it need not be told any more, and the others look for themselves."""
        if seq > self.last_seq:
            self.last_seq = seq
            self._entries.clear()
            self._characters = 0
            self._wake()
            self.status_changes += 1
            self.release()

    def since(self, cursor: int) -> list[Entry] | None:
        """The entries behind `cursor`; None when memory does not reach back that far."""
        if cursor >= self.last_seq:
            return []
        if not self._entries or self._entries[0].seq > cursor + 1:
            return None
        found: list[Entry] = []
        # Nearly always it is the newest one alone.
        for entry in reversed(self._entries):
            if entry.last_seq <= cursor:
                break
            found.append(entry)
        found.reverse()
        return found

    async def change(self) -> None:
        """Returns when there is a new entry."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            await waiter
        finally:
            self._waiting.discard(waiter)

    async def change_of_status(self) -> None:
        """Returns when there is a new entry that changes the run's status."""
        if self._change_of_status is None or self._change_of_status.done():
            self._change_of_status = asyncio.get_running_loop().create_future()
        # Several may wait for it, and one of them may give up.
        await asyncio.shield(self._change_of_status)


class EventLog:
    """What happens to runs, told to those on this process who follow them.

    `is_shared`: other processes append to the same log.
    """

    def __init__(self, store: Store, *, is_shared: bool, metrics: Metrics | None = None) -> None:
        self._store = store
        self._metrics = metrics or Metrics()
        self._is_shared = is_shared
        self._channels: dict[Key, Channel] = {}
        self._looking: asyncio.Task[None] | None = None
        self._is_released = False

    @property
    def followers(self) -> int:
        """How many streams and waiting requests follow runs here."""
        return sum(channel.users for channel in self._channels.values())

    def publish(self, thread_id: str, run_id: str, *entries: Entry) -> None:
        """Tells the followers of a run about entries that are committed."""
        for entry in entries:
            if entry.status:
                self._metrics.statuses[entry.status] += 1
        channel = self._channels.get((thread_id, run_id))
        if channel is None:
            return
        for entry in entries:
            channel.publish(entry)
        if self._is_shared:
            # Fed from memory: what another process may add can wait a little, unless it is to go on with the run.
            is_awaited = bool(entries) and entries[-1].status == "queued"
            channel.pause_s = LOOK_AFTER_S if is_awaited else LOOK_AT_LEAST_EVERY_S
            channel.look_at = asyncio.get_running_loop().time() + channel.pause_s

    async def catch_up(self, thread_id: str, run_id: str) -> None:
        """Tells the followers of a run what others have appended; where nobody looks for news, this is the only way."""
        if channel := self._channels.get((thread_id, run_id)):
            while entries := await self.read(thread_id, run_id, channel.last_seq):
                for entry in entries:
                    channel.publish(entry)

    def release(self) -> None:
        """The process stops: whoever waits for a status is let go."""
        self._is_released = True
        for channel in self._channels.values():
            channel.release()

    def open(self, thread_id: str, run_id: str) -> Channel:
        """The run's channel; until it is closed, nothing that is appended is missed."""
        channel = self._channels.setdefault((thread_id, run_id), Channel())
        channel.users += 1
        if self._is_shared and (self._looking is None or self._looking.done()):
            self._looking = asyncio.create_task(self._look_for_news())
        return channel

    def close(self, thread_id: str, run_id: str) -> None:
        """Gives a channel back."""
        channel = self._channels[thread_id, run_id]
        channel.users -= 1
        if not channel.users:
            del self._channels[thread_id, run_id]

    async def wait(self, thread_id: str, run_id: str, is_reached: Callable[[str | None], bool]) -> bool:
        """Returns once the run's status is one for which `is_reached`; None stands for a run that is gone.

        False when the process stops before that.
        """
        channel = self.open(thread_id, run_id)
        try:
            while True:
                changes = channel.status_changes
                row = await self._store.one(sql.find_status, thread_id=thread_id, run_id=run_id)
                status, last_seq = row or (None, 0)
                if is_reached(status) or self._is_released:
                    return not self._is_released
                if channel.status_changes == changes:
                    channel.reach(last_seq)
                    await channel.change_of_status()
        finally:
            self.close(thread_id, run_id)

    def follow(self, thread_id: str, run_id: str, after: int, status: str) -> Follower:
        """The run's entries behind event `after`. `status` is the run's, read before or together with this."""
        return Follower(self, thread_id, run_id, after, status)

    async def read(self, thread_id: str, run_id: str, after: int) -> list[Entry]:
        """Entries that are in the database, oldest first."""
        return await self._store.read(lambda tx: read(tx, thread_id, run_id, after))

    async def _look_for_news(self) -> None:
        """Reads what other processes appended to the runs that are followed here; nobody else tells of that."""
        trouble = Trouble("look for news of followed runs")
        while self._channels:
            await asyncio.sleep(LOOK_AFTER_S)
            now = asyncio.get_running_loop().time()
            due = {key: channel for key, channel in self._channels.items() if channel.look_at <= now}
            if due:
                with trouble:
                    self._tell(due, await self._news_of(due))

    @staticmethod
    def _tell(channels: dict[Key, Channel], news: dict[Key, list[Entry]]) -> None:
        now = asyncio.get_running_loop().time()
        for key, channel in channels.items():
            entries = news.get(key, ())
            for entry in entries:
                channel.publish(entry)
            channel.pause_s = LOOK_AFTER_S if entries else min(channel.pause_s * SLOWER, LOOK_AT_LEAST_EVERY_S)
            channel.look_at = now + channel.pause_s

    async def _news_of(self, channels: dict[Key, Channel]) -> dict[Key, list[Entry]]:
        followed = _encode([(*key, channel.last_seq) for key, channel in channels.items()]).decode()
        rows = await self._store.read(
            lambda tx: tx.all(sql.list_events_of_followed, followed=followed, limit=READ_OF_EACH)
        )
        found: dict[Key, list[Entry]] = {}
        for thread_id, run_id, *values in rows:
            found.setdefault((thread_id, run_id), []).append(Entry(*values))
        return found


class Follower:
    """Gives a run's frames as they come, until the run rests. Misses nothing from the moment it is made."""

    def __init__(self, log: EventLog, thread_id: str, run_id: str, after: int, status: str) -> None:
        self._log = log
        self._key = (thread_id, run_id)
        self._channel = log.open(thread_id, run_id)
        self._rests = status in RESTING
        self._cursor = after
        self._waiting: deque[Entry] = deque()
        self._has_read = False
        self._is_done = False
        self._is_closed = False

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> bytes:
        """The frames of the next entry; in the end the one that says so."""
        if self._is_done:
            raise StopAsyncIteration
        while not self._waiting:
            if self._has_read and self._cursor >= self._channel.last_seq:
                if self._rests:
                    self._is_done = True
                    return done(self._cursor).encode()
                await self._channel.change()
            self._waiting.extend(await self._next())
        entry = self._waiting.popleft()
        frames = entry.after(self._cursor)
        self._cursor = entry.last_seq
        if entry.status:
            self._rests = entry.status in RESTING
        return frames.encode()

    async def aclose(self) -> None:
        """Stops following."""
        if not self._is_closed:
            self._is_closed = True
            self._log.close(*self._key)

    async def _next(self) -> list[Entry]:
        entries = self._channel.since(self._cursor)
        if entries:
            self._has_read = True
        elif entries is None or not self._has_read:
            known = self._channel.last_seq
            entries = await self._log.read(*self._key, self._cursor)
            self._has_read = len(entries) < READ_AT_ONCE
            if not entries and known > self._cursor:
                # The log has lost what memory knew of: the run is over and forgotten, or its thread is gone.
                self._cursor, self._rests = known, True
            self._channel.reach(entries[-1].last_seq if entries else self._cursor)
        return entries


class Snapshot:
    """Stands in for a log that is forgotten: one event, and the end."""

    def __init__(self, seq: int, event: Event) -> None:
        self._frames = [done(seq).encode(), frame(seq, event).encode()]

    def __aiter__(self) -> Snapshot:
        return self

    async def __anext__(self) -> bytes:
        if not self._frames:
            raise StopAsyncIteration
        return self._frames.pop()

    async def aclose(self) -> None:
        """Nothing was opened."""

"""What a project and a key may use: requests a minute, unfinished runs, tokens a day. Without limits of
their own, only unfinished runs are counted (`project_runs_max`).

Requests are counted in memory. Where several processes share a database, each takes a small part of the minute's budget
from there and spends it alone: a write for a twentieth of the limit, not for a request. So together they never let
through more than the limit, and may refuse the last few percent while another process holds them. Minutes and days are
those of UTC, and begin for everybody at once.

Unfinished runs, and the tokens of finished ones, are counted in the database by the unit that creates a run. Runs under
way have not been counted yet: together they can use more than was left.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct, structs

from threadkeep import usage
from threadkeep.errors import RateLimitError
from threadkeep.settings import Settings
from threadkeep.store import queries
from threadkeep.store.interface import Store, Transaction
from threadkeep.streaming import Header

sql = queries.load("limits")

# Takes requests out of a minute's budget, given subject, minute, how many are wanted, and the maximum of the minute.
# Gives how many are granted, and how many all processes have taken by then.
Take: TypeAlias = Callable[[str, int, int, int], Awaitable[tuple[int, int]]]

MINUTE_S = 60
# A process takes this part of a minute's budget at a time.
PARTS = 20
# The SDKs do not wait longer than this, but try again all the same.
WORTH_WAITING_S = 60


class Limits(Struct, frozen=True):
    """The limits of one project or key. None stands for the default, 0 for no limit."""

    requests_per_minute: int | None = None
    runs: int | None = None
    tokens_per_day: int | None = None

    def over(self, default: Limits) -> Limits:
        """These limits, with the defaults where they are None."""
        chosen = {
            name: getattr(default, name) if getattr(self, name) is None else getattr(self, name)
            for name in self.__struct_fields__
        }
        return Limits(**chosen)


NO_LIMITS = Limits()


def of_project(settings: Settings) -> Limits:
    """The limits of a project that has none of its own."""
    return Limits(
        settings.project_requests_per_minute_max, settings.project_runs_max, settings.project_tokens_per_day_max
    )


def of_key(settings: Settings) -> Limits:
    """The limits of a key that has none of its own."""
    return Limits(settings.key_requests_per_minute_max, settings.key_runs_max, settings.key_tokens_per_day_max)


async def find(store: Store, subject: str) -> Limits:
    """The limits that a project or a key has of its own; `subject` is its id."""
    row = await store.one(sql.find_limits, subject=subject)
    return Limits(*row) if row else NO_LIMITS


def put(tx: Transaction, subject: str, limits: Limits) -> None:
    """Stores them. Servers notice by the revision of the keys (`projects.set_limits`)."""
    tx.run(sql.put_limits, subject=subject, **structs.asdict(limits))


def read_all(tx: Transaction) -> dict[str, Limits]:
    """All limits of projects and keys of their own, by their ids."""
    return {subject: Limits(*values) for subject, *values in tx.all(sql.list_limits)}


class Budget:
    """The requests of one project or key in the present minute, as far as this process knows."""

    def __init__(self, subject: str, take: Take) -> None:
        self._subject = subject
        self._take = take
        self._taking = asyncio.Lock()
        self._minute = -1
        self._left = 0
        self._is_spent = False
        self._maximum = 0
        # What all processes together have not taken yet.
        self._rest = 0

    @property
    def remaining(self) -> int:
        """How many more this process would let through, if no other took them."""
        return self._left + self._rest

    async def spend(self, maximum: int, now: int) -> bool:
        """Lets one request through, or not."""
        self._begin(maximum, now)
        while not self._left and not self._is_spent:
            async with self._taking:
                # Others may have taken meanwhile, or the minute may be over.
                if not self._left and not self._is_spent:
                    await self._fetch()
        if not self._left:
            return False
        self._left -= 1
        return True

    def give_back(self, now: int) -> None:
        """Takes a request back that another limit did not let through."""
        if now // MINUTE_S == self._minute:
            self._left += 1

    def _begin(self, maximum: int, now: int) -> None:
        minute = now // MINUTE_S
        if minute != self._minute or maximum != self._maximum:
            self._minute, self._maximum = minute, maximum
            self._left, self._rest, self._is_spent = 0, maximum, False

    async def _fetch(self) -> None:
        minute = self._minute
        wanted = max(1, self._maximum // PARTS)
        granted, taken = await self._take(self._subject, minute, wanted, self._maximum)
        if minute == self._minute:
            self._left = granted
            self._is_spent = taken >= self._maximum
            self._rest = max(0, self._maximum - taken)


@dataclass(slots=True)
class Tokens:
    """What a project or a key has used today, as of the last run that was created here."""

    day: int = -1
    used: int = 0


@dataclass(frozen=True, slots=True)
class Share:
    """One of the two whose limits a caller meets: its project, its key."""

    whose: str
    limits: Limits
    budget: Budget
    tokens: Tokens
    # Whether its unfinished runs are counted one after the other, so that there is never one too many.
    is_exact: bool


@dataclass(frozen=True, slots=True)
class Quota:
    """What a caller may use. There is none for callers without limits."""

    project_id: str
    key_id: str
    shares: tuple[Share, ...]
    clock: Callable[[], float]

    async def spend_request(self) -> None:
        """Counts a request. Raises `RateLimitError`."""
        now = int(self.clock())
        spent: list[Budget] = []
        for share in self.shares:
            maximum = share.limits.requests_per_minute
            if not maximum:
                continue
            if await share.budget.spend(maximum, now):
                spent.append(share.budget)
                continue
            for budget in spent:
                budget.give_back(now)
            raise self._refusal(share, "requests", f"requests per min (RPM): Limit {maximum}", MINUTE_S)

    def require_room(self, tx: Transaction) -> None:
        """For a unit that creates a run. Raises `RateLimitError` when it may not."""
        now = int(self.clock())
        for share in self.shares:
            limits, key_id = share.limits, self.key_id if share.whose == "key" else None
            if share.is_exact and key_id is not None:
                tx.one(sql.hold_key, key_id=key_id)
            elif share.is_exact:
                tx.one(sql.hold_project, project_id=self.project_id)
            if limits.tokens_per_day:
                share.tokens.day = usage.day_of(now)
                share.tokens.used = usage.tokens_today(tx, self.project_id, now, key_id)
                if share.tokens.used >= limits.tokens_per_day:
                    words = f"tokens per day (TPD): Limit {limits.tokens_per_day}, Used {share.tokens.used}"
                    raise self._refusal(share, "tokens", words, usage.DAY_S)
            if key_id is not None and limits.runs:
                row = tx.one(sql.count_unfinished_runs_of_key, project_id=self.project_id, key_id=key_id)
                if row and row[0] >= limits.runs:
                    raise RateLimitError(
                        f"This key has {limits.runs} unfinished runs, the most it can have. Try again later."
                    )

    @property
    def project_runs_max(self) -> int:
        """The most unfinished runs of the project; 0 for no limit."""
        return self.shares[0].limits.runs or 0

    def headers(self) -> tuple[Header, ...]:
        """What is left, for the answer: of project and key the one that has less."""
        now = self.clock()
        found: list[Header] = []
        requests = [
            (share.budget.remaining, share.limits.requests_per_minute)
            for share in self.shares
            if share.limits.requests_per_minute
        ]
        if requests:
            found += _headers("requests", *min(requests), MINUTE_S - now % MINUTE_S)
        tokens = [
            (max(0, share.limits.tokens_per_day - share.tokens.used), share.limits.tokens_per_day)
            for share in self.shares
            if share.limits.tokens_per_day and share.tokens.day == usage.day_of(int(now))
        ]
        if tokens:
            found += _headers("tokens", *min(tokens), usage.DAY_S - now % usage.DAY_S)
        return tuple(found)

    def _refusal(self, share: Share, kind: str, words: str, period_s: int) -> RateLimitError:
        now = self.clock()
        wait_s = max(1, math.ceil(period_s - now % period_s))
        headers = ((b"x-should-retry", b"false"),) if wait_s > WORTH_WAITING_S else ()
        return RateLimitError(
            f"Rate limit reached for this {share.whose} on {words}. Please try again in {_duration(wait_s)}.",
            kind=kind,
            retry_after_s=wait_s,
            headers=headers,
        )


class Limiter:
    """The quotas of all callers of one process."""

    def __init__(self, settings: Settings, store: Store, clock: Callable[[], float], *, is_shared: bool) -> None:
        self._store = store
        self._clock = clock
        self._take = self._take_from_database if is_shared else _take_all
        self._defaults = {"project": of_project(settings), "key": of_key(settings)}
        # These defaults need no quota: `runs._require_capacity` enforces them.
        self._usual = Limits(0, settings.project_runs_max, 0)
        self._state: dict[str, tuple[Budget, Tokens]] = {}

    def quota(self, project_id: str, key_id: str, own: Mapping[str, Limits]) -> Quota | None:
        """The quota of a caller, None when nothing needs to be counted. `own`: limits of projects and keys, by id."""
        project = self._share("project", project_id, own)
        if not key_id:
            return None if project.limits == self._usual else Quota(project_id, "", (project,), self._clock)
        key = self._share("key", key_id, own)
        if project.limits == self._usual and not any(structs.astuple(key.limits)):
            return None
        return Quota(project_id, key_id, (project, key), self._clock)

    def _share(self, whose: str, subject: str, own: Mapping[str, Limits]) -> Share:
        if subject not in self._state:
            self._state[subject] = Budget(subject, self._take), Tokens()
        limits = own.get(subject, NO_LIMITS).over(self._defaults[whose])
        is_exact = bool(limits.runs) and (whose == "key" or limits.runs != self._usual.runs)
        return Share(whose, limits, *self._state[subject], is_exact)

    async def _take_from_database(self, subject: str, minute: int, wanted: int, maximum: int) -> tuple[int, int]:
        def unit(tx: Transaction) -> tuple[int, int]:
            row = tx.one(sql.take_requests, subject=subject, window_at=minute, wanted=wanted, maximum=maximum)
            assert row is not None
            return row[0], row[1]

        return await self._store.write(unit)


async def _take_all(_subject: str, _minute: int, _wanted: int, maximum: int) -> tuple[int, int]:
    """There is nobody to share with."""
    return maximum, maximum


def _headers(kind: str, remaining: int, maximum: int, reset_s: float) -> list[Header]:
    return [
        (f"x-ratelimit-limit-{kind}".encode(), str(maximum).encode()),
        (f"x-ratelimit-remaining-{kind}".encode(), str(remaining).encode()),
        (f"x-ratelimit-reset-{kind}".encode(), _duration(max(1, math.ceil(reset_s))).encode()),
    ]


def _duration(seconds: int) -> str:
    """As the original writes it: `1h2m3s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"

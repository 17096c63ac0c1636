"""The three parts: on SQLite, on PostgreSQL, and with a million threads."""

from __future__ import annotations

import random
import shutil
from contextlib import ExitStack
from pathlib import Path

from bench import cache, postgres
from bench.data import LONG_THREAD_MESSAGES, Data
from bench.figures import Figure
from bench.plan import FASTAPI, OURS, Plan
from bench.results import Part

SMALL = "small"
# With a page of messages in each of a million threads, the database would take half an hour to fill.
LARGE_FULL_ONE_IN = 20
SMALL_SHARE = 100
# More than each can delete in a second, but not many more: the threads that are left over stay.
SQLITE_DELETES_PER_S, SQLITE_FASTAPI_DELETES_PER_S = 16_000, 2000
POSTGRES_DELETES_PER_S, POSTGRES_FASTAPI_DELETES_PER_S = 16_000, 6000


def on_sqlite(plan: Plan) -> Part:
    """Beside the yardstick, and beside FastAPI, SQLAlchemy and aiosqlite."""
    folder, part = plan.rounds.folder, plan.part(full_one_in=1)
    data = Data(plan.threads, full_one_in=1, long_thread_messages=LONG_THREAD_MESSAGES)
    ids = plan.seed(["bench.seed", _url(folder / "ours.db")], data)
    for copy in ("logging.db", "silent.db"):
        shutil.copy(folder / "ours.db", folder / copy)
    part.others |= plan.starts(_url(folder / "ours.db"))
    with ExitStack() as stack:
        ours = plan.threadkeep(stack, _url(folder / "ours.db"), data, ids)
        ours.deletes_per_s = SQLITE_DELETES_PER_S
        yardstick = plan.yardstick(stack, ids, data)
        fastapi = plan.fastapi(stack, "fastapi_sqlite", str(folder / "fastapi.db"), data)
        fastapi.deletes_per_s = SQLITE_FASTAPI_DELETES_PER_S
        part.others["long page"] = plan.long_page(ours)
        plan.measure(part, [ours, yardstick, fastapi])
        part.others["load_mb"] = _peak(ours)
    with ExitStack() as stack:
        logging = plan.threadkeep(stack, _url(folder / "logging.db"), data, ids, name="logging", request_log=True)
        silent = plan.threadkeep(stack, _url(folder / "silent.db"), data, ids, name="silent")
        part.others |= plan.request_log(logging, silent)
    return part


def on_postgres(plan: Plan) -> Part:
    """Beside the yardstick, and beside FastAPI and asyncpg."""
    data = Data(plan.threads, full_one_in=1, long_thread_messages=LONG_THREAD_MESSAGES)
    with postgres.running(plan.rounds.folder / "postgres") as database, ExitStack() as stack:
        part = plan.part(full_one_in=1, postgresql=database.version)
        url, their_url = database.create(OURS), database.create(FASTAPI)
        ids = plan.seed(["bench.seed", url], data)
        part.others |= plan.starts(url)
        ours = plan.threadkeep(stack, url, data, ids)
        ours.deletes_per_s = POSTGRES_DELETES_PER_S
        yardstick = plan.yardstick(stack, ids, data)
        fastapi = plan.fastapi(stack, "fastapi_postgres", their_url, data)
        fastapi.deletes_per_s = POSTGRES_FASTAPI_DELETES_PER_S
        ours.database = fastapi.database = database
        for name in (OURS, FASTAPI):
            database.tidy(name)
        part.others["long page"] = plan.long_page(ours)
        plan.measure(part, [ours, yardstick, fastapi])
        part.others["load_mb"] = _peak(ours)
    return part


def large(plan: Plan) -> Part:
    """On SQLite with a million threads, beside the same server with ten thousand."""
    folder = plan.rounds.folder
    data = Data(plan.threads, LARGE_FULL_ONE_IN, LONG_THREAD_MESSAGES)
    few = Data(plan.threads // SMALL_SHARE, LARGE_FULL_ONE_IN, LONG_THREAD_MESSAGES)
    part = plan.part(full_one_in=LARGE_FULL_ONE_IN, small_threads=few.threads)
    kept, ids = cache.seeded(data)
    shutil.copy(kept, folder / "ours.db")
    few_ids = plan.seed(["bench.seed", _url(folder / "small.db")], few)
    part.others |= plan.starts(_url(folder / "ours.db"))
    with ExitStack() as stack:
        ours = plan.threadkeep(stack, _url(folder / "ours.db"), data, ids)
        small = plan.threadkeep(stack, _url(folder / "small.db"), few, few_ids, name=SMALL)
        ours.deletes_per_s = small.deletes_per_s = SQLITE_DELETES_PER_S
        # Threads of any age: fresh ones would lie side by side in a large database too.
        ours.spare = random.Random(0).sample(ids, len(ids) // 3)
        plan.measure(part, [ours, small])
        part.others["load_mb"] = _peak(ours)
    return part


def _peak(contestant) -> Figure:
    return Figure((round(contestant.server.peak_mb, 1),))


def _url(path: Path) -> str:
    return f"sqlite:///{path}"

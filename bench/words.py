"""The prose of docs/reference/performance.md."""

from bench.figures import NOISE
from bench.goals import GOAL_CONNECTIONS

HEADINGS = {"sqlite": "On SQLite", "postgres": "On PostgreSQL", "large": "With a million threads"}

PINNING = """\
The server runs on one CPU and the load on another. PostgreSQL has the CPUs that are left; on a machine with two it
shares that of the load, so that the server's CPU is its own with every contestant."""

INTRODUCTION = f"""\
<!-- Written by bench/page.py from bench/results. Measure again with `make bench` and `make bench-large`. -->
# Performance

What Threadkeep costs, as ratios between programs that were measured in one run on one machine. Bare times would say
more about the machine than about the server, so there are none but latencies, the start and memory.

## How it is measured

The **yardstick** is uvicorn with the server's flags, and an application that reads the request's body and answers a
constant as long as the operation's own answer: what serving HTTP costs by itself.

**FastAPI** is what a user would write instead, with pydantic models, the same threads in the database and the same
durability: on SQLite with SQLAlchemy and aiosqlite, on PostgreSQL with asyncpg and as many connections as Threadkeep
opens. It does less: no keys by hash, no limits of size, no error texts.

**CPU** is user and system time of the server's process during a burst of load, divided by the requests that were
answered. PostgreSQL's own processes do not count. Requests under way when a burst ends, at most one for each
connection, count as CPU but not as answered: the slowest contestants look a few percent dearer than they are. What a
server does after a burst does not count: copying SQLite's log into its file, indexing for search, and removing what was
deleted. The last is shown beside the operations. With one connection the server has time to index during the burst, so
there it counts.

- The load comes from `wrk` on the same machine. In each round every contestant gets one burst, one contestant after the
  other, and rests until it is idle. Each request of a burst names another thread, as far as there are others, in random
  order; each *modify* changes a value. Threads to delete are made before the burst, among a million threads they are of
  any age.
- {PINNING.replace(chr(10), chr(10) + "  ")}
- Writes are on disk before they are answered: `synchronous=full` on SQLite; PostgreSQL as `initdb` sets it up, with
  `fsync` and `synchronous_commit` on, over a Unix socket.
- The request log is off, except where it is measured itself.
- A figure is the median over the rounds, with how far a round strays from it at most. Ratios are made round by round.
- Goals are for {GOAL_CONNECTIONS} connections; those for a million threads are for one connection too.
- A goal is met or missed only beyond the spread: that of this run, and at least {NOISE:.0%} between two programs, which
  is how much such a comparison varies from run to run on one machine. What is nearer is *within the spread*.
- A figure is *void* when a single request behind it failed.""".splitlines()

NOT_MEASURED = """\
## What is not measured

- disks on which a sync takes long, and loads that last for hours
- more than two CPUs; several processes or machines on one PostgreSQL
- PostgreSQL on a machine of its own, tuned, or behind a pooler
- a network, TLS or a proxy between client and server
- long messages, pages of other sizes, and many clients that write to the same thread
- the operations on single messages other than *add message*, and what `strict` adds""".splitlines()

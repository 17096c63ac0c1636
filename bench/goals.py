"""What the figures are held against. The goals for CPU over the yardstick's stand with the operations."""

# Goals of operations are for this load; the other loads are shown without.
GOAL_CONNECTIONS = 64

# On SQLite: how many times the CPU per request of FastAPI, SQLAlchemy and aiosqlite.
FASTAPI_CPU_TIMES = 15.0
# On PostgreSQL: requests a second over those of FastAPI and asyncpg.
POSTGRES_READS_AHEAD = 1.0
POSTGRES_WRITES_AHEAD = 2.0
# With 1,000,000 threads: CPU per request over that with 10,000.
GROWTH = 1.25

# A page of a very long thread over a page of a short one; the request log on over off.
LONG_PAGE = 1.1
REQUEST_LOG = 1.15
START_S = 1.0
IDLE_MB = 60.0
LOAD_MB = 120.0

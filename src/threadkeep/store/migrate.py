"""Numbered migrations: `migrations/0001_<name>.sql`, never edited after a release.

A migration may carry a line `-- compatible-from: N`: programs that know the schema up to version N can still use the
database. Without it, only programs that know the migration itself can. An older program declines such a database
instead of damaging it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

from threadkeep.errors import CommandError
from threadkeep.store import queries
from threadkeep.store.interface import Store, Transaction
from threadkeep.store.queries import Query

sql = queries.load("store/migrate")
NOTHING = "select 1"
_FILE = re.compile(r"(?P<version>\d{4})_(?P<name>\w+)\.sql")
_COMPATIBLE_FROM = re.compile(r"^-- compatible-from: (\d+)$", re.MULTILINE)

# Where a table lives when Citus spreads PostgreSQL over machines; docs/how-to/citus.md is made from these.
# The rows of one thread stay together, so every unique key of these begins with `thread_id`.
THREAD_FAMILY = (
    "threads",
    "messages",
    "thread_metadata",
    "deleted_threads",
    "runs",
    "run_steps",
    "run_events",
    "message_versions",
    "search_documents",
    "search_queue",
)
# Small or of no one thread: a copy on every machine.
SHARED_TABLES = (
    "projects",
    "api_keys",
    "revisions",
    "migrations",
    "assistants",
    "idempotency_keys",
    "usage",
    "limits",
    "limit_windows",
    "webhooks",
    "webhook_deliveries",
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    name: str
    compatible_from: int
    statements: tuple[Query, ...]


def _load() -> tuple[Migration, ...]:
    migrations = []
    for file in resources.files("threadkeep").joinpath("store/migrations").iterdir():
        if not (match := _FILE.fullmatch(file.name)):
            continue
        text = file.read_text(encoding="utf-8")
        version = int(match["version"])
        compatible = _COMPATIBLE_FROM.search(text)
        # What only one database needs does nothing on the other.
        statements = tuple(
            Query(name, variants.get("sqlite", NOTHING), variants.get("postgres", NOTHING))
            for name, variants in queries.parse(text).items()
        )
        compatible_from = int(compatible[1]) if compatible else version
        migrations.append(Migration(version, match["name"], compatible_from, statements))
    return tuple(sorted(migrations, key=lambda migration: migration.version))


MIGRATIONS = _load()
LATEST = MIGRATIONS[-1].version


def is_ours(tx: Transaction) -> bool:
    """Whether it is a Threadkeep database, of whatever version."""
    _, ours = tx.one(sql.count_tables) or (0, 0)
    return bool(ours)


def version(tx: Transaction) -> int | None:
    """The schema's version, None for an empty database. Raises `CommandError` for one that is not ours to use."""
    tables, ours = tx.one(sql.count_tables) or (0, 0)
    if not ours:
        if tables:
            raise CommandError("The database holds other tables: it is not a Threadkeep database.")
        return None
    applied = tx.all(sql.list_migrations)
    needed = max((compatible_from for _, compatible_from in applied), default=0)
    if needed > LATEST:
        raise CommandError(
            f"The database was made by a newer Threadkeep (schema {applied[-1][0]}); this one knows schema {LATEST}.",
            "Upgrade Threadkeep; nothing was changed.",
        )
    return int(applied[-1][0]) if applied else 0


def apply(tx: Transaction) -> list[str]:
    """Applies what is missing; a unit of work, so all of it or nothing. Gives the names of what was applied."""
    if version(tx) is None:
        tx.run(sql.create_migrations)
    tx.run(sql.hold_migrations)
    current = version(tx) or 0
    missing = [migration for migration in MIGRATIONS if migration.version > current]
    for migration in missing:
        for statement in migration.statements:
            tx.run(statement)
        tx.run(
            sql.insert_migration,
            version=migration.version,
            name=migration.name,
            compatible_from=migration.compatible_from,
        )
    return [f"{migration.version:04}_{migration.name}" for migration in missing]


async def prepare(store: Store) -> None:
    """Gives a new database its schema; raises `CommandError` unless the schema is one this program can use."""
    if await store.read(version) is None:
        await store.migrate()
    await store.read(require_latest)


def require_latest(tx: Transaction) -> None:
    """Raises `CommandError` unless the schema has every migration this program knows."""
    current = version(tx) or 0
    if current < LATEST:
        raise CommandError(
            f"The database has schema {current}; this program needs schema {LATEST}.",
            "Take a backup, then run `threadkeep migrate`.",
        )

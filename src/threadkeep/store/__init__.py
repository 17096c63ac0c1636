"""Transactions in, rows out. The nouns above say which queries; this package says how they reach a database."""

from __future__ import annotations

from pathlib import Path

from threadkeep import database_urls
from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.store.interface import Store
from threadkeep.store.sqlite import SqliteStore

SQLITE_PREFIX = "sqlite:///"
POSTGRES_PREFIXES = ("postgresql://", "postgres://")


def sqlite_path(database: str) -> Path:
    """The file that a `sqlite:///` URL names. Raises `CommandError` for any other URL."""
    path = database.removeprefix(SQLITE_PREFIX)
    if not database.startswith(SQLITE_PREFIX) or path in {"", ":memory:"} or "?" in path:
        raise CommandError(
            f"Cannot use the database {database_urls.shown(database)!r}.",
            "Give sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/name.",
        )
    return Path(path)


def place(settings: Settings) -> str:
    """The database without its password, and with the whole path: from another folder, a relative one names another."""
    if is_shared(settings):
        return settings.database_shown
    return f"{SQLITE_PREFIX}{sqlite_path(settings.database).absolute()}"


def is_missing(settings: Settings) -> bool:
    """Whether it is a file that is not there yet."""
    return not is_shared(settings) and not sqlite_path(settings.database).exists()


def is_shared(settings: Settings) -> bool:
    """Whether several processes may serve the database at once."""
    return settings.database.startswith(POSTGRES_PREFIXES)


def create_store(settings: Settings, *, serving: bool = False, writes_much: bool = False) -> Store:
    """The store that `settings.database` names, not yet open.

    `serving`: this process serves the database; `writes_much`: it does not, but will write a lot.
    """
    if is_shared(settings):
        return _create_postgres_store(settings)
    path = sqlite_path(settings.database)
    return SqliteStore(path, serving=serving, writes_much=writes_much, write_queue_max=settings.write_queue_max)


def _create_postgres_store(settings: Settings) -> Store:
    try:
        from threadkeep.store.postgres import PostgresStore  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError:
        raise CommandError(
            "The drivers for PostgreSQL are not installed.",
            "Install them with the extra `postgres`; in a clone: .venv/bin/pip install --editable '.[postgres]'",
        ) from None
    return PostgresStore(
        settings.database,
        connections_max=settings.postgres_connections_max,
        statements_cached=settings.postgres_statements_cached,
        write_queue_max=settings.write_queue_max,
    )

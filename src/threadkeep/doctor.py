"""`threadkeep doctor`: looks at all that a server needs, and says of each what to do about it. It changes nothing.

A *problem* is what keeps a server from working, or will soon; a *warning* may be intended.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from threadkeep import __version__, context, projects, runs, server, webhooks
from threadkeep.context import Context
from threadkeep.errors import APIError, CommandError
from threadkeep.settings import Settings
from threadkeep.store import create_store, files, is_shared, migrate, queries, sqlite_path
from threadkeep.store.interface import Store, Transaction
from threadkeep.upstream import Listed, UpstreamError
from threadkeep.upstream_settings import UpstreamSettings

sql = queries.load("doctor")
Level: TypeAlias = Literal["ok", "warning", "problem"]

MIB, GIB = 1024**2, 1024**3
DISK_PROBLEM_BYTES = 256 * MIB
DISK_WARNING_BYTES = 2 * GIB
WAL_WARNING_BYTES = 1 * GIB
SKEW_WARNING_S = 2.0
AHEAD_WARNING_S = 60
DUE_WARNING_S = 60.0
POSTGRES_MIN = 140_000
# Where locks or memory maps do not do what SQLite needs.
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"}
OTHERS_MAY = 0o077


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    check: str
    level: Level
    message: str
    hint: str = ""


async def examine(settings: Settings) -> list[Finding]:
    """Everything that can be found out without a running server."""
    found = list(_program(settings))
    if is_shared(settings) or sqlite_path(settings.database).exists():
        found += [finding async for finding in _database(settings)]
    else:
        where = sqlite_path(settings.database)
        found.append(Finding("database", "ok", f"there is none at {where} yet; the first start makes it"))
    if not is_shared(settings):
        found += _disk(sqlite_path(settings.database))
    return found + [finding async for finding in _upstreams(settings)]


def _program(settings: Settings) -> Iterator[Finding]:
    yield Finding(
        "versions", "ok", f"threadkeep {__version__}, Python {platform.python_version()}, {platform.system()}"
    )
    wanted = settings.connections_max + server.OTHER_FILES
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        yield Finding(
            "open files",
            "warning",
            f"the system allows this user {hard} open files; {settings.connections_max} connections may need {wanted}",
            "Raise the limit (LimitNOFILE= in a systemd unit, `ulimit -Hn` in a shell), or lower --connections-max.",
        )
    else:
        yield Finding("open files", "ok", f"at least the {wanted} that may be needed")


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    store = create_store(settings)
    try:
        await store.open()
    except CommandError as error:
        yield Finding("database", "problem", error.message, error.hint or "Check --database.")
        return
    try:
        async for finding in _open_database(settings, store):
            yield finding
    except CommandError as error:
        yield Finding("database", "problem", error.message, error.hint or "Check --database.")
    except APIError as error:
        yield Finding("database", "problem", error.message, "The server's log says more.")
    finally:
        await store.close()


async def _open_database(settings: Settings, store: Store) -> AsyncIterator[Finding]:
    before = time.time()
    facts = await store.read(lambda tx: tx.one(sql.describe_database))
    after = time.time()
    assert facts is not None
    version, number, is_standby, connections_max, its_time, size = facts
    kind = f"PostgreSQL {version}" if is_shared(settings) else f"SQLite {version}"
    yield Finding("database", "ok", f"{settings.database_shown}: {kind}, {_size(size)}")
    if is_shared(settings):
        for finding in _postgres(settings, number, connections_max, is_standby=bool(is_standby)):
            yield finding
        yield _clock("PostgreSQL's clock", max(before - its_time, its_time - after, 0.0))
    else:
        for finding in _served(sqlite_path(settings.database)):
            yield finding
        yield await _integrity(store)
    schema = await store.read(migrate.version)
    if schema is None:
        yield Finding("schema", "ok", "the database is empty; the first start makes the tables")
        return
    if schema < migrate.LATEST:
        message = f"the database has schema {schema}; this program needs schema {migrate.LATEST}"
        yield Finding("schema", "problem", message, "Take a backup, then run `threadkeep migrate`.")
        return
    yield Finding("schema", "ok", f"version {schema}, the newest")
    for finding in await _future(store):
        yield finding
    yield await _keys(settings, store)
    yield await _webhooks(store)
    yield await _waiting(context.outside_a_server(store, settings, ""))


def _postgres(settings: Settings, number: int, connections_max: int, *, is_standby: bool) -> Iterator[Finding]:
    if number < POSTGRES_MIN:
        message = f"PostgreSQL {number // 10_000} no longer gets updates"
        yield Finding("database", "warning", message, "Upgrade PostgreSQL.")
    if is_standby:
        yield Finding(
            "database", "problem", "this is a standby: it takes no writes", "Name the primary, or promote this one."
        )
    wanted = settings.processes * settings.postgres_connections_max
    if settings.postgres_statements_cached and wanted > connections_max // 2:
        yield Finding(
            "connections",
            "warning",
            f"one node may open {wanted} of the {connections_max} connections that PostgreSQL allows",
            "Lower --postgres-connections-max, raise max_connections, or put a pooler in between.",
        )


def _served(path: Path) -> Iterator[Finding]:
    process = files.serving_process(path)
    yield Finding("served", "ok", f"by process {process}" if process else "by nobody now")
    log_bytes = _bytes(path.with_name(f"{path.name}-wal"))
    if log_bytes > WAL_WARNING_BYTES:
        yield Finding(
            "write-ahead log",
            "warning",
            f"{_size(log_bytes)} that are not in the database file yet",
            "Some reader may be keeping it: a copy under way, or another program. A restart of the server empties it.",
        )


async def _integrity(store: Store) -> Finding:
    try:
        rows = await store.read(lambda tx: tx.all(sql.check_integrity))
    except APIError as error:
        hint = "If the database is large: run `pragma quick_check` of the sqlite3 shell on a backup."
        return Finding("integrity", "warning", f"the database file could not be checked: {error.message}", hint)
    if rows == [("ok",)]:
        return Finding("integrity", "ok", "the database file is sound")
    return Finding(
        "integrity",
        "problem",
        f"the database file is damaged: {rows[0][0] if rows else 'it cannot be read'}",
        "Stop the server, keep the file, and restore the newest backup. Then look at the disk and its log.",
    )


async def _future(store: Store) -> list[Finding]:
    """Whether threads come from a time that has not come yet, when the clock was set back."""
    row = await store.one(sql.find_newest_thread)
    ahead_s = row[0] - time.time() if row and row[0] else 0
    if ahead_s < AHEAD_WARNING_S:
        return []
    message = f"the newest thread is from a time that comes in {ahead_s:.0f} s"
    hint = "If this machine's clock was set back, or is wrong, let it follow NTP. Imported threads keep their times."
    return [Finding("clock", "warning", message, hint)]


async def _keys(settings: Settings, store: Store) -> Finding:
    keys = await projects.usable_keys(store)
    if settings.api_key or keys.of_hash:
        return Finding("keys", "ok", f"needed; usable: {len(keys.of_hash) + bool(settings.api_key)}")
    if not settings.is_loopback:
        message = f"there is no usable key, and the server is to listen on {settings.host}: it will refuse to start"
        return Finding("keys", "problem", message, "Make one: threadkeep keys create")
    if keys.any_ever:
        message = "every key is revoked, and one is needed: nobody can come in"
        return Finding("keys", "problem", message, "Make one: threadkeep keys create")
    return Finding("keys", "ok", "none needed: only programs on this machine can connect")


async def _webhooks(store: Store) -> Finding:
    row = await store.one(webhooks.sql.count_failing_deliveries)
    if row and row[0]:
        hint = "GET /v1/webhooks/{id}/deliveries says of each why it was not taken."
        return Finding("webhooks", "warning", f"{row[0]} deliveries have failed more than twice", hint)
    return Finding("webhooks", "ok", "none fails again and again")


async def _waiting(ctx: Context) -> Finding:
    def unit(tx: Transaction) -> runs.Backlog:
        return runs.backlog(tx, ctx)

    backlog = await ctx.store.read(unit)
    unfinished = sum(backlog.unfinished.values())
    if backlog.oldest_due_s > DUE_WARNING_S:
        return Finding(
            "runs",
            "warning",
            f"{backlog.due} wait for somebody to carry them out, the oldest for {backlog.oldest_due_s:.0f} s",
            "Start the server, or `threadkeep worker` if servers run with --no-worker; or raise --runs-max.",
        )
    return Finding("runs", "ok", f"{unfinished} unfinished, none of them waits for long")


def _disk(path: Path) -> Iterator[Finding]:
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < DISK_WARNING_BYTES:
        level: Level = "problem" if free < DISK_PROBLEM_BYTES else "warning"
        hint = "Make room: with a full disk every write is refused, though nothing is lost."
        yield Finding("disk", level, f"{_size(free)} are free in {folder}", hint)
    else:
        yield Finding("disk", "ok", f"{_size(free)} are free in {folder}")
    kind = _file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        hint = "Put the database on a disk of this machine, or use PostgreSQL."
        yield Finding("disk", "warning", f"{folder} is on a network file system ({kind}); SQLite may lose data", hint)
    yield from _permissions(path)
    yield _write(folder)


def _permissions(path: Path) -> Iterator[Finding]:
    """Whether others on this machine could read the database."""
    for place, mode in ((path.parent, 0o700), (path, 0o600)):
        if not place.exists():
            return
        if place.stat().st_mode & OTHERS_MAY:
            # A folder that others may read does no harm as long as the file is private.
            if place == path.parent and path.exists() and not path.stat().st_mode & OTHERS_MAY:
                continue
            message = f"other users of this machine may get at {place}"
            yield Finding("permissions", "warning", message, f"chmod {mode:o} {place}")


def _write(folder: Path) -> Finding:
    try:
        before = time.time()
        with tempfile.TemporaryFile(dir=folder) as file:
            written_at = os.fstat(file.fileno()).st_mtime
        after = time.time()
    except OSError as error:
        hint = "Give the folder to the user who runs the server, or choose another --database."
        return Finding("disk", "problem", f"cannot write in {folder}: {error.strerror}", hint)
    return _clock("the disk's clock", max(before - written_at, written_at - after, 0.0))


def _clock(whose: str, skew_s: float) -> Finding:
    if skew_s > SKEW_WARNING_S:
        return Finding(
            "clock",
            "warning",
            f"{whose} and this machine's are {skew_s:.0f} s apart",
            "Let both follow NTP: runs expire and are taken over by the clock.",
        )
    return Finding("clock", "ok", f"{whose} agrees with this machine's")


async def _upstreams(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.model_servers:
        hint = "Name one with --upstream-url; until then only the built-in model `echo` answers."
        yield Finding("upstreams", "warning", "there is no model server", hint)
        return
    ctx = context.outside_a_server(create_store(settings), settings, "")
    await ctx.upstreams.open()
    try:
        for upstream, found in await ctx.upstreams.examine():
            name = f"upstream {upstream.name}"
            if isinstance(found, UpstreamError):
                hint = f"Try it: curl {upstream.url.rstrip('/')}/models"
                yield Finding(name, "problem", f"{upstream.url}: {found.message}", hint)
            else:
                for finding in _models(name, upstream, found):
                    yield finding
    finally:
        await ctx.upstreams.close()


def _models(name: str, upstream: UpstreamSettings, listed: list[Listed]) -> Iterator[Finding]:
    yield Finding(name, "ok", f"{upstream.url} answers; models listed: {len(listed)}")
    known = {model.id for model in listed}
    for model in dict.fromkeys((*upstream.aliases.values(), upstream.default_model)):
        if model and model not in known:
            yield Finding(name, "warning", f"it does not list {model!r}, which the settings name", "Check the name.")


def _file_system(folder: Path) -> str:
    """Of what kind it is, on Linux; elsewhere nothing is known."""
    best, kind = "", ""
    with suppress(OSError):
        for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
            _, mounted, found, *_ = line.split(" ")
            # The last one mounted at a place is the one that is seen.
            if Path(mounted) in (folder, *folder.parents) and len(mounted) >= len(best):
                best, kind = mounted, found
    return kind


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _size(count: int) -> str:
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count / 1024:.0f} KiB"

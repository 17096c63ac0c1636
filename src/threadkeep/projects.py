"""Projects and their API keys. Objects belong to the project whose key made them; other projects do not see them.

Keys are random, shown once and stored as a hash. Each change raises a revision number, so that a server notices it
without reading the keys for every request (`http/auth.py`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from threadkeep import limits
from threadkeep.errors import CommandError
from threadkeep.ids import IdSource, random_text
from threadkeep.limits import Limits
from threadkeep.store import queries
from threadkeep.store.interface import Store, Transaction

sql = queries.load("projects")

DEFAULT_PROJECT = "default"
KEY_PREFIX = "tk-"
KEY_CHARACTERS = 48
# Shorter keys are not shown at all.
SHOWN_FROM_CHARACTERS = 12


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `name` is what people call it. `retention_s` after `retention_anchor`, threads go; None for never."""

    project_id: str
    name: str
    created_at: int
    retention_anchor: str | None = None
    retention_s: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret; `hint` shows its first and last characters."""

    key_id: str
    project: str
    name: str
    hint: str
    created_at: int
    revoked_at: int | None


class UsableKey(NamedTuple):
    """The project that a key opens, and the key's own id."""

    project_id: str
    key_id: str


@dataclass(frozen=True, slots=True)
class UsableKeys:
    """What a server needs to know of the keys, by their hashes. `any_ever`: whether one was ever made."""

    revision: int
    of_hash: dict[str, UsableKey]
    # Of projects and keys, by id.
    limits: dict[str, Limits]
    any_ever: bool


def hash_of(key: str) -> str:
    """How a key is stored. Keys are random and long, so a plain fast hash cannot be guessed backwards."""
    return hashlib.sha256(key.encode()).hexdigest()


async def create(store: Store, name: str, now: int) -> Project:
    """Makes a project. Raises `CommandError` when the name is taken or empty."""
    if not name.strip():
        raise CommandError("A project needs a name.")
    project = Project(IdSource()("proj"), name, now)

    def unit(tx: Transaction) -> int:
        return tx.run(sql.insert_project, project_id=project.project_id, name=name, created_at=now)

    if not await store.write(unit):
        raise CommandError(f"There is a project {name!r} already.")
    return project


async def ensure_default(store: Store, now: int) -> Project:
    """The project `default`, made when it is missing."""

    def unit(tx: Transaction) -> Project:
        if (project := _find(tx, DEFAULT_PROJECT)) is None:
            tx.run(sql.insert_project, project_id=IdSource()("proj"), name=DEFAULT_PROJECT, created_at=now)
            project = _find(tx, DEFAULT_PROJECT)
        assert project is not None
        return project

    return await store.write(unit)


async def find(store: Store, name: str) -> Project:
    """The project of that name or id. Raises `CommandError`."""
    project = await store.read(lambda tx: _find(tx, name))
    if project is None:
        raise CommandError(f"There is no project {name!r}.", f"Make it: threadkeep projects create {name}")
    return project


def hold(tx: Transaction, project_id: str) -> None:
    """Holds the project until the unit ends: nothing is added meanwhile that is numbered or counted in it."""
    tx.one(sql.hold_project, project_id=project_id)


async def list_(store: Store) -> list[Project]:
    """All projects, oldest first."""
    return await store.read(lambda tx: [Project(*row) for row in tx.all(sql.list_projects)])


async def set_retention(store: Store, project: Project, anchor: str | None, seconds: int | None) -> None:
    """Sets how long the project's threads stay that say nothing of it themselves; None for ever."""
    await store.run_all([(sql.set_retention, {"project_id": project.project_id, "anchor": anchor, "seconds": seconds})])


async def create_key(store: Store, project: Project, name: str, now: int) -> tuple[str, str]:
    """Makes a key for `project`; gives its id and the secret, which is not stored and cannot be shown again."""
    secret = KEY_PREFIX + random_text.take(KEY_CHARACTERS)
    key_id = IdSource()("key")

    def unit(tx: Transaction) -> None:
        tx.run(
            sql.insert_key,
            key_id=key_id,
            project_id=project.project_id,
            name=name,
            hash=hash_of(secret),
            hint=redact(secret),
            created_at=now,
        )
        tx.run(sql.raise_key_revision)

    await store.write(unit)
    return key_id, secret


async def list_keys(store: Store) -> list[Key]:
    """All keys, oldest first, the revoked ones too."""
    return await store.read(lambda tx: [Key(*row) for row in tx.all(sql.list_keys)])


async def revoke_key(store: Store, key_id: str, now: int) -> None:
    """Makes a key useless, within a second in every process. Revoking it again changes nothing."""

    def unit(tx: Transaction) -> None:
        if tx.one(sql.find_key, key_id=key_id) is None:
            raise _no_key(key_id)
        tx.run(sql.revoke_key, key_id=key_id, revoked_at=now)
        tx.run(sql.raise_key_revision)

    await store.write(unit)


async def require_key(store: Store, key_id: str) -> None:
    """Raises `CommandError` when there is no such key."""
    if await store.one(sql.find_key, key_id=key_id) is None:
        raise _no_key(key_id)


async def set_limits(store: Store, subject: str, chosen: Limits) -> None:
    """Gives a project or a key limits of its own, within a second in every process."""

    def unit(tx: Transaction) -> None:
        limits.put(tx, subject, chosen)
        tx.run(sql.raise_key_revision)

    await store.write(unit)


async def require_not_known(store: Store, secret: str) -> None:
    """Raises `CommandError` when the one key of the settings is a key of the database already.

    It would open the project `default` whatever project it was made for, and even when it is revoked.
    """
    row = await store.one(sql.find_key_by_hash, hash=hash_of(secret))
    if row:
        raise CommandError(
            f"THREADKEEP_API_KEY holds the key {row[0]}, which the database knows already.",
            "Leave THREADKEEP_API_KEY out: keys made with `threadkeep keys create` work without it.",
        )


async def usable_keys(store: Store, known: UsableKeys | None = None) -> UsableKeys:
    """The keys that open a door now; `known` itself when nothing changed since."""

    def unit(tx: Transaction) -> UsableKeys:
        row = tx.one(sql.find_key_revision)
        revision = int(row[0]) if row else 0
        if known is not None and known.revision == revision:
            return known
        of_hash = {hashed: UsableKey(*found) for hashed, *found in tx.all(sql.list_usable_keys)}
        any_ever = tx.one(sql.find_any_key) is not None
        return UsableKeys(revision, of_hash, limits.read_all(tx), any_ever)

    return await store.read(unit)


def is_form_of_key(key: bytes) -> bool:
    """Whether a key that we made could look like this."""
    return len(key) == len(KEY_PREFIX) + KEY_CHARACTERS and key.startswith(KEY_PREFIX.encode())


def redact(key: str) -> str:
    """At most the first 3 and the last 4 characters of a key, as error messages and lists show it."""
    return f"{key[:3]}{'*' * 8}{key[-4:]}" if len(key) >= SHOWN_FROM_CHARACTERS else "*" * len(key)


def _no_key(key_id: str) -> CommandError:
    return CommandError(f"There is no key {key_id!r}.", "`threadkeep keys list` shows the ids.")


def _find(tx: Transaction, name: str) -> Project | None:
    row = tx.one(sql.find_project, name=name)
    return Project(*row) if row else None

"""Who is calling: from the key of a request to the context of its project, without reading the database.

The usable keys are held in memory as hashes and compared with the database's revision number a few times a second, so a
key that any process makes or revokes takes effect in every process within a second. A key that was used is also held as
it came, in memory alone and until the keys change: hashing it each time costs a microsecond.

With no key ever made, and bound to loopback, the server is open: any key, or none, is the project `default`. Web pages
of other origins and people behind a proxy must not profit from that, so such requests are refused.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping

from threadkeep import projects, tasks
from threadkeep.context import Context
from threadkeep.errors import APIError, AuthenticationError, PermissionDeniedError
from threadkeep.projects import UsableKeys
from threadkeep.settings import Settings
from threadkeep.store.interface import Store

LOOK_EVERY_S = 0.25
LOOK_AGAIN_AFTER_S = 0.05
STRANGERS_MAX = 1000
PROXY_HEADERS = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"}
LOCAL_NAMES = {"localhost", "127.0.0.1", "::1"}
Headers = Mapping[bytes, bytes]


class Authenticator:
    """Holds the usable keys, and a ready context for each project."""

    def __init__(self, settings: Settings, store: Store, context_of: Callable[..., Context]) -> None:
        self._settings = settings
        self._store = store
        self._context_of = context_of
        self._contexts: dict[bytes, Context] = {}
        # By the whole header of a key that has come before, so that it need not be hashed again.
        self._contexts_of_headers: dict[bytes, Context] = {}
        # Hashes of what looked like keys and was none.
        self._strangers: set[bytes] = set()
        self._looked_at = 0.0
        # Why the last look found nothing out.
        self._trouble: APIError | None = None
        # Requests with the same new key wait for one look.
        self._looking = asyncio.Lock()

    async def start(self, now: int) -> None:
        """Reads the keys and begins to watch them."""
        default = await projects.ensure_default(self._store, now)
        self._default_project_id = default.project_id
        if self._settings.api_key:
            await projects.require_not_known(self._store, self._settings.api_key)
        self._adopt(await projects.usable_keys(self._store))
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stops watching."""
        self._watching.cancel()
        await asyncio.wait([self._watching])

    @property
    def is_open(self) -> bool:
        """Whether no key is needed."""
        return self._settings.is_loopback and not self._settings.api_key and not self._keys.any_ever

    @property
    def has_keys(self) -> bool:
        """Whether there is a key that opens a door."""
        return bool(self._contexts)

    async def authenticate(self, headers: Headers) -> Context:
        """The context of the caller's project. Raises `AuthenticationError`."""
        header = headers.get(b"authorization", b"")
        known = self._contexts_of_headers.get(header)
        if known is not None:
            return known
        key = _key_of(headers)
        hashed = hashlib.sha256(key).digest()
        context = self._contexts.get(hashed)
        if context is not None and key:
            if header == b"Bearer " + key:
                # One spelling only: others could be without number.
                self._contexts_of_headers[header] = context
            return context
        if projects.is_form_of_key(key) and hashed not in self._strangers:
            await self._look_for_new_key()
            if hashed in self._contexts:
                return self._contexts[hashed]
            self._remember_stranger(hashed)
        if self.is_open:
            self.refuse_outsiders(headers)
            return self._default
        if not key:
            raise AuthenticationError(
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
        # Differs from OpenAI: the second sentence says where this server's keys come from.
        raise AuthenticationError(
            f"Incorrect API key provided: {projects.redact(key.decode('latin-1'))}. "
            "Make one with `threadkeep keys create`.",
            code="invalid_api_key",
        )

    async def _look_for_new_key(self) -> None:
        """A key made a moment ago works at once; strangers who guess keys cannot make us read all the time."""
        asked_at = time.monotonic()
        async with self._looking:
            # A look that had begun before may have missed it.
            if self._looked_at < asked_at:
                await asyncio.sleep(self._looked_at + LOOK_AGAIN_AFTER_S - time.monotonic())
                await self.look()
            elif self._trouble:
                raise self._trouble

    def _remember_stranger(self, hashed: bytes) -> None:
        """Nobody has a key before it is made, so what is none now will never be one."""
        if len(self._strangers) >= STRANGERS_MAX:
            self._strangers.clear()
        self._strangers.add(hashed)

    def refuse_outsiders(self, headers: Headers) -> None:
        """What a server without a key must refuse: other names, web pages of other origins, proxied requests."""
        if not PROXY_HEADERS.isdisjoint(headers):
            raise PermissionDeniedError(
                "This server needs no key, so it does not answer requests that come through a proxy. "
                "Make a key with `threadkeep keys create`."
            )
        host = headers.get(b"host", b"").decode("latin-1")
        name = _without_port(host)
        if not self._settings.uds and name not in LOCAL_NAMES | {self._settings.host}:
            raise PermissionDeniedError(
                f"This server needs no key, so it answers only to its own names, not to '{host}'. "
                "Make a key with `threadkeep keys create` to use it under other names."
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        allowed = self._settings.cors_origins
        if origin and origin not in allowed and "*" not in allowed and origin.split("//")[-1] != host:
            raise PermissionDeniedError(
                f"This server needs no key, so it does not answer web pages of other origins, such as '{origin}'. "
                "Allow it with --cors-origins, or make a key with `threadkeep keys create`."
            )

    def _adopt(self, keys: UsableKeys) -> None:
        self._keys = keys
        self._default = self._context_of(self._default_project_id, "", keys.limits)
        contexts = {
            bytes.fromhex(hashed): self._context_of(key.project_id, key.key_id, keys.limits)
            for hashed, key in keys.of_hash.items()
        }
        if self._settings.api_key:
            contexts[hashlib.sha256(self._settings.api_key.encode()).digest()] = self._default
        self._contexts = contexts
        self._contexts_of_headers = {}

    async def look(self) -> None:
        """Takes over what changed since the last look."""
        began_at = time.monotonic()
        try:
            keys = await projects.usable_keys(self._store, self._keys)
        except APIError as error:
            self._trouble = error
            raise
        finally:
            self._looked_at = max(self._looked_at, began_at)
        self._trouble = None
        # Two looks may overlap, and the one that began first may end last.
        if keys.revision > self._keys.revision:
            self._adopt(keys)

    async def _watch(self) -> None:
        """Without this task a revoked key would work for ever."""
        await asyncio.sleep(LOOK_EVERY_S)
        await tasks.for_ever("look for changed keys", LOOK_EVERY_S, self.look)


def _key_of(headers: Headers) -> bytes:
    """The key of `Authorization: Bearer <key>` or of Azure's `api-key: <key>`; empty when there is none."""
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    return headers.get(b"api-key", b"").strip()


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]

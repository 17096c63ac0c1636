"""Which models a server has: by the patterns in the settings, or by its own list, which is kept for a while."""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import time

from threadkeep.upstream.model_server import ModelServer
from threadkeep.upstream.wire import Listed, UpstreamError
from threadkeep.upstream_settings import CONTEXT_TOKENS

log = logging.getLogger(__name__)

# The list is asked for again after so long; sooner when it could not be had.
LIST_S = 30.0
LIST_AGAIN_S = 5.0
# What makes a name a pattern.
_WILD = frozenset("*?[")


class Catalogue:
    """The models of one server."""

    def __init__(self, server: ModelServer) -> None:
        self.server = server
        self.settings = server.settings
        # By name.
        self._listed: dict[str, Listed] = {}
        self._until = 0.0
        self._asking: asyncio.Task[None] | None = None

    async def has(self, model: str) -> bool:
        """Whether the server is the one to ask for `model`."""
        if self.settings.models:
            return self._matches(model)
        if not self.settings.default_model:
            return True
        return _named(model, await self.listed()) is not None

    async def models(self) -> list[Listed]:
        """What clients may name: aliases, names that the settings give in full, and what the server lists."""
        by_name = await self.listed()
        settings = self.settings
        names = [
            *settings.aliases,
            *(name for name in (*settings.models, settings.default_model) if not _is_wild(name)),
        ]
        names += [name for name in by_name if not settings.models or self._matches(name)]
        return [self._entry(name, by_name) for name in dict.fromkeys(names) if name]

    def _matches(self, model: str) -> bool:
        return any(fnmatch.fnmatchcase(model, pattern) for pattern in self.settings.models)

    def _entry(self, name: str, by_name: dict[str, Listed]) -> Listed:
        listed = by_name.get(self.settings.aliases.get(name, name))
        return Listed(name, listed.created if listed else 0, (listed and listed.owned_by) or self.settings.name)

    async def context_tokens(self, model: str) -> int:
        """The size of the model's context window: by the settings, or else the server's list, or else a guess."""
        sizes = self.settings.context_tokens
        if isinstance(sizes, int):
            return sizes
        for pattern, size in (sizes or {}).items():
            if fnmatch.fnmatchcase(model, pattern):
                return size
        listed = _named(model, await self._listed_before())
        return (listed and listed.context_tokens) or CONTEXT_TOKENS

    async def _listed_before(self) -> dict[str, Listed]:
        """The list as it was last. Only the first time is it waited for: no run is late for a newer one."""
        if not self._until:
            return await self.listed()
        self._ask_if_due()
        return self._listed

    async def listed(self) -> dict[str, Listed]:
        """The server's own list, by name; what was known last when it does not answer."""
        self._ask_if_due()
        if self._asking is not None:
            # Whoever waits may be cancelled; the others still want to know.
            await asyncio.shield(self._asking)
        return self._listed

    def _ask_if_due(self) -> None:
        if time.monotonic() >= self._until and self._asking is None:
            self._asking = asyncio.create_task(self._ask())

    async def _ask(self) -> None:
        pause_s = LIST_AGAIN_S
        try:
            self._listed = {listed.id: listed for listed in await self.server.models()}
            pause_s = LIST_S
        except UpstreamError as error:
            log.warning("upstream %s has given no list of models: %s", self.settings.name, error.message)
        except Exception:
            # Nobody may be waiting for this, and a run goes on without a list.
            log.exception("upstream %s: asking for its models failed", self.settings.name)
        finally:
            self._until = time.monotonic() + pause_s
            self._asking = None

    async def close(self) -> None:
        """Asks no more."""
        if self._asking:
            self._asking.cancel()
            await asyncio.wait([self._asking])


def _named(model: str, by_name: dict[str, Listed]) -> Listed | None:
    # Ollama lists `llama3.1:latest` and answers to `llama3.1`.
    return by_name.get(model) or by_name.get(f"{model}:latest")


def _is_wild(pattern: str) -> bool:
    return not _WILD.isdisjoint(pattern)

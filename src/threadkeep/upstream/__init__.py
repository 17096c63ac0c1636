"""The model servers: which of them has a model, what it is asked, and the parts of its answer.

    route = await ctx.upstreams.find("gpt-4o")
    async for parts in route.stream(ChatRequest(model="gpt-4o", messages=[...])):
        ...

A list of parts is what one read of the network brought. `Finished` comes once, then `Counts`, which is last. Closing
the iterator (`aclose`) closes the connection. Everything that goes wrong is an `UpstreamError`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from threadkeep.settings import Settings
from threadkeep.upstream import echo
from threadkeep.upstream.wire import (
    ChatRequest,
    Counts,
    ErrorCode,
    Finished,
    FinishReason,
    Listed,
    Part,
    RefusalDelta,
    TextDelta,
    ToolCallDelta,
    UnknownModelError,
    UpstreamError,
)
from threadkeep.upstream_settings import CONTEXT_TOKENS, UpstreamSettings

if TYPE_CHECKING:
    from threadkeep.outbound import HttpClient
    from threadkeep.upstream.catalogue import Catalogue
    from threadkeep.upstream.model_server import ModelServer

__all__ = [
    "ChatRequest",
    "Counts",
    "ErrorCode",
    "FinishReason",
    "Finished",
    "Listed",
    "ModelRoute",
    "Part",
    "RefusalDelta",
    "TextDelta",
    "ToolCallDelta",
    "UnknownModelError",
    "UpstreamError",
    "Upstreams",
]


@dataclass(frozen=True, slots=True)
class ModelRoute:
    """Who answers for a model, under which name, and how many tokens it can look at. No server: the built-in model."""

    server: ModelServer | None
    model: str
    context_tokens: int

    @property
    def name(self) -> str:
        """The server's, as the settings call it."""
        return self.server.settings.name if self.server else "built-in"

    def stream(self, request: ChatRequest) -> AsyncGenerator[list[Part], None]:
        """The model's answer, under whichever name the request has it. Raises `UpstreamError`."""
        if self.server is None:
            return echo.stream(request)
        return self.server.stream(msgspec.structs.replace(request, model=self.model))


class Upstreams:
    """All model servers of one process."""

    def __init__(self, settings: Settings, new_id: Callable[[str], str]) -> None:
        self._settings = settings
        self._new_id = new_id
        self._http: HttpClient | None = None
        self._catalogues: list[Catalogue] = []

    async def open(self) -> None:
        """Gets ready; nobody is asked yet."""
        if not self._settings.model_servers:
            return
        # The HTTP client takes a tenth of a second to import, which commands and demonstrations need not pay.
        from threadkeep.outbound import HttpClient  # noqa: PLC0415
        from threadkeep.upstream.catalogue import Catalogue  # noqa: PLC0415
        from threadkeep.upstream.model_server import ModelServer  # noqa: PLC0415

        settings = self._settings
        self._http = http = HttpClient(
            connect_timeout_s=settings.upstream_connect_timeout_s, idle_timeout_s=settings.upstream_idle_timeout_s
        )
        await http.open()
        self._catalogues = [
            Catalogue(ModelServer(upstream, http, self._new_id, retries=settings.upstream_retries))
            for upstream in settings.model_servers
        ]

    async def close(self) -> None:
        """Closes every connection."""
        for catalogue in self._catalogues:
            await catalogue.close()
        if self._http:
            await self._http.close()

    async def find(self, model: str) -> ModelRoute:
        """Who answers for `model`: an alias, else a name or pattern, else a default. Raises `UnknownModelError`."""
        if not self._catalogues:
            if model == echo.NAME:
                return ModelRoute(None, model, CONTEXT_TOKENS)
            raise _not_configured(model)
        for catalogue in self._catalogues:
            if real := catalogue.settings.aliases.get(model):
                return await _route(catalogue, real)
        for catalogue in self._catalogues:
            if await catalogue.has(model):
                return await _route(catalogue, model)
        for catalogue in self._catalogues:
            if default := catalogue.settings.default_model:
                return await _route(catalogue, default)
        raise _not_found(model)

    async def models(self) -> list[Listed]:
        """Every model that can be named, each once."""
        if not self._catalogues:
            return [Listed(echo.NAME, owned_by="threadkeep")]
        found: dict[str, Listed] = {}
        for models in await asyncio.gather(*(catalogue.models() for catalogue in self._catalogues)):
            for model in models:
                found.setdefault(model.id, model)
        return list(found.values())

    async def examine(self) -> list[tuple[UpstreamSettings, list[Listed] | UpstreamError]]:
        """Each server, with the models that it lists when it is asked now, or why it does not."""
        answers = await asyncio.gather(
            *(catalogue.server.models() for catalogue in self._catalogues), return_exceptions=True
        )
        found: list[tuple[UpstreamSettings, list[Listed] | UpstreamError]] = []
        for catalogue, answer in zip(self._catalogues, answers, strict=True):
            if isinstance(answer, BaseException) and not isinstance(answer, UpstreamError):
                raise answer
            found.append((catalogue.settings, answer))
        return found


async def _route(catalogue: Catalogue, model: str) -> ModelRoute:
    return ModelRoute(catalogue.server, model, await catalogue.context_tokens(model))


def _not_configured(model: str) -> UnknownModelError:
    return UnknownModelError(
        f"There is no model '{model}': this server has no model server. Start it with --upstream-url or "
        "THREADKEEP_UPSTREAM_URL, such as http://127.0.0.1:11434/v1 for Ollama; or name the built-in model "
        f"'{echo.NAME}', a demonstration that repeats what it is told."
    )


def _not_found(model: str) -> UnknownModelError:
    return UnknownModelError(
        f"No upstream has the model '{model}'. Add it to the `models` or `aliases` of one in the settings, or give "
        "one a `default_model`."
    )

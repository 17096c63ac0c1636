"""What an operation is given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from threadkeep.settings import Settings
from threadkeep.store.interface import Store


class Listed(Protocol):
    """A model of a model server."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def created(self) -> int: ...  # noqa: D102
    @property
    def owned_by(self) -> str: ...  # noqa: D102


class Upstreams(Protocol):
    """The model servers."""

    async def models(self) -> Sequence[Listed]:
        """Every model that can be named, each once."""


@dataclass(frozen=True, slots=True)
class Context:
    """The store, the settings, the caller's project, the two things tests replace (clock and id source), and the model
    servers, where there are any.
    """

    store: Store
    settings: Settings
    project_id: str
    clock: Callable[[], float]
    new_id: Callable[[str], str]
    upstreams: Upstreams | None = None

    def now(self) -> int:
        """The wire's time: whole seconds since the epoch."""
        return int(self.clock())

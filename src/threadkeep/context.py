"""What an operation is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from threadkeep.settings import Settings
from threadkeep.store.interface import Store
from threadkeep.upstream import Upstreams


@dataclass(frozen=True, slots=True)
class Context:
    """The store, the settings, the caller's project, the two things tests replace (clock and id source), and the model
    servers, where there are any to ask: not in commands.
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

"""Tells once that a database is away, and once that it is back, however many wait for it meanwhile."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)


class Outage:
    """Whether a database can be reached."""

    def __init__(self) -> None:
        self._since: float | None = None

    def begins(self, error: BaseException) -> None:
        """It could not be reached."""
        if self._since is None:
            self._since = time.monotonic()
            why = f"{type(error).__name__}: {error}"
            log.error("storage: PostgreSQL is away, until it is back the answer is 503: %s", why)

    def ends(self) -> None:
        """It answered. Called after each unit of work."""
        if self._since is not None:
            log.info("storage: PostgreSQL is back after %.1f s", time.monotonic() - self._since)
            self._since = None

"""Work that is done again and again, whatever goes wrong; the log is told when trouble begins and when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

from threadkeep.errors import APIError, OutcomeUnknownError, StorageUnavailableError

log = logging.getLogger(__name__)


class Trouble:
    """Stands around each attempt: `with trouble:`. It suppresses exceptions, and logs each that differs from the last.

    `what` is what the attempts do, as a verb and its object: `look for runs`. When the database is away, nothing is
    logged here: the store has done so.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._last = ""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> bool:
        if error is None:
            if self._last:
                log.warning("can %s again", self._what)
            self._last = ""
            return False
        if not isinstance(error, Exception):
            return False
        if isinstance(error, StorageUnavailableError | OutcomeUnknownError):
            return True
        said = f"{kind}: {error}"
        if said != self._last:
            # A fault of ours shows where it comes from.
            log.warning("cannot %s, will try again: %s", self._what, error, exc_info=not isinstance(error, APIError))
        self._last = said
        return True


async def for_ever(what: str, every_s: float, step: Callable[[], Awaitable[object]]) -> None:
    """Does `step` until it is cancelled, with pauses of `every_s`. `what` is as in `Trouble`."""
    trouble = Trouble(what)
    while True:
        with trouble:
            await step()
        await asyncio.sleep(every_s)

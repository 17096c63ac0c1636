"""Work that goes on for ever tells the log when trouble begins and when it is over."""

from __future__ import annotations

import asyncio

import pytest

from threadkeep.errors import OverloadedError, StorageUnavailableError
from threadkeep.tasks import for_ever

AWAY = StorageUnavailableError("The database is away.")
BUSY = OverloadedError("too many writes are waiting")
CANNOT = f"cannot look, will try again: {BUSY}"


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([None, None], []),
        ([BUSY] * 5 + [None] * 2, [CANNOT, "can look again"]),
        (
            [BUSY, ValueError("a fault"), BUSY, None],
            [CANNOT, "cannot look, will try again: a fault", CANNOT, "can look again"],
        ),
        # The store has logged it.
        ([AWAY, AWAY, None], []),
    ],
)
def test_trouble_is_logged_when_it_begins_and_when_it_is_over(caplog, outcomes, expected):
    left = iter(outcomes)

    async def step():
        outcome = next(left, asyncio.CancelledError())
        if outcome is not None:
            raise outcome

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(for_ever("look", 0, step))
    assert [record.getMessage() for record in caplog.records] == expected
    faults = [record.exc_info for record in caplog.records if "a fault" in record.getMessage()]
    assert all(faults)

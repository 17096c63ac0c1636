"""Work that goes on for ever tells the log when trouble begins and when it is over."""

from __future__ import annotations

import asyncio

import pytest

from threadkeep.errors import StorageUnavailableError
from threadkeep.tasks import for_ever

AWAY = StorageUnavailableError("The database is away.")


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([None, None], []),
        ([AWAY] * 5 + [None] * 2, ["cannot look, will try again: The database is away.", "can look again"]),
        (
            [AWAY, ValueError("a fault"), AWAY, None],
            [
                "cannot look, will try again: The database is away.",
                "cannot look, will try again: a fault",
                "cannot look, will try again: The database is away.",
                "can look again",
            ],
        ),
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

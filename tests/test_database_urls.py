"""Passwords of databases are shown nowhere."""

from __future__ import annotations

import asyncio

import pytest

from threadkeep.database_urls import shown
from threadkeep.errors import CommandError
from threadkeep.settings import Settings
from threadkeep.store import create_store


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://me:secret@db.example.com:5432/app", "postgresql://me:***@db.example.com:5432/app"),
        ("postgresql://me:se/cr@et@db.example.com/app", "postgresql://me:***@db.example.com/app"),
        ("postgresql://me@db.example.com/app", "postgresql://me@db.example.com/app"),
        ("postgresql:///app?user=me&password=secret", "postgresql:///app?user=me&password=***"),
        ("postgresql://me:secret@/app?host=/run/pg&sslmode=require&sslpassword=secret",
         "postgresql://me:***@/app?host=/run/pg&sslmode=require&sslpassword=***"),
        ("postgresql://a.example.com:5432,b.example.com/app", "postgresql://a.example.com:5432,b.example.com/app"),
        ("postgresql://[::1]:5432/app", "postgresql://[::1]:5432/app"),
        ("postgresql://me:se?cret@db.example.com/app", "postgresql://***"),
        ("postgresql://me:secret/app", "postgresql://***"),
        ("postgers://me:secret@db.example.com/app", "postgers://me:***@db.example.com/app"),
        ("host=db.example.com password=secret", "***"),
        ("sqlite:///data/a@b.db", "sqlite:///data/a@b.db"),
        ("threadkeep.db", "threadkeep.db"),
    ],
)  # fmt: skip
def test_a_database_is_shown_without_its_password(url, expected):
    assert shown(url) == Settings(database=url).database_shown == expected


@pytest.mark.parametrize("url", ["postgers://me:secret@127.0.0.1/app", "postgresql://me:secret/x@127.0.0.1/app"])
def test_a_url_that_cannot_be_used_is_refused_without_its_password(url):
    async def main():
        await create_store(Settings(database=url)).open()

    with pytest.raises(CommandError) as refused:
        asyncio.run(main())
    assert "secret" not in str(refused.value) + refused.value.hint
    assert "me:***@127.0.0.1" in refused.value.message

"""How soon a server refuses a key that was revoked beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import httpx2

from bench.processes import Server

WAIT_S = 60
OK = 200


def create(url: str) -> dict[str, str]:
    """A new key: `key`, and its `key_id`."""
    return json.loads(_run(url, "create", "--json"))


def refused_ms(server: Server, url: str) -> float:
    """From the end of `keys revoke` on the database at `url` to the first request that is refused."""
    key = create(url)
    with httpx2.Client(base_url=f"{server.url}/v1", headers={"Authorization": f"Bearer {key['key']}"}) as client:
        client.get("/threads").raise_for_status()
        _run(url, "revoke", key["key_id"])
        revoked = time.perf_counter()
        while client.get("/threads").status_code == OK:
            if time.perf_counter() > revoked + WAIT_S:
                raise RuntimeError("a revoked key is still taken")
        return (time.perf_counter() - revoked) * 1000


def _run(url: str, *arguments: str) -> str:
    command = [sys.executable, "-m", "threadkeep", "keys", *arguments, "--database", url]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout

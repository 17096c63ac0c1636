"""What is measured: each operation's request, and the script that makes wrk send it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bench.data import LONG_THREAD, MESSAGES, METADATA

KEY = "tk-benchmark-key-0123456789abcdef"


@dataclass(frozen=True)
class Operation:
    """One row of the result. `goal`: server CPU per request over the yardstick's, on SQLite at 64 connections.

    `{thread_id}` in the path is a thread of the file of ids, `{number}` in the body is different in each request.
    """

    name: str
    goal: float
    method: str
    path: str
    body: object = None
    # Each request needs a thread that no other request has used.
    consumes: bool = False
    # Only threads that have a full page of messages are asked.
    needs_full: bool = False

    @property
    def writes(self) -> bool:
        """Whether the request changes the database."""
        return self.method != "GET"

    def script(self, ids_file: Path, burst: str) -> str:
        """The wrk script: the threads of the file in turn. `burst` tells this burst from all others."""
        # A burst that has used all its threads ends early.
        after_last = "(wrk.thread:stop() or ids[#ids])" if self.consumes else "ids[(sent - 1) % #ids + 1]"
        body = json.dumps(json.dumps(self.body).replace("{number}", f"{burst}-{{number}}"))
        return SCRIPT % {
            "ids": ids_file,
            "key": KEY,
            "method": self.method,
            "path": self.path,
            "after_last": after_last,
            "body": "nil" if self.body is None else body,
        }


SCRIPT = """
local ids, sent = {}, 0
for line in io.lines("%(ids)s") do ids[#ids + 1] = line end
local headers = {["Authorization"] = "Bearer %(key)s", ["Content-Type"] = "application/json"}
local body = %(body)s
local varied = body and string.find(body, "{number}", 1, true)
function request()
  sent = sent + 1
  local path = string.gsub("%(path)s", "{thread_id}", ids[sent] or %(after_last)s)
  return wrk.format("%(method)s", path, headers, varied and string.gsub(body, "{number}", sent) or body)
end
"""

THREADS = "/v1/threads"
THREAD = f"{THREADS}/{{thread_id}}"
RETRIEVE = Operation("retrieve", 1.5, "GET", THREAD)
LIST = Operation("list 20", 2.2, "GET", f"{THREAD}/messages", needs_full=True)
LIST_LONG = Operation("list 20 of 100,000", 2.2, "GET", f"{THREADS}/{LONG_THREAD}/messages")
CREATE = Operation("create, metadata only", 2.0, "POST", THREADS, {"metadata": METADATA})
# First those that leave the data as it is, last those that make it grow. Those that name a thread come before delete.
OPERATIONS = (
    RETRIEVE,
    LIST,
    LIST_LONG,
    Operation("list threads by metadata", 2.5, "GET", f"{THREADS}?metadata[user]=abc123"),
    Operation("modify", 2.2, "POST", THREAD, {"metadata": {"modified": "{number}"}}),
    Operation("add message", 2.7, "POST", f"{THREAD}/messages", MESSAGES[0]),
    Operation("delete", 2.5, "DELETE", THREAD, consumes=True),
    CREATE,
    Operation("create with two messages", 2.2, "POST", THREADS, {"metadata": METADATA, "messages": MESSAGES}),
)

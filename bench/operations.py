"""What is measured: each operation's request, and how many threads it uses up."""

from __future__ import annotations

import json
from dataclasses import dataclass

KEY = "tk-benchmark-key-0123456789abcdef"
# The data that is there before: threads of so many messages, and one thread in so many matches the filter.
MESSAGES_EACH = 20
MATCHING_ONE_IN = 10
METADATA = {"user": "abc123", "modified": "true"}
MESSAGES = [
    {"role": "user", "content": "How does AI work? Explain it in simple terms."},
    {"role": "assistant", "content": "It learns from many examples what usually comes next."},
]


@dataclass(frozen=True)
class Operation:
    """One row of the result. `goal`: server CPU per request over the yardstick's, on SQLite at 64 connections."""

    name: str
    goal: float
    method: str
    path: str
    body: object = None
    # Each request needs a thread that no other request has used.
    consumes: bool = False

    def script(self, ids_file: str) -> str:
        """The wrk script: random threads of the file, or each in turn."""
        pick = "next_id()" if self.consumes else "ids[math.random(#ids)]"
        body = json.dumps(json.dumps(self.body)) if self.body is not None else "nil"
        return SCRIPT % {
            "ids": ids_file,
            "key": KEY,
            "method": self.method,
            "path": self.path,
            "pick": pick,
            "body": body,
        }


SCRIPT = """
local ids, used = {}, 0
for line in io.lines("%(ids)s") do ids[#ids + 1] = line end
function next_id() used = used + 1; return ids[used] or "thread_none_left" end
local headers = {["Authorization"] = "Bearer %(key)s", ["Content-Type"] = "application/json"}
function request()
  local path = string.gsub("%(path)s", "{thread_id}", %(pick)s)
  return wrk.format("%(method)s", path, headers, %(body)s)
end
"""

THREADS = "/v1/threads"
LONG_THREAD = "thread_bench_long"
THREAD = f"{THREADS}/{{thread_id}}"
OPERATIONS = (
    Operation("retrieve", 1.5, "GET", THREAD),
    Operation("create, metadata only", 2.0, "POST", THREADS, {"metadata": METADATA}),
    Operation("create with two messages", 2.2, "POST", THREADS, {"metadata": METADATA, "messages": MESSAGES}),
    Operation("modify", 2.2, "POST", THREAD, {"metadata": {"modified": "again"}}),
    Operation("list 20", 2.2, "GET", f"{THREAD}/messages"),
    Operation("list 20 of 100 000", 2.2, "GET", f"{THREADS}/{LONG_THREAD}/messages"),
    Operation("list threads by metadata", 2.5, "GET", f"{THREADS}?metadata[user]=abc123"),
    Operation("add message", 2.7, "POST", f"{THREAD}/messages", MESSAGES[0]),
    Operation("delete", 2.5, "DELETE", THREAD, consumes=True),
)

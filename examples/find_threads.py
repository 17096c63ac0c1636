"""Finds threads by metadata, which the original could not: the SDK has no method for it, `client.get` does it.

Needs a running server (`make run`) and `pip install openai`.
"""

import os
import warnings
from collections.abc import Iterator
from typing import Any

import openai

warnings.filterwarnings("ignore", message="The Assistants API is deprecated")

client = openai.OpenAI(
    base_url=os.environ.get("THREADKEEP_URL", "http://127.0.0.1:8000/v1"),
    api_key=os.environ.get("THREADKEEP_KEY", "not-needed"),
)


def find_threads(**metadata: str) -> Iterator[dict[str, Any]]:
    """The threads that have all these pairs, newest first, page by page."""
    params: dict[str, Any] = {"metadata": metadata, "limit": 100}
    while True:
        page: Any = client.get("/threads", cast_to=object, options={"params": params})
        yield from page["data"]
        if not page["has_more"]:
            return
        params["after"] = page["last_id"]


for number in range(3):
    client.beta.threads.create(metadata={"user": "grace", "number": str(number)})

for thread in find_threads(user="grace"):
    print(thread["id"], thread["metadata"])

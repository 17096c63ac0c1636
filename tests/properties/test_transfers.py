"""Whatever a project holds, an export taken in elsewhere, on either database, and exported again is the same."""

from __future__ import annotations

import json
import uuid

import httpx2
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
metadata = st.dictionaries(texts, texts, max_size=3)
messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant"]),
        "content": texts
        | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": texts}), min_size=1, max_size=3),
    },
    optional={"metadata": metadata},
)
rules = st.fixed_dictionaries(
    {"anchor": st.sampled_from(["created_at", "last_active_at"]), "seconds": st.integers(10**6, 10**9)}
)
threads = st.fixed_dictionaries(
    {"messages": st.lists(messages, max_size=5)}, optional={"metadata": metadata, "expires_after": rules}
)
assistants = st.fixed_dictionaries(
    {"model": st.just("m")},
    optional={"name": texts, "temperature": st.floats(0, 2), "tools": st.just([{"type": "file_search"}])},
)
# Which messages are edited and which are deleted, by their place among all.
changes = st.lists(st.tuples(st.integers(0, 20), st.none() | texts), max_size=5)


class Project:
    """A project of its own on a server."""

    def __init__(self, server):
        headers = {"Authorization": f"Bearer {server.new_key(uuid.uuid4().hex)}"}
        self.http = httpx2.Client(base_url=server.base_url, headers=headers, timeout=60)

    def post(self, path, body):
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def export(self):
        return self.http.get("/export").text

    def take_in(self, text):
        report = self.http.post("/import", content=text.encode()).json()
        assert report["refused"] == 0, report
        return report

    def clear(self):
        for thread in self.http.get("/threads", params={"limit": 100}).json()["data"]:
            self.http.delete(f"/threads/{thread['id']}")
        self.http.close()


def renamed(text, suffix):
    """The export with other ids of threads, which are unique on a whole server."""
    for line in text.rstrip("\n").split("\n"):
        found = json.loads(line)
        if found.get("kind") == "thread":
            text = text.replace(found["object"]["id"], found["object"]["id"] + suffix)
    return text


@pytest.mark.parametrize(("here", "there"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_project_is_the_same_after_it_was_moved(servers, here, there):
    @settings(max_examples=25, phases=[Phase.generate])
    @given(st.lists(threads, max_size=4), st.lists(assistants, max_size=2), changes)
    def moved_there_and_back(made_threads, made_assistants, made_changes):
        source, target, back = Project(servers(here)), Project(servers(there)), Project(servers(here))
        for assistant in made_assistants:
            source.post("/assistants", assistant)
        made = [source.post("/threads", thread)["id"] for thread in made_threads]
        said = [
            (thread_id, message["id"])
            for thread_id in made
            for message in source.http.get(f"/threads/{thread_id}/messages").json()["data"]
        ]
        for place, text in made_changes if said else ():
            thread_id, message_id = said[place % len(said)]
            path = f"/threads/{thread_id}/messages/{message_id}"
            answer = source.http.delete(path) if text is None else source.http.post(path, json={"content": text})
            assert answer.status_code in (200, 404)
        exported = source.export()
        created = target.take_in(exported)["created"]
        assert target.export() == exported
        assert created == json.loads(exported.rstrip("\n").rpartition("\n")[2])["object"]
        assert target.take_in(exported)["known"] == created
        # Back again, where the threads themselves still are: under other ids.
        other = renamed(target.export(), "_back")
        back.take_in(other)
        assert back.export() == other
        for project in (source, target, back):
            project.clear()

    moved_there_and_back()

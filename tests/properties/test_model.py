"""Random operations, each answer compared with that of a model in plain Python."""

from __future__ import annotations

import uuid

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

KEYS = [f"key {n}" for n in range(20)]
VALUES = ["", "ä [&=]"]
PAIRS_MAX = 16

values = st.sampled_from(VALUES)
# Half of the keys that filters ask for, and sometimes all that fit.
metadata = st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS[:3], values)) | st.dictionaries(
    st.sampled_from(KEYS), values, max_size=PAIRS_MAX
)
patches = st.dictionaries(st.sampled_from(KEYS), st.none() | values, max_size=8)
filters = st.just({}) | st.dictionaries(st.sampled_from(KEYS[:3]), values, max_size=2)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
# Which of the objects known at that moment an operation is about.
picks = st.integers(0, 999)
limits = st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, None, 100, 0, 101])
orders = st.sampled_from([None, "asc", "desc"])
cursors = st.none() | picks


def merged(current, patch):
    """What modify makes of `current`; None when it is refused."""
    result = {key: value for key, value in {**current, **patch}.items() if value is not None}
    return result if len(result) <= PAIRS_MAX else None


def page(items, places, *, limit, order, after, before):
    """Status and list envelope. `items` are in ascending order; `places` holds those of deleted ones too."""
    limit = 20 if limit is None else limit
    if not 1 <= limit <= 100:
        return 400, None
    if any(cursor is not None and cursor not in places for cursor in (after, before)):
        return 404, None
    ascending = order == "asc"
    low, high = (after, before) if ascending else (before, after)
    between = [
        item
        for item in items
        if (low is None or places[item["id"]] > places[low]) and (high is None or places[item["id"]] < places[high])
    ]
    in_order = between if ascending else between[::-1]
    data = in_order[-limit:] if before and not after else in_order[:limit]
    return 200, {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(between) > limit,
    }


def compare(answer, expected):
    """A refusal has to have the right status; the texts of refusals are tested elsewhere."""
    assert answer[0] == expected[0], answer
    if expected[0] == 200:
        assert answer[1] == expected[1]


class Conversations(RuleBasedStateMachine):
    new_api = None

    def __init__(self):
        super().__init__()
        self.api = self.new_api()
        self.name = uuid.uuid4().hex
        self.threads = {}
        self.thread_places = {}
        # The messages of each thread in their order; None in the place of a deleted one.
        self.messages = {}

    def thread_id(self, pick):
        ids = [*self.threads, *self.threads, *self.thread_places, "thread_unknown"]
        return ids[pick % len(ids)]

    def message_id(self, thread_id, pick):
        ids = [*self.messages.get(thread_id, ()), *self.messages.get(thread_id, ()), "msg_unknown"]
        return None if pick is None else ids[pick % len(ids)]

    @rule(given=st.sampled_from([None, None, "a", "b"]), contents=st.lists(texts, max_size=8), metadata=metadata)
    def create_thread(self, given, contents, metadata):
        body = {"metadata": metadata, "messages": [{"role": "user", "content": text} for text in contents]}
        if given:
            body["id"] = f"thread_{self.name}_{given}"
        status, thread = self.api("POST", "/threads", body)
        if body.get("id") in self.threads:
            assert (status, thread["error"]["param"]) == (400, "id")
            return
        assert status == 200
        thread_id = body.get("id", thread["id"])
        assert thread_id not in self.threads
        assert thread == {
            "id": thread_id,
            "object": "thread",
            "created_at": thread["created_at"],
            "metadata": metadata,
            "tool_resources": {},
        }
        first = self.api.ok("GET", f"/threads/{thread_id}/messages", order="asc")["data"]
        assert [message["content"][0]["text"]["value"] for message in first] == contents
        self.threads[thread_id] = thread
        self.thread_places[thread_id] = (thread["created_at"], thread_id)
        self.messages[thread_id] = {message["id"]: message for message in first}

    @rule(pick=picks)
    def retrieve_thread(self, pick):
        thread_id = self.thread_id(pick)
        expected = self.threads.get(thread_id)
        compare(self.api("GET", f"/threads/{thread_id}"), (200 if expected else 404, expected))

    @rule(pick=picks, patch=patches)
    def modify_thread(self, pick, patch):
        thread_id = self.thread_id(pick)
        self.modify(f"/threads/{thread_id}", self.threads, thread_id, patch)

    @precondition(lambda self: len(self.threads) > 3)
    @rule(pick=picks)
    def delete_thread(self, pick):
        thread_id = self.thread_id(pick)
        gone = self.threads.pop(thread_id, None)
        self.messages.pop(thread_id, None)
        deleted = {"id": thread_id, "object": "thread.deleted", "deleted": True}
        compare(self.api("DELETE", f"/threads/{thread_id}"), (200 if gone else 404, deleted))

    @rule(pick=picks, text=texts, metadata=metadata, role=st.sampled_from(["user", "assistant"]))
    def create_message(self, pick, text, metadata, role):
        thread_id = self.thread_id(pick)
        status, message = self.api(
            "POST", f"/threads/{thread_id}/messages", {"role": role, "content": text, "metadata": metadata}
        )
        if thread_id not in self.threads:
            assert status == 404
            return
        assert status == 200
        assert message["id"] not in self.messages[thread_id]
        assert message == message | {
            "thread_id": thread_id,
            "role": role,
            "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
            "metadata": metadata,
        }
        self.messages[thread_id][message["id"]] = message

    @rule(pick=picks, which=picks)
    def retrieve_message(self, pick, which):
        thread_id = self.thread_id(pick)
        message_id = self.message_id(thread_id, which)
        expected = self.messages.get(thread_id, {}).get(message_id)
        compare(self.api("GET", f"/threads/{thread_id}/messages/{message_id}"), (200 if expected else 404, expected))

    @rule(pick=picks, which=picks, patch=patches)
    def modify_message(self, pick, which, patch):
        thread_id = self.thread_id(pick)
        message_id = self.message_id(thread_id, which)
        self.modify(f"/threads/{thread_id}/messages/{message_id}", self.messages.get(thread_id, {}), message_id, patch)

    @rule(pick=picks, which=picks)
    def delete_message(self, pick, which):
        thread_id = self.thread_id(pick)
        message_id = self.message_id(thread_id, which)
        there = self.messages.get(thread_id, {})
        deleted = {"id": message_id, "object": "thread.message.deleted", "deleted": True}
        answer = self.api("DELETE", f"/threads/{thread_id}/messages/{message_id}")
        compare(answer, (200 if there.get(message_id) else 404, deleted))
        if message_id in there:
            there[message_id] = None

    @rule(
        pick=picks, limit=limits, order=orders, after=cursors, before=cursors, run_id=st.sampled_from([None, "run_x"])
    )
    def list_messages(self, pick, limit, order, after, before, run_id):
        thread_id = self.thread_id(pick)
        query = {
            "limit": limit,
            "order": order,
            "after": self.message_id(thread_id, after),
            "before": self.message_id(thread_id, before),
        }
        answer = self.api("GET", f"/threads/{thread_id}/messages", run_id=run_id, **query)
        there = self.messages.get(thread_id, {})
        places = {message_id: place for place, message_id in enumerate(there)}
        expected = page([message for message in there.values() if message and not run_id], places, **query)
        if thread_id not in self.threads:
            expected = (400 if expected[0] == 400 else 404), None
        compare(answer, expected)

    @rule(limit=limits, order=orders, after=cursors, before=cursors, filters=filters)
    def list_threads(self, limit, order, after, before, filters):
        query = {
            "limit": limit,
            "order": order,
            "after": None if after is None else self.thread_id(after),
            "before": None if before is None else self.thread_id(before),
        }
        answer = self.api("GET", "/threads", **query, **{f"metadata[{k}]": v for k, v in filters.items()})
        matching = [thread for thread in self.threads.values() if filters.items() <= thread["metadata"].items()]
        matching.sort(key=lambda thread: self.thread_places[thread["id"]])
        compare(answer, page(matching, self.thread_places, **query))

    def modify(self, path, objects, object_id, patch):
        answer = self.api("POST", path, {"metadata": patch})
        current = objects.get(object_id)
        if current is None:
            assert answer[0] == 404
        elif (result := merged(current["metadata"], patch)) is None:
            assert answer[0] == 400
        else:
            objects[object_id] = current | {"metadata": result}
            compare(answer, (200, objects[object_id]))

    def teardown(self):
        """At the end everything is as the model has it."""
        for thread_id, thread in self.threads.items():
            assert self.api.ok("GET", f"/threads/{thread_id}") == thread
            listed = self.api.ok("GET", f"/threads/{thread_id}/messages", order="asc", limit=100)["data"]
            assert listed == [message for message in self.messages[thread_id].values() if message]
        self.api.close()


def test_random_operations_answer_as_the_model_does(new_api):
    class OnThisServer(Conversations):
        def new_api(self):
            return new_api()

    run_state_machine_as_test(
        OnThisServer,
        settings=settings(
            max_examples=140,
            stateful_step_count=40,
            # With Phase.shrink a failure is reduced to a few steps; that takes minutes.
            phases=[Phase.generate],
        ),
    )

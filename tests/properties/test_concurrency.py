"""Many clients at the same moment: nothing is lost, nothing is done twice."""

from __future__ import annotations

from collections import Counter

from tests.crowd import AT_ONCE

from threadkeep.webhooks import WEBHOOKS_MAX

PAIRS_MAX = 16


def merge_at_once(api, at_once, paths):
    """Merges 16 keys into each of the objects at `paths`, each key in a request of its own, all at once."""
    at_once(lambda n: api.ok("POST", paths[n // PAIRS_MAX], {"metadata": {f"key {n % PAIRS_MAX}": str(n)}}))
    for start, path in enumerate(paths):
        expected = {f"key {n}": str(start * PAIRS_MAX + n) for n in range(PAIRS_MAX)}
        assert api.ok("GET", path)["metadata"] == expected


def test_all_of_64_concurrent_merges_into_the_metadata_of_threads_survive(api, at_once):
    merge_at_once(
        api, at_once, [f"/threads/{api.ok('POST', '/threads', {})['id']}" for _ in range(AT_ONCE // PAIRS_MAX)]
    )


def test_all_of_64_concurrent_merges_into_the_metadata_of_messages_survive(api, at_once):
    messages = f"/threads/{api.ok('POST', '/threads', {})['id']}/messages"
    made = [api.ok("POST", messages, {"role": "user", "content": "hello"})["id"] for _ in range(AT_ONCE // PAIRS_MAX)]
    merge_at_once(api, at_once, [f"{messages}/{message_id}" for message_id in made])


def test_all_of_64_concurrent_merges_into_the_metadata_of_assistants_survive(api, at_once):
    made = [api.ok("POST", "/assistants", {"model": "m"})["id"] for _ in range(AT_ONCE // PAIRS_MAX)]
    merge_at_once(api, at_once, [f"/assistants/{assistant_id}" for assistant_id in made])


def test_64_concurrent_merges_never_pass_the_limit_on_pairs(api, at_once):
    path = f"/threads/{api.ok('POST', '/threads', {})['id']}"
    answers = at_once(lambda n: api("POST", path, {"metadata": {f"key {n}": "x"}}))
    assert Counter(status for status, _ in answers) == {200: PAIRS_MAX, 400: AT_ONCE - PAIRS_MAX}
    kept = {key for status, thread in answers if status == 200 for key in thread["metadata"]}
    assert set(api.ok("GET", path)["metadata"]) == kept


def test_64_clients_who_create_webhooks_never_pass_the_limit(api, at_once):
    answers = at_once(lambda n: api("POST", "/webhooks", {"url": f"https://example.com/{n}"}))
    assert Counter(status for status, _ in answers) == {200: WEBHOOKS_MAX, 400: AT_ONCE - WEBHOOKS_MAX}


def test_64_clients_of_one_thread_get_places_of_their_own_each_in_its_own_order(api, at_once):
    path = f"/threads/{api.ok('POST', '/threads', {})['id']}/messages"

    def say_three_things(n):
        return [api.ok("POST", path, {"role": "user", "content": f"{n} {part}"})["id"] for part in "abc"]

    said = at_once(say_three_things)
    listed, after = [], None
    while page := api.ok("GET", path, order="asc", limit=100, after=after)["data"]:
        listed += [message["id"] for message in page]
        after = listed[-1]
    assert len(listed) == len(set(listed)) == 3 * AT_ONCE
    place = {message_id: n for n, message_id in enumerate(listed)}
    for own in said:
        assert sorted(own, key=place.__getitem__) == own


def test_64_clients_create_assistants_each_in_its_own_order(api, at_once):
    def create_three(_):
        return [api.ok("POST", "/assistants", {"model": "m"})["id"] for _ in range(3)]

    created = at_once(create_three)
    listed, after = [], None
    while page := api.ok("GET", "/assistants", order="asc", limit=100, after=after)["data"]:
        listed += [assistant["id"] for assistant in page]
        after = listed[-1]
    assert len(listed) == len(set(listed)) == 3 * AT_ONCE
    place = {assistant_id: n for n, assistant_id in enumerate(listed)}
    for own in created:
        assert sorted(own, key=place.__getitem__) == own


def test_an_assistants_given_id_goes_to_one_of_64_clients_also_when_it_was_deleted(api, at_once):
    for _ in range(2):
        answers = at_once(lambda n: api("POST", "/assistants", {"id": "asst_wanted", "model": str(n)}))
        [winner] = [assistant for status, assistant in answers if status == 200]
        assert api.ok("GET", "/assistants")["data"] == [winner]
        assert {refused["error"]["param"] for status, refused in answers if status != 200} == {"id"}
        gone = at_once(lambda _: api("DELETE", "/assistants/asst_wanted"))
        assert Counter(status for status, _ in gone) == {200: 1, 404: AT_ONCE - 1}


def test_a_given_id_goes_to_one_of_64_clients_that_want_it_at_once(api, at_once):
    thread_id = f"thread_{api.project_id}"
    answers = at_once(lambda n: api("POST", "/threads", {"id": thread_id, "metadata": {"n": str(n)}}))
    [winner] = [thread for status, thread in answers if status == 200]
    assert api.ok("GET", f"/threads/{thread_id}") == winner
    assert {thread["error"]["param"] for status, thread in answers if status != 200} == {"id"}


def test_one_of_64_concurrent_deletions_succeeds(api, at_once):
    thread_id = api.ok("POST", "/threads", {})["id"]
    answers = at_once(lambda _: api("DELETE", f"/threads/{thread_id}"))
    assert Counter(status for status, _ in answers) == {200: 1, 404: AT_ONCE - 1}

"""Full-text search, through the SDK's own requests against a real server."""

from __future__ import annotations

import time

import openai
import pytest

from threadkeep import search_index, testing, threads, words


@pytest.fixture
def find(server, client):
    """Searches with what has been stored so far: the ids of the messages that are found."""

    def find(q, **query):
        return [result["message"]["id"] for result in results(server, client, q=q, **query)["data"]]

    return find


def results(server, client, **query):
    server.run(server.app.indexer.catch_up())
    return client.get("/threads/search", cast_to=object, options={"params": query})


def say(client, *texts, **thread):
    """A thread with these messages; gives their ids."""
    said = [{"role": "user", "content": text} for text in texts]
    made = client.beta.threads.create(messages=said, **thread)
    return [message.id for message in client.beta.threads.messages.list(made.id, order="asc", limit=100)]


def test_a_result_has_the_thread_the_message_and_the_text_around(server, client):
    [_, message_id] = say(client, "hello", "x " * 200 + "a needle in the hay " + "y " * 200, metadata={"user": "ann"})
    page = results(server, client, q="needle")
    [result] = page["data"]
    assert result["object"] == "thread.search_result"
    assert result["message"]["id"] == message_id
    thread = client.beta.threads.retrieve(result["thread"]["id"])
    assert result["thread"] == thread.to_dict()
    assert result["message"] == client.beta.threads.messages.retrieve(message_id, thread_id=thread.id).to_dict()
    assert "a needle in the hay" in result["snippet"]
    assert result["snippet"].startswith("…")
    assert result["snippet"].endswith("…")
    assert page["object"] == "list"
    assert page["first_id"] == page["last_id"] == result["id"]
    assert page["has_more"] is False


@pytest.mark.parametrize(
    ("q", "numbers"),
    [
        ("lisbon", [0, 1]),
        ("LISBON", [0, 1]),
        ("lisb", []),
        ("lisb*", [0, 1]),
        ("spring lisbon", [0]),
        ("sPr* lis*", [0]),
        ("cafe", [2]),
        ("Café", [2]),
        ("CAFÉ au lait", [2]),
        ("naïve", [2]),
        ("strasse", [3]),
        ("Straße", [3]),
        ("москва", [4]),
        ("мОск*", [4]),
        ("東京", [5]),
        ("京*", [5]),
        ("fi", [6]),
        ("3 14", [7]),
        ("3.14", [7]),
        ("user_name", [7]),
        ("name", [7]),
        ("ada@example.com", [7]),
        ("हिन्दी", [8]),
        ("product", [9]),
        ("product™", [9]),
        ("mhz", [9]),
        ("5 MHz", [9]),
        ("hello", [9]),
        ("und OR oder", []),
        ('"lisbon" AND NOT', []),
        ("nobody", []),
    ],
)
def test_words_are_found_the_same_way_on_every_database(client, find, q, numbers):
    ids = say(
        client,
        "I want to go to Lisbon in spring.",
        "Lisbon, in autumn!",
        "Un café au lait, nai\u0308ve",
        "Die Straße",
        "Москва слезам не верит",
        "私は東京に行きます",
        "\ufb01 is a ligature",
        "pi is 3.14, user_name ada@example.com",
        "यह हिन्दी है",
        "Product™ — 5㎒, \U0001d407\U0001d41e\U0001d425\U0001d425\U0001d428",
    )
    assert sorted(find(q)) == sorted(ids[number] for number in numbers)


@pytest.mark.parametrize(
    ("word", "q"),
    [("re\u0301sume\u0301", "résumé"), ("हिन्दी", "हिन्दी"), ("ภาษาไทย", "ภาษาไทย"), ("السَّلامُ", "السلام"), ("が", "か")],
)
def test_a_snippet_shows_the_word_that_was_found_whatever_its_marks(server, client, word, q):
    say(client, f"{'x ' * 200}{word} {'y ' * 200}")
    [result] = results(server, client, q=q)["data"]
    assert word in result["snippet"]


def test_results_come_newest_first_and_in_pages(server, client):
    ids = say(client, *(f"pebble {number}" for number in range(7)))
    seen, query = [], {"q": "pebble", "limit": 3}
    while True:
        page = results(server, client, **query)
        seen += [result["message"]["id"] for result in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]
    assert seen == ids[::-1]


@pytest.mark.parametrize("q", ["", " ", "...", "a*", "x " * 17, "x" * 501, None])
def test_what_cannot_be_looked_for_is_refused(server, client, q):
    with pytest.raises(openai.BadRequestError) as caught:
        results(server, client, **({} if q is None else {"q": q}))
    assert caught.value.param == "q"


def test_a_cursor_that_is_none_is_refused(server, client):
    for after in ("found_x", "found_", "msg_x", "found_99999999999999999999", f"found_{'9' * 5000}"):
        with pytest.raises(openai.BadRequestError) as caught:
            results(server, client, q="word", after=after)
        assert caught.value.param == "after"


def test_another_projects_messages_are_not_found(server, client, new_client, monkeypatch):
    say(client, "confidential")
    other = new_client(server)
    assert results(server, other, q="confidential")["data"] == []
    # Not even when both projects have the same key in the index.
    monkeypatch.setattr(search_index, "key", lambda _project_id: "0000")
    say(client, "confidential too")
    assert results(server, other, q="confidential")["data"] == []
    assert len(results(server, client, q="confidential too")["data"]) == 1


def test_what_a_message_said_before_it_was_edited_is_not_found(client, find):
    [message_id, other] = say(client, "before", "before too")
    assert find("before") == [other, message_id]
    thread_id = client.get("/threads", cast_to=object)["data"][0]["id"]
    client.beta.threads.messages.update(message_id, thread_id=thread_id, extra_body={"content": "afterwards"})
    assert find("before") == [other]
    assert find("afterwards") == [message_id]


def test_deleted_messages_and_threads_are_not_found(client, find):
    [first, second] = say(client, "transient one", "transient two")
    thread_id = client.get("/threads", cast_to=object)["data"][0]["id"]
    assert find("transient") == [second, first]
    client.beta.threads.messages.delete(first, thread_id=thread_id)
    assert find("transient") == [second]
    client.beta.threads.delete(thread_id)
    assert find("transient") == []


def test_documents_of_removed_threads_are_removed(server, client, find):
    say(client, *(f"ephemeral {n}" for n in range(40)))
    assert len(find("ephemeral", limit=100)) == 40
    thread_id = client.get("/threads", cast_to=object)["data"][0]["id"]
    assert len(documents(server, thread_id)) == 40
    client.beta.threads.delete(thread_id)
    server.run(threads.sweep(server.app.store, int(time.time())))
    server.run(server.app.indexer.catch_up())
    assert documents(server, thread_id) == []


def documents(server, thread_id):
    def unit(tx):
        return tx.all(search_index.sql.list_documents, thread_id=thread_id, low=0, high=1000, limit=1000)

    return server.run(server.app.store.read(unit))


def test_messages_of_copies_are_found(client, find):
    say(client, "duplicate")
    thread_id = client.get("/threads", cast_to=object)["data"][0]["id"]
    assert len(find("duplicate")) == 1
    client.post(f"/threads/{thread_id}/copy", body={}, cast_to=object)
    assert len(find("duplicate")) == 2


def test_an_answer_is_found_when_it_is_complete(servers, database, new_client):
    with testing.model() as model:
        server = servers(database, upstream_url=model.base_url)
        client = new_client(server)
        assistant = client.beta.assistants.create(model="scripted")
        thread = client.beta.threads.create(messages=[{"role": "user", "content": "hello"}])
        model.reply(testing.text("an ", "extraordinary ", "answer"))
        client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    [result] = results(server, client, q="extraordinary")["data"]
    assert result["message"]["role"] == "assistant"


def test_the_rest_of_a_very_long_word_is_not_looked_at(client, find):
    [message_id] = say(client, "x" * 1000)
    assert find("x" * 200) == [message_id]


def test_a_very_long_message_is_found_by_its_first_words(client, find):
    [message_id] = say(client, " ".join(f"w{number:06}" for number in range(32_000)))
    assert find("w000000") == [message_id]


def test_folded_text_has_the_words_of_the_text():
    assert words.of("Él está aquí, naïve ÅNGSTRÖM ﬁn") == ["el", "esta", "aqui", "naive", "angstrom", "fin"]


def test_search_is_a_route_and_no_thread(client):
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'query'"):
        client.get("/threads/search", cast_to=object, options={"params": {"query": "x", "q": "x"}})

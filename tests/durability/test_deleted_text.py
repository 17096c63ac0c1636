"""What is deleted is soon in none of the files any more."""

from __future__ import annotations

import resource
import sys
import time

import pytest

# Short enough to share a page with others, and so long that it fills pages of its own.
LENGTHS = [30, 100_000]
SECRETS = [
    "deleted message",
    "message of a deleted thread",
    "replaced metadata",
    "metadata of a deleted thread",
    "before the edit of a deleted message",
    "before the edit in a deleted thread",
    # Words that nothing else has, as the index for search knows them.
    "unwordedone",
    "unwordedtwo",
    "unwordedthree",
]


def files_with(db, *texts):
    """The names of the database's files that hold any of `texts`."""
    # The log before the database: what a checkpoint moves meanwhile is seen in one of them.
    contents = {file.name: file.read_bytes() for file in sorted(db.parent.glob(f"{db.name}*"), reverse=True)}
    return [name for name, content in contents.items() if any(text.encode() in content for text in texts)]


def delete_secrets(threads, db):
    """Stores `SECRETS` beside text that stays, finds them in the files, and deletes them.

    Answers that are kept under an `Idempotency-Key` hold the text too.
    """
    of_message, of_thread, replaced, of_thread_metadata, before_edit, before_edit_in_thread, *words = SECRETS
    kept = threads.create(metadata={"key": replaced})
    doomed = threads.create(metadata={"key": of_thread_metadata}, extra_headers={"Idempotency-Key": "thread"})
    secret_messages, edits = [], []
    for length in LENGTHS:
        threads.messages.create(kept.id, role="user", content="neighbour".ljust(length, "."))
        of_message_key, of_thread_key = ({"Idempotency-Key": f"{where} {length}"} for where in ("kept", "doomed"))
        threads.messages.create(
            doomed.id, role="user", content=f"{of_thread} {words[0]}".ljust(length, "."), extra_headers=of_thread_key
        )
        secret = threads.messages.create(
            kept.id, role="user", content=f"{of_message} {words[1]}".rjust(length, "."), extra_headers=of_message_key
        )
        secret_messages.append(secret.id)
        for thread, text in ((kept, before_edit), (doomed, before_edit_in_thread)):
            edited = threads.messages.create(thread.id, role="user", content=f"{text} {words[2]}".ljust(length, "."))
            edits.append(edited)
    for word in words:
        wait_until_found(threads._client, word)
    for edited in edits:
        threads.messages.update(edited.id, thread_id=edited.thread_id, extra_body={"content": "harmless"})
        if edited.thread_id == kept.id:
            secret_messages.append(edited.id)
    assert all(files_with(db, secret) for secret in SECRETS)
    threads.update(kept.id, metadata={"key": "harmless"})
    for message_id in secret_messages:
        threads.messages.delete(message_id, thread_id=kept.id)
    threads.delete(doomed.id)


def wait_until_found(client, word):
    """Until then, the word is not in the index, and nothing of it could stay there."""
    deadline = time.monotonic() + 60
    while not client.get("/threads/search", cast_to=object, options={"params": {"q": word}})["data"]:
        assert time.monotonic() < deadline, word
        time.sleep(0.02)


def test_deleted_text_is_gone_from_every_file_when_writes_pause(serve, db, eventually):
    server = serve(db)
    delete_secrets(server.client.beta.threads, db)
    eventually(lambda: not files_with(db, *SECRETS))
    assert files_with(db, "neighbour", "harmless")


def test_deleted_text_is_gone_from_every_file_when_the_server_has_stopped(serve, db):
    server = serve(db)
    delete_secrets(server.client.beta.threads, db)
    assert server.stop() == 0
    assert not files_with(db, *SECRETS)
    assert files_with(db, "neighbour", "harmless")


def test_deleted_text_is_gone_from_every_file_when_a_killed_server_was_started_again(serve, db, eventually):
    server = serve(db)
    delete_secrets(server.client.beta.threads, db)
    server.kill()
    serve(db)
    eventually(lambda: not files_with(db, *SECRETS))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the limits of another process")
def test_deleted_text_is_gone_from_every_file_when_a_failing_disk_works_again(serve, db, eventually):
    server = serve(db)
    delete_secrets(server.client.beta.threads, db)
    sizes = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    # No file may grow beyond this: the database has to, the server's log has not.
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (50_000, sizes[1]))
    eventually(lambda: "checkpoint failed" in server.log.read_text())
    assert files_with(db, *SECRETS)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, sizes)
    eventually(lambda: not files_with(db, *SECRETS))


def test_deleted_text_is_not_in_a_backup(serve, db, run):
    server = serve(db)
    delete_secrets(server.client.beta.threads, db)
    copy = db.with_name("copy.db")
    assert run("backup", db, copy).returncode == 0
    assert not files_with(copy, *SECRETS)
    assert files_with(copy, "neighbour", "harmless")

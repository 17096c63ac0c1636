"""Disks that are full, failing or read-only, and locks that others hold: a 503 while it lasts, and nothing lost."""

from __future__ import annotations

import resource
import sys
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from tests import another_program

LARGE = "x" * 200_000
# More than half of the small disk: a checkpoint needs the space of the log a second time.
BALLAST_BYTES = 7 * 1024**2


@pytest.fixture
def lock():
    """Takes the database's write lock, as another program would; gives what lets go of it."""
    connections = []

    def take(db):
        connections.append(another_program.opened(db))
        connections[-1].execute("begin immediate")
        return lambda: connections[-1].execute("rollback")

    yield take
    for connection in connections:
        connection.close()


def say(server, thread_id, text):
    return server.client.beta.threads.messages.create(thread_id, role="user", content=text)


def error_of(write):
    """How the server refuses `write`; None when it does not."""
    try:
        write()
    except openai.APIStatusError as error:
        return error
    return None


def fill_disk(server, thread_id):
    """Writes until it is refused; gives the messages that were not."""
    said = []
    while not (error := error_of(lambda: said.append(say(server, thread_id, LARGE)))):
        assert len(said) < 100, "the disk is larger than it should be"
    assert is_refusal(error)
    assert "its disk is full" in error.message
    return said


def is_refusal(error):
    return (error.status_code, error.code) == (503, "storage_unavailable") and "retry-after" in error.response.headers


def assert_there(server, thread_id, said):
    listed = server.client.beta.threads.messages.list(thread_id, order="asc", limit=100)
    assert [message.to_dict() for message in listed] == [message.to_dict() for message in said]


def test_a_full_disk_refuses_writes_keeps_what_it_has_and_recovers_without_a_restart(serve, small_disk, assert_sound):
    folder, _ = small_disk
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    server = serve(folder / "threadkeep.db")
    thread = server.client.beta.threads.create(metadata={"small": "yes"})
    said = fill_disk(server, thread.id)

    # What was acknowledged can still be read, and stays after more refusals.
    assert_there(server, thread.id, said)
    assert server.client.beta.threads.retrieve(thread.id) == thread
    with ThreadPoolExecutor(8) as pool:
        attempts = [pool.submit(say, server, thread.id, text) for text in [LARGE, "small"] * 8]
    for attempt in attempts:
        assert not attempt.exception() or is_refusal(attempt.exception())
    listed = list(server.client.beta.threads.messages.list(thread.id, order="asc", limit=100))
    acknowledged = {attempt.result().id for attempt in attempts if not attempt.exception()}
    assert [message.id for message in listed[: len(said)]] == [message.id for message in said]
    assert {message.id for message in listed[len(said) :]} == acknowledged
    said = listed

    ballast.unlink()
    said.append(say(server, thread.id, LARGE))
    assert_there(server, thread.id, said)
    assert server.stop() == 0
    assert_sound(folder / "threadkeep.db")
    assert_there(serve(folder / "threadkeep.db"), thread.id, said)


def test_a_server_on_a_full_disk_that_is_stopped_or_killed_loses_nothing(serve, small_disk):
    folder, _ = small_disk
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    server = serve(folder / "threadkeep.db")
    thread = server.client.beta.threads.create()
    said = fill_disk(server, thread.id)
    server.kill()
    server = serve(folder / "threadkeep.db")
    assert_there(server, thread.id, said)
    assert server.stop() == 0
    ballast.unlink()
    server = serve(folder / "threadkeep.db")
    assert_there(server, thread.id, said)
    say(server, thread.id, LARGE)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux sets the limits of another process")
def test_a_failing_disk_refuses_writes_and_the_server_recovers_without_a_restart(serve, db):
    server = serve(db)
    thread = server.client.beta.threads.create()
    said = [say(server, thread.id, "before")]
    sizes = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, sizes[1]))
    for _ in range(3):
        assert is_refusal(error_of(lambda: say(server, thread.id, "during")))
        assert is_refusal(error_of(server.client.beta.threads.create))
        assert is_refusal(error_of(lambda: server.client.beta.threads.delete(thread.id)))
        assert_there(server, thread.id, said)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, sizes)
    said.append(say(server, thread.id, "after"))
    assert_there(server, thread.id, said)
    server.kill()
    assert_there(serve(db), thread.id, said)


def test_on_a_read_only_disk_a_server_says_so_and_does_not_start(serve, run, small_disk):
    folder, remount = small_disk
    server = serve(folder / "threadkeep.db")
    thread = server.client.beta.threads.create()
    assert server.stop() == 0
    remount("ro")
    refused = run("serve", folder / "threadkeep.db", "--port", "0")
    assert refused.returncode == 1
    assert "Read-only file system" in refused.stderr
    assert "Traceback" not in refused.stderr
    remount("rw")
    assert serve(folder / "threadkeep.db").client.beta.threads.retrieve(thread.id) == thread


def test_writes_wait_for_another_program_that_holds_the_lock_and_reads_do_not(serve, db, lock):
    server = serve(db)
    thread = server.client.beta.threads.create()
    unlock = lock(db)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(say, server, thread.id, "patience")
        for _ in range(50):
            assert server.client.beta.threads.messages.list(thread.id).data == []
        assert not waiting.done()
        unlock()
        assert_there(server, thread.id, [waiting.result()])

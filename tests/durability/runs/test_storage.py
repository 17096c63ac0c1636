"""No run is lost with its storage: PostgreSQL killed under streams, a disk that is full while the model speaks."""

from __future__ import annotations

import openai
import pytest

# Runs that lost their storage go on as often as it takes, and no lease need end for that.
LONG_LEASE = ("--run-lease-s", "600", "--run-attempts-max", "50")
PAGE = bytes(4096)


def is_refused(write, *arguments):
    """Whether a write is answered with a plain 503."""
    try:
        write(*arguments)
    except openai.APIStatusError as error:
        assert (error.status_code, error.code) == (503, "storage_unavailable")  # noqa: PT017 - a check of its words
        return True
    return False


def followed_to_the_end(site, place, follower):
    """All followers of a run that it takes until the end: the first one, and one more after each fault."""
    followers = [follower.ended()]
    while not followers[-1].is_done:
        seen = [one for one in followers if one.frames]
        followers.append(site.follow(place, seen[-1].last_number).ended())
        assert len(followers) < 10, followers[-1].error
    return followers


@pytest.mark.parametrize("is_split", [False, True], ids=["one server", "a server and a worker"])
def test_runs_go_on_by_themselves_when_postgres_was_killed_and_started_again(cluster_site, cluster, kill_cluster):
    site = cluster_site.start(*LONG_LEASE)
    waits_for_client = site.create_call()
    places = []
    for deltas in (1, 40):
        # Some writes are under way at any moment, and some runs wait for a slow model.
        streams = [site.stream(f"text:{tokens}@{tokens}") for tokens in (6, 100, 400)]
        behind = site.create("text:2", streams[0][1][0], if_active="enqueue")
        streams[-1][0].wait_for_deltas(deltas)
        kill_cluster()
        assert is_refused(site.new_thread)
        cluster.ensure_postgres_running()
        for follower, place in streams:
            site.assert_told_once(place, *followed_to_the_end(site, place, follower))
        # It was cut off in the middle, and done again.
        assert site.attempts(place) > 1
        assert site.follow(behind).ended().is_done
        places += [*(place for _, place in streams), behind]
    site.submit(waits_for_client, "sunny")
    assert site.follow(waits_for_client).ended().is_done
    for place in (*places, waits_for_client):
        site.assert_told_once(place)
        assert site.retrieve(place).status == "completed"
        site.api.threads.messages.create(place[0], role="user", content="Thank you.")
    for process in (site.servers[0], site.workers[0]):
        assert process.stop() == 0


@pytest.fixture
def filling(small_disk):
    """A file that takes all the space there is, again each time it is asked to."""
    folder, _ = small_disk
    ballast = folder / "ballast"

    def fill():
        with ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(PAGE)
            except OSError:
                return ballast

    return fill


def test_runs_go_on_when_a_disk_that_was_full_has_space_again(small_site, model, filling, eventually, assert_sound):
    site = small_site.start(*LONG_LEASE)
    server = site.servers[0]
    waits_for_client = site.create_call()
    model.hold(after=6)
    follower, place = site.stream("text:4000")
    follower.wait_for_deltas(5)
    behind = site.create("text:2", place[0], if_active="enqueue")

    filling()
    model.release()

    def is_given_up():
        filling()
        return f"{place[1]} cannot go on here" in server.log.read_text()

    eventually(is_given_up)
    # Nothing is taken in, and nothing that was is lost; who follows is kept.
    eventually(lambda: filling() and is_refused(site.new_thread))
    # A little space can come back at any moment: what is acknowledged then counts.
    is_submitted = not is_refused(site.submit, waits_for_client, "sunny")
    eventually(lambda: follower.seen == site.log(place))
    assert site.retrieve(place).status == "in_progress"
    assert site.retrieve(behind).status == "queued"
    assert (site.retrieve(waits_for_client).status != "requires_action") == is_submitted
    assert not follower.is_done

    filling().unlink()
    site.assert_told_once(place, follower.ended())
    if not is_submitted:
        site.submit(waits_for_client, "sunny")
    (first_status, first), *_, last = site.answers(place)
    assert first_status == "incomplete"
    assert site.whole_text(4000).startswith(first)
    assert last == ("completed", site.whole_text(4000))
    for run in (place, behind, waits_for_client):
        assert site.follow(run).ended().is_done
        site.assert_told_once(run)
        assert site.retrieve(run).status == "completed"
        site.api.threads.messages.create(run[0], role="user", content="Thank you.")
    assert server.stop() == 0
    assert_sound(site.stored.path)

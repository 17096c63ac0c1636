"""No run is lost: processes that carry runs out, serve or store them are killed, frozen and started again."""

from __future__ import annotations

import random
import signal
import time

import pytest

# Long enough for a process that lives, on a machine that is busy; short enough to be waited for.
SHORT_LEASE = ("--run-lease-s", "1.5", "--run-attempts-max", "9")


def test_a_run_whose_worker_is_killed_goes_on_and_its_follower_misses_nothing(site, model):
    site.start(*SHORT_LEASE)
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for_deltas(5)
    site.after(lambda worker: worker.kill())
    model.wait_for_requests(2)
    model.release()
    if site.is_split:
        site.assert_told_once(place, follower.ended())
    else:
        again = site.follow(place, follower.ended().last_number)
        site.assert_told_once(place, follower, again.ended())
    assert site.retrieve(place).status == "completed"
    assert site.attempts(place) >= 2
    # What was seen of the first attempt stays, and is no part of the second.
    (first_status, first), *_, last = site.answers(place)
    assert first_status == "incomplete"
    assert first
    assert site.whole_text(40).startswith(first)
    assert last == ("completed", site.whole_text(40))


@pytest.mark.parametrize("finds_out", ["when it confirms its lease", "when it writes"])
def test_a_worker_that_is_frozen_past_its_lease_writes_nothing_when_it_wakes(finds_out, split_site, model, eventually):
    site = split_site.start(*(SHORT_LEASE if finds_out == "when it confirms its lease" else ("--run-lease-s", "600")))
    frozen = site.workers[0]
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for_deltas(5)
    frozen.signal(signal.SIGSTOP)
    if finds_out == "when it writes":
        site.end_leases()
    site.start_worker()
    model.wait_for_requests(2)
    # Both streams go on; the frozen worker finds its own when it wakes.
    model.release()
    follower.ended()
    before = site.log(place)
    frozen.signal(signal.SIGCONT)
    eventually(lambda: f"{place[1]} is no longer ours" in frozen.log.read_text())
    assert site.log(place) == before
    site.assert_told_once(place, follower)
    assert site.answers(place)[-1] == ("completed", site.whole_text(40))
    # It is of use again.
    site.workers[1].kill()
    assert site.follow(site.create("text:3")).ended().is_done


def test_an_embedded_server_that_was_frozen_past_its_lease_goes_on_where_it_was(embedded_site, model, eventually):
    site = embedded_site.start("--run-lease-s", "0.5")
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for_deltas(5)
    site.servers[0].signal(signal.SIGSTOP)
    lease_end = site.stored.rows("select wake_at from runs")[0][0]
    eventually(lambda: time.time() * 1000 > lease_end)
    site.servers[0].signal(signal.SIGCONT)
    model.release()
    site.assert_told_once(place, follower.ended())
    assert site.answers(place) == [("completed", site.whole_text(40))]
    assert site.attempts(place) == 1


def test_a_client_whose_server_is_killed_goes_on_with_another_where_it_stopped(split_site, model):
    site = split_site.start()
    other = site.start_server()
    model.hold(after=6)
    follower, place = site.stream("text:200")
    follower.wait_for_deltas(3)
    site.servers.reverse()
    other.kill()
    again = site.follow(place, follower.ended().last_number)
    model.release()
    site.assert_told_once(place, follower, again.ended())
    assert site.attempts(place) == 1


def test_what_clients_saw_of_a_server_that_was_killed_at_any_moment_is_in_the_log(site):
    chance = random.Random(4)
    site.start(*SHORT_LEASE)
    told = []
    for _ in range(4):
        streams = [site.stream(f"text:{chance.randrange(200, 3000)}") for _ in range(3)]
        streams[0][0].wait_for_deltas(chance.randrange(1, 150))
        if site.is_split:
            site.servers[-1].kill()
            site.start_server()
        if not site.is_split or chance.random() < 0.5:
            site.after(lambda worker: worker.kill())
        told += [(place, follower.ended()) for follower, place in streams]
    for place, follower in told:
        if follower.is_done:
            site.assert_told_once(place, follower)
        else:
            site.assert_told_once(place, follower, site.follow(place, follower.last_number).ended())
        assert site.retrieve(place).status == "completed"


def test_all_runs_go_on_when_everything_was_killed_and_is_started_again(site, model):
    site.start(*SHORT_LEASE)
    waits_for_client = site.create_call()
    model.hold(after=6)
    follower, streamed = site.stream("text:20")
    follower.wait_for_deltas(5)
    thread_id = streamed[0]
    behind = site.create("text:2", thread_id, if_active="enqueue")
    site.kill_all()
    # Taken in, and never seen by a worker.
    server = site.start_server() if site.is_split else None
    unseen = site.create("text:2") if server else None
    site.kill_all()
    site.start()
    if not site.is_split:
        assert "runs taken over from the process before: 1" in site.servers[-1].log.read_text()
    model.release()
    site.submit(waits_for_client, "sunny")
    for place in filter(None, (streamed, behind, waits_for_client, unseen)):
        assert site.follow(place).ended().is_done
        assert site.retrieve(place).status == "completed"
        site.assert_told_once(place)
    assert site.log(behind)[2][1] == "thread.run.in_progress"
    assert site.retrieve(behind).started_at >= site.retrieve(streamed).completed_at
    site.assert_told_once(streamed, follower.ended(), site.follow(streamed, follower.last_number).ended())


def test_a_run_is_handed_over_at_once_by_a_worker_that_stops_and_that_is_no_attempt(site, model):
    # No lease ends while this test runs.
    site.start("--run-lease-s", "600", "--run-attempts-max", "1")
    model.hold(after=6)
    follower, place = site.stream("text:20")
    follower.wait_for_deltas(5)
    for requests in (2, 3):
        site.after(lambda worker: worker.stop())
        model.wait_for_requests(requests)
    model.release()
    seen = [follower] if site.is_split else [follower.ended(), site.follow(place, follower.last_number)]
    site.assert_told_once(place, *(one.ended() for one in seen))
    assert site.retrieve(place).status == "completed"
    assert site.attempts(place) == 1


def test_tool_outputs_survive_a_kill_of_all_right_after_they_are_acknowledged(site):
    site.start(*SHORT_LEASE)
    for output in ("sunny", "cloudy", "rainy"):
        place = site.create_call()
        site.submit(place, output)
        site.kill_all()
        site.start()
        assert site.follow(place).ended().is_done
        # It repeats what it was told last.
        assert site.answers(place)[-1] == ("completed", output)
        site.assert_told_once(place)


@pytest.mark.parametrize("owner", ["dead", "frozen", "alive"])
def test_a_cancel_waits_for_no_lease_whatever_has_become_of_the_runs_owner(owner, split_site, model, eventually):
    # Nobody's patience is as long.
    site = split_site.start("--run-lease-s", "600")
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for_deltas(5)
    worker = site.workers[0]
    if owner != "alive":
        worker.signal(signal.SIGKILL if owner == "dead" else signal.SIGSTOP)
    thread_id, run_id = place
    elsewhere = site.start_server().client.beta.threads
    assert elsewhere.runs.cancel(run_id, thread_id=thread_id).status == "cancelling"
    # Nothing but a follower of another server could still be late.
    assert site.log(place)[-1][1] == "thread.run.cancelled"
    site.assert_told_once(place, follower.ended())
    assert elsewhere.runs.retrieve(run_id, thread_id=thread_id).status == "cancelled"
    elsewhere.messages.create(thread_id, role="user", content="Thank you.")
    [(status, text)] = site.answers(place)
    assert (status, site.whole_text(40).startswith(text)) == ("incomplete", True)
    if owner == "frozen":
        worker.signal(signal.SIGCONT)
    model.release()
    if owner != "dead":
        # It finds out when it would write more.
        eventually(lambda: f"{run_id} is no longer ours" in worker.log.read_text())
        site.assert_told_once(place, follower)


def test_a_cancel_at_another_server_ends_the_request_to_a_silent_model(split_site, model):
    site = split_site.start(*SHORT_LEASE)
    follower, place = site.stream("silence:2")
    follower.wait_for_deltas(2)
    thread_id, run_id = place
    site.start_server().client.beta.threads.runs.cancel(run_id, thread_id=thread_id)
    model.requests[0].wait_closed()
    site.assert_told_once(place, follower.ended())


def test_a_run_whose_workers_die_again_and_again_fails(site, model):
    site.start("--run-lease-s", "0.5", "--run-attempts-max", "2")
    model.hold()
    follower, place = site.stream("text:3")
    for requests in (1, 2):
        model.wait_for_requests(requests)
        site.after(lambda worker: worker.kill())
    again = site.follow(place, follower.last_number)
    assert again.ended().is_done
    run = site.retrieve(place)
    assert (run.status, run.last_error.code) == ("failed", "server_error")
    assert "stopped, again and again" in run.last_error.message
    site.assert_told_once(place)
    assert len(model.requests) == 2


def test_runs_expire_though_no_worker_was_alive(site, model, eventually):
    # Less by up to a second, as times are whole seconds: enough for a busy machine to execute what is to expire.
    site.start("--run-lifetime-s", "4", *SHORT_LEASE)
    waits_for_client = site.create_call()
    model.hold()
    carried_out = site.create("text:3")
    model.wait_for_requests(2)
    site.workers[-1].kill()
    places = [waits_for_client, carried_out]
    if site.is_split:
        places.append(site.create("text:3"))
    end = max(site.retrieve(place).expires_at for place in places) if site.is_split else time.time() + 4
    eventually(lambda: time.time() > end)
    if not site.is_split:
        site.start_server()
    site.start_worker()
    for place in places:
        assert site.follow(place).ended().is_done
        eventually(lambda place=place: site.retrieve(place).status == "expired")
        site.assert_told_once(place)
        site.api.threads.messages.create(place[0], role="user", content="Still there?")

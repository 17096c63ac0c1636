"""No run is lost: processes that carry runs out, serve or store them are killed, frozen and started again."""

from __future__ import annotations

import json
import random
import signal
import threading
import time

import httpx2
import pytest

from threadkeep import testing

OVER = {f"thread.run.{status}" for status in ("completed", "incomplete", "failed", "cancelled", "expired")}
DELTA = "thread.message.delta"
WAIT_S = 60
# Long enough for a process that lives, on a machine that is busy; short enough to be waited for.
SHORT_LEASE = ("--run-lease-s", "1.5", "--run-attempts-max", "9")


def frames_of(lines):
    """(number, event, data) of each whole frame."""
    frame = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
        elif "event" in frame:
            yield int(frame["id"]), frame["event"], frame["data"]
            frame = {}


class Follower:
    """A client that reads a stream until it ends, however that is, and remembers every frame that it saw."""

    def __init__(self, method, url, **request):
        self.frames = []
        self.run_id = None
        self.error = None
        self._changed = threading.Condition()
        self._reading = threading.Thread(target=self._read, args=(method, url), kwargs=request, daemon=True)
        self._reading.start()

    def _read(self, method, url, **request):
        try:
            with httpx2.stream(method, url, timeout=WAIT_S, **request) as answer:
                if answer.status_code != 200:
                    self.error = answer.read()
                for frame in frames_of(answer.iter_lines()):
                    with self._changed:
                        self.frames.append(frame)
                        self._changed.notify_all()
        except httpx2.TransportError as error:
            self.error = error
        with self._changed:
            self._changed.notify_all()

    @property
    def is_done(self):
        return bool(self.frames) and self.frames[-1][1] == "done"

    @property
    def seen(self):
        """The events, without the last frame, which only says that there are no more."""
        return [frame for frame in self.frames if frame[1] != "done"]

    @property
    def last_number(self):
        return self.frames[-1][0]

    def count(self, event):
        return sum(frame[1] == event for frame in self.frames)

    def wait_for(self, event, count=1):
        """Waits until that many such events have come."""
        with self._changed:
            self._changed.wait_for(lambda: self.count(event) >= count or not self._reading.is_alive(), WAIT_S)
        assert self.count(event) >= count, (self.frames[-3:], self.error)

    def ended(self):
        """The follower, when its stream has ended."""
        self._reading.join(WAIT_S)
        assert not self._reading.is_alive()
        return self


class Site:
    """All that serves one database: on SQLite one process; on PostgreSQL a server and a worker, and more when asked."""

    def __init__(self, stored, model, is_split, serve, start_worker):
        self.stored = stored
        self.model = model
        self.is_split = is_split
        self._serve = serve
        self._start_worker = start_worker
        self.flags = ("--upstream-url", model.base_url)
        self.servers, self.workers = [], []

    def start(self, *flags):
        self.flags += flags
        self.start_server()
        self.start_worker()
        return self

    def start_server(self):
        self.servers.append(self._serve(self.stored.url, *self.flags, *(["--no-worker"] if self.is_split else [])))
        return self.servers[-1]

    def start_worker(self):
        """On SQLite the server is its own worker."""
        self.workers.append(self._start_worker(self.stored.url, *self.flags) if self.is_split else self.servers[-1])
        return self.workers[-1]

    def after(self, end):
        """Does `end` to the worker, and starts another; on SQLite that is the server, which may not be there twice."""
        end(self.workers[-1])
        if not self.is_split:
            self.start_server()
        return self.start_worker()

    def kill_all(self):
        for process in {*self.servers, *self.workers}:
            process.kill()

    @property
    def api(self):
        return self.servers[-1].client.beta

    def assistant(self, model, **settings):
        return self.api.assistants.create(model=model, **settings).id

    def new_thread(self):
        return self.api.threads.create(messages=[{"role": "user", "content": "Hello"}]).id

    def create(self, model, thread_id=None, **body):
        return self.api.threads.runs.create(
            thread_id=thread_id or self.new_thread(), assistant_id=self.assistant(model), extra_body=body
        )

    def stream(self, model):
        """A follower of a new run, and the run's place."""
        thread_id = self.new_thread()
        url = f"{self.servers[-1].base_url}/threads/{thread_id}/runs"
        follower = Follower("POST", url, json={"assistant_id": self.assistant(model), "stream": True})
        follower.wait_for("thread.run.created")
        return follower, (thread_id, json.loads(follower.frames[0][2])["id"])

    def follow(self, place, after=None):
        """A follower that comes back; `after` is what it saw last."""
        url = f"{self.servers[-1].base_url}/threads/{place[0]}/runs/{place[1]}?stream=true"
        return Follower("GET", url, headers={"last-event-id": str(after)} if after else {})

    def retrieve(self, place):
        return self.api.threads.runs.retrieve(place[1], thread_id=place[0])

    def log(self, place):
        """All events of a run, as they are in the database."""
        rows = self.stored.rows(
            f"select seq, last_seq, frames from run_events where run_id = '{place[1]}' order by seq"
        )
        events = list(frames_of(line for row in rows for line in row[2].split("\n")))
        numbers = [number for row in rows for number in range(row[0], row[1] + 1)]
        assert [event[0] for event in events] == numbers
        return events

    def assert_told_once(self, place, *followers):
        """The log has no gap and one end; what the followers saw, one after the other, is just that."""
        log = self.log(place)
        assert [number for number, _, _ in log] == list(range(1, len(log) + 1))
        assert [event for _, event, _ in log if event in OVER] == [log[-1][1]]
        if followers:
            assert followers[-1].is_done
            assert [frame for follower in followers for frame in follower.seen] == log

    def answers(self, place):
        """Status and text of each of the run's messages."""
        listed = self.api.threads.messages.list(place[0], run_id=place[1], order="asc")
        return [(said.status, "".join(part.text.value for part in said.content)) for said in listed]

    def end_leases(self):
        """As if each had ended."""
        self.stored.rows("update runs set wake_at = 1 where status = 'in_progress'")

    def attempts(self, place):
        return self.stored.rows(f"select attempt from runs where run_id = '{place[1]}'")[0][0]


@pytest.fixture
def model():
    """It outlives the servers, which are processes of their own."""
    with testing.model() as model:
        yield model


@pytest.fixture
def site(stored, model, database, serve, start_worker):
    return Site(stored, model, database == "postgres", serve, start_worker)


@pytest.fixture
def split_site(postgres_stored, model, serve, start_worker):
    return Site(postgres_stored, model, True, serve, start_worker)


@pytest.fixture
def embedded_site(sqlite_stored, model, serve, start_worker):
    return Site(sqlite_stored, model, False, serve, start_worker)


def place_of(run):
    return run.thread_id, run.id


def whole_text(tokens):
    return "".join(testing.replies._counted(tokens))


def test_a_run_whose_worker_is_killed_goes_on_and_its_follower_misses_nothing(site, model):
    site.start(*SHORT_LEASE)
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for(DELTA, 5)
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
    assert whole_text(40).startswith(first)
    assert last == ("completed", whole_text(40))


@pytest.mark.parametrize("finds_out", ["when it confirms its lease", "when it writes"])
def test_a_worker_that_is_frozen_past_its_lease_writes_nothing_when_it_wakes(finds_out, split_site, model, eventually):
    site = split_site.start(*(SHORT_LEASE if finds_out == "when it confirms its lease" else ("--run-lease-s", "600")))
    frozen = site.workers[0]
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for(DELTA, 5)
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
    assert site.answers(place)[-1] == ("completed", whole_text(40))
    # It is of use again.
    site.workers[1].kill()
    assert site.follow(place_of(site.create("text:3"))).ended().is_done


def test_an_embedded_server_that_was_frozen_past_its_lease_goes_on_where_it_was(embedded_site, model, eventually):
    site = embedded_site.start("--run-lease-s", "0.5")
    model.hold(after=6)
    follower, place = site.stream("text:40")
    follower.wait_for(DELTA, 5)
    site.servers[0].signal(signal.SIGSTOP)
    lease_end = site.stored.rows("select wake_at from runs")[0][0]
    eventually(lambda: time.time() * 1000 > lease_end)
    site.servers[0].signal(signal.SIGCONT)
    model.release()
    site.assert_told_once(place, follower.ended())
    assert site.answers(place) == [("completed", whole_text(40))]
    assert site.attempts(place) == 1


def test_a_client_whose_server_is_killed_goes_on_with_another_where_it_stopped(split_site, model):
    site = split_site.start()
    other = site.start_server()
    model.hold(after=6)
    follower, place = site.stream("text:200")
    follower.wait_for(DELTA, 3)
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
        streams[0][0].wait_for(DELTA, chance.randrange(1, 150))
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
    waits_for_client = place_of(site.create("call:weather"))
    assert site.follow(waits_for_client).ended().is_done
    model.hold(after=6)
    follower, streamed = site.stream("text:20")
    follower.wait_for(DELTA, 5)
    thread_id = streamed[0]
    behind = place_of(site.create("text:2", thread_id, if_active="enqueue"))
    site.kill_all()
    # Taken in, and never seen by a worker.
    server = site.start_server() if site.is_split else None
    unseen = place_of(site.create("text:2")) if server else None
    site.kill_all()
    site.start()
    model.release()
    [call] = site.retrieve(waits_for_client).required_action.submit_tool_outputs.tool_calls
    site.api.threads.runs.submit_tool_outputs(
        waits_for_client[1], thread_id=waits_for_client[0], tool_outputs=[{"tool_call_id": call.id, "output": "sunny"}]
    )
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
    follower.wait_for(DELTA, 5)
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
        run = site.create("call:weather")
        assert site.follow(place_of(run)).ended().is_done
        [call] = site.retrieve(place_of(run)).required_action.submit_tool_outputs.tool_calls
        site.api.threads.runs.submit_tool_outputs(
            run.id, thread_id=run.thread_id, tool_outputs=[{"tool_call_id": call.id, "output": output}]
        )
        site.kill_all()
        site.start()
        assert site.follow(place_of(run)).ended().is_done
        # It repeats what it was told last.
        assert site.answers(place_of(run))[-1] == ("completed", output)
        site.assert_told_once(place_of(run))


@pytest.mark.parametrize("owner", ["dead", "frozen", "waiting for a silent model"])
def test_a_cancel_is_done_at_once_whatever_has_become_of_the_runs_owner(owner, split_site, model):
    site = split_site.start("--run-lease-s", "3")
    follower, place = site.stream("silence:2")
    follower.wait_for(DELTA, 2)
    worker = site.workers[0]
    if owner != "waiting for a silent model":
        worker.signal(signal.SIGKILL if owner == "dead" else signal.SIGSTOP)
    elsewhere = site.start_server().client.beta.threads
    started = time.monotonic()
    assert elsewhere.runs.cancel(place[1], thread_id=place[0]).status == "cancelling"
    assert elsewhere.runs.retrieve(place[1], thread_id=place[0]).status == "cancelled"
    elsewhere.messages.create(place[0], role="user", content="Thank you.")
    # Three requests; a slow machine may take its time for them.
    assert time.monotonic() - started < 3
    site.assert_told_once(place, follower.ended())
    assert site.answers(place) == [("incomplete", whole_text(2))]
    if owner == "frozen":
        worker.signal(signal.SIGCONT)
    if owner != "dead":
        model.requests[0].wait_closed()
        site.assert_told_once(place, follower)


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
    site.start("--run-lifetime-s", "2", *SHORT_LEASE)
    waits_for_client = place_of(site.create("call:weather"))
    assert site.follow(waits_for_client).ended().is_done
    model.hold()
    carried_out = place_of(site.create("text:3"))
    model.wait_for_requests(2)
    site.workers[-1].kill()
    places = [waits_for_client, carried_out]
    if site.is_split:
        places.append(place_of(site.create("text:3")))
    end = max(site.retrieve(place).expires_at for place in places) if site.is_split else time.time() + 2
    eventually(lambda: time.time() > end)
    if not site.is_split:
        site.start_server()
    site.start_worker()
    for place in places:
        assert site.follow(place).ended().is_done
        eventually(lambda place=place: site.retrieve(place).status == "expired")
        site.assert_told_once(place)
        site.api.threads.messages.create(place[0], role="user", content="Still there?")

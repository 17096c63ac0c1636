"""Sites that execute runs, to be brought down piece by piece, and clients that remember all they saw."""

from __future__ import annotations

import json
import threading

import httpx2
import pytest

from threadkeep import testing

OVER = {f"thread.run.{status}" for status in ("completed", "incomplete", "failed", "cancelled", "expired")}
DELTA = "thread.message.delta"
WAIT_S = 60


def frames_of(lines):
    """(number, event, data) of each whole frame; an error, which is no event of the run, has no number."""
    frame = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            frame[name] = value
        elif "event" in frame:
            yield int(frame.get("id", 0)), frame["event"], frame["data"]
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
                    self._take(frame)
        except httpx2.TransportError as error:
            self.error = error
        with self._changed:
            self._changed.notify_all()

    def _take(self, frame):
        with self._changed:
            if frame[1] == "error":
                self.error = frame[2]
            else:
                self.frames.append(frame)
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

    def wait_for_deltas(self, count):
        self.wait_for(DELTA, count)

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
        """A new run's place."""
        run = self.api.threads.runs.create(
            thread_id=thread_id or self.new_thread(), assistant_id=self.assistant(model), extra_body=body
        )
        return run.thread_id, run.id

    def create_call(self):
        """The place of a new run that waits for its client."""
        place = self.create("call:weather")
        assert self.follow(place).ended().is_done
        return place

    def submit(self, place, output):
        """Answers the one call for which a run waits."""
        [call] = self.retrieve(place).required_action.submit_tool_outputs.tool_calls
        outputs = [{"tool_call_id": call.id, "output": output}]
        self.api.threads.runs.submit_tool_outputs(place[1], thread_id=place[0], tool_outputs=outputs)

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

    @staticmethod
    def whole_text(tokens):
        """What the scripted model says in so many."""
        return "".join(testing.replies._counted(tokens))

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


@pytest.fixture
def cluster_site(cluster_stored, model, serve, start_worker, is_split):
    """On a PostgreSQL that can be killed."""
    return Site(cluster_stored, model, is_split, serve, start_worker)


@pytest.fixture
def small_site(small_stored, model, serve, start_worker):
    """On a disk that can be filled."""
    return Site(small_stored, model, False, serve, start_worker)

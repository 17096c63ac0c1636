"""Every setting once: name, type, default, help. Flags, variables, the file's keys, `threadkeep settings` and the
reference page all come from the fields of `Settings`. Where their values come from is in `settings_sources.py`.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from threadkeep import database_urls, upstream_settings
from threadkeep.errors import CommandError
from threadkeep.upstream_settings import UpstreamSettings

ENV_PREFIX = "THREADKEEP_"
# Of the variable that names a secret's file.
FILE_SUFFIX = "_FILE"
PORT_MAX = 65_535
# As much as none: milliseconds of it, and the time of now, still fit into the database's numbers.
NUMBER_MAX = 10**15


def _setting(
    default: Any,
    help_text: str,
    *,
    off: str = "",
    secret: bool = False,
    minimum: int | None = None,
    maximum: float = NUMBER_MAX,
    is_table: bool = False,
) -> Any:
    """`off`: what its flag `--no-...` does, where the default is true. A number without `minimum` is above zero.

    `is_table`: it stands in the file alone, as tables of its own.
    """
    metadata = {
        "help": help_text,
        "off": off,
        "secret": secret,
        "minimum": minimum,
        "maximum": maximum,
        "is_table": is_table,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """The settings of one server: a frozen value, passed down from where it was read. Units are last in each name."""

    host: str = _setting("127.0.0.1", "Address to listen on. Anything but loopback needs a key.")
    port: int = _setting(8000, "Port to listen on; 0 takes a free one.", minimum=0, maximum=PORT_MAX)
    uds: str = _setting("", "Path of a Unix socket to listen on, instead of host and port.")
    database: str = _setting(
        "sqlite:///threadkeep-data/threadkeep.db",
        "Where the data is: sqlite:///relative.db, sqlite:////absolute.db or postgresql://user@host/name.",
    )
    api_key: str = _setting(
        "", "One key for the project `default`, for the simple case. More keys: `threadkeep keys`.", secret=True
    )
    strict: bool = _setting(False, "Refuse all that the original refused, such as unknown fields.")
    cors_origins: tuple[str, ...] = _setting(
        (), "Origins whose web pages may call the API, separated by commas; `*` allows all."
    )
    forwarded_allow_ips: tuple[str, ...] = _setting(
        (), "Addresses of proxies whose X-Forwarded headers are trusted, separated by commas."
    )
    request_log: bool = _setting(True, "Log a line for each request.", off="Log no line for each request.")
    log_json: bool = _setting(False, "Log one JSON object a line.")
    metrics: bool = _setting(
        True,
        "Answer `/metrics`, for Prometheus: to local programs, or with `metrics_key`.",
        off="Do not answer `/metrics`.",
    )
    metrics_key: str = _setting(
        "",
        "The key that `/metrics` wants, as a bearer token. Without it, only programs on this machine are answered.",
        secret=True,
    )
    metrics_port: int = _setting(
        0,
        "Port for `/metrics` alone, on the same host; process number n of several takes this port plus n. 0: none.",
        minimum=0,
        maximum=PORT_MAX,
    )
    tracing: bool = _setting(
        False,
        "Send traces by OpenTelemetry; its own variables, such as OTEL_EXPORTER_OTLP_ENDPOINT, set the address.",
    )
    tracing_content: bool = _setting(False, "Put prompts and answers into traces.")
    body_bytes_max: int = _setting(16 * 1024 * 1024, "Largest request body.")
    bodies_bytes_max: int = _setting(
        256 * 1024 * 1024,
        "Largest sum of the request bodies over 64 KiB that are read or worked on at one moment, without imports.",
    )
    head_bytes_max: int = _setting(64 * 1024, "Largest request head (request line and headers).")
    head_timeout_s: float = _setting(10.0, "Seconds a client has to send a request's head.")
    body_timeout_s: float = _setting(60.0, "Seconds a client has to send a request's body.")
    keep_alive_s: float = _setting(75.0, "Seconds an idle connection is kept.")
    stream_heartbeat_s: float = _setting(
        15.0, "Seconds of silence after which a streamed answer carries a comment, so that proxies do not cut it."
    )
    stream_send_timeout_s: float = _setting(
        20.0, "Seconds a client may be behind with reading a streamed answer before it is dropped."
    )
    connections_max: int = _setting(4096, "Most connections at one moment.")
    shutdown_timeout_s: float = _setting(30.0, "Seconds that requests in flight get to finish on SIGTERM.")
    processes: int = _setting(1, "Processes that serve, on PostgreSQL.")
    postgres_connections_max: int = _setting(16, "Most connections that one process opens to PostgreSQL.")
    postgres_statements_cached: int = _setting(
        200, "Prepared statements kept on each PostgreSQL connection; 0 behind a pooler in transaction mode.", minimum=0
    )
    write_queue_max: int = _setting(4096, "Most writes that may wait; more are answered with 503 `overloaded`.")
    thread_create_messages_max: int = _setting(1000, "Most messages in one create-thread request (32 under strict).")
    thread_messages_max: int = _setting(100_000, "Most messages in one thread.")
    worker: bool = _setting(
        True,
        "Execute runs in this process; otherwise `threadkeep worker` does.",
        off="Leave runs to `threadkeep worker`.",
    )
    runs_max: int = _setting(256, "Most runs that one process executes at a time; others wait.")
    runs_waiting_max: int = _setting(1000, "Most runs that may wait; more are answered with 429.")
    project_runs_max: int = _setting(
        1000,
        "Most unfinished runs of a project without a limit of its own; more are answered with 429. 0: no limit.",
        minimum=0,
    )
    project_requests_per_minute_max: int = _setting(
        0, "Most requests a minute, for projects without a limit of their own; 0: no limit.", minimum=0
    )
    project_tokens_per_day_max: int = _setting(
        0, "Most tokens a day, for projects without a limit of their own; 0: no limit.", minimum=0
    )
    key_requests_per_minute_max: int = _setting(
        0, "Most requests a minute, for keys without a limit of their own; 0: no limit.", minimum=0
    )
    key_runs_max: int = _setting(
        0, "Most unfinished runs, for keys without a limit of their own; 0: no limit.", minimum=0
    )
    key_tokens_per_day_max: int = _setting(
        0, "Most tokens a day, for keys without a limit of their own; 0: no limit.", minimum=0
    )
    run_lifetime_s: int = _setting(
        600, "Seconds a run has from its creation, or from its turn if it waits behind another; then it expires."
    )
    run_lease_s: float = _setting(30.0, "Seconds after which a run is taken over from a silent process.")
    run_attempts_max: int = _setting(
        3, "Attempts before a run whose processes keep dying, or losing the database, is failed."
    )
    run_tool_rounds_max: int = _setting(64, "Most times that one run may ask for tool calls.")
    run_events_kept_s: float = _setting(86_400.0, "Seconds the events of a finished run can be followed again.")
    run_events_characters_max: int = _setting(64 * 1024 * 1024, "Most characters of events in one run.")
    poll_hold_s: float = _setting(10.0, "Seconds that a polling helper's request waits for news of its run.")
    message_wait_s: float = _setting(60.0, "Seconds that a message with `if_active: wait` waits for its thread.")
    webhook_private_addresses: bool = _setting(
        False, "Allow webhooks in private networks and over plain http; otherwise such addresses are refused."
    )
    webhook_timeout_s: float = _setting(15.0, "Seconds a webhook has to answer.")
    webhook_retry_s: float = _setting(
        5.0, "Seconds until a failed webhook delivery is retried; each further pause is four times as long."
    )
    webhook_give_up_s: float = _setting(259_200.0, "Seconds for which the delivery of an event is retried.")
    webhook_deliveries_kept_s: float = _setting(604_800.0, "Seconds for which finished deliveries can be listed.")
    idempotency_keys_kept_s: int = _setting(
        86_400, "Seconds in which a request with the same `Idempotency-Key` gets the first answer again."
    )
    upstream_url: str = _setting(
        "",
        "Base URL of a model server that speaks Chat Completions, such as http://127.0.0.1:11434/v1. "
        "Without it and `upstreams`, OPENAI_BASE_URL.",
    )
    upstream_key: str = _setting(
        "",
        "Its key. Without it OPENAI_API_KEY, if the URL is that of OPENAI_BASE_URL or of OpenAI itself.",
        secret=True,
    )
    upstream_model: str = _setting("", "The model that answers for all names that the model server does not list.")
    upstream_context_tokens: int = _setting(
        0,
        "Tokens of its models' context windows; older messages that do not fit are left out of prompts. 0: what its "
        f"list of models says, or else {upstream_settings.CONTEXT_TOKENS}.",
        minimum=0,
    )
    upstream_connect_timeout_s: float = _setting(10.0, "Seconds a model server has to accept a connection.")
    upstream_idle_timeout_s: float = _setting(300.0, "Seconds a model server may be silent.")
    upstream_retries: int = _setting(2, "Times a model server is asked again before its first token.", minimum=0)
    upstreams: tuple[UpstreamSettings, ...] = _setting(
        (),
        "Model servers, each in a table `[[upstreams]]` of the file; there is no flag and no variable.",
        is_table=True,
    )

    @property
    def is_loopback(self) -> bool:
        """Whether only programs on this machine can connect."""
        if self.uds or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def model_servers(self) -> tuple[UpstreamSettings, ...]:
        """All model servers; those of the file are asked first."""
        if not self.upstream_url:
            return self.upstreams
        simple = UpstreamSettings(
            name="default",
            url=self.upstream_url,
            key=self.upstream_key,
            default_model=self.upstream_model,
            context_tokens=self.upstream_context_tokens or None,
        )
        return (*self.upstreams, simple)

    @property
    def database_shown(self) -> str:
        """The database without its password, for banners and messages."""
        return database_urls.shown(self.database)


@dataclass(frozen=True, slots=True)
class Described:
    """One row of the table."""

    name: str
    type: Any
    default: Any
    help: str
    off: str
    secret: bool
    minimum: int | None
    maximum: float
    is_table: bool

    @property
    def flag(self) -> str:
        """The command-line spelling."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment spelling."""
        return ENV_PREFIX + self.name.upper()

    def parse(self, text: str, source: str) -> Any:
        """The value a flag or variable spells."""
        try:
            if self.type is bool:
                return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[text.lower()]
            if self.type in (int, float):
                return self._in_range(self.type(text), source)
        except (KeyError, ValueError, OverflowError):
            raise CommandError(
                f"{source}: {text!r} is not {self.kind}.", f"Give {self.kind}, such as {self.spelled_default}."
            ) from None
        if self.type is str:
            return text
        return tuple(part.strip() for part in text.split(",") if part.strip())

    def check(self, value: Any, source: str) -> Any:
        """A TOML value, refused when it has another type."""
        if self.type not in (bool, int, float, str) and isinstance(value, list):
            return tuple(str(part) for part in value)
        if self.type is float and type(value) is int and abs(value) <= NUMBER_MAX:
            value = float(value)
        if type(value) is not self.type:
            raise CommandError(f"{source}: {self.name} must be {self.kind}, not {value!r}.")
        return self._in_range(value, source) if self.type in (int, float) else value

    def _in_range(self, number: float, source: str) -> float:
        is_enough = number > 0 if self.minimum is None else number >= self.minimum
        if not (is_enough and number <= self.maximum):
            raise CommandError(
                f"{source}: {number} is out of range.", f"Give {self._range}; the default is {self.spelled_default}."
            )
        return number

    @property
    def _range(self) -> str:
        least = "more than 0" if self.minimum is None else f"{self.minimum} or more"
        return least if self.maximum == NUMBER_MAX else f"{least}, and at most {self.maximum}"

    @property
    def kind(self) -> str:
        """The type in words."""
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
        return words.get(self.type, "a list of texts")

    @property
    def spelled_default(self) -> str:
        """The default as a flag or variable would spell it."""
        return self.spell(self.default)

    def spell(self, value: Any) -> str:
        """A value of this setting as a flag or variable would spell it."""
        if self.is_table:
            return ", ".join(f"{upstream.name} ({upstream.url})" for upstream in value)
        if isinstance(value, tuple):
            return ",".join(value)
        return str(value).lower() if self.type is bool else str(value)


def table() -> Iterator[Described]:
    """All settings, in the order they are documented."""
    types = typing.get_type_hints(Settings)
    for field in dataclasses.fields(Settings):
        yield Described(field.name, types[field.name], field.default, **field.metadata)

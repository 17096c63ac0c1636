"""The events that webhooks get, as they are stored and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from threadkeep.context import Context

if TYPE_CHECKING:
    from threadkeep.run_rows import Run

EventType: TypeAlias = Literal[
    "thread.run.completed",
    "thread.run.incomplete",
    "thread.run.failed",
    "thread.run.cancelled",
    "thread.run.expired",
    "thread.run.requires_action",
]
ALL_EVENTS: tuple[EventType, ...] = get_args(EventType)
RUN_EVENT_PREFIX = "thread.run."
# Sent when it is asked for, whatever events a webhook wants.
TEST_EVENT = "webhook.test"


class EventRun(Struct, kw_only=True, tag_field="object", tag="thread.run"):
    """The run that an event is about; the API has the rest."""

    id: str
    thread_id: str
    assistant_id: str
    status: str
    metadata: dict[str, str]


class EventWebhook(Struct, kw_only=True, tag_field="object", tag="webhook"):
    """The webhook that is tested: a test event is about no run."""

    id: str


class WebhookEvent(Struct, kw_only=True):
    """An event, as the body of a delivery."""

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: int
    data: EventRun | EventWebhook


decode = msgspec.json.Decoder(WebhookEvent).decode


def of_run(run: Run, seq: int, now: int) -> WebhookEvent:
    """The event for the status that the run has entered `now`; `seq` is the number of the run's event with it."""
    return WebhookEvent(
        # The same however often the unit is run.
        id=f"evt_{run.id.removeprefix('run_')}_{seq}",
        type=f"{RUN_EVENT_PREFIX}{run.status}",
        created_at=now,
        data=EventRun(
            id=run.id,
            thread_id=run.thread_id,
            assistant_id=run.assistant_id,
            status=run.status,
            metadata=run.metadata,
        ),
    )


def of_test(ctx: Context, webhook_id: str) -> WebhookEvent:
    """The event that tries a webhook."""
    return WebhookEvent(id=ctx.new_id("evt"), type=TEST_EVENT, created_at=ctx.now(), data=EventWebhook(id=webhook_id))

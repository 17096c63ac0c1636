"""The route table: every address of the API, in one place.

Paths are served with and without `/v1`. Literal parts and ids alternate, so one dictionary look-up by the path's shape
finds the route.
"""

from __future__ import annotations

from threadkeep import (
    assistants,
    copies,
    exports,
    imports,
    messages,
    models,
    references,
    run_steps,
    runs,
    search,
    threads,
    webhooks,
)
from threadkeep.assistants import Assistant, AssistantCreateParams, AssistantDeleted, AssistantUpdateParams
from threadkeep.copies import ThreadCopyParams
from threadkeep.errors import NotFoundError
from threadkeep.http import dialect
from threadkeep.http.endpoint import Endpoint, Route
from threadkeep.imports import ImportParams, Report
from threadkeep.message_versions import MessageVersion
from threadkeep.messages import Message, MessageAddParams, MessageDeleted, MessageListParams, MessageUpdateParams
from threadkeep.models import Model, ModelList
from threadkeep.pages import ListParams, Page
from threadkeep.run_params import (
    RunCreateParams,
    RunCreateQuery,
    RunRetrieveParams,
    RunUpdateParams,
    ThreadAndRunCreateParams,
    ToolOutputsParams,
)
from threadkeep.run_rows import Run
from threadkeep.run_steps import RunStep, RunStepListParams, RunStepRetrieveParams
from threadkeep.search import SearchParams, SearchResult
from threadkeep.threads import Thread, ThreadCreateParams, ThreadDeleted, ThreadListParams, ThreadUpdateParams
from threadkeep.webhooks import (
    Webhook,
    WebhookCreateParams,
    WebhookDeleted,
    WebhookDelivery,
    WebhookRotateSecretParams,
    WebhookUpdateParams,
)

ASSISTANT = "/assistants/{assistant_id}"
MESSAGES = "/threads/{thread_id}/messages"
MESSAGE = f"{MESSAGES}/{{message_id}}"
RUNS = "/threads/{thread_id}/runs"
RUN = f"{RUNS}/{{run_id}}"
STEPS = f"{RUN}/steps"
OUTPUTS = f"{RUN}/submit_tool_outputs"
WITH_THREAD = "/threads/runs"
WEBHOOK = "/webhooks/{webhook_id}"
SEARCH = "/threads/search"
# Who follows a stream names the last event it has seen; the SDKs' polling helpers say that they are at work.
FOLLOWS = ("last-event-id", "x-stainless-poll-helper")

ROUTES = (
    Route(
        "POST",
        "/assistants",
        assistants.create,
        "Create assistant",
        body=AssistantCreateParams,
        result=Assistant,
        takes_key=True,
    ),
    Route("GET", "/assistants", assistants.list_, "List assistants", query=ListParams, result=Page[Assistant]),
    Route("GET", ASSISTANT, assistants.retrieve, "Retrieve assistant", result=Assistant),
    Route("POST", ASSISTANT, assistants.update, "Modify assistant", body=AssistantUpdateParams, result=Assistant),
    Route("DELETE", ASSISTANT, assistants.delete, "Delete assistant", result=AssistantDeleted),
    Route("GET", "/models", models.list_, "List models", result=ModelList, beta=False),
    Route("GET", "/models/{model}", models.retrieve, "Retrieve model", result=Model, beta=False),
    Route("POST", "/threads", threads.create, "Create thread", body=ThreadCreateParams, result=Thread, takes_key=True),
    Route("GET", "/threads", threads.list_, "List threads", query=ThreadListParams, result=Page[Thread], ours=True),
    Route("GET", SEARCH, search.find, "Search messages", query=SearchParams, result=Page[SearchResult], ours=True),
    Route("GET", "/threads/{thread_id}", threads.retrieve, "Retrieve thread", result=Thread),
    Route("POST", "/threads/{thread_id}", threads.update, "Modify thread", body=ThreadUpdateParams, result=Thread),
    Route("DELETE", "/threads/{thread_id}", threads.delete, "Delete thread", result=ThreadDeleted),
    Route(
        "POST",
        "/threads/{thread_id}/copy",
        copies.create,
        "Copy thread",
        body=ThreadCopyParams,
        result=Thread,
        takes_key=True,
        ours=True,
    ),
    Route("POST", MESSAGES, messages.create, "Create message", body=MessageAddParams, result=Message, takes_key=True),
    Route("GET", MESSAGES, messages.list_, "List messages", query=MessageListParams, result=Page[Message]),
    Route("GET", MESSAGE, messages.retrieve, "Retrieve message", result=Message),
    Route("POST", MESSAGE, messages.update, "Modify message", body=MessageUpdateParams, result=Message),
    Route("DELETE", MESSAGE, messages.delete, "Delete message", result=MessageDeleted),
    Route(
        "GET",
        f"{MESSAGE}/versions",
        messages.list_versions,
        "List message versions",
        query=ListParams,
        result=Page[MessageVersion],
        ours=True,
    ),
    Route(
        "POST",
        RUNS,
        runs.create,
        "Create run",
        body=RunCreateParams,
        query=RunCreateQuery,
        result=Run,
        streams=True,
        takes_key=True,
    ),
    Route(
        "POST",
        WITH_THREAD,
        runs.create_with_thread,
        "Create thread and run",
        body=ThreadAndRunCreateParams,
        result=Run,
        streams=True,
        takes_key=True,
    ),
    Route("GET", RUNS, runs.list_, "List runs", query=ListParams, result=Page[Run]),
    Route(
        "GET", RUN, runs.retrieve, "Retrieve run", query=RunRetrieveParams, result=Run, headers=FOLLOWS, streams=True
    ),
    Route("POST", RUN, runs.update, "Modify run", body=RunUpdateParams, result=Run),
    Route("POST", f"{RUN}/cancel", runs.cancel, "Cancel run", result=Run),
    Route(
        "POST",
        OUTPUTS,
        runs.submit_tool_outputs,
        "Submit tool outputs to run",
        body=ToolOutputsParams,
        result=Run,
        streams=True,
        takes_key=True,
    ),
    Route("GET", "/export", exports.create, "Export", result=None, beta=False, ours=True),
    Route(
        "POST",
        "/import",
        imports.create,
        "Import",
        query=ImportParams,
        result=Report,
        takes_stream=True,
        beta=False,
        ours=True,
    ),
    Route("GET", STEPS, run_steps.list_, "List run steps", query=RunStepListParams, result=Page[RunStep]),
    Route(
        "GET",
        f"{STEPS}/{{step_id}}",
        run_steps.retrieve,
        "Retrieve run step",
        query=RunStepRetrieveParams,
        result=RunStep,
    ),
    Route(
        "POST",
        "/webhooks",
        webhooks.create,
        "Create webhook",
        body=WebhookCreateParams,
        result=Webhook,
        takes_key=True,
        beta=False,
        ours=True,
    ),
    Route(
        "GET",
        "/webhooks",
        webhooks.list_,
        "List webhooks",
        query=ListParams,
        result=Page[Webhook],
        beta=False,
        ours=True,
    ),
    Route("GET", WEBHOOK, webhooks.retrieve, "Retrieve webhook", result=Webhook, beta=False, ours=True),
    Route(
        "POST",
        WEBHOOK,
        webhooks.update,
        "Modify webhook",
        body=WebhookUpdateParams,
        result=Webhook,
        beta=False,
        ours=True,
    ),
    Route("DELETE", WEBHOOK, webhooks.delete, "Delete webhook", result=WebhookDeleted, beta=False, ours=True),
    Route(
        "POST",
        f"{WEBHOOK}/rotate_secret",
        webhooks.rotate_secret,
        "Rotate webhook secret",
        body=WebhookRotateSecretParams,
        result=Webhook,
        takes_key=True,
        beta=False,
        ours=True,
    ),
    Route(
        "POST",
        f"{WEBHOOK}/test",
        webhooks.test,
        "Test webhook",
        result=WebhookDelivery,
        takes_key=True,
        beta=False,
        ours=True,
    ),
    Route(
        "GET",
        f"{WEBHOOK}/deliveries",
        webhooks.list_deliveries,
        "List webhook deliveries",
        query=ListParams,
        result=Page[WebhookDelivery],
        beta=False,
        ours=True,
    ),
    Route(
        "GET",
        f"{WEBHOOK}/deliveries/{{event_id}}",
        webhooks.retrieve_delivery,
        "Retrieve webhook delivery",
        result=WebhookDelivery,
        beta=False,
        ours=True,
    ),
    Route(
        "POST",
        f"{WEBHOOK}/deliveries/{{event_id}}/resend",
        webhooks.resend_delivery,
        "Resend webhook delivery",
        result=WebhookDelivery,
        beta=False,
        ours=True,
    ),
)

VERSION_PREFIX = "/v1"
# Its second part must not be taken for an id.
LITERAL = (WITH_THREAD.split("/")[1:], SEARCH.split("/")[1:])
RESOURCES_NOT_THERE_YET = {"files", "vector_stores", "uploads"}
# The number of parts and the literal ones: `/threads/{thread_id}/messages` is (3, "threads", "messages").
Shape = tuple[int | str, ...]
# Lists of files, and files, of an assistant and of a message.
V1_ONLY: set[Shape] = {
    (3, "assistants", "files"),
    (4, "assistants", "files"),
    (5, "threads", "messages", "files"),
    (6, "threads", "messages", "files"),
}


class RouteTable:
    """The endpoints by path shape and method."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES, *, strict: bool) -> None:
        self._strict = strict
        self._methods_of_shape: dict[Shape, dict[str, Endpoint]] = {}
        for route in routes:
            methods = self._methods_of_shape.setdefault(_shape(route.path.split("/")[1:]), {})
            methods[route.method] = Endpoint(route, strict=strict)

    def find(self, path: str) -> tuple[dict[str, Endpoint], list[str]] | None:
        """The endpoints at `path` by method, and the ids in it; None when no route has that shape.

        Raises `NotFoundError` for a part of the API that this server does not have yet, and under `--strict`
        `BadRequestError` for what the original no longer had.
        """
        parts = path.removeprefix(VERSION_PREFIX).split("/")
        if not parts[0] and not RESOURCES_NOT_THERE_YET.isdisjoint(parts[1:2]):
            raise NotFoundError(references.NOT_THERE_YET)
        if parts[1:2] == ["models"]:
            # Names of models contain slashes.
            parts[2:] = ["/".join(parts[2:])] if parts[2:] else []
        if parts[0]:
            return None
        if parts[1:] in LITERAL:
            return self._methods_of_shape[_shape(parts[1:])], []
        shape = _shape(parts[1:])
        if self._strict and shape in V1_ONLY:
            raise dialect.v1_is_gone()
        methods = self._methods_of_shape.get(shape)
        return (methods, parts[2::2]) if methods else None


def _shape(parts: list[str]) -> Shape:
    return (0, *parts) if parts in LITERAL else (len(parts), *parts[::2])

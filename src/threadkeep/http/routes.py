"""The route table: every address of the API, in one place.

Paths are served with and without `/v1`. Literal parts and ids alternate, so one dictionary look-up by the path's shape
finds the route.
"""

from __future__ import annotations

from threadkeep import messages, threads
from threadkeep.http.endpoint import Endpoint, Route
from threadkeep.messages import Message, MessageCreateParams, MessageDeleted, MessageListParams, MessageUpdateParams
from threadkeep.pages import Page
from threadkeep.threads import Thread, ThreadCreateParams, ThreadDeleted, ThreadListParams, ThreadUpdateParams

ROUTES = (
    Route(
        method="POST",
        path="/threads",
        operation=threads.create,
        body=ThreadCreateParams,
        result=Thread,
        summary="Create thread",
    ),
    Route(
        method="GET",
        path="/threads",
        operation=threads.list_,
        query=ThreadListParams,
        result=Page[Thread],
        summary="List threads",
        ours=True,
    ),
    Route(
        method="GET",
        path="/threads/{thread_id}",
        operation=threads.retrieve,
        result=Thread,
        summary="Retrieve thread",
    ),
    Route(
        method="POST",
        path="/threads/{thread_id}",
        operation=threads.update,
        body=ThreadUpdateParams,
        result=Thread,
        summary="Modify thread",
    ),
    Route(
        method="DELETE",
        path="/threads/{thread_id}",
        operation=threads.delete,
        result=ThreadDeleted,
        summary="Delete thread",
    ),
    Route(
        method="POST",
        path="/threads/{thread_id}/messages",
        operation=messages.create,
        body=MessageCreateParams,
        result=Message,
        summary="Create message",
    ),
    Route(
        method="GET",
        path="/threads/{thread_id}/messages",
        operation=messages.list_,
        query=MessageListParams,
        result=Page[Message],
        summary="List messages",
    ),
    Route(
        method="GET",
        path="/threads/{thread_id}/messages/{message_id}",
        operation=messages.retrieve,
        result=Message,
        summary="Retrieve message",
    ),
    Route(
        method="POST",
        path="/threads/{thread_id}/messages/{message_id}",
        operation=messages.update,
        body=MessageUpdateParams,
        result=Message,
        summary="Modify message",
    ),
    Route(
        method="DELETE",
        path="/threads/{thread_id}/messages/{message_id}",
        operation=messages.delete,
        result=MessageDeleted,
        summary="Delete message",
    ),
)

VERSION_PREFIX = "/v1"
# Addresses of the original that are not served yet, and must not be taken for an id in that place.
RESERVED = (["threads", "runs"],)
# The number of parts and the literal ones: `/threads/{thread_id}/messages` is (3, "threads", "messages").
Shape = tuple[int | str, ...]


class RouteTable:
    """The endpoints by path shape and method."""

    def __init__(self, routes: tuple[Route, ...] = ROUTES, *, strict: bool) -> None:
        self._methods_of_shape: dict[Shape, dict[str, Endpoint]] = {}
        for route in routes:
            methods = self._methods_of_shape.setdefault(_shape(route.path[1:].split("/")), {})
            methods[route.method] = Endpoint(route, strict=strict)

    def find(self, path: str) -> tuple[dict[str, Endpoint], list[str]] | None:
        """The endpoints at `path` by method, and the ids in it; None when no route has that shape."""
        parts = path.removeprefix(VERSION_PREFIX).split("/")
        if parts[0] or parts[1:] in RESERVED:
            return None
        methods = self._methods_of_shape.get(_shape(parts[1:]))
        return (methods, parts[2::2]) if methods else None


def _shape(parts: list[str]) -> Shape:
    return (len(parts), *parts[::2])

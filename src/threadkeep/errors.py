"""What can go wrong for a caller, and what the client is told.

    ThreadkeepError
    ├── CommandError                 the program cannot start or a command cannot be done; printed, exit 1
    └── APIError                     rendered by `http/` in the original's envelope
        ├── BadRequestError          400
        ├── AuthenticationError      401
        ├── PermissionDeniedError    403
        ├── NotFoundError            404
        ├── MethodNotAllowedError    405
        ├── RequestTimeoutError      408
        ├── ConflictError            409
        ├── RequestTooLargeError     413
        ├── RateLimitError           429
        ├── HeadTooLargeError        431
        ├── InternalServerError      500
        └── ServiceUnavailableError  503
            ├── OverloadedError          too much work is waiting
            ├── StorageUnavailableError  the disk is full, read-only or failing
            └── OutcomeUnknownError      the database went away during a commit

Where the official SDK has a class for what it raises on the other side, ours has its name. What modules raise and catch
among themselves, such as a client that is gone, is not in this tree; but what a unit of work raises in order to refuse
is a `ThreadkeepError` too (`AnsweredBeforeError`, `FenceLostError`), by which a store tells it from a fault. The texts
of the original's request validator are in `invalid.py`.
"""

from __future__ import annotations


class ThreadkeepError(Exception):
    """The root of the errors by which this package says no: to its callers, or to who runs a unit of work."""


class CommandError(ThreadkeepError):
    """A command cannot be carried out. `message` says what is wrong, `hint` what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def printed(self) -> str:
        """The lines in which a program that ends with it says so."""
        return "\n".join(filter(None, (f"threadkeep: {self.message}", self.hint)))


class APIError(ThreadkeepError):
    """An error with an HTTP status and the four fields of the original's envelope."""

    status = 500
    type = "invalid_request_error"
    code: str | None = None
    # Whether the connection cannot go on after it.
    hangs_up = False

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else type(self).code
        self.headers = headers

    def body(self) -> dict[str, dict[str, str | None]]:
        """The envelope: one error, all four keys always present."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


class BadRequestError(APIError):
    """The request is wrong; sending it again unchanged will not help."""

    status = 400


class AuthenticationError(APIError):
    """No key, or a key nobody knows."""

    status = 401


class PermissionDeniedError(APIError):
    """The request comes from where it may not: a web page of another origin."""

    status = 403


class NotFoundError(APIError):
    """No such object in the caller's project, or no such address."""

    status = 404

    @classmethod
    def of(cls, noun: str, object_id: str) -> NotFoundError:
        """The one text for a missing object, e.g. `No thread found with id 'thread_x'.`"""
        return cls(f"No {noun} found with id '{object_id}'.")


class MethodNotAllowedError(APIError):
    """The address exists, the method does not."""

    status = 405


class RequestTimeoutError(APIError):
    """The request did not arrive in time."""

    status = 408


class ConflictError(APIError):
    """An `Idempotency-Key` is given to a second, different request. The SDKs would send that again by themselves."""

    status = 409

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message, code=code, headers=((b"x-should-retry", b"false"),))


class RequestTooLargeError(APIError):
    """The body is over the limit."""

    status = 413
    code = "request_too_large"
    hangs_up = True


class RateLimitError(APIError):
    """More requests, runs or tokens than the caller may have now; nothing was changed."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        kind: str = "requests",
        retry_after_s: int = 1,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(message, headers=((b"retry-after", str(retry_after_s).encode()), *headers))
        self.type = kind


class HeadTooLargeError(APIError):
    """The request line and headers are over the limit."""

    status = 431
    code = "request_too_large"


class InternalServerError(APIError):
    """A fault of ours. The response shows a request id and nothing else; the log has the rest."""

    status = 500
    type = "server_error"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "The server had an error processing your request. Sorry about that! You can retry your request. "
            f"(Please include the request ID {request_id} when you report this.)"
        )


class ServiceUnavailableError(APIError):
    """Nothing was changed; the same request may succeed later."""

    status = 503
    type = "server_error"
    retry_after_s = 1

    def __init__(self, message: str) -> None:
        super().__init__(message, headers=((b"retry-after", str(self.retry_after_s).encode()),))


class OverloadedError(ServiceUnavailableError):
    """More work is waiting than the server agrees to hold. `why` says of what, as a clause."""

    code = "overloaded"

    def __init__(self, why: str) -> None:
        super().__init__(f"The server is overloaded: {why}. Try again shortly.")


class StorageUnavailableError(ServiceUnavailableError):
    """The database cannot take or give data now. What was acknowledged before stays."""

    code = "storage_unavailable"
    retry_after_s = 5


class OutcomeUnknownError(ServiceUnavailableError):
    """The connection broke while the database was committing: it may have happened or not."""

    code = "storage_unavailable"

    def __init__(self) -> None:
        super().__init__("The database went away while it was saving. Look whether it was saved before trying again.")
        # The SDKs would try again by themselves.
        self.headers = (*self.headers, (b"x-should-retry", b"false"))

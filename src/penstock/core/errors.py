"""The one table of errors: who is to blame, which HTTP status and close code, whether to come back.

Dialects translate a `Fault` into their own idiom, a status too where their clients know another one (`Traits.statuses`).
Close codes from 4000 to 4499 invite the client back, those from 4500 to 4999 do not (RFC 6455 §7.4.2 leaves both to us).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.core.events import Fault

Blame = Literal["client", "provider", "server"]


class Row(msgspec.Struct, frozen=True):
    """One error: `meaning` is a whole sentence for the reference, `close` a WebSocket close code."""

    blame: Blame
    status: int
    close: int
    retryable: bool
    meaning: str


TABLE: dict[str, Row] = {
    # what the client sent
    "invalid_json": Row("client", 400, 4500, False, "The body is not JSON."),
    "invalid_request": Row(
        "client", 400, 4500, False, "The request has a field that is missing, unknown or of the wrong type."
    ),
    "unknown_option": Row("client", 400, 4500, False, "The URL has an option this route does not know."),
    "bad_host": Row("client", 400, 4500, False, "The request has not exactly one valid Host header."),
    "bad_cursor": Row("client", 400, 4500, False, "The cursor is malformed; send it back exactly as it was received."),
    "unknown_dialect": Row("client", 400, 4500, False, "No dialect has this name."),
    "unknown_command": Row("client", 400, 4500, False, "No WebSocket command has this type."),
    "duplicate_ref": Row("client", 400, 4500, False, "The ref is in use on this socket; choose another."),
    "unauthenticated": Row(
        "client", 401, 4501, False, "The request needs a key of this server, or the one it has is not valid."
    ),
    "forbidden": Row("client", 403, 4503, False, "The key, or the URL, does not give this right."),
    "origin_refused": Row("client", 403, 4503, False, "Pages of this origin may not use the server."),
    "route_not_found": Row("client", 404, 4504, False, "Nothing is served at this path."),
    "unknown_model": Row("client", 404, 4504, False, "No model has this name; GET /v1/models lists them."),
    "stream_not_found": Row("client", 404, 4504, False, "No such stream, or it belongs to another key."),
    "method_not_allowed": Row("client", 405, 4505, False, "The path exists, but not for this method."),
    "not_acceptable": Row("client", 406, 4506, False, "The route cannot answer in the media type asked for."),
    "cursor_ahead": Row("client", 409, 4509, False, "The cursor lies beyond what the stream has said."),
    "input_not_accepted": Row("client", 409, 4509, False, "The run does not take input, or has ended."),
    "not_ended": Row("client", 409, 4509, False, "The stream is still running; cancel it first."),
    "cancelled": Row("client", 409, 4509, False, "The run was cancelled before its answer was complete."),
    "cursor_gone": Row(
        "client", 410, 4510, False, "What followed the cursor is no longer held; start from the snapshot."
    ),
    "run_gone": Row("client", 410, 4510, False, "The run that answered this idempotency key is no longer held."),
    "request_timeout": Row("client", 408, 4408, True, "The request did not come in the time it has."),
    "body_too_large": Row("client", 413, 1009, False, "The body is larger than the route takes."),
    "url_too_long": Row("client", 414, 4514, False, "The URL is longer than the server reads."),
    "unknown_host": Row("client", 421, 4521, False, "The server is not known by this host name."),
    "idempotency_mismatch": Row("client", 422, 4522, False, "The idempotency key was used before with another body."),
    "upgrade_required": Row(
        "client", 426, 4526, False, "This path is a WebSocket, and the request did not ask to become one."
    ),
    "rate_limited": Row("client", 429, 4029, True, "Too many requests in too short a time; wait a moment."),
    "too_many_runs": Row("client", 429, 4029, True, "Too many runs at once; wait for one to end."),
    "too_many_readers": Row("client", 429, 4029, True, "Too many streams are read at once; close one first."),
    "too_many_connections": Row(
        "client", 429, 4029, True, "This address has as many connections as one may have; close one first."
    ),
    "head_too_large": Row("client", 431, 4531, False, "The head of the request is larger than the server reads."),
    "input_full": Row("client", 429, 4029, True, "The run has not read its earlier input yet."),
    "slow_reader": Row(
        "client", 408, 4008, True, "The reader fell behind and was detached; come back with the cursor."
    ),
    "not_carried": Row(
        "client",
        400,
        4500,
        False,
        "The model's provider speaks a protocol that has no words for a field of the request.",
    ),
    "not_offered": Row("client", 400, 4500, False, "The model's provider does not offer what was asked for."),
    "previous_not_found": Row(
        "client", 400, 4500, False, "The answer to go on from is not held here, or belongs to another key."
    ),
    # what the provider did
    "provider_refused": Row("provider", 400, 4500, False, "The provider refused the request."),
    "context_too_long": Row("provider", 400, 4500, False, "The conversation does not fit the model's context."),
    "content_refused": Row("provider", 400, 4500, False, "The provider's content policy refused the request."),
    "provider_model_unknown": Row("provider", 404, 4504, False, "The provider does not know the model."),
    "provider_rate_limited": Row("provider", 429, 4029, True, "The provider is rate limiting; wait and try again."),
    "provider_auth": Row(
        "provider", 502, 4502, False, "The provider rejected the server's credentials; the operator must set its key."
    ),
    "provider_unreachable": Row("provider", 502, 4002, True, "The provider could not be reached."),
    "provider_error": Row("provider", 502, 4002, True, "The provider failed."),
    "provider_truncated": Row("provider", 502, 4002, True, "The provider's stream ended before the answer did."),
    "provider_garbled": Row("provider", 502, 4002, True, "The provider sent something that is not an answer."),
    "provider_overloaded": Row("provider", 503, 4003, True, "The provider is overloaded; wait and try again."),
    "providers_exhausted": Row(
        "provider", 503, 4003, True, "Every target of the model was tried, and none could answer; wait and try again."
    ),
    "target_busy": Row(
        "provider", 503, 4003, True, "The model answers as many at once as it may, and as many wait; try again shortly."
    ),
    "first_token_timeout": Row("provider", 504, 4004, True, "The provider did not say its first token in time."),
    "gap_timeout": Row("provider", 504, 4004, True, "The provider fell silent in mid-answer."),
    "throughput_timeout": Row("provider", 504, 4004, True, "The provider spoke more slowly than the server waits for."),
    "connect_timeout": Row("provider", 504, 4004, True, "No connection to the provider could be made in time."),
    "total_timeout": Row("provider", 504, 4504, False, "The run took longer than a run may take."),
    # what we did
    "internal": Row("server", 500, 1011, False, "The server failed; its log has the reason under the request id."),
    "answer_too_large": Row("server", 500, 1011, False, "The answer outgrew what the server keeps; stream it instead."),
    "source_failed": Row("server", 500, 1011, False, "The source raised an exception; the server's log has it."),
    "source_illegal": Row("server", 500, 1011, False, "The source broke the order of events."),
    "extra_missing": Row("server", 501, 4501, False, "The server lacks an optional package."),
    "interrupted": Row("server", 503, 1012, True, "The server is going away; the answer could not be finished."),
    "overloaded": Row("server", 503, 1013, True, "The server is full; try again shortly."),
}


def fault(
    code: str, message: str | None = None, *, retry_after: float | None = None, param: str | None = None
) -> Fault:
    """The `Fault` of a code of `TABLE`; its meaning stands in where no message is given."""
    row = TABLE[code]
    return Fault(code, message or row.meaning, row.retryable, retry_after, param)


class Refused(Exception):
    """A request was turned down before anything ran. Carries the `Fault` the client is shown."""

    def __init__(
        self, code: str, message: str | None = None, *, retry_after: float | None = None, param: str | None = None
    ):
        self.fault = fault(code, message, retry_after=retry_after, param=param)
        super().__init__(self.fault.message)


class Broken(Exception):
    """A source gave up. Carries the `Fault` that becomes the run's `Failed` event."""

    def __init__(
        self, code: str, message: str | None = None, *, retry_after: float | None = None, param: str | None = None
    ):
        self.fault = fault(code, message, retry_after=retry_after, param=param)
        super().__init__(self.fault.message)

    @classmethod
    def of(cls, fault: Fault) -> Broken:
        """A source that gave up with a fault that is known already."""
        problem = cls(fault.code if fault.code in TABLE else "provider_error")
        problem.fault = fault
        problem.args = (fault.message,)
        return problem

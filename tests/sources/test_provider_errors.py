"""What providers answer instead of a stream, and the errors of our table it becomes."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from penstock.core.errors import TABLE
from penstock.core.events import Fault
from penstock.sources import provider_errors


def refused(status: int, body: object = b"", **headers: str) -> Fault:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return provider_errors.refused("api.test:8080", status, raw, headers, secret="sk-secret").fault


def error(message: str = "no", **names: object) -> dict[str, object]:
    return {"error": {"message": message, **names}}


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "provider_refused"),
        (401, "provider_auth"),
        (402, "provider_refused"),
        (403, "provider_auth"),
        (404, "provider_model_unknown"),
        (408, "provider_error"),
        (409, "provider_refused"),
        (422, "provider_refused"),
        (429, "provider_rate_limited"),
        (500, "provider_error"),
        (502, "provider_error"),
        (503, "provider_overloaded"),
        (504, "provider_error"),
        (529, "provider_overloaded"),
        (307, "provider_error"),
    ],
)
def test_a_status_has_one_code(status: int, code: str) -> None:
    fault = refused(status, error())
    assert fault.code == code
    assert fault.retryable is TABLE[code].retryable
    assert "api.test:8080" in fault.message


@pytest.mark.parametrize(
    "body",
    [
        error("This model's maximum context length is 8192 tokens", code="context_length_exceeded"),
        error("too many", code="context_length_exceeded", type="invalid_request_error"),
        error(
            "request (24026 tokens) exceeds the available context size (1024 tokens)", type="exceed_context_size_error"
        ),
        error("prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"),
        {"object": "error", "message": "maximum context length is 4096", "code": 400},
        {"detail": "Prompt exceeds the context window"},
    ],
)
def test_a_conversation_that_does_not_fit_is_recognised(body: object) -> None:
    assert refused(400, body).code == "context_too_long"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, error("filtered", code="content_filter")),
        (400, error("no", type="content_policy_violation")),
        (400, error("no", code="other", innererror={"code": "ResponsibleAIPolicyViolation"})),
        (403, error("no", code="content_filter")),
    ],
)
def test_a_refusal_of_content_is_recognised(status: int, body: object) -> None:
    assert refused(status, body).code == "content_refused"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error("'messages' is required", code=400), "'messages' is required"),
        ({"error": "model is loading"}, "model is loading"),
        ({"detail": "bad temperature"}, "bad temperature"),
        ({"detail": [{"loc": ["body", "n"], "msg": "too large"}]}, '[{"loc":["body","n"],"msg":"too large"}]'),
        ([error("from a list")], "from a list"),
        ({"message": "plain"}, "plain"),
    ],
)
def test_the_providers_own_words_are_passed_on(body: object, message: str) -> None:
    assert refused(400, body).message == f"api.test:8080 refused the request: {message}"


@pytest.mark.parametrize("body", [b"", b"<html>Bad Request</html>", b"[]", b"null", b"3", b"\xff", b"[" * 100_000])
def test_a_body_that_says_nothing_leaves_the_status(body: bytes) -> None:
    assert refused(400, body).message == "api.test:8080 refused the request with status 400"


def test_a_key_is_never_quoted() -> None:
    assert "sk-secret" not in refused(400, error("the key sk-secret cannot do this")).message
    assert "sk-" not in refused(401, error("Incorrect API key provided: sk-sec***ret")).message


def test_a_long_message_is_cut() -> None:
    assert len(refused(400, error("x" * 10_000)).message) < 600


def test_a_message_is_one_line() -> None:
    assert refused(400, error("a\n\tb")).message == "api.test:8080 refused the request: a b"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "99999"}, 3600.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Sun, 99 Nov 9999 08:49:37 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
        ({"retry-after-ms": "-5"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_read_in_every_form_and_never_believed_blindly(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert refused(429, error(), **headers).retry_after == seconds


def test_a_date_to_come_is_a_wait_of_seconds() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=1800), usegmt=True)
    wait = refused(503, error(), **{"retry-after": later}).retry_after
    assert wait is not None
    assert 1700 < wait <= 1800


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"message": "x", "code": 429}, "provider_rate_limited"),
        ({"message": "x", "code": "503"}, "provider_overloaded"),
        ({"message": "x", "code": "rate_limit_exceeded"}, "provider_rate_limited"),
        ({"message": "x", "type": "overloaded_error"}, "provider_overloaded"),
        ({"message": "x", "type": "server_error"}, "provider_error"),
        ({"message": "x", "type": "invalid_request_error"}, "provider_refused"),
        ({"message": "context length exceeded", "type": "invalid_request_error"}, "context_too_long"),
        ({"message": "x", "code": "content_filter", "type": "invalid_request_error"}, "content_refused"),
        ({"message": "x", "code": "model_not_found"}, "provider_model_unknown"),
        ({"message": "x", "code": "invalid_api_key"}, "provider_auth"),
        ("out of memory", "provider_error"),
        (["?"], "provider_error"),
        (True, "provider_error"),
    ],
)
def test_an_error_in_mid_stream_is_read_by_its_names(value: object, code: str) -> None:
    assert provider_errors.failed("api.test", value).fault.code == code


def test_every_code_used_is_in_the_table() -> None:
    codes = {refused(status, error()).code for status in range(300, 600)}
    assert codes <= set(TABLE)

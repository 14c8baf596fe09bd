"""Bad input: the status, the body of the caller's dialect, what was wrong and what to do; and everybody else goes on."""

import json
from typing import Any

import httpx2
import pytest

from penstock.auth.grant import Grant
from tests.clients.raw_client import raw_client
from tests.server.reading import PROMPT, event_stream, websocket
from tests.serving import Served, serving

POSTS = {
    "/v1/streams": "native",
    "/v1/chat/chunked": "native",
    "/v1/chat/completions": "openai-chat",
    "/v1/chat/stream": "openai-chat",
    "/v1/messages": "anthropic",
    "/v1/responses": "openai-responses",
    "/api/chat": "token-done",
}

BODIES: dict[str, tuple[bytes, int, str]] = {
    "nothing": (b"", 400, "invalid_json"),
    "blanks": (b" \r\n", 400, "invalid_json"),
    "half an object": (b'{"messages": [', 400, "invalid_json"),
    "no JSON": (b"Hello", 400, "invalid_json"),
    "two values": (b"{} {}", 400, "invalid_json"),
    "no UTF-8": (b'{"prompt": "\xff\xfe"}', 400, "invalid_json"),
    "half a surrogate": (b'{"messages":[{"role":"user","content":"\\ud800"}]}', 400, "invalid_json"),
    "a list": (b"[]", 400, "invalid_request"),
    "null": (b"null", 400, "invalid_request"),
    "nothing asked": (b"{}", 400, "invalid_request"),
    "no messages": (b'{"messages": []}', 400, "invalid_request"),
    "messages of numbers": (b'{"messages": [1]}', 400, "invalid_request"),
    "a message of nobody": (b'{"messages": [{"content": "x"}]}', 400, "invalid_request"),
    "a number for a model": (b'{"model": 7, "messages": [{"role": "user", "content": "x"}]}', 400, "invalid_request"),
    "a word for stream": (b'{"stream": "yes", "messages": [{"role": "user", "content": "x"}]}', 400, "invalid_request"),
    "101 levels": (b'{"messages": ' + b"[" * 101 + b"]" * 101 + b"}", 400, "invalid_json"),
    "100,000 levels": (b"[" * 100_000, 400, "invalid_json"),
    "100,000 levels, closed": (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "invalid_json"),
    "an unknown model": (
        b'{"model": "nobody", "max_tokens": 9, "input": "x", "messages": [{"role": "user", "content": "x"}]}',
        404,
        "unknown_model",
    ),
    "a model of control characters": (
        b'{"model": "openai/x\\r\\nSet-Cookie: a=b", "max_tokens": 9, "input": "x", "messages": [{"role": "user", "content": "x"}]}',
        404,
        "unknown_model",
    ),
}


def error_of(dialect: str, answer: httpx2.Response) -> tuple[str, str]:
    """Code and message of an error body, which is checked to be in the dialect."""
    body: Any = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    match dialect:
        case "native":
            assert body["type"] == "error"
            assert set(body["error"]) <= {"code", "message", "retryable", "retry_after", "param"}
        case "openai-chat" | "openai-responses":
            assert set(body["error"]) == {"message", "type", "code", "param"}
            assert body["error"]["type"] == ("invalid_request_error" if answer.status_code < 500 else "server_error")
        case "anthropic":
            assert (body["type"], set(body["error"])) == ("error", {"type", "message", "details"})
            assert answer.headers["request-id"] == body["request_id"]
            return body["error"]["details"]["error_code"], body["error"]["message"]
        case _:
            assert body["done"] is True
            return body["error_code"].lower(), body["error"]
    return body["error"]["code"], body["error"]["message"]


@pytest.mark.parametrize(("path", "dialect"), POSTS.items(), ids=POSTS)
async def test_a_bad_body_gets_a_typed_error_in_the_dialect_of_its_route(
    served: Served, client: httpx2.AsyncClient, path: str, dialect: str
) -> None:
    async with event_stream(client, "POST", "/v1/streams", json=PROMPT) as bystander:
        telling = await served.telling()
        telling.begin()
        await bystander.next()
        await bystander.next()
        for name, (body, status, code) in BODIES.items():
            answer = await client.post(path, content=body)
            found, message = error_of(dialect, answer)
            assert (name, answer.status_code, found) == (name, status, code)
            assert 15 < len(message) < 400
            assert answer.headers["x-request-id"] == answer.json()["request_id"]
        telling.speak("unmoved")
        assert (await bystander.value())["text"] == "unmoved"
    assert len(served.source.tellings) == 1


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_of_17_mib_is_413(served: Served, client: httpx2.AsyncClient, declared: bool) -> None:
    async def pieces() -> Any:
        for _ in range(17):
            yield b" " * 2**20

    body: Any = b" " * (17 * 2**20) if declared else pieces()
    answer = await client.post("/v1/chat/completions", content=body)
    code, message = error_of("openai-chat", answer)
    assert (answer.status_code, code) == (413, "body_too_large")
    assert str(16 * 2**20) in message
    assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/streams", "POST, GET"),
        ("DELETE", "/v1/streams", "POST, GET"),
        ("HEAD", "/v1/streams", "POST, GET"),
        ("POST", "/v1/streams/st_x", "GET, DELETE"),
        ("POST", "/v1/streams/st_x/events", "GET"),
        ("GET", "/v1/streams/st_x/input", "POST"),
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/chat/stream", "POST, GET"),
        ("PATCH", "/api/chat", "POST"),
        ("POST", "/v1/models", "GET"),
        ("POST", "/healthz", "GET, HEAD"),
        ("BREW", "/v1/chat/chunked", "POST"),
    ],
)
async def test_a_wrong_method_is_405_and_says_what_is_allowed(
    client: httpx2.AsyncClient, method: str, path: str, allowed: str
) -> None:
    async with client.stream(method, path) as answer:
        if method == "BREW":
            assert answer.status_code == 400  # no method of HTTP: the parser's own answer
            return
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        body = await answer.aread()
    assert (b"not allowed" in body) == (method != "HEAD")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_head_is_get_without_the_body(client: httpx2.AsyncClient, path: str) -> None:
    got, head = await client.get(path), await client.head(path)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    assert (await client.get(path)).json() == got.json()


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/stream", "did you mean /v1/streams?"),
        ("/nothing/like/it", "GET /v1/models"),
        ("/" + "x" * 8_000, "GET /v1/models"),
        ("/v1/streems", "did you mean /v1/streams?"),
        ("/%00%ff", "GET /v1/models"),
    ],
)
async def test_an_unknown_path_is_404_with_the_nearest_there_is(
    client: httpx2.AsyncClient, path: str, hint: str
) -> None:
    answer = await client.get(path)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (404, "route_not_found")
    assert answer.headers["content-type"] == "application/problem+json"
    assert hint in problem["detail"]
    assert len(answer.content) < 600


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nBad\x00Header: y\r\n\r\n",
        "GET /v1/chat/stream?prompt=Grüße HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    ],
)
async def test_what_is_no_http_is_answered_with_400_and_shown_the_door(served: Served, garbage: bytes) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(garbage)
        head = await raw.head()
        assert (head.status, head.header("content-type")) == (400, "application/problem+json")
        told = json.loads(await raw.rest())
        assert (told["status"], told["code"]) == (400, "invalid_request")
        assert "%C3%A9" in told["detail"]
        assert await raw.until_line_ends() == "fin"


async def test_garbage_behind_a_request_ends_its_answer_without_words_in_the_middle(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.request("POST", "/v1/chat/chunked", body=PROMPT)
        telling = await served.telling()
        telling.speak("Hello")
        assert (await raw.head()).status == 200
        assert await raw.body_until(b"Hello") == b"Hello"
        await raw.send(b"garbage\r\n\r\n")
        assert await raw.rest() == b""
        assert raw.ended == "cut"
    await telling.closed.wait()


@pytest.mark.parametrize("dialect", ["native", "openai-chat", "token-done", "anthropic"])
async def test_whoever_asks_for_a_dialect_is_refused_in_it(
    served: Served, client: httpx2.AsyncClient, dialect: str
) -> None:
    answer = await client.get(f"/v1/streams/st_x/events?dialect={dialect}")
    assert answer.status_code == 404
    assert error_of(dialect, answer)[0].lower() == "stream_not_found"
    for path in POSTS:
        answer = await client.post(f"{path}?dialect={dialect}", content=b"", headers={"accept": "application/json"})
        assert (path, answer.status_code) == (path, 400)
        assert error_of(dialect, answer)[0].lower() == "invalid_json"
    answer = await client.post("/v1/chat/completions?dialect=nobody", json=PROMPT)
    assert error_of("openai-chat", answer)[0] == "unknown_dialect"


async def test_a_client_that_leaves_in_the_middle_of_its_body_starts_nothing(served: Served) -> None:
    async with raw_client(served.url) as raw:
        await raw.send(b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        async with served.client() as client:
            assert (await client.get("/healthz")).status_code == 200
        raw.reset()
    await served.quiet()
    assert served.runs.by_id == {}


async def test_a_fault_of_our_own_is_a_typed_500_and_stands_in_the_log() -> None:
    async with serving(errors_expected=True) as served, served.client() as client:

        def model(name: str, grant: Grant) -> Any:
            raise ZeroDivisionError("a secret detail")

        served.app.service.model = model
        for path, dialect in POSTS.items():
            answer = await client.post(path, json={**PROMPT, "max_tokens": 64, "input": "x"})
            code, message = error_of(dialect, answer)
            assert (answer.status_code, code) == (500, "internal")
            assert "secret" not in message
        assert [path for path, _ in served.seen.failures] == list(POSTS)


async def test_a_fault_of_our_own_after_the_start_cuts_the_line_and_stands_in_the_log() -> None:
    async with serving(errors_expected=True) as served, raw_client(served.url) as raw:
        dialect: Any = served.app.service.dialects["native"]
        whole = dialect.renderer

        def broken(view: Any) -> Any:
            renderer = whole(view)
            renderer._heads = None
            return renderer

        dialect.renderer = broken
        await raw.request("POST", "/v1/streams", body=PROMPT)
        telling = await served.telling()
        assert (await raw.head()).status == 200
        telling.speak("never told")
        await raw.rest()
        assert raw.ended == "cut"
        assert [type(error) for _, error in served.seen.failures] == [AttributeError]
        await served.attended(0)
        assert served.logged == []


async def test_no_error_repeats_what_it_was_sent_at_length(client: httpx2.AsyncClient) -> None:
    long = "y" * 100_000
    for answer in (
        await client.post("/v1/streams", json={**PROMPT, "model": long}),
        await client.post("/v1/streams", json={"messages": long}),
        await client.get(f"/v1/streams/{long[:8_000]}"),
        await client.post("/v1/streams", json=PROMPT, headers={"idempotency-key": "k" * 1000}),
    ):
        assert answer.status_code in (400, 404)
        assert len(answer.content) < 1000


async def test_a_request_id_comes_back_where_it_is_one(client: httpx2.AsyncClient) -> None:
    for given, kept in (("abc-123", True), ("x" * 200, False), ('"><script>', False)):
        answer = await client.get("/v1/streams/st_x", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) == kept


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "/v1/chat/ws is a WebSocket: connect to it with one"),
        ({"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}, "proxy_set_header Upgrade $http_upgrade"),
    ],
    ids=["no handshake", "a handshake whose Upgrade was dropped"],
)
async def test_a_request_that_should_have_become_a_websocket_is_told_what_is_missing(
    client: httpx2.AsyncClient, headers: dict[str, str], said: str
) -> None:
    answer = await client.get("/v1/chat/ws", headers=headers)
    assert (answer.status_code, answer.headers["upgrade"], answer.json()["code"]) == (
        426,
        "websocket",
        "upgrade_required",
    )
    assert said in answer.json()["detail"]


async def test_a_socket_names_the_nearest_model(served: Served) -> None:
    async with websocket(served.ws_url) as socket:
        answer = await socket.ask(type="start", ref="1", request={**PROMPT, "model": "scriptet"})
        assert "did you mean 'scripted'?" in json.dumps(answer)

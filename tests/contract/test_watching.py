"""The watch over an application sees what was never promised, and lets pass what was."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.contract.watching import Watched

RUN = "st_" + "a" * 26


async def watched(
    body: bytes,
    *,
    media: str = "text/event-stream; charset=utf-8",
    status: int = 200,
    path: str = "/v1/streams",
    query: bytes = b"",
) -> list[str]:
    """What is wrong with an answer to `POST path`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", media.encode())]})
        half = len(body) // 2
        await send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": body[half:]})

    return await _asked(app, {"type": "http", "method": "POST", "path": path, "query_string": query})


async def _asked(app: Any, scope: Scope) -> list[str]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    watch = Watched(app)
    await watch(scope, receive, send)
    assert sent != []
    return watch.broken


@pytest.mark.parametrize(
    "body",
    [
        b"id: %b:a1:0\n\n: ping\n" % RUN.encode(),
        b'data: {"type":"delta","part":0,"text":"x"}\nretry: 1000\nid: c:1\n\n',
        b'data: {"text":"x"}\n\n',
        b"",
    ],
)
async def test_a_stream_that_was_promised_passes(body: bytes) -> None:
    assert await watched(body) == []


@pytest.mark.parametrize(
    "body",
    [
        b'data: {"made":"up"}\n\n',
        b": ping\n\n",
        b'data: {"text":"x"}\n',
        b'data: {"text":"x"}\n\ndata: {"token":"x"}\n\n',
    ],
)
async def test_a_stream_that_was_not_promised_is_noticed(body: bytes) -> None:
    (problem,) = await watched(body)
    assert "/v1/streams is in no dialect" in problem


async def test_a_stream_is_held_against_the_dialect_that_was_asked_for() -> None:
    body = b'data: {"text":"x"}\n\n'
    assert await watched(body, query=b"dialect=plain") == []
    assert len(await watched(body, query=b"dialect=native")) == 1


async def test_other_answers_are_held_against_the_description() -> None:
    refusal = b'{"type":"error","error":{"code":"bad_cursor","message":"x","retryable":false},"request_id":"r"}'
    assert await watched(refusal, media="application/json", status=400) == []
    assert len(await watched(b"{}", media="application/json", status=400)) == 1
    assert len(await watched(b"oops", media="text/html", status=500)) == 1


async def test_a_path_that_is_not_described_passes() -> None:
    assert await watched(b"<html>", media="text/html", path="/dashboard") == []


def binary(header: str) -> bytes:
    return len(header).to_bytes(2, "big") + header.encode() + b"\x00\xff"


@pytest.mark.parametrize(
    ("message", "problems"),
    [
        ({"text": '{"type":"pong","ref":"1"}'}, 0),
        ({"text": f'{{"type":"delta","part":0,"text":"x","stream":"{RUN}"}}'}, 0),
        ({"bytes": binary(f'{{"stream":"{RUN}","part":0}}')}, 0),
        ({"bytes": binary(f'{{"stream":"{RUN}","part":"0"}}')}, 1),
        ({"bytes": b"\x00\xffno header"}, 1),
        ({"text": '{"type":"news"}'}, 1),
        ({"text": '{"type":"delta","part":0,"text":"x"}'}, 1),
    ],
    ids=["answer", "event", "binary", "header", "no-header", "unknown", "no-stream"],
)
async def test_the_messages_of_a_socket_are_held_against_the_schemas(message: Message, problems: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", **message})

    assert len(await _asked(app, {"type": "websocket", "path": "/v1/chat/ws"})) == problems


async def test_a_whole_answer_is_held_against_the_dialect_that_was_asked_for() -> None:
    body = b'{"text":"x"}'
    assert await watched(body, media="application/json", query=b"dialect=plain") == []
    assert len(await watched(body, media="application/json", query=b"dialect=token-done")) == 1
    assert len(await watched(body, media="application/json")) == 1

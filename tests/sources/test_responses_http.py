"""An answer that its provider keeps is read on from where the line broke; one that it does not keep is not."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest

from penstock.core.errors import Broken
from penstock.core.events import Delta, Event, Finished, Note
from penstock.sources.provider import MOST_RESUMES, HttpProvider
from penstock.sources.responses_http import ResponsesProvider
from penstock.testing.sources import SoloRun
from tests.fakes.provider import Provider
from tests.fakes.script import Body, Cut, End, Head, Reply, Step
from tests.sources.asking import question

ASKED = msgspec.structs.replace(question(), background=True)


def sse(number: int, kind: str, **members: Any) -> Step:
    """One event of Responses."""
    return Body(b"data: " + json.dumps({"type": kind, "sequence_number": number, **members}).encode() + b"\n\n")


def begun(*, background: bool) -> list[Step]:
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    return [
        Head(),
        sse(0, "response.created", response={"id": "resp_1", "background": background}),
        sse(1, "response.output_item.added", output_index=0, item=item),
        sse(
            2,
            "response.content_part.added",
            output_index=0,
            content_index=0,
            item_id="msg_1",
            part={"type": "output_text"},
        ),
    ]


def word(number: int, text: str) -> Step:
    return sse(number, "response.output_text.delta", output_index=0, content_index=0, item_id="msg_1", delta=text)


def done(number: int) -> list[Step]:
    return [sse(number, "response.completed", response={"id": "resp_1", "status": "completed", "output": []}), End()]


@pytest.fixture
async def upstream(provider: Provider) -> AsyncGenerator[HttpProvider]:
    made = ResponsesProvider(provider.base_url)
    yield made
    await made.close()


async def said_by(upstream: HttpProvider, request: Any = ASKED) -> tuple[list[Event], Broken | None]:
    said: list[Event] = []
    try:
        async for event in upstream.source("m")(request, SoloRun()):
            said.append(event)
    except Broken as problem:
        return said, problem
    return said, None


def text(said: list[Event]) -> str:
    return "".join(event.text for event in said if isinstance(event, Delta))


async def test_a_kept_answer_is_read_on_behind_its_last_whole_event(provider: Provider, upstream: HttpProvider) -> None:
    provider.script(
        begun(background=True), word(3, "The "), word(4, "quick "), Body(b'data: {"type":"response.outp'), Cut()
    )
    provider.script(Head(), word(5, "brown "), Cut())
    provider.script(Head(), word(6, "fox."), done(7))
    said, broken = await said_by(upstream)
    assert (text(said), broken, said[-1]) == ("The quick brown fox.", None, Finished("stop"))
    asked, *again = provider.requests
    assert (asked.json["background"], asked.json["store"]) == (True, True)
    assert [(each.method, each.path) for each in again] == [
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=4"),
        ("GET", "/v1/responses/resp_1?stream=true&starting_after=5"),
    ]
    assert [event.body for event in said if isinstance(event, Note) and event.topic == "recovery"] == [
        {"from": "4"}, {"from": "5"},
    ]  # fmt: skip


async def test_a_stream_that_begins_earlier_than_it_was_asked_to_repeats_nothing(
    provider: Provider, upstream: HttpProvider
) -> None:
    provider.script(begun(background=True), word(3, "The "), word(4, "quick "), Cut())
    provider.script(begun(background=True), word(3, "The "), word(4, "quick "), word(5, "fox."), done(6))
    said, broken = await said_by(upstream)
    assert (text(said), broken, said[-1]) == ("The quick fox.", None, Finished("stop"))


async def test_a_stream_that_goes_on_too_late_is_not_taken_for_whole(
    provider: Provider, upstream: HttpProvider
) -> None:
    provider.script(begun(background=True), word(3, "The "), Cut())
    provider.script(Head(), word(5, "fox."), done(6))
    said, broken = await said_by(upstream)
    assert broken is not None
    assert (text(said), broken.fault.code) == ("The ", "provider_truncated")


async def test_an_answer_that_is_not_kept_is_not_asked_for_again(provider: Provider, upstream: HttpProvider) -> None:
    provider.script(begun(background=False), word(3, "half"), Cut())
    said, broken = await said_by(upstream, question())
    assert broken is not None
    assert (text(said), broken.fault.code, len(provider.requests)) == ("half", "provider_truncated", 1)
    assert "background" not in provider.requests[0].json


async def test_a_provider_that_has_lost_it_is_believed(provider: Provider, upstream: HttpProvider) -> None:
    provider.script(begun(background=True), word(3, "half"), Cut())
    provider.script(Reply(status=404, body={"error": {"message": "gone", "type": "invalid_request_error"}}))
    said, broken = await said_by(upstream)
    assert broken is not None
    assert (text(said), broken.fault.code) == ("half", "provider_truncated")


async def test_it_is_not_read_on_for_ever(provider: Provider, upstream: HttpProvider) -> None:
    provider.script(begun(background=True), word(3, "half"), Cut())
    for _ in range(MOST_RESUMES + 1):
        provider.script(Head(), Cut())
    _, broken = await said_by(upstream)
    assert broken is not None
    assert (broken.fault.code, len(provider.requests)) == ("provider_truncated", 1 + MOST_RESUMES)


async def test_whoever_says_store_false_is_not_kept_anywhere(provider: Provider, upstream: HttpProvider) -> None:
    provider.script(begun(background=False), word(3, "x"), done(4))
    kept_out = msgspec.structs.replace(question(store=False), background=True)
    assert (await said_by(upstream, kept_out))[1] is None
    assert "background" not in provider.requests[0].json

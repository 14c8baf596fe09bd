"""Every way a provider on a real socket can fail (U1 to U9)."""

import asyncio
import gzip

import aiohttp
import pytest

from penstock.core.events import Event, Finished, Started, Usage
from penstock.sources import http_response
from penstock.sources.ending import MOST_PARTS
from penstock.sources.openai_http import OpenAIProvider
from penstock.sources.provider import MOST_SILENCE, HttpSource
from tests.fakes.provider import Provider, head_bytes
from tests.fakes.script import (
    EVENT_STREAM,
    Body,
    Cut,
    End,
    Flood,
    Gate,
    HalfClose,
    Hang,
    Head,
    Raw,
    Reply,
    Reset,
    Trickle,
    answer,
    chunk,
    closing,
    event_bytes,
    opening,
    text,
    usage_of,
)
from tests.fakes.script import Event as Say
from tests.sources.asking import ask, failure, heard, question
from tests.sources.asking import text as text_of
from tests.waiting import until

# -- U1, U2: what comes before the first byte ----------------------------------------------------------------------------


async def test_a_refused_connection_is_unreachable(source: HttpSource, provider: Provider) -> None:
    provider.refuse()
    assert await failure(source) == ("", "provider_unreachable")


async def test_a_name_that_does_not_resolve_is_unreachable_and_says_so() -> None:
    source = OpenAIProvider("http://nowhere.invalid").source("m")
    _, broken = await heard(ask(source))
    await source.close()
    assert broken is not None
    assert broken.fault.message == "nowhere.invalid could not be reached: its name does not resolve"


@pytest.mark.parametrize("end", [Reset(), Cut()])
async def test_a_connection_lost_before_the_first_byte_is_unreachable(
    source: HttpSource, provider: Provider, end: Reset | Cut
) -> None:
    provider.script(end)
    assert await failure(source) == ("", "provider_unreachable")


async def test_an_answer_that_is_not_http_is_garbled(source: HttpSource, provider: Provider) -> None:
    provider.script(Raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Hang())
    assert await failure(source) == ("", "provider_garbled")


@pytest.mark.parametrize("end", [Cut(), Reset()])
async def test_a_connection_at_rest_that_the_provider_closes_as_it_is_used_again_is_replaced(
    source: HttpSource, provider: Provider, end: Cut | Reset
) -> None:
    """As llama.cpp does after every streamed answer; whoever asks at once must not be told that it is unreachable."""
    provider.script(answer("first"))
    provider.script(end)
    provider.script(answer("second"))
    assert text_of((await heard(ask(source)))[0]) == "first"
    assert text_of((await heard(ask(source)))[0]) == "second"
    assert [len(connection.requests) for connection in provider.connections] == [2, 1]


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "provider_refused"), (401, "provider_auth"), (404, "provider_model_unknown"), (500, "provider_error")],
)
async def test_a_refusal_has_its_code_and_keeps_the_connection(
    source: HttpSource, provider: Provider, status: int, code: str
) -> None:
    provider.script(Reply(status=status, body={"error": {"message": "sk-secret is no good"}}))
    assert await failure(source) == ("", code)
    await heard(ask(source))
    assert len(provider.connections) == 1


async def test_a_rate_limit_says_when_to_come_back(source: HttpSource, provider: Provider) -> None:
    provider.script(Reply(status=429, body={"error": {"message": "slow down"}}, headers={"Retry-After": "7"}))
    _, broken = await heard(ask(source))
    assert broken is not None
    assert (broken.fault.code, broken.fault.retry_after) == ("provider_rate_limited", 7.0)


async def test_an_error_body_without_end_is_not_read_for_ever(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(status=500), *(Body(b"x" * 16_384) for _ in range(8)), Hang())
    assert await failure(source) == ("", "provider_error")
    await provider.connections[0].peer_gone.wait()


async def test_an_error_body_that_never_comes_is_not_waited_for(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(status=503), Hang())
    assert await failure(source) == ("", "provider_overloaded")
    await provider.connections[0].peer_gone.wait()


async def test_an_error_body_that_breaks_off_leaves_the_status(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(status=502), Body(b'{"error": {"mess'), Cut())
    assert await failure(source) == ("", "provider_error")


async def test_a_redirect_is_not_followed(source: HttpSource, provider: Provider) -> None:
    provider.script(Reply(status=307, headers={"Location": "/v1/models"}))
    assert await failure(source) == ("", "provider_error")
    assert len(provider.requests) == 1


# -- U3, U4, U6: what breaks in the middle -------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Reset(), Cut(), HalfClose()])
async def test_a_connection_lost_in_the_middle_is_truncated(
    source: HttpSource, provider: Provider, end: Reset | Cut | HalfClose
) -> None:
    gate = Gate()
    provider.script(opening(), text("Half of "), gate, end)
    stream = ask(source)
    events = [await anext(stream) for _ in range(3)]
    gate.open()
    rest, broken = await heard(stream)
    assert text_of(events) == "Half of "
    assert rest == []
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


async def test_what_arrived_before_the_cut_and_was_not_read_yet_is_said(
    source: HttpSource, provider: Provider, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noticed = asyncio.Event()
    where, name = {
        "aiohttp": (aiohttp.StreamReader, "set_exception"),
        "httptools": (http_response.HttpResponse, "fail"),
    }[client]
    remembering = getattr(where, name)

    def noticing(self: object, *problem: BaseException) -> None:
        remembering(self, *problem)
        noticed.set()

    monkeypatch.setattr(where, name, noticing)
    provider.script(Head(), text("read "), text("by nobody"), Cut())
    stream = ask(source)
    assert isinstance(await anext(stream), Started)
    await noticed.wait()
    events, broken = await heard(stream)
    assert text_of(events) == "read by nobody"
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


@pytest.mark.parametrize("end", [End(), Cut()])
async def test_an_end_without_a_finish_reason_is_never_a_success(
    source: HttpSource, provider: Provider, end: End | Cut
) -> None:
    provider.script(opening(), text("Half of "), end)
    assert await failure(source) == ("Half of ", "provider_truncated")


async def test_a_body_ended_by_closing_is_complete_with_a_finish_reason(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(chunked=False), text("All"), Say(chunk(finish="stop")), End())
    events, broken = await heard(ask(source))
    assert (text_of(events), events[-1], broken) == ("All", Finished("stop"), None)


async def test_a_body_cut_after_the_finish_reason_has_said_all_but_what_it_cost(
    source: HttpSource, provider: Provider
) -> None:
    provider.script(Head(), text("All"), Say(chunk(finish="stop")), Cut())
    events, broken = await heard(ask(source))
    assert (text_of(events), events[-1], broken) == ("All", Finished("stop"), None)
    assert [event for event in events if isinstance(event, Usage)] == []


async def test_a_cut_before_another_choice_began_is_no_end(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), text("All"), Say(chunk(finish="stop")), Cut())
    assert await failure(source, question(n=2)) == ("All", "provider_truncated")
    provider.script(Head(), text("All"), closing())
    assert (await heard(ask(source, question(n=2))))[1] is None  # it gives one, whatever it was asked for


async def test_a_character_cut_in_two_by_the_network_is_whole(source: HttpSource, provider: Provider) -> None:
    stream = event_bytes(chunk({"content": "a😀é"}))
    middle = stream.index("😀".encode()) + 2
    gate = Gate()
    provider.script(Head(), Body(stream[:middle]), gate, Body(stream[middle:]), closing())
    asked = asyncio.ensure_future(heard(ask(source)))
    await gate.reached.wait()
    gate.open()
    events, broken = await asked
    assert (text_of(events), broken) == ("a😀é", None)


@pytest.mark.parametrize("where", ["😀", '"delta"', "data"])
async def test_a_cut_inside_an_event_leaves_the_whole_events_before_it(
    source: HttpSource, provider: Provider, where: str
) -> None:
    whole = event_bytes(chunk({"content": "a"}))
    half = event_bytes(chunk({"content": "😀"}))
    provider.script(Head(), Body(whole + half[: half.index(where.encode()) + 2]), Cut())
    assert await failure(source) == ("a", "provider_truncated")


# -- U7: what is no answer -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html"}, b"<html>Welcome</html>"),
        ({"Content-Type": "application/json"}, b'{"choices": []}'),
        ({"Content-Type": "application/x-ndjson"}, b'{"choices": []}\n'),
        ({**EVENT_STREAM, "Content-Encoding": "gzip"}, gzip.compress(b"data: {}\n\n" * 1000, mtime=0)),
    ],
    ids=["html", "json", "ndjson", "gzip"],
)
async def test_an_answer_of_another_kind_is_garbled(
    source: HttpSource, provider: Provider, headers: dict[str, str], body: bytes
) -> None:
    provider.script(Reply(headers=headers, body=body))
    assert await failure(source) == ("", "provider_garbled")


async def test_an_error_object_with_status_200_is_that_error(source: HttpSource, provider: Provider) -> None:
    provider.script(Reply(body={"error": {"message": "busy", "type": "overloaded_error"}}))
    assert await failure(source) == ("", "provider_overloaded")


async def test_a_line_without_end_is_garbled_and_hung_up_on(source: HttpSource, provider: Provider) -> None:
    provider.script(opening(), text("a"), Body(b"data: "), *(Body(b"x" * 65_536) for _ in range(40)), Hang())
    assert await failure(source) == ("a", "provider_garbled")
    await provider.connections[0].peer_gone.wait()


@pytest.mark.parametrize("garbage", [b"data: \x00\x00\n\n", b"data: <html>\n\n", b"data: [1]\n\n"])
async def test_garbage_in_the_stream_is_garbled(source: HttpSource, provider: Provider, garbage: bytes) -> None:
    provider.script(opening(), text("a"), Body(garbage), Hang())
    assert await failure(source) == ("a", "provider_garbled")


async def test_a_broken_chunk_size_is_truncated(source: HttpSource, provider: Provider) -> None:
    gate = Gate()
    provider.script(opening(), text("a"), gate, Raw(b"zz\r\nwhat\r\n"), Hang())
    stream = ask(source)
    events = [await anext(stream) for _ in range(3)]
    gate.open()
    rest, broken = await heard(stream)
    assert (text_of(events), rest) == ("a", [])
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


# -- U8, U9: what is odd, slow or too fast -------------------------------------------------------------------------------


async def test_an_error_in_a_stream_that_began_well_is_that_error(source: HttpSource, provider: Provider) -> None:
    provider.script(
        opening(), text("a"), Say({"error": {"message": "no memory for sk-secret", "code": 500}}), Say("[DONE]"), End()
    )
    assert await failure(source) == ("a", "provider_error")


async def test_trailers_extra_data_and_a_second_finish_change_nothing(source: HttpSource, provider: Provider) -> None:
    twice = [Say(chunk(finish="stop")), Say(chunk(finish="length"))]
    provider.script(opening(), text("a"), *twice, Say("[DONE]"), text("late"), Raw(b"0\r\nX-Late: 1\r\n\r\n"), Hang())
    events, broken = await heard(ask(source))
    assert (text_of(events), events[-1], broken) == ("a", Finished("stop"), None)


async def test_a_trickle_of_single_bytes_is_the_same_answer(source: HttpSource, provider: Provider) -> None:
    permits = asyncio.Semaphore(0)
    stream = b"".join(event_bytes(step.data) for step in (text("Grüß "), text("dich 👋🏽"), Say(chunk(finish="stop"))))
    provider.script(Head(), Trickle(stream, permits), End())
    asked = asyncio.ensure_future(heard(ask(source)))
    for _ in stream:
        permits.release()
    events, broken = await asked
    assert (text_of(events), broken) == ("Grüß dich 👋🏽", None)


async def test_a_flood_arrives_whole_and_in_order(source: HttpSource, provider: Provider) -> None:
    provider.script(opening(), Flood(5_000), closing(usage=usage_of(1, 5_000)))
    events, broken = await heard(ask(source))
    assert (text_of(events).split(), broken) == ([str(number) for number in range(5_000)], None)


async def test_a_reader_that_stops_reading_stops_the_provider(source: HttpSource, provider: Provider) -> None:
    all_sent = Gate()
    provider.script(opening(), Body(event_bytes(text("x" * 1000).data) * 20_000), all_sent, Hang())
    stream = ask(source)
    events: list[Event] = [await anext(stream) for _ in range(3)]
    assert text_of(events) == "x" * 1000
    writer = provider.connections[0]._writer
    held: list[int] = []

    def settled() -> bool:
        held.append(writer.transport.get_write_buffer_size())
        return len(held) > 20 and held[-1] == held[-20] > 0

    await until("the provider's unsent bytes stay the same", settled)
    assert not all_sent.reached.is_set()
    await stream.aclose()


async def test_a_head_in_pieces_is_waited_for(source: HttpSource, provider: Provider) -> None:
    head = head_bytes(200, {**EVENT_STREAM, "Connection": "close"})
    gate = Gate()
    rest = Raw(event_bytes(chunk({"content": "a"}, finish="stop")))
    provider.script(Raw(head[:20]), gate, Raw(head[20:]), rest, Cut())
    asked = asyncio.ensure_future(heard(ask(source)))
    await gate.reached.wait()
    gate.open()
    events, broken = await asked
    assert (text_of(events), broken) == ("a", None)


FRAGMENT = event_bytes(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "x" * 8000}}]}))
CHOICES = b"".join(event_bytes(chunk({"content": "x"}, choice=number)) for number in range(MOST_PARTS + 2))


async def test_what_goes_on_for_ever_and_says_nothing_is_not_kept_for_ever(
    source: HttpSource, provider: Provider
) -> None:
    """Arguments of a call that has no id wait for it."""
    provider.script(Head(), *[Body(FRAGMENT * 16)] * (MOST_SILENCE // (8000 * 16) + 2), Hang())
    assert await failure(source) == ("", "provider_garbled")
    await provider.connections[0].peer_gone.wait()


async def test_an_answer_of_countless_parts_is_a_flood(source: HttpSource, provider: Provider) -> None:
    provider.script(Head(), Body(CHOICES), Hang())
    said, code = await failure(source)
    assert (set(said), code) == ({"x"}, "provider_garbled")
    await provider.connections[0].peer_gone.wait()

"""A user's own async generator as a source: what it may take, what it may yield, and what a wrong name is told."""

import re
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from penstock.core.errors import Broken
from penstock.core.events import Chunk, Closed, Delta, Event, Failed, Finished, Note, Opened, Started
from penstock.core.request import ChatRequest, Run
from penstock.sources.callable import build
from penstock.testing.sources import SoloRun, check_source
from tests.sources.asking import ask, heard, question, text


async def words() -> AsyncGenerator[str]:
    yield "one "
    yield ""
    yield "two"


async def echo(request: ChatRequest) -> AsyncGenerator[str]:
    yield request.prompt


async def steerable(request: ChatRequest, run: Run) -> AsyncGenerator[str]:
    yield f"{run.id}: {request.prompt}"


def whatever(*given: object) -> AsyncIterator[str]:
    request, run = given
    assert isinstance(request, ChatRequest)
    return words_of(f"{run.id}: {request.prompt}" if isinstance(run, SoloRun) else "no run")


async def words_of(said: str) -> AsyncGenerator[str]:
    yield said


class Model:
    async def __call__(self, request: ChatRequest, *, shout: bool = False) -> AsyncGenerator[str]:
        yield request.prompt.upper() if shout else request.prompt

    async def method(self) -> AsyncGenerator[str]:
        yield "bound"


async def test_text_becomes_one_part_of_a_whole_answer() -> None:
    events, broken = await heard(ask(build(words)))
    assert broken is None
    assert events == [
        Started("st_solo", "words", 1_700_000_000),
        Opened(0, "text"),
        Delta(0, "one "),
        Delta(0, "two"),
        Closed(0, {"finish_reason": "stop"}),
        Finished("stop"),
    ]


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (words, "one two"),
        (echo, "hi"),
        (steerable, "st_solo: hi"),
        (Model(), "hi"),
        (Model().method, "bound"),
        (whatever, "st_solo: hi"),
        (f"{__name__}:echo", "hi"),
    ],
)
async def test_it_takes_nothing_the_request_or_the_request_and_the_run(
    feed: Callable[..., AsyncIterator[str]], said: str
) -> None:
    events, broken = await heard(ask(build(feed), question("hi")))
    assert (text(events), broken) == (said, None)


async def test_bytes_are_one_binary_part_and_dictionaries_are_notes() -> None:
    async def mixed() -> AsyncGenerator[object]:
        yield {"price": 1.5}
        yield b"\x00\x01"
        yield "text"
        yield bytearray(b"\x02")

    events, _ = await heard(ask(build(mixed)))
    assert events[1:] == [
        Note("data", {"price": 1.5}),
        Opened(0, "binary", media_type="application/octet-stream"),
        Chunk(0, b"\x00\x01"),
        Opened(1, "text"),
        Delta(1, "text"),
        Chunk(0, b"\x02"),
        Closed(1, {"finish_reason": "stop"}),
        Closed(0),
        Finished("stop"),
    ]


async def test_events_pass_as_they_are_and_only_what_is_missing_is_added() -> None:
    async def own(request: ChatRequest, run: Run) -> AsyncGenerator[Event]:
        yield Started(run.id, "mine", run.created)
        yield Opened(3, "reasoning")
        yield Delta(3, "hm")
        yield Closed(3)
        yield Finished("length")
        raise AssertionError("nothing is asked after the last word")

    events, _ = await heard(ask(build(own)))
    assert events == [
        Started("st_solo", "mine", 1_700_000_000),
        Opened(3, "reasoning"),
        Delta(3, "hm"),
        Closed(3),
        Finished("length"),
    ]


async def test_text_beside_own_parts_gets_a_number_of_its_own_and_is_closed_before_an_own_end() -> None:
    async def both() -> AsyncGenerator[Event | str]:
        yield Opened(0, "reasoning")
        yield Closed(0)
        yield "text"
        yield Finished("length")

    events, _ = await heard(ask(build(both)))
    assert events[1:] == [
        Opened(0, "reasoning"),
        Closed(0),
        Opened(1, "text"),
        Delta(1, "text"),
        Closed(1, {"finish_reason": "stop"}),
        Finished("length"),
    ]


async def test_a_feed_that_says_nothing_is_a_whole_answer() -> None:
    async def silent() -> AsyncGenerator[str]:
        for each in "":
            yield each

    events, broken = await heard(ask(build(silent)))
    assert ([type(event) for event in events], broken) == ([Started, Finished], None)


async def test_what_a_feed_raises_is_passed_on_after_what_it_said() -> None:
    async def broken() -> AsyncGenerator[str]:
        yield "half"
        raise Broken("provider_overloaded")

    events, problem = await heard(ask(build(broken)))
    assert text(events) == "half"
    assert problem is not None
    assert problem.fault.code == "provider_overloaded"


async def test_a_yielded_failure_is_the_end() -> None:
    async def failing() -> AsyncGenerator[Event]:
        yield Failed(Broken("provider_error").fault)

    events, _ = await heard(ask(build(failing)))
    assert [type(event) for event in events] == [Started, Failed]


async def test_a_value_of_another_type_is_named() -> None:
    async def counting() -> AsyncGenerator[object]:
        yield 1

    with pytest.raises(TypeError, match="counting' yielded int; it may yield str, bytes, dict and events"):
        await heard(ask(build(counting)))


async def test_a_feed_is_closed_with_its_reader() -> None:
    closed: list[str] = []

    async def open_feed() -> AsyncGenerator[str]:
        try:
            while True:
                yield "tick "
        finally:
            closed.append("yes")

    stream = ask(build(open_feed))
    for _ in range(3):
        await anext(stream)
    await stream.aclose()
    assert closed == ["yes"]


async def test_an_iterator_that_is_no_generator_serves_as_well() -> None:
    class Countdown:
        def __init__(self) -> None:
            self.left = 3

        def __aiter__(self) -> AsyncIterator[str]:
            return self

        async def __anext__(self) -> str:
            self.left -= 1
            if self.left < 0:
                raise StopAsyncIteration
            return str(self.left)

    events, _ = await heard(ask(build(Countdown)))
    assert text(events) == "210"


async def test_a_function_that_gives_no_iterator_is_named() -> None:
    with pytest.raises(TypeError, match="gave list, which cannot be iterated with async for"):
        await heard(ask(build(f"{__name__}:at_once")))


async def test_it_keeps_the_law_of_sources() -> None:
    await check_source(build(words), question())


async def coroutine() -> str:
    return "all at once"


def plain() -> Iterator[str]:
    yield "blocking"


async def hungry(request: ChatRequest, run: Run, more: object) -> AsyncGenerator[str]:
    yield f"{request}{run}{more}"


async def named(*, request: ChatRequest) -> AsyncGenerator[str]:
    yield request.prompt


def at_once() -> list[str]:
    return ["a"]


number = 3


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("nonsense", "'nonsense' must be like package.module:function"),
        (":words", "must be like"),
        ("module:", "must be like"),
        (f"{__name__}:wrods", f"there is no 'wrods' in {__name__}; did you mean 'words'?"),
        (f"{__name__}:Model.methud", "did you mean 'method'?"),
        (f"{__name__}:xyzzy", f"there is no 'xyzzy' in {__name__}"),
        ("penstock.sources.dmo:build", "no module is called 'penstock.sources.dmo'; did you mean 'demo'?"),
        ("penstok.sources:build", "no module is called 'penstok'; did you mean 'penstock'?"),
        ("..demo:build", "no module is called"),
        (f"{__name__}:coroutine", "is a coroutine function; it must yield what it says"),
        (f"{__name__}:plain", "is a plain generator; write it with async def"),
        (f"{__name__}:hungry", "wants 3 arguments"),
        (f"{__name__}:named", "has a keyword parameter without a default"),
        (f"{__name__}:number", "is not a function"),
    ],
)
def test_a_target_that_cannot_be_used_is_refused_with_the_reason(target: str, told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        build(target)


def test_an_error_inside_the_users_module_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users_own_feed.py").write_text("import a_library_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        build("users_own_feed:answer")
    sys.modules.pop("users_own_feed", None)

"""The litellm source against a stand-in of litellm's shape: what it is called with, what it streams, and its exceptions."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.core.events import Closed, Delta, Finished, Json, Opened, Started, Usage
from penstock.core.request import ChatRequest, Message
from penstock.sources.litellm import build
from penstock.testing.sources import check_source
from tests.sources.asking import ask, heard, question, text


def piece(content: str | None = None, finish: str | None = None, **more: object) -> SimpleNamespace:
    """A chunk as litellm gives it: an object with attributes, a choice in every one of them."""
    delta = SimpleNamespace(content=content, role="assistant", tool_calls=None, function_call=None)
    return SimpleNamespace(choices=[SimpleNamespace(index=0, delta=delta, finish_reason=finish, logprobs=None)], **more)


def counted() -> SimpleNamespace:
    """The usage chunk: its choices are not empty, unlike OpenAI's."""
    details = SimpleNamespace(cached_tokens=1)
    usage = SimpleNamespace(
        prompt_tokens=3, completion_tokens=2, prompt_tokens_details=details, completion_tokens_details=None
    )
    return piece(usage=usage)


class Stream:
    """What `acompletion` returns: an iterator that must be closed. An exception among the pieces is raised there."""

    def __init__(self, pieces: Iterable[object], hung: asyncio.Event):
        self.left = list(pieces)
        self.closed = False
        self.hung = hung

    def __aiter__(self) -> AsyncIterator[object]:
        return self

    async def __anext__(self) -> object:
        if not self.left:
            raise StopAsyncIteration
        if self.left[0] == "hang":
            self.hung.set()
            await asyncio.Event().wait()
        if isinstance(self.left[0], Exception):
            raise self.left[0]
        return self.left.pop(0)

    async def aclose(self) -> None:
        self.closed = True


class Litellm(SimpleNamespace):
    """The stand-in: plays its pieces to every caller and remembers what it was called with."""

    def __init__(self) -> None:
        super().__init__(suppress_debug_info=False)
        self.pieces: list[object] = [piece("Hel"), piece("lo"), piece(finish="stop"), counted()]
        self.refusal: Exception | None = None
        self.hung = asyncio.Event()
        self.called: list[dict[str, Any]] = []
        self.streams: list[Stream] = []

    async def acompletion(self, **arguments: Any) -> Stream:
        self.called.append(arguments)
        if self.refusal is not None:
            raise self.refusal
        self.streams.append(Stream(self.pieces, self.hung))
        return self.streams[-1]


@pytest.fixture
def litellm(monkeypatch: pytest.MonkeyPatch) -> Litellm:
    stand_in = Litellm()
    monkeypatch.setitem(sys.modules, "litellm", stand_in)
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    return stand_in


def problem(name: str, base: str = "", **fields: object) -> Exception:
    """An exception of litellm's: classes are known by name, here as there."""
    parent = type(base, (Exception,), {}) if base else Exception
    raised: Exception = type(name, (parent,), {})(f"litellm.{name}: OpenAIException - it went wrong")
    raised.__dict__.update({"message": str(raised), **fields})
    return raised


SOURCE = build(model="openai/tiny")


async def test_an_answer_is_the_same_events_as_from_any_provider(litellm: Litellm) -> None:
    events, broken = await heard(ask(SOURCE))
    assert broken is None
    assert events == [
        Started("st_solo", "openai/tiny", 1_700_000_000),
        Opened(0, "text"),
        Delta(0, "Hel"),
        Delta(0, "lo"),
        Closed(0, {"finish_reason": "stop"}),
        Usage(3, 2, "reported", cached=1),
        Finished("stop"),
    ]
    assert litellm.streams[0].closed


async def test_it_is_imported_offline_and_silenced(litellm: Litellm) -> None:
    await heard(ask(SOURCE))
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    assert litellm.suppress_debug_info is True


async def test_known_parameters_become_arguments_and_all_others_stay_in_the_body(litellm: Litellm) -> None:
    await heard(ask(SOURCE, question("hi", temperature=0, n=1, api_base="http://evil", api_key="x", mock_response="y")))
    assert litellm.called == [
        {
            "model": "openai/tiny",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0,
            "n": 1,
            "extra_body": {"api_base": "http://evil", "api_key": "x", "mock_response": "y"},
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_retries": 0,
        }
    ]


async def test_the_request_cannot_replace_what_the_source_decides(litellm: Litellm) -> None:
    await heard(ask(SOURCE, question("hi", stream_options={"include_usage": False, "x": 1}, max_retries=9)))
    assert litellm.called[0]["stream_options"] == {"include_usage": True, "x": 1}
    assert litellm.called[0]["max_retries"] == 0


async def test_several_answers_at_once_are_refused_since_litellm_would_cut_them(litellm: Litellm) -> None:
    _, broken = await heard(ask(SOURCE, question(n=2)))
    assert broken is not None
    assert (broken.fault.code, litellm.called) == ("invalid_request", [])


async def test_pieces_that_do_not_fit_are_read_loosely(litellm: Litellm) -> None:
    loose = {"choices": [{"index": None, "delta": {"content": "loose"}}]}
    odd = SimpleNamespace(choices="none", model_dump=lambda: loose)
    litellm.pieces = [odd, piece(finish="stop")]
    events, _ = await heard(ask(SOURCE))
    assert text(events) == "loose"


async def test_tool_calls_and_logprobs_are_read_from_objects(litellm: Litellm) -> None:
    function = SimpleNamespace(name="f", arguments="{}")
    calling = piece()
    calling.choices[0].delta.tool_calls = [SimpleNamespace(index=0, id="a", type="function", function=function)]
    likely = piece("Hi")
    likely.choices[0].logprobs = SimpleNamespace(model_dump=lambda: {"content": [{"token": "Hi"}]})
    litellm.pieces = [likely, calling, piece(finish="tool_calls")]
    events, _ = await heard(ask(SOURCE))
    delta = events[2]
    assert isinstance(delta, Delta)
    assert bytes(delta.logprobs or b"") == b'{"content":[{"token":"Hi"}]}'
    assert Opened(1, "tool_call", name="f", call_id="a") in events


async def test_an_end_without_a_finish_reason_is_truncated(litellm: Litellm) -> None:
    litellm.pieces = [piece("Half")]
    _, broken = await heard(ask(SOURCE))
    assert broken is not None
    assert broken.fault.code == "provider_truncated"


@pytest.mark.parametrize(
    ("name", "base", "status", "code"),
    [
        ("AuthenticationError", "", 401, "provider_auth"),
        ("PermissionDeniedError", "", 403, "provider_auth"),
        ("NotFoundError", "", 404, "provider_model_unknown"),
        ("BadRequestError", "", 400, "provider_refused"),
        ("UnprocessableEntityError", "", 422, "provider_refused"),
        ("ContextWindowExceededError", "BadRequestError", 400, "context_too_long"),
        ("ContentPolicyViolationError", "BadRequestError", 400, "content_refused"),
        ("RateLimitError", "", 429, "provider_rate_limited"),
        ("Timeout", "", 408, "provider_error"),
        ("ServiceUnavailableError", "", 503, "provider_overloaded"),
        ("InternalServerError", "", 500, "provider_error"),
        ("BadGatewayError", "", 502, "provider_error"),
        ("APIConnectionError", "", 500, "provider_unreachable"),
        ("SomethingNew", "RateLimitError", 429, "provider_rate_limited"),
        ("NewerStill", "", 529, "provider_overloaded"),
    ],
)
async def test_an_exception_before_the_stream_has_its_code(
    litellm: Litellm, name: str, base: str, status: int, code: str
) -> None:
    litellm.refusal = problem(name, base, status_code=status)
    events, broken = await heard(ask(SOURCE))
    assert events == []
    assert broken is not None
    assert broken.fault.code == code
    assert "openai (through litellm)" in broken.fault.message


@pytest.mark.parametrize(
    "wrapped", ["it went wrong", "litellm.A: it went wrong", "litellm.A: litellm.B: XException - it went wrong"]
)
async def test_a_message_is_the_providers_without_litellms_wrapping(litellm: Litellm, wrapped: str) -> None:
    litellm.refusal = problem("BadRequestError", status_code=400, message=wrapped)
    _, broken = await heard(ask(SOURCE))
    assert broken is not None
    assert broken.fault.message == "openai (through litellm) refused the request: it went wrong"


async def test_a_rate_limit_says_when_to_come_back(litellm: Litellm) -> None:
    litellm.refusal = problem("RateLimitError", status_code=429, response=SimpleNamespace(headers={"retry-after": "3"}))
    _, broken = await heard(ask(SOURCE))
    assert broken is not None
    assert broken.fault.retry_after == 3.0


async def test_what_litellm_wraps_in_mid_stream_is_unwrapped(litellm: Litellm) -> None:
    original = problem("RateLimitError", status_code=429)
    wrapped = problem("MidStreamFallbackError", "ServiceUnavailableError", status_code=503, original_exception=original)
    litellm.pieces = [piece("Half"), wrapped]
    events, broken = await heard(ask(SOURCE))
    assert text(events) == "Half"
    assert broken is not None
    assert broken.fault.code == "provider_rate_limited"


@pytest.mark.parametrize("name", ["MidStreamFallbackError", "APIConnectionError"])
async def test_a_connection_lost_in_mid_stream_is_truncated(litellm: Litellm, name: str) -> None:
    litellm.pieces = [piece("Half"), problem(name, status_code=503, original_exception=None)]
    _, broken = await heard(ask(SOURCE))
    assert broken is not None
    assert broken.fault.code == "provider_truncated"
    assert litellm.streams[0].closed


async def test_an_exception_that_is_nobodys_is_not_dressed_up(litellm: Litellm) -> None:
    litellm.refusal = ZeroDivisionError("a bug")
    with pytest.raises(ZeroDivisionError, match="a bug"):
        await heard(ask(SOURCE))


async def test_cancelling_a_wait_closes_the_stream(litellm: Litellm) -> None:
    litellm.pieces = [piece("Half"), "hang"]
    asked = asyncio.ensure_future(heard(ask(SOURCE)))
    await litellm.hung.wait()
    asked.cancel()
    await asyncio.wait([asked])
    assert litellm.streams[0].closed


async def test_a_stream_without_aclose_serves_as_well(litellm: Litellm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Stream, "aclose")
    events, broken = await heard(ask(SOURCE))
    assert (text(events), broken) == ("Hello", None)


async def test_it_keeps_the_law_of_sources_and_closes_every_stream(litellm: Litellm) -> None:
    async def closed() -> None:
        assert all(stream.closed for stream in litellm.streams)

    await check_source(SOURCE, question(), at_rest=closed)


async def test_without_litellm_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("penstock.sources.litellm.import_module", missing)
    events, broken = await heard(ask(SOURCE))
    assert events == []
    assert broken is not None
    assert (broken.fault.code, "pip install 'penstock[litellm]'" in broken.fault.message) == ("extra_missing", True)


async def test_a_broken_installation_of_litellm_is_not_called_a_missing_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def incomplete(_name: str) -> None:
        raise ModuleNotFoundError("No module named 'tokenizers'", name="tokenizers")

    monkeypatch.setattr("penstock.sources.litellm.import_module", incomplete)
    with pytest.raises(ModuleNotFoundError, match="tokenizers"):
        await heard(ask(SOURCE))


INSIDE = "http://169.254.169.254/latest/meta-data"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": INSIDE}},
        {"type": "image_url", "image_url": INSIDE},
        {"type": "image_url", "image_url": {"url": " HTTPS://10.0.0.1/x.png"}},
        {"type": "file", "file": {"file_id": INSIDE}},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
    ],
)
async def test_litellm_fetches_nothing_that_a_client_names(part: Message) -> None:
    asked = ChatRequest(model="any", messages=({"role": "user", "content": [part]},))
    _, problem = await heard(ask(SOURCE, asked))
    assert problem is not None
    assert (problem.fault.code, problem.fault.param) == ("not_carried", "messages[0].content[0]")


async def test_litellm_is_given_pictures_that_hold_their_data_and_words_about_addresses(litellm: Litellm) -> None:
    content: list[Json] = [
        {"type": "text", "text": INSIDE},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
    ]
    await heard(ask(SOURCE, ChatRequest(model="any", messages=({"role": "user", "content": content},))))
    assert litellm.called[0]["messages"] == [{"role": "user", "content": content}]

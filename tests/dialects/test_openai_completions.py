"""OpenAI's older completions, member by member as its clients read them, and every field that is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from penstock.core.cursor import Entry
from penstock.core.errors import Refused
from penstock.core.events import Cancelled, Chunk, Closed, Delta, Event, Finished, Note, Opened, Usage
from penstock.core.frame import View
from penstock.dialects.openai_completions import OpenAICompletionsDialect
from penstock.testing.readings.openai_completions import read_openai_completions
from penstock.testing.readings.reading import Illegal
from penstock.testing.wire import Received
from tests.dialects.telling import RUN, STARTED, frames, placed, rejoined, values, whole

COMPLETIONS = OpenAICompletionsDialect()
HELLO: tuple[Event, ...] = (STARTED, Opened(0, "text"), Delta(0, "Hel"), Delta(0, "lo"), Closed(0), Finished())
ECHO = b'{"prompt":"Say: "}'


def logprobs(*tokens: str) -> msgspec.Raw:
    """What a chat provider sends beside so many tokens."""
    told = [
        {"token": t, "logprob": -0.5, "bytes": None, "top_logprobs": [{"token": t, "logprob": -0.5}]} for t in tokens
    ]
    return msgspec.Raw(msgspec.json.encode({"content": told, "refusal": None}))


def texts(told: list[Any]) -> list[str]:
    return [value["choices"][0]["text"] for value in told if value != "[DONE]" and value["choices"]]


def test_an_answer_is_a_text_each_an_end_and_the_word_done() -> None:
    head = b'{"id":"cmpl-bbbbbbbbbbbbbbbbbbbbbbbbbb","object":"text_completion","created":1750000000,"model":"demo","choices":['
    assert [frame.data for frame in frames(COMPLETIONS, *HELLO)] == [
        head + b'{"text":"Hel","index":0,"logprobs":null,"finish_reason":null}]}',
        head + b'{"text":"lo","index":0,"logprobs":null,"finish_reason":null}]}',
        head + b'{"text":"","index":0,"logprobs":null,"finish_reason":"stop"}]}',
        b"[DONE]",
    ]


def test_usage_comes_last_where_it_was_asked_for_and_is_null_before() -> None:
    told = values(frames(COMPLETIONS, *HELLO[:-1], Usage(3, 2, "reported"), Finished(), include_usage=True))
    assert [value["usage"] for value in told[:-2]] == [None, None, None]
    assert (told[-2]["choices"], told[-2]["usage"]["total_tokens"], told[-1]) == ([], 5, "[DONE]")


def test_the_words_of_a_choice_are_its_texts_and_refusals() -> None:
    said: tuple[Event, ...] = (
        STARTED,
        Opened(0, "reasoning"),
        Delta(0, "hm"),
        Closed(0),
        Opened(1, "text"),
        Delta(1, "a"),
        Closed(1),
        Opened(2, "tool_call", name="f"),
        Delta(2, "{}"),
        Closed(2, {"finish_reason": "tool_calls"}),
        Opened(3, "binary"),
        Chunk(3, b"x"),
        Closed(3),
        Opened(4, "refusal"),
        Delta(4, "no"),
        Closed(4),
        Note("n", 1),
        Finished("tool_calls"),
    )
    assert texts(values(frames(COMPLETIONS, *said))) == ["a", "\n\nno", ""]
    assert texts(values(frames(COMPLETIONS, *said, reasoning=True))) == ["hm", "\n\na", "\n\nno", ""]
    assert whole(COMPLETIONS, *said)["choices"] == [
        {"text": "a\n\nno", "index": 0, "logprobs": None, "finish_reason": "tool_calls"}
    ]


@pytest.mark.parametrize("primed", range(5))
def test_echo_begins_every_choice_with_the_prompt_once(primed: int) -> None:
    told = texts(values([*frames(COMPLETIONS, *HELLO, echo=ECHO, primed=primed)]))
    assert told == ["Say: ", "Hel", "lo", ""][max(0, primed - 1) :]
    assert texts(values(rejoined(COMPLETIONS, *HELLO[:3], echo=ECHO))) == ["Say: ", "Hel"]
    assert whole(COMPLETIONS, *HELLO, echo=ECHO)["choices"][0]["text"] == "Say: Hello"


def test_an_answer_of_nothing_is_the_prompt_where_that_was_asked_for() -> None:
    assert texts(values(frames(COMPLETIONS, STARTED, Finished(), echo=ECHO))) == ["Say: ", ""]
    assert whole(COMPLETIONS, STARTED, Finished(), echo=ECHO)["choices"][0]["text"] == "Say: "


SCORED: tuple[Event, ...] = (
    STARTED,
    Opened(0, "text"),
    Delta(0, "Hel", logprobs("H", "el")),
    Closed(0),
    Opened(1, "text"),
    Delta(1, "lo", logprobs("lo")),
    Closed(1),
    Finished(),
)


def test_log_probabilities_come_in_the_lists_of_this_api() -> None:
    told = values(frames(COMPLETIONS, *SCORED))
    assert told[0]["choices"][0]["logprobs"] == {
        "tokens": ["H", "el"],
        "token_logprobs": [-0.5, -0.5],
        "top_logprobs": [{"H": -0.5}, {"el": -0.5}],
        "text_offset": [0, 1],
    }
    assert (told[1]["choices"][0]["text"], told[1]["choices"][0]["logprobs"]["text_offset"]) == ("\n\nlo", [5])
    merged = whole(COMPLETIONS, *SCORED)["choices"][0]["logprobs"]
    assert (merged["tokens"], merged["text_offset"]) == (["H", "el", "lo"], [0, 1, 5])


@pytest.mark.parametrize("primed", [3, 4, 5])
def test_offsets_go_on_where_a_reader_comes_back(primed: int) -> None:
    (scored, *_) = values(frames(COMPLETIONS, *SCORED, primed=primed))
    assert scored["choices"][0]["logprobs"]["text_offset"] == [5]


@pytest.mark.parametrize("odd", [b"null", b"[]", b'{"content":null}', b'{"content":[1]}', b'{"content":[{}]}'])
def test_log_probabilities_of_another_shape_are_none_and_break_nothing(odd: bytes) -> None:
    (told, *_) = values(frames(COMPLETIONS, STARTED, Opened(0, "text"), Delta(0, "a", msgspec.Raw(odd)), Finished()))
    assert told["choices"][0]["text"] == "a"
    assert whole(COMPLETIONS, STARTED, Opened(0, "text"), Delta(0, "a", msgspec.Raw(odd)), Closed(0), Finished())


def test_each_choice_ends_for_its_own_reason() -> None:
    said = (
        STARTED,
        Opened(0, "text"),
        Opened(1, "text", 1),
        Delta(1, "b"),
        Closed(1, {"finish_reason": "length"}),
        Closed(0),
        Finished(),
    )
    told = values(frames(COMPLETIONS, *said))
    ends = [(c["index"], c["finish_reason"]) for value in told[:-1] for c in value["choices"] if c["finish_reason"]]
    assert ends == [(0, "stop"), (1, "length")]
    assert [c["finish_reason"] for c in whole(COMPLETIONS, *said)["choices"]] == ["stop", "length"]


def test_a_cut_answer_is_an_error_and_never_done() -> None:
    told = values(frames(COMPLETIONS, *HELLO[:3], Closed(0), Cancelled("client")))
    assert told[-1]["error"]["code"] == "cancelled"


# -- requests ----------------------------------------------------------------------------------------------------------


def parsed(**fields: Any) -> Any:
    return COMPLETIONS.parse(json.dumps({"model": "m", "prompt": "Hi", **fields}).encode())


def test_a_prompt_is_what_the_user_says() -> None:
    for prompt in ("Hi", ["Hi"]):
        request = parsed(prompt=prompt, max_tokens=5, stop=["\n"], seed=7, unheard_of={"x": 1})
        assert request.messages == ({"role": "user", "content": "Hi"},)
        assert request.params == {"max_tokens": 5, "stop": ["\n"], "seed": 7, "unheard_of": {"x": 1}}
        assert (request.model, request.stream, request.echo) == ("m", False, b"")


def test_what_means_nothing_is_left_out() -> None:
    assert parsed(suffix="", best_of=1, echo=False, logprobs=None, tools=[]).params == {}
    assert parsed(n=3, best_of=3).params == {"n": 3}


def test_log_probabilities_and_echo_are_asked_of_a_chat_in_its_words() -> None:
    assert parsed(logprobs=0).params == {"logprobs": True, "top_logprobs": 0}
    assert parsed(echo=True, stream=True, stream_options={"include_usage": True}).echo == b'{"prompt":"Hi"}'


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": 7}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, 2]}, "prompt"),
        ({"prompt": [[1], [2]]}, "prompt"),
        ({"prompt": ["a", 1]}, "prompt"),
        ({"suffix": "end"}, "suffix"),
        ({"messages": [{"role": "user", "content": "x"}]}, "messages"),
        ({"tools": [{}]}, "tools"),
        ({"best_of": 2}, "best_of"),
        ({"best_of": 0}, "best_of"),
        ({"n": 2, "best_of": 3}, "best_of"),
        ({"n": 0}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 21}, "logprobs"),
        ({"logprobs": -1}, "logprobs"),
        ({"echo": "yes"}, "echo"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"stream": 1}, "stream"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"stop": [1]}, "stop"),
        ({"stop": ["a"] * 5}, "stop"),
    ],
)
def test_a_field_that_cannot_be_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        parsed(**fields)
    assert refused.value.fault.param == param
    assert f"'{param}'" in refused.value.fault.message


# -- the reading -------------------------------------------------------------------------------------------------------


def test_the_reading_takes_no_illegal_order() -> None:
    told = values(frames(COMPLETIONS, *HELLO))
    piece, end = told[0], told[2]
    other = {**piece, "id": "cmpl-other"}
    torn = {**piece, "choices": [{**piece["choices"][0], "logprobs": {"tokens": []}}]}
    for illegal in (
        [piece, end, piece],
        [piece, end, "[DONE]", piece],
        [piece, "[DONE]"],
        [piece, {"error": {}}, end],
        [piece, other],
        [{**piece, "object": "chat.completion.chunk"}],
        [torn],
        [{**piece, "usage": {"total_tokens": 1}}],
    ):
        with pytest.raises(Illegal):
            read_openai_completions([Received(value) for value in illegal])
    assert read_openai_completions([Received(value) for value in told]).text() == "Hello"


def test_a_renderer_is_fed_merged_deltas_too() -> None:
    renderer = COMPLETIONS.renderer(View(run=RUN))
    for entry in placed(*HELLO[:2]):
        renderer.render(entry)
    (frame,) = renderer.render(Entry(3, 9, 70, Delta(0, "all of it")))
    assert json.loads(frame.data)["choices"][0]["text"] == "all of it"


@pytest.mark.parametrize(("length", "answers"), [(1024 * 1024 + 1, 1), (20_000, 64)])
def test_a_prompt_is_not_said_again_at_any_length(length: int, answers: int) -> None:
    """Every answer begins with it, for every reader."""
    with pytest.raises(Refused) as caught:
        COMPLETIONS.parse(json.dumps({"prompt": "x" * length, "echo": True, "n": answers}).encode())
    assert caught.value.fault.param == "echo"
    assert COMPLETIONS.parse(json.dumps({"prompt": "x" * length, "n": answers}).encode()).echo == b""

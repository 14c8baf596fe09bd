"""The clients of the laws are strict: what no client of a dialect should be sent, they do not take."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.testing.readings import READERS, Illegal
from penstock.testing.wire import Received

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def chunk(delta: Any, reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    return {**HEAD, "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **more}


def call(arguments: str, index: int = 0, **more: Any) -> dict[str, Any]:
    beginning = {"id": f"c{index}", "type": "function"} if "name" in more else {}
    return chunk({"tool_calls": [{"index": index, **beginning, "function": {**more, "arguments": arguments}}]})


def calls(**told: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [{"index": 0, **told}]})


ROLE = chunk({"role": "assistant", "content": ""})
WORD = chunk({"content": "a"})
STOP = chunk({}, "stop")
COUNTS = {**HEAD, "choices": [], "usage": {"total_tokens": 1}}
ERROR = {"error": {"message": "x"}}

STARTED = {"type": "started", "run": "st_1", "model": "m", "created": 1}
OPENED = {"type": "opened", "part": 0, "kind": "text"}
PICTURE = {"type": "opened", "part": 1, "kind": "binary"}
DELTA = {"type": "delta", "part": 0, "text": "a"}
CLOSED = {"type": "closed", "part": 0}
FINISHED = {"type": "finished", "reason": "stop"}
ACCOUNT = {"type": "usage", "input": 3, "output": 1, "grade": "reported"}

TOKEN = {"token": "a", "done": False, "model": "m", "timestamp": 2.0}
TOOL = {"tool_name": "f", "tool_input": {}, "tool_result": 1, "token": "", "done": False}
DONE = {"done": True, "total_tokens": 1, "finish_reason": "stop", "response_time": 0.1}

LEGAL: dict[str, list[Any]] = {
    "openai-chat": [ROLE, WORD, call("", name="f"), call("{}"), call("", 1, name="g"), STOP, COUNTS, "[DONE]"],
    "native": [STARTED, OPENED, DELTA, CLOSED, {**ACCOUNT, "id": "st_1:a1:5"}, {**FINISHED, "usage": ACCOUNT}],
    "token-done": [TOKEN, TOOL, TOKEN, DONE],
    "plain": [{"text": "a"}, {"done": True}],
}
WORDS = {"openai-chat": "a", "native": "a", "token-done": "aa", "plain": "a"}

ILLEGAL: dict[str, dict[str, list[Any]]] = {
    "openai-chat": {
        "words before the role": [WORD],
        "a role twice": [ROLE, ROLE],
        "arguments of a call that has not begun": [ROLE, call("{}")],
        "a call that begins twice": [ROLE, call("", name="f"), call("", name="f")],
        "a call without a name": [ROLE, calls(id="c", type="function", function={"name": None, "arguments": ""})],
        "a call that is named again": [ROLE, call("", name="f"), calls(function={"name": "f", "arguments": ""})],
        "an earlier call behind a later one": [ROLE, call("", 1, name="f"), call("", 0, name="g")],
        "words behind a finish reason": [ROLE, STOP, WORD],
        "two finish reasons": [ROLE, STOP, STOP],
        "no finish reason": [ROLE, WORD, "[DONE]"],
        "nothing but an end": ["[DONE]"],
        "a choice that is left open": [ROLE, chunk({"role": "assistant"}, index=1), STOP, "[DONE]"],
        "usage before the end": [ROLE, COUNTS],
        "usage beside words": [ROLE, {**STOP, "usage": {"total_tokens": 1}}],
        "words behind the usage": [ROLE, STOP, COUNTS, COUNTS],
        "a chunk of nothing": [ROLE, {**HEAD, "choices": []}],
        "anything behind the end": [ROLE, STOP, "[DONE]", WORD],
        "an end behind an error": [ROLE, ERROR, "[DONE]"],
        "two completions": [ROLE, {**WORD, "id": "chatcmpl-2"}],
        "another object": [{**ROLE, "object": "text_completion"}],
    },
    "native": {
        "words of no part": [STARTED, DELTA],
        "words of a closed part": [OPENED, CLOSED, DELTA],
        "bytes of a text": [OPENED, {"type": "chunk", "part": 0, "data": ""}],
        "words of a picture": [PICTURE, {"type": "delta", "part": 1, "text": "a"}],
        "a part that is opened twice": [OPENED, CLOSED, OPENED],
        "a part that is closed twice": [OPENED, CLOSED, CLOSED],
        "an end with a part open": [OPENED, FINISHED],
        "anything behind the end": [FINISHED, STARTED],
        "an end without the account": [ACCOUNT, FINISHED],
        "an end with an older account": [ACCOUNT, {**ACCOUNT, "output": 2}, {**FINISHED, "usage": ACCOUNT}],
        "two beginnings": [STARTED, STARTED],
        "a beginning in the middle": [OPENED, STARTED],
        "an unheard-of event": [{"type": "surprise"}],
    },
    "token-done": {
        "a token behind the end": [DONE, TOKEN],
        "an end without a count": [{"done": True}],
        "a token without a time": [{"token": "a", "done": False}],
        "an empty token": [{**TOKEN, "token": ""}],
        "a token out of order": [TOKEN, {**TOKEN, "timestamp": 1.0}],
        "a tool without a result": [{name: value for name, value in TOOL.items() if name != "tool_result"}],
        "a tool that speaks": [{**TOOL, "token": "a"}],
    },
    "plain": {
        "words behind the end": [{"done": True}, {"text": "a"}],
        "an unheard-of end": [{"over": True}],
    },
}


@pytest.mark.parametrize("dialect", LEGAL)
def test_a_legal_stream_is_taken(dialect: str) -> None:
    reading = READERS[dialect]([Received(value) for value in LEGAL[dialect]])
    assert reading.text() == WORDS[dialect]
    assert reading.ending == LEGAL[dialect][-1]


@pytest.mark.parametrize(
    ("dialect", "messages"),
    [
        pytest.param(dialect, messages, id=f"{dialect}: {what}")
        for dialect, cases in ILLEGAL.items()
        for what, messages in cases.items()
    ],
)
def test_an_illegal_one_is_not(dialect: str, messages: list[Any]) -> None:
    with pytest.raises(Illegal):
        READERS[dialect]([Received(value) for value in messages])


def test_after_a_gap_a_native_client_is_told_everything_anew() -> None:
    gap = {"type": "gap", "from": 1, "to": 4, "reason": "trimmed"}
    messages: list[Any] = [STARTED, OPENED, DELTA, gap, STARTED, OPENED, DELTA, DELTA, CLOSED, FINISHED]
    assert READERS["native"]([Received(value) for value in messages]).text() == "aa"

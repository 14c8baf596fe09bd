"""The words alone."""

from __future__ import annotations

import json

import pytest

from penstock.core.errors import Refused, fault
from penstock.core.events import Cancelled, Chunk, Closed, Delta, Event, Failed, Finished, Note, Opened, Terminal
from penstock.core.snapshot import PIECE
from penstock.dialects.plain import PlainDialect
from tests.dialects.telling import STARTED, frames, rejoined, values, whole

PLAIN = PlainDialect()
ANSWER: tuple[Event, ...] = (
    STARTED, Opened(0, "reasoning"), Delta(0, "hm"), Closed(0), Opened(1, "text"), Delta(1, "Grüße"), Closed(1), Note("n", 1),
    Opened(2, "binary"), Chunk(2, b"x"), Closed(2), Opened(3, "text"), Delta(3, ""), Delta(3, "b\n"), Opened(4, "text", 1), Delta(4, "no"),
)  # fmt: skip


def test_a_bare_transport_has_the_text_itself() -> None:
    assert b"".join(frame.data for frame in frames(PLAIN, *ANSWER, bare=True)) == "Grüße\n\nb\n".encode()


def test_reasoning_is_shown_when_asked_for() -> None:
    told = b"".join(frame.data for frame in frames(PLAIN, *ANSWER, bare=True, reasoning=True))
    assert told == "hm\n\nGrüße\n\nb\n".encode()


def test_the_others_have_objects() -> None:
    assert values(frames(PLAIN, *ANSWER)) == [{"text": "Grüße"}, {"text": "\n\nb\n"}]


@pytest.mark.parametrize(
    ("terminal", "told"),
    [
        (Finished(), {"done": True}),
        (Cancelled("client"), {"cancelled": True}),
        (
            Failed(fault("interrupted", "bye")),
            {"error": {"code": "interrupted", "message": "bye", "retryable": True}},
        ),
    ],
)
def test_objects_say_how_it_ended_and_bare_text_cannot(terminal: Terminal, told: object) -> None:
    assert values(frames(PLAIN, STARTED, terminal)) == [told]
    assert frames(PLAIN, STARTED, terminal, bare=True) == []


def test_who_joins_in_the_middle_is_told_the_words_again_in_pieces() -> None:
    assert values(rejoined(PLAIN, *ANSWER)) == [{"text": "Grüße\n\nb\n"}]
    long = rejoined(PLAIN, STARTED, Opened(0, "text"), Delta(0, "x" * (PIECE + 1)), bare=True)
    assert [len(frame.data) for frame in long] == [PIECE, 1]
    assert rejoined(PLAIN, STARTED) == []


def test_the_whole_answer_is_one_text() -> None:
    assert whole(PLAIN, *ANSWER) == {"text": "Grüße\n\nb\n"}
    assert whole(PLAIN, *ANSWER, reasoning=True) == {"text": "hm\n\nGrüße\n\nb\n"}


def test_a_refusal_says_what_was_wrong() -> None:
    assert json.loads(PLAIN.refuse(fault("unknown_model", "no", param="model"), "req_1")) == {
        "error": {"code": "unknown_model", "message": "no", "retryable": False, "param": "model"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize("body", [b'{"prompt":"hi"}', b' {"prompt":"hi"}', b"hi"])
def test_a_prompt_may_come_as_json_or_as_it_is(body: bytes) -> None:
    assert PLAIN.parse(body).prompt == "hi"


def test_a_text_prompt_is_kept_as_it_is() -> None:
    assert PLAIN.parse(' "quoted"\n[x] ß '.encode()).prompt == ' "quoted"\n[x] ß '


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"\xff", "UTF-8"),
        (b'{"prompt"', "not JSON"),
        (b"{}", "'messages' is required"),
    ],
)
def test_what_is_neither_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(Refused, match=said):
        PLAIN.parse(body)

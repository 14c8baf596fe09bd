"""The events as they are."""

from __future__ import annotations

import json

import msgspec
import pytest

from penstock.core.errors import fault
from penstock.core.events import Chunk, Closed, Delta, Finished, Note, Opened, ToolReturned, Usage
from penstock.core.frame import Frame, Gaps
from penstock.core.snapshot import PIECE
from penstock.dialects.native import NativeDialect
from penstock.registry import names, resolve
from tests.dialects.telling import RUN, STARTED, frames, rejoined, values, whole

NATIVE = NativeDialect()


def test_every_event_is_one_frame_of_its_own_words() -> None:
    told = frames(NATIVE, STARTED, Opened(0, "text"), Delta(0, 'a"\n'), Closed(0), Note("n", [1]), Finished("length"))
    assert [frame.data for frame in told] == [
        b'{"type":"started","run":"%b","model":"demo","created":1750000000}' % RUN.encode(),
        b'{"type":"opened","part":0,"kind":"text"}',
        b'{"type":"delta","part":0,"text":"a\\"\\n"}',
        b'{"type":"closed","part":0}',
        b'{"type":"note","topic":"n","body":[1]}',
        b'{"type":"finished","reason":"length"}',
    ]


def test_bytes_are_base64_unless_the_transport_carries_bytes() -> None:
    events = (STARTED, Opened(0, "binary"), Chunk(0, b"\x00\xff"))
    assert frames(NATIVE, *events)[-1] == Frame(b'{"type":"chunk","part":0,"data":"AP8="}')
    assert frames(NATIVE, *events, binary=True)[-1] == Frame(b"\x00\xff", part=0)


def test_log_probabilities_are_passed_on_on_one_line() -> None:
    told = frames(NATIVE, STARTED, Opened(0, "text"), Delta(0, "x", msgspec.Raw(b'{"content":\r\n [ 1 ]}')))
    assert told[-1].data == b'{"type":"delta","part":0,"text":"x","logprobs":{"content":[1]}}'


def test_event_names_are_given_when_asked_for() -> None:
    told = frames(NATIVE, STARTED, Opened(0, "text"), Delta(0, "x"), event_names=True)
    assert [frame.event for frame in told] == ["penstock.started", "penstock.opened", "penstock.delta"]


def test_who_joins_in_the_middle_is_told_all_that_was_said() -> None:
    past = (
        STARTED,
        Note("progress", 1),
        Opened(0, "text"),
        Delta(0, "a"),
        Delta(0, "b"),
        Opened(1, "binary"),
        Chunk(1, b"x"),
        Closed(0, {"finish_reason": "stop"}),
        ToolReturned("c", 5),
        Usage(1, 2, "reported"),
    )
    assert [value["type"] for value in values(rejoined(NATIVE, *past))] == [
        "started",
        "note",
        "opened",
        "delta",
        "closed",
        "opened",
        "chunk",
        "tool_returned",
        "usage",
    ]
    assert values(rejoined(NATIVE, *past))[3] == {"type": "delta", "part": 0, "text": "ab"}


def test_a_long_part_is_told_again_in_pieces() -> None:
    told = values(rejoined(NATIVE, STARTED, Opened(0, "text"), Delta(0, "x" * (PIECE * 2 + 1))))
    assert [len(value["text"]) for value in told if value["type"] == "delta"] == [PIECE, PIECE, 1]


def test_the_whole_answer_is_the_snapshot_under_the_id_of_the_run() -> None:
    raw = msgspec.Raw(b'{"content":[1]}')
    value = whole(NATIVE, STARTED, Opened(0, "text"), Delta(0, "x", raw), Closed(0), Finished())
    assert (value["id"], value["state"], value["end"]) == (RUN, "ended", {"type": "finished", "reason": "stop"})
    assert value["parts"] == [
        {"part": 0, "kind": "text", "text": "x", "logprobs": [{"content": [1]}], "deltas": 1, "closed": True}
    ]


def test_a_run_of_which_nothing_is_known_has_a_whole_answer_too() -> None:
    assert whole(NATIVE) == {"id": RUN, "state": "ended"}


def test_a_gap_is_told() -> None:
    assert values(NATIVE.gap(3, 9, "trimmed")) == [{"type": "gap", "from": 3, "to": 9, "reason": "trimmed"}]


def test_no_other_dialect_has_words_for_a_gap() -> None:
    assert [name for name in names("dialects") if isinstance(resolve("dialects", name)(), Gaps)] == ["native"]


def test_a_refusal_says_what_was_wrong() -> None:
    assert json.loads(NATIVE.refuse(fault("bad_cursor", "no", param="after"), "req_1")) == {
        "type": "error",
        "error": {"code": "bad_cursor", "message": "no", "retryable": False, "param": "after"},
        "request_id": "req_1",
    }


@pytest.mark.parametrize("body", [b'{"prompt":"hi"}', b'{"messages":[{"role":"user","content":"hi"}]}'])
def test_a_prompt_and_messages_are_the_same_question(body: bytes) -> None:
    assert NATIVE.parse(body).prompt == "hi"


def test_a_resumed_renderer_goes_on_where_it_was() -> None:
    events = (STARTED, Opened(0, "text"), Delta(0, "a"), Delta(0, "b"), Finished())
    assert frames(NATIVE, *events, primed=3) == frames(NATIVE, *events)[3:]

"""Hypothesis strategies for everything a run can legally say, awkward characters first.

Those without arguments are made once: what hypothesis finds out about a strategy, it finds out for each one that is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import msgspec
from hypothesis import strategies as st

from penstock.core.account import GRADES, summed
from penstock.core.cursor import Entry
from penstock.core.errors import TABLE, fault
from penstock.core.events import (
    Cancelled,
    Chunk,
    Closed,
    Delta,
    Event,
    Failed,
    Finished,
    Json,
    Kind,
    Note,
    Opened,
    Spent,
    Started,
    Terminal,
    ToolReturned,
    Usage,
)

RUN = "st_" + "a" * 26
"""The run of every strategy here."""
EPOCH = "a1"
KINDS: tuple[Kind, ...] = ("text", "reasoning", "refusal", "tool_call", "binary")

AWKWARD = (
    "", "\n", "\r", "\r\n", "\n\n", "\0", "\u2028", "\u0085", "\ufeff", "\x7f", "\x1b[31m", "\ud7ff\ue000", "\U0010ffff",
    "😀", "👩\u200d👩\u200d👧", "e\u0301", '"', "\\", "</script>", "data: x\n\n", "id: 9\n", ": ping\n", "[DONE]", "null", "}",
)  # fmt: skip
"""Texts that have broken somebody's framing, escaping or counting before."""


@cache
def texts() -> st.SearchStrategy[str]:
    """What a delta may hold: any text that UTF-8 can carry."""
    plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return st.one_of(plain, st.sampled_from(AWKWARD), st.lists(st.sampled_from(AWKWARD), max_size=3).map("".join))


@cache
def json_values() -> st.SearchStrategy[Json]:
    """What the body of a note or of a tool result may hold."""
    words = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    leaves: st.SearchStrategy[Json] = st.one_of(
        st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), words
    )
    nested: st.SearchStrategy[Json] = st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
        max_leaves=6,
    )
    return nested


@cache
def logprobs() -> st.SearchStrategy[msgspec.Raw | None]:
    """Mostly none; else what a provider sends, spread over lines as some do."""
    told = st.builds(
        lambda token, gap: msgspec.Raw(
            b'{"content":%b[{"token":%b,"logprob":-0.5}]}' % (gap, msgspec.json.encode(token))
        ),
        texts(),
        st.sampled_from([b"", b" ", b"\n  ", b"\r\n"]),
    )
    return st.one_of(st.none(), st.none(), st.none(), told)


@cache
def terminals() -> st.SearchStrategy[Terminal]:
    """Every way to end."""
    ended: st.SearchStrategy[Terminal] = st.one_of(
        st.sampled_from(["stop", "length", "tool_calls", "content_filter"]).map(Finished),
        st.builds(
            lambda code, after: Failed(fault(code, retry_after=after)),
            st.sampled_from(sorted(TABLE)),
            st.none() | st.just(1.5),
        ),
        st.sampled_from(["client", "disconnect", "grace", "server"]).map(Cancelled),
    )
    return ended


@st.composite
def runs(
    draw: st.DrawFn,
    *,
    choices: int = 2,
    kinds: Sequence[Kind] = KINDS,
    steps: int = 24,
    overlapping: bool = True,
    terminal: st.SearchStrategy[Terminal] | None = None,
) -> list[Entry]:
    """A whole legal run: parts of `kinds` in up to `choices` choices, tools, notes, usage, and one terminal event last.

    With `overlapping` several parts may be open at once, as parallel tool calls are.
    """
    events: list[Event] = []
    closing = terminals() if terminal is None else terminal
    if draw(st.integers(0, 9)) == 0:
        events.append(draw(_notes()))
    if draw(st.integers(0, 9)) == 0 and terminal is None:
        events.append(draw(closing.filter(lambda end: not isinstance(end, Finished))))
        return draw(placed(events))
    events.append(Started(RUN, draw(st.sampled_from(["demo", "acme/größer-1", 'odd "name"'])), 1_750_000_000))
    opened: dict[int, Opened] = {}
    calls: list[str] = []
    numbers = 0
    for _ in range(draw(st.integers(0, steps))):
        step = draw(st.sampled_from("ooddddddccntu"))
        if step == "o" and (overlapping or not opened):
            part = _opened(draw, numbers, choices, kinds)
            opened[numbers] = part
            numbers += 1
            events.append(part)
            if part.call_id is not None:
                calls.append(part.call_id)
        elif step == "d" and opened:
            part = opened[draw(st.sampled_from(sorted(opened)))]
            events.append(_piece(draw, part))
        elif step == "c" and opened:
            part = opened.pop(draw(st.sampled_from(sorted(opened))))
            events.append(Closed(part.part, draw(_metas())))
        elif step == "n":
            events.append(draw(_notes()))
        elif step == "t":
            answered = st.sampled_from([*calls, "call_of_nobody"])
            events.append(ToolReturned(draw(answered), draw(json_values()), draw(st.booleans())))
        elif step == "u":
            events.append(draw(_usages()))
    events += [Closed(part, draw(_metas())) for part in opened]
    accounts = [event for event in events if isinstance(event, Usage)]
    # The pump repeats the last account in the last word.
    events.append(msgspec.structs.replace(draw(closing), usage=accounts[-1] if accounts else msgspec.UNSET))
    return draw(placed(events))


@st.composite
def placed(draw: st.DrawFn, events: Sequence[Event]) -> list[Entry]:
    """The same events as entries of a log: offsets from 1, times that never go back."""
    at, entries = 0, []
    for offset, event in enumerate(events, 1):
        at += draw(st.sampled_from([0, 0, 1, 37, 999, 1000, 61_001]))
        entries.append(Entry(offset, offset, at, event))
    return entries


@st.composite
def batches(draw: st.DrawFn, entries: Sequence[Entry]) -> list[list[Entry]]:
    """The entries cut into pieces, as a reader takes them."""
    cuts = sorted(draw(st.sets(st.integers(0, len(entries)), max_size=6)) | {0, len(entries)})
    return [list(entries[start:end]) for start, end in pairwise(cuts)]


@st.composite
def pieces(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """A body cut anywhere, as a network may deliver it."""
    cuts = sorted(draw(st.sets(st.integers(0, len(body)), max_size=8)) | {0, len(body)})
    return [body[start:end] for start, end in pairwise(cuts)]


def bodies(*valid: bytes) -> st.SearchStrategy[bytes]:
    """Request bodies: any bytes, any JSON, and valid ones with a field of the wrong kind or a byte changed."""
    fields = st.sampled_from(
        ["model", "messages", "prompt", "message", "history", "stream", "stream_options", "n", "background", "tools"]
    )
    anything = st.dictionaries(fields | st.text(max_size=4), json_values(), max_size=5).map(msgspec.json.encode)
    whole = st.sampled_from(valid or (b'{"messages":[{"role":"user","content":"hi"}]}',))
    broken = st.builds(
        lambda body, at, byte: body[: at % len(body)] + bytes([byte]) + body[at % len(body) + 1 :],
        whole,
        st.integers(0, 4096),
        st.integers(0, 255),
    )
    return st.one_of(st.binary(max_size=64), json_values().map(msgspec.json.encode), anything, whole, broken)


def _opened(draw: st.DrawFn, part: int, choices: int, kinds: Sequence[Kind]) -> Opened:
    kind = draw(st.sampled_from(kinds))
    choice = draw(st.integers(0, choices - 1))
    author = draw(st.sampled_from([None, "planner"]))
    match kind:
        case "tool_call":
            return Opened(part, kind, choice, author, name="look_up", call_id=f"call_{part}")
        case "binary":
            return Opened(part, kind, choice, author, media_type="image/png")
        case _:
            return Opened(part, kind, choice, author)


def _piece(draw: st.DrawFn, part: Opened) -> Event:
    match part.kind:
        case "binary":
            return Chunk(part.part, draw(st.binary(max_size=16)))
        case "text":
            return Delta(part.part, draw(texts()), draw(logprobs()))
        case _:
            return Delta(part.part, draw(texts()))


@cache
def _metas() -> st.SearchStrategy[dict[str, Json] | None]:
    return st.sampled_from(
        [None, None, {"finish_reason": "length"}, {"signature": "c2ln"}, {"citations": [{"url": "x"}]}]
    )


@cache
def _notes() -> st.SearchStrategy[Note]:
    return st.builds(Note, st.sampled_from(["progress", "retrieval", "fallback", "input"]), json_values())


@cache
def _usages() -> st.SearchStrategy[Usage]:
    counts = st.integers(0, 10_000)
    one = st.builds(Usage, counts, counts, st.sampled_from(GRADES), st.none() | counts, st.none() | counts)
    several = st.lists(st.builds(Spent, st.sampled_from(["a", "b"]), one), min_size=2, max_size=3).map(summed)
    return one | several

"""Boxes: what a request or an answer holds that only one protocol has words for, carried through everything else unread.

`ChatRequest` has the shape of OpenAI chat. A dialect that reads something that shape cannot say puts it into a box under the
dialect's name, and a source that speaks the same protocol takes it out again. Any other source refuses it by its name:
nothing a client said is dropped in silence. Boxes stand

- among the content parts of a message, and among `params["tools"]`: `{"type": NAME, NAME: value}`;
- in `params`, for fields of the request itself: `params[NAME] = {field: value}`.

An answer carries such things as binary parts of the media type `BLOCK % NAME`, whose bytes are one JSON value.
"""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core.errors import Broken
from penstock.core.events import Json
from penstock.core.request import ChatRequest

BOXES = frozenset({"anthropic", "openai-responses", "ai-sdk"})
"""The dialects that box."""

HINTS: dict[str, frozenset[str]] = {
    "anthropic": frozenset({"context_management", "metadata", "service_tier", "speed"}),
    "openai-responses": frozenset({"include", "metadata", "reasoning"}),
}
"""Fields in a box of `params` that change what is told beside an answer, or how it is kept, and not what is asked. A source that
cannot open the box leaves them out, and says so (`hints`)."""

BLOCK = "application/vnd.penstock.%s+json"
"""The media type of a binary part that holds one JSON value of a dialect."""


def box(dialect: str, value: Json) -> dict[str, Json]:
    """A content part or a tool that only `dialect` understands."""
    return {"type": dialect, dialect: value}


def boxed(part: Json) -> str | None:
    """The dialect whose box this is; None where it is none."""
    if not isinstance(part, dict):
        return None
    name = part.get("type")
    return name if isinstance(name, str) and name in BOXES and name in part else None


def boxes(request: ChatRequest) -> bool:
    """Whether there is any box in the request."""
    lists = [request.params.get("tools"), *(message.get("content") for message in request.messages)]
    return not BOXES.isdisjoint(request.params) or any(
        boxed(part) for each in lists if isinstance(each, list) for part in each
    )


def foreign(request: ChatRequest, speaks: str) -> Iterator[tuple[str, str]]:
    """Every box in the request that a source which speaks `speaks` cannot open: where it stands, and what is in it."""
    for index, message in enumerate(request.messages):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if (name := boxed(part)) is not None and name != speaks:
                yield f"messages[{index}].content[{place}]", _said(part, name)
    tools = request.params.get("tools")
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        if (name := boxed(tool)) is not None and name != speaks:
            yield f"tools[{place}]", _said(tool, name)
    for name in BOXES - {speaks}:
        fields = request.params.get(name)
        if isinstance(fields, dict):
            yield from ((f, f) for f, value in fields.items() if value not in ([], {}) and f not in HINTS.get(name, ()))


def own(request: ChatRequest, name: str, missing: Json) -> Json:
    """A field of the request that is penstock's own, whichever dialect it came in: beside the others, or in a box."""
    boxes = (request.params.get(dialect) for dialect in sorted(BOXES))
    return next((held[name] for held in (request.params, *boxes) if isinstance(held, dict) and name in held), missing)


def hints(request: ChatRequest, speaks: str) -> tuple[str, ...]:
    """What a source that speaks `speaks` leaves out of its question: names of fields, for the note that says so."""
    boxes = ((name, request.params.get(name)) for name in sorted(HINTS.keys() - {speaks}))
    return tuple(f for name, fields in boxes if isinstance(fields, dict) for f in fields if f in HINTS[name])


def refuse_foreign(request: ChatRequest, speaks: str, host: str) -> None:
    """Raise `Broken(not_carried)` where a request holds what a provider that speaks `speaks` cannot be given."""
    for where, what in foreign(request, speaks):
        raise not_carried(host, what, where)


def not_carried(host: str, what: str, param: str) -> Broken:
    """`what` stands in the request at `param`, and the provider at `host` has no words for it."""
    return Broken(
        "not_carried",
        f"{what!r} cannot be given to {host}, whose protocol has no words for it; leave it out, or ask a model that has",
        param=param,
    )


def _said(part: Json, name: str) -> str:
    value = part[name] if isinstance(part, dict) else None
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) else name

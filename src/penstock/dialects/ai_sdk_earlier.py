"""A UI message that goes on: the client has its first parts, and an answer adds to them under the same id.

`useChat` keeps what it has while it reads the answer to its own request, and forgets it when it resumes: then the earlier parts
are told again, or they would be lost.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from penstock.core.events import Json

LONGEST = 1024 * 1024
"""Bytes of parts that are told again."""


class Earlier(msgspec.Struct, frozen=True, omit_defaults=True):
    """The message a request goes on from; an empty `id` where it goes on from none."""

    id: str = ""
    parts: list[dict[str, Json]] = []

    def echo(self) -> bytes:
        """As `ChatRequest.echo` holds it, as long as its run. Parts beyond `LONGEST` are not: who resumes is told the answer alone."""
        told = (msgspec.json.encode(each) for each in (self, Earlier(self.id)) if self.id)
        return next((each for each in told if len(each) <= LONGEST), b"")


def earlier(echo: bytes) -> Earlier:
    """What `Earlier.echo` wrote. Runs that other dialects began have an echo of another kind, or none."""
    try:
        return msgspec.json.decode(echo, type=Earlier) if echo else Earlier()
    except msgspec.ValidationError:
        return Earlier()


def chunks(parts: list[dict[str, Json]]) -> Iterator[dict[str, Json]]:
    """The same parts as the chunks of a stream, step by step; those that were still streaming are left out."""
    within = False
    for number, part in enumerate(parts):
        kind = str(part.get("type"))
        if not within or kind == "step-start":
            if within:
                yield {"type": "finish-step"}
            yield {"type": "start-step"}
            within = True
        if kind in ("text", "reasoning"):
            name: dict[str, Json] = {"id": f"earlier-{number}"}
            yield {"type": f"{kind}-start", **name, **_some(part, "providerMetadata")}
            yield {"type": f"{kind}-delta", **name, "delta": part.get("text")}
            yield {"type": f"{kind}-end", **name}
        elif kind == "file":
            yield {"type": kind, **_some(part, "url", "mediaType", "providerMetadata")}
        elif kind.startswith(("source-", "data-")):
            yield part
        elif kind == "dynamic-tool" or kind.startswith("tool-"):
            yield from _call(part, kind)
    if within:
        yield {"type": "finish-step"}


def _call(part: dict[str, Json], kind: str) -> Iterator[dict[str, Json]]:
    state = part.get("state")
    if state == "input-streaming":
        return
    call = _some(part, "toolCallId")
    named: dict[str, Json] = {**call, "toolName": part.get("toolName") if kind == "dynamic-tool" else kind[5:]}
    again: dict[str, Json] = (
        {"providerMetadata": part["callProviderMetadata"]} if part.get("callProviderMetadata") else {}
    )
    about = {
        **named,
        **_some(part, "title", "providerExecuted"),
        **({"dynamic": True} if kind == "dynamic-tool" else {}),
    }
    if state == "output-error" and part.get("input") is None:
        yield {"type": "tool-input-error", **about, "input": part.get("rawInput"), **_some(part, "errorText")}
        return
    yield {"type": "tool-input-available", **about, "input": part.get("input"), **again}
    if state == "output-available":
        yield {"type": "tool-output-available", **call, "output": part.get("output"), **_some(part, "preliminary")}
    elif state == "output-error":
        yield {"type": "tool-output-error", **call, **_some(part, "errorText")}
    elif state in ("output-denied", "approval-responded"):
        yield {"type": "tool-output-denied", **call}


def _some(part: dict[str, Json], *names: str) -> dict[str, Json]:
    return {name: part[name] for name in names if part.get(name) is not None}

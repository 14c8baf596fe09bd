"""The closed vocabulary of a run: everything it can say, as small immutable values.

It must never know who reads it, over which transport, or what time it is.
A provider's new idea becomes a part kind or a `Note` before it becomes an event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    Json = Any  # msgspec reads no recursive aliases, and what it decodes untyped is just this
Kind = Literal["text", "reasoning", "refusal", "tool_call", "binary"]
Grade = Literal["reported", "drained", "counted"]


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong, as a reader is told. `code` is a key of `penstock.core.errors.TABLE`."""

    code: str
    message: str
    retryable: bool
    retry_after: float | None = None
    """Seconds a client should wait before it tries again."""
    param: str | None = None
    """The request field that was at fault, as the client spelt it."""


class Started(msgspec.Struct, frozen=True, tag="started", omit_defaults=True):
    """A source has accepted the run; nothing is visible yet. `created` is Unix time in whole seconds."""

    run: str
    model: str
    created: int


class Opened(msgspec.Struct, frozen=True, tag="opened", omit_defaults=True):
    """A part begins. Part numbers are unique within a run; `choice` counts alternative answers from 0.

    `meta` may hold `extra_content` as `Closed` does, and the name of a dialect: members of the provider's item or block that
    are known as it begins, and that nothing else here says.
    """

    part: int
    kind: Kind
    choice: int = 0
    author: str | None = None
    name: str | None = None
    call_id: str | None = None
    media_type: str | None = None
    meta: dict[str, Json] | None = None


class Delta(msgspec.Struct, frozen=True, tag="delta", omit_defaults=True, gc=False):
    """More of a text, reasoning, refusal or tool-argument part. `logprobs` is the provider's own JSON."""

    part: int
    text: str
    logprobs: msgspec.Raw | None = None


class Chunk(msgspec.Struct, frozen=True, tag="chunk", gc=False):
    """More of a binary part (audio, image, file). In JSON the bytes are base64."""

    part: int
    data: bytes


class Closed(msgspec.Struct, frozen=True, tag="closed", omit_defaults=True):
    """A part is complete, or nothing more of it will come. `meta` may hold

    - `cut`: true where the run failed or was cancelled before the part was complete;
    - `finish_reason`: why the part's choice ended;
    - `signature`: what the provider wants to see again with a reasoning part;
    - `citations`: objects with `url`, `title` and `quote` where they are known, `start` and `end` of the words they are for
      among the characters of the part, and the provider's own under the name of its dialect (`penstock.core.carried`);
    - `extra_content`: what a provider of OpenAI chat wants to see again with a tool call, as Gemini its thought signatures;
    - the name of a dialect: members of the provider's item or block that nothing else here says.
    """

    part: int
    meta: dict[str, Json] | None = None


class ToolReturned(msgspec.Struct, frozen=True, tag="tool_returned"):
    """The result of a tool that ran on the server."""

    call_id: str
    body: Json
    ok: bool = True


class Note(msgspec.Struct, frozen=True, tag="note"):
    """Progress, retrieval hits, look-ups, accepted input, a fallback, a continuation.

    Of the topic `block`: a text that is one part came in several blocks, and another of them begins. `body` has the `part`, which
    is open and was opened last, how many of its characters stand before the border (`at`), the `citations` of the block that
    ended there, and under the name of a dialect what is known of the new one. Of the topic `progress` with the number of a `part`:
    how far that has come (`state`), for tools that run at the provider.
    """

    topic: str
    body: Json


class Usage(msgspec.Struct, frozen=True, tag="usage", omit_defaults=True):
    """Token accounting, and how well it is known: told by the provider, drained after a cancel, or counted by us.

    A later one of a run stands for the earlier ones.
    """

    input: int
    output: int
    grade: Grade
    cached: int | None = None
    """Of `input`, what the provider read from its cache."""
    reasoning: int | None = None
    """Of `output`, what was thought."""
    cache_written: int | None = None
    """Of `input`, what the provider put into its cache."""
    cost: float | None = None
    """What it costs by the operator's price table, in the table's currency."""
    attempts: tuple[Spent, ...] = ()
    """Where more than one attempt was paid for: what each used. Together they are this account."""


class Spent(msgspec.Struct, frozen=True):
    """What one attempt at an answer used, at a target by the name clients know."""

    target: str
    usage: Usage


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The answer is complete. `reason` is the provider's: `stop`, `length`, `tool_calls`, `content_filter`, …"""

    reason: str = "stop"
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    """The account of the run's tokens as it stood at the end, where there is one. It is put here for the source."""


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The answer is not complete and will not be."""

    error: Fault
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    """As in `finished`."""


class Cancelled(msgspec.Struct, frozen=True, tag="cancelled"):
    """Somebody wanted no more: `client`, `disconnect`, `grace`, `server`."""

    by: str
    usage: Usage | msgspec.UnsetType = msgspec.UNSET
    """As in `finished`. What a provider tells only after the end is in the state of the run: a log does not change."""


Terminal = Finished | Failed | Cancelled
TERMINAL: tuple[type[Finished], type[Failed], type[Cancelled]] = (Finished, Failed, Cancelled)
Event = Started | Opened | Delta | Chunk | Closed | ToolReturned | Note | Usage | Finished | Failed | Cancelled

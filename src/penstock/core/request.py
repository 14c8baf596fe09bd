"""What is asked of a model, and what a source may know of the run it feeds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol

import msgspec

from penstock.core.events import Fault, Json, Usage
from penstock.core.snapshot import Snapshot

Message = dict[str, Json]
"""One message in the shape of OpenAI chat: `role`, `content` (text or a list of content parts), `tool_calls`, `tool_call_id`, `name`.

What that shape has no words for is boxed, see `penstock.core.carried`.
"""


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One question, whatever dialect it came in.

    `params` holds every other field of the request under its OpenAI chat name (`temperature`, `tools`, `n`, `max_tokens` …),
    unknown ones included, and goes upstream as it is.
    """

    model: str
    """As the client named it; empty where it named none."""
    messages: tuple[Message, ...]
    params: dict[str, Json] = {}
    stream: bool = True
    include_usage: bool = False
    """The client asked for token counts in the stream."""
    background: bool = False
    """The run is to finish whoever listens."""
    dialect: str = ""
    """Whose words the members are that OpenAI chat has not; empty where they are its own, or nobody's."""
    headers: dict[str, str] = {}
    """Headers of the request that its dialect passes on, by lower-case name; for a source that knows them."""
    previous: str = ""
    """The answer this question goes on from, by the id its dialect gave it; what was said there stands before `messages`."""
    instructions: int = 0
    """How many of the first `messages` hold for this answer alone: whoever goes on from it does not carry them along."""
    chat: str = ""
    """The conversation this question belongs to, by the client's own name; its latest run can be found by it."""
    keep: bool = False
    """Another question may go on from this answer: its conversation is to be kept as long as the run."""
    targets: tuple[str, ...] = ()
    """Which of the model's targets may answer, the preferred one first; none where nobody has chosen yet."""
    hint: str = ""
    """What the client wants routing to know: `fast`, `cheap`, `best`, `local`, or a target by its name."""
    echo: bytes = b""
    """What an answer of the dialect repeats of the request: a JSON object, or nothing."""
    places: dict[str, str] = {}
    """Where the client said what stands at a place of this request, such as `messages[1].content[0]`, in the dialect's spelling.
    What is spelled as here is not in it."""
    recalled: int = 0
    """How many messages behind the instructions are those of earlier answers; `places` does not count them."""

    def spelled(self, param: str) -> str:
        """A place in this request as its client spells it: the nearest around it that `places` knows, else as it is."""
        number, bracket, rest = param.removeprefix("messages[").partition("]")
        if self.recalled and param.startswith("messages[") and number.isdecimal():
            at = int(number[:9])  # a place may also be a name that a client chose, of any length
            if self.instructions <= at < self.instructions + self.recalled:
                return self.places.get("previous", param)
            param = f"messages[{at - self.recalled if at >= self.instructions else at}{bracket}{rest}"
        here = param[:LONGEST_PLACE]
        while here:
            if here in self.places:
                return self.places[here]
            here = here[: max(here.rfind("."), here.rfind("["), 0)]
        return param

    @property
    def prompt(self) -> str:
        """The text of the last user message; empty where it has none."""
        for message in reversed(self.messages):
            if message.get("role") == "user":
                return text_of(message)
        return ""


LONGEST_PLACE = 256
"""Characters of a place that are looked at: members may have names of megabytes."""

LEAST = 32
"""Bytes that a value counts for at least."""


def outweighs(request: ChatRequest, limit: int) -> bool:
    """Whether a request holds more than about so many bytes. It is looked at no further than that."""
    waiting: list[Json] = [request.params, *request.messages]
    while waiting:
        each = waiting.pop()
        limit -= LEAST
        if isinstance(each, str):
            limit -= len(each)
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting += each.values()
        if limit < LEAST * len(waiting):
            return True
    return False


def text_of(message: Message) -> str:
    """The text of one message, its text parts joined."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        pieces = (piece.get("text") for piece in content if isinstance(piece, dict))
        return "".join(piece for piece in pieces if isinstance(piece, str))
    return ""


class Principal(msgspec.Struct, frozen=True):
    """On whose behalf a request is made. Runs belong to a principal; another's are answered as unknown."""

    name: str = "anonymous"


class Inbox(Protocol):
    """What clients say in mid-run: tool results, approvals, steering, feedback. Bounded."""

    def open(self) -> None:
        """Declare that this source takes input. Until then input is refused with `input_not_accepted`."""

    def waiting(self) -> Json:
        """Take the oldest input if there is one; None where there is none. Never waits."""

    def __aiter__(self) -> AsyncIterator[Json]:
        """Wait for input, one by one."""


class Run(Protocol):
    """What a source may know of the run it feeds."""

    @property
    def id(self) -> str: ...

    @property
    def created(self) -> int:
        """Unix time in whole seconds."""

    @property
    def principal(self) -> Principal: ...

    @property
    def inbox(self) -> Inbox: ...

    @property
    def target(self) -> str:
        """The target that was asked last; empty where the model has but one."""

    @property
    def connect(self) -> float:
        """Seconds there are to connect to a provider."""

    @property
    def held(self) -> float:
        """Seconds the source was made to wait for its readers so far."""

    @property
    def spoke(self) -> bool:
        """Whether the first word was said: from then on there is an answer, whole or not."""

    def said(self) -> Snapshot:
        """Everything readers have been given so far."""

    def meter(self, account: Callable[[Usage | None], Usage]) -> None:
        """Counts for the attempt that is made from now on: called with every account of tokens that it gives, for what is to
        be added; and with None before the last word of a run that was not accounted for to its end, however it ends."""

    def spent(self, target: str, usage: Usage) -> None:
        """An attempt was given up and has used so much. It is part of every account of the run from now on."""

    @property
    def over(self) -> bool:
        """Whether the last word was said: a source that is closed now has nothing left to say."""

    def settle(self, usage: Usage) -> None:
        """What a run that is over turned out to have used; it replaces what was counted."""

    def speaks(self, target: str, why: str = "") -> None:
        """From here on it is this target of the model that answers, by the name clients know, and why; where none is given the
        last one holds."""

    def impatient(self, fault: Fault) -> bool:
        """Whether that is a time limit which the request set itself: who asks it says nothing of the target."""

    def raised(self, problem: Exception) -> None:
        """A source raised what is no error of ours: for whoever has to mend it, since another target may answer."""

    def missed(self, target: str, code: str) -> None:
        """A target did not answer, or broke off, with this code of the error table; another is asked where there is one."""

    def attempt(self, overdue: Callable[[Fault], bool]) -> Callable[[], None]:
        """A source is asked, perhaps not for the first time: the limit of the first token counts from now on.

        When a limit is overdue, `overdue` is asked whether it gives up that attempt, the latest first; where nobody does, the
        run ends. Returns what takes it back.
        """

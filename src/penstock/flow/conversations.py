"""Conversations that can be gone on from: of each kept run what was asked and answered, and the turn before it.

A turn is kept as JSON, so that its size is known and counts, and only once: whoever goes on from it shares it, and it goes
when neither a run nor a connection nor a later turn needs it any more.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core.request import Message
from penstock.core.snapshot import Snapshot
from penstock.core.turn import spoken

OVERHEAD = 512
"""Bytes counted for a turn beside what it says."""

MOST_RECENT = 16
"""Answers a connection can go on from that nobody else can."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Turn:
    """One question and, once somebody goes on from it, its answer: `asked` and `answered` are JSON lists of messages."""

    __slots__ = ("answered", "asked", "before", "holders", "length")

    def __init__(self, asked: bytes, before: Turn | None):
        self.asked = asked
        self.answered: bytes | None = None
        self.before = before
        self.holders = 1
        """How many need it: its run, connections, and the turns that go on from it."""
        self.length: int = len(asked) + (before.length if before else 0)
        """Bytes of the whole conversation up to here."""

    @property
    def size(self) -> int:
        """Bytes this turn alone counts for."""
        return OVERHEAD + len(self.asked) + len(self.answered or b"")

    def messages(self) -> list[Message]:
        """The conversation up to here, from its beginning."""
        turns: list[Turn] = []
        turn: Turn | None = self
        while turn is not None:
            turns.append(turn)
            turn = turn.before
        said: list[Message] = []
        for each in reversed(turns):
            said += _decode(each.asked)
            said += _decode(each.answered) if each.answered is not None else []
        return said

    def question(self) -> list[Message]:
        """What was asked in this turn."""
        asked: list[Message] = _decode(self.asked)
        return asked


class Conversations:
    """All turns that are kept; `size` is what they count for together, in bytes."""

    def __init__(self) -> None:
        self.size = 0

    def begin(self, asked: Sequence[Message], before: Turn | None) -> Turn:
        """A turn that goes on from the one `before`; the caller holds it."""
        turn = Turn(_encode(asked), before)
        if before is not None:
            before.holders += 1
        self.size += turn.size
        return turn

    def settle(self, turn: Turn, answer: Snapshot) -> None:
        """Write down what was answered in a turn, once its run has ended."""
        if turn.answered is None:
            turn.answered = _encode(spoken(answer))
            turn.length += len(turn.answered)
            self.size += len(turn.answered)

    def hold(self, turn: Turn) -> None:
        """One more needs this turn."""
        turn.holders += 1

    def release(self, turn: Turn) -> int:
        """One less needs it. Returns the bytes that were freed by that."""
        freed = 0
        held: Turn | None = turn
        while held is not None:
            held.holders -= 1
            if held.holders:
                break
            freed += held.size
            held = held.before
        self.size -= freed
        return freed


class Recent:
    """The last answers of one connection, by run: it can go on from them whether or not they are kept for others.

    There are at most `most`, and no more than their conversations have `longest` bytes together; the last one there always is.
    """

    def __init__(self, conversations: Conversations, *, longest: int, most: int = MOST_RECENT):
        self._conversations = conversations
        self._longest = longest
        self._most = most
        self._turns: dict[str, Turn] = {}

    def add(self, run: str, turn: Turn) -> None:
        """Hold the turn of a run; the oldest give way."""
        self._conversations.hold(turn)
        self._turns[run] = turn
        self._trim()

    def find(self, run: str) -> Turn | None:
        return self._turns.get(run)

    def ended(self, run: str, answer: Snapshot) -> None:
        """A run has ended: it may be forgotten while its answer is still gone on from."""
        if (turn := self._turns.get(run)) is not None and not answer.elided:
            self._conversations.settle(turn, answer)
            self._trim()

    def _trim(self) -> None:
        said = sum(each.length for each in self._turns.values())
        while len(self._turns) > self._most or (said > self._longest and len(self._turns) > 1):
            oldest = self._turns.pop(next(iter(self._turns)))
            said -= oldest.length
            self._conversations.release(oldest)

    def close(self) -> None:
        """The connection is over."""
        while self._turns:
            self._conversations.release(self._turns.popitem()[1])

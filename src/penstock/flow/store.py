"""The contract of a store: where the entries of a run outlive the process that wrote them.

Readers always read memory; a store only makes two memories agree. Every method is atomic. A claim carries a fence that
grows with every owner, and a push under an older fence is refused: after a takeover the former owner can add nothing.
`penstock.testing.laws.stores` and `penstock.testing.laws.fence` hold every implementation to this.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

import msgspec

from penstock.core.cursor import Entry


class Claim(msgspec.Struct, frozen=True):
    """The right to write one run, until it is released, lapses, or is taken over. `epoch` is that of the log."""

    run: str
    owner: str
    fence: int
    epoch: str


class Fenced(Exception):
    """Somebody else owns the run now; whoever gets this must drop its own copy."""


class Store(Protocol):
    """Entries of runs, claims on runs, and requests to cancel them. Lease times are seconds."""

    shared: bool
    """Whether other processes see what is pushed: then entries are shown to readers only when the store has them."""

    async def claim(self, run: str, owner: str, lease: float) -> Claim:
        """Become the owner of a run that is new, was released, is one's own already, or whose lease has lapsed; raises `Fenced`
        otherwise. The fence is greater than that of every claim on this run before."""

    async def push(self, claim: Claim, entries: Sequence[Entry]) -> None:
        """Append entries whose first offset follows the last one held; one that is held already is passed over, so a retry is
        harmless. All of them or none. Raises `Fenced` under an older fence and after a release, `ValueError` where a hole would arise."""

    def tail(self, run: str, after: int) -> AsyncGenerator[Entry, None]:
        """Entries after offset `after`, then new ones as they come; ends after a terminal event, when the run is forgotten, and at
        once for a run nobody has claimed."""

    async def renew(self, claim: Claim, lease: float) -> None:
        """Go on owning. Raises `Fenced` when somebody else does, and after a release."""

    async def release(self, claim: Claim) -> None:
        """Stop owning; the entries stay. Changes nothing when somebody else owns the run now."""

    async def orphans(self) -> list[str]:
        """Runs without a terminal event whose lease has lapsed or was released."""

    async def ask_cancel(self, run: str, by: str) -> None:
        """Leave word for whoever owns the run, now or later, that it is to be cancelled. Changes nothing for an unknown run."""

    async def cancels(self, claim: Claim) -> str | None:
        """Who asked for this run to be cancelled; None where nobody did. Raises `Fenced` when somebody else owns it."""

    async def forget(self, run: str) -> None:
        """Delete a run and its claim. Changes nothing for an unknown run."""

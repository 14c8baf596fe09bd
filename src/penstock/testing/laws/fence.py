"""The law of the fence: after a takeover nothing that is said under an older claim has any effect, in any interleaving."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Literal

import msgspec
from hypothesis import strategies as st

from penstock.core.cursor import Entry, new_run_id
from penstock.core.events import Delta
from penstock.flow.store import Claim, Fenced, Store
from penstock.testing.laws.dialects import same
from penstock.testing.laws.stores import LEASE, Pass, refused, tailed

Do = Literal["claim", "push", "overlap", "hole", "renew", "release", "pass", "orphans"]
DOING: tuple[Do, ...] = (
    "claim",
    "push",
    "push",
    "push",
    "overlap",
    "hole",
    "renew",
    "release",
    "pass",
    "pass",
    "orphans",
)
OWNERS = ("a", "b", "c")
STEP = 3.0
"""Seconds that pass at once: two of them outlast a lease."""


class Deed(msgspec.Struct, frozen=True):
    """One owner does one thing, under the newest or an older one of its claims."""

    do: Do
    owner: str
    back: int
    """How many claims of this owner ago the claim was made under which it acts."""
    count: int


def interleavings(most: int = 40) -> st.SearchStrategy[list[Deed]]:
    """What several owners may do to one run, in any order."""
    deed = st.builds(Deed, st.sampled_from(DOING), st.sampled_from(OWNERS), st.integers(0, 2), st.integers(1, 3))
    return st.lists(deed, max_size=most)


class _Truth:
    """What must be so: one run, who owns it until when, and what it holds."""

    def __init__(self, run: str):
        self.run = run
        self.now = 0.0
        self.owner: str | None = None
        self.fence = 0
        self.expires = 0.0
        self.entries: list[Entry] = []
        self.claims: dict[str, list[Claim]] = {owner: [] for owner in OWNERS}

    def owned_by(self, claim: Claim) -> bool:
        return self.owner == claim.owner and self.fence == claim.fence


async def check_fence(store: Store, passing: Pass, deeds: Sequence[Deed]) -> None:
    """After a takeover no push, renewal or release under an older fence has any effect, whatever happened before."""
    truth = _Truth(new_run_id())
    for deed in deeds:
        await _do(store, passing, truth, deed)
    if truth.fence:
        found = await tailed(store, truth.run, 0, len(truth.entries)) if truth.entries else []
        same(found, truth.entries, "what the store holds in the end")


async def _do(store: Store, passing: Pass, truth: _Truth, deed: Deed) -> None:
    if deed.do == "pass":
        await passing(STEP)
        truth.now += STEP
    elif deed.do == "orphans":
        orphaned = truth.fence > 0 and (truth.owner is None or truth.expires <= truth.now)
        same(truth.run in await store.orphans(), orphaned, f"whether the run is an orphan at {truth.now:g} s")
    elif deed.do == "claim":
        await _claim(store, truth, deed.owner)
    elif claims := truth.claims[deed.owner]:
        claim = claims[max(0, len(claims) - 1 - deed.back)]
        if deed.do == "renew":
            await _expect(store.renew(claim, LEASE), truth.owned_by(claim), f"renewing {claim}")
            if truth.owned_by(claim):
                truth.expires = truth.now + LEASE
        elif deed.do == "release":
            await store.release(claim)
            if truth.owned_by(claim):
                truth.owner = None
        else:
            await _push(store, truth, claim, deed)


async def _claim(store: Store, truth: _Truth, owner: str) -> None:
    free = truth.owner in (None, owner) or truth.expires <= truth.now
    try:
        claim = await store.claim(truth.run, owner, LEASE)
    except Fenced:
        same(free, False, f"whether {owner} may claim the run of {truth.owner} at {truth.now:g} s")
        return
    same(free, True, f"whether {owner} may claim the run of {truth.owner} at {truth.now:g} s")
    same(claim.fence > truth.fence, True, "whether the fence grew")
    truth.owner, truth.fence, truth.expires = owner, claim.fence, truth.now + LEASE
    truth.claims[owner].append(claim)


async def _push(store: Store, truth: _Truth, claim: Claim, deed: Deed) -> None:
    last = len(truth.entries)
    start = {"push": last + 1, "overlap": max(1, last), "hole": last + 2}[deed.do]
    told = f"{claim.owner}{claim.fence}"
    fresh = [Entry(offset, offset, offset, Delta(0, told)) for offset in range(start, start + deed.count)]
    # What is pushed again is what is held, as it is for an owner that repeats itself.
    entries = [truth.entries[entry.first - 1] if entry.first <= last else entry for entry in fresh]
    if not truth.owned_by(claim):
        await refused(store.push(claim, entries), Fenced, f"a push under fence {claim.fence}, now at {truth.fence},")
    elif deed.do == "hole":
        await refused(store.push(claim, entries), ValueError, "a hole")
    else:
        await store.push(claim, entries)
        truth.entries += [entry for entry in entries if entry.first > last]


async def _expect(action: Awaitable[object], allowed: bool, what: str) -> None:
    if allowed:
        await action
    else:
        await refused(action, Fenced, what)

"""The laws of a store: what claims, pushes and tails mean. That no former owner adds anything is the law of
`penstock.testing.laws.fence`.

class TestMyStore(StoreLaws):
    @asynccontextmanager
    async def store(self):
        clock = FakeClock()
        yield MyStore(clock=clock), clock.advance
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing

from penstock.core.cursor import Entry, new_run_id
from penstock.core.events import Delta, Event, Finished, Opened, Started
from penstock.flow.store import Fenced, Store
from penstock.testing.laws.dialects import same

Pass = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass, as the store counts them."""

LEASE = 5.0
CEILING = 30.0
"""Seconds a tail may take to give what is there."""


def answer(*texts: str, run: str = "") -> list[Entry]:
    """The entries of a whole answer."""
    events: list[Event] = [Started(run, "demo", 0), Opened(0, "text"), *(Delta(0, text) for text in texts), Finished()]
    return [Entry(offset, offset, offset * 10, event) for offset, event in enumerate(events, 1)]


async def tailed(store: Store, run: str, after: int, count: int | None = None) -> list[Entry]:
    """The next `count` entries of a tail; without a number, all of them to its end."""
    found: list[Entry] = []
    async with asyncio.timeout(CEILING), aclosing(store.tail(run, after)) as tail:
        async for entry in tail:
            found.append(entry)
            if count is not None and len(found) >= count:
                break
    return found


async def refused(action: Awaitable[object], error: type[Exception], what: str) -> None:
    """Raise `AssertionError` unless the store refuses."""
    try:
        await action
    except error:
        return
    raise AssertionError(f"{what} was not refused")


class StoreLaws:
    """Subclass it in a test module under a name that begins with `Test`, and say how a store is made. Needs pytest with asyncio."""

    def store(self) -> AbstractAsyncContextManager[tuple[Store, Pass]]:
        """A fresh store, and what lets time pass for its leases."""
        raise NotImplementedError

    # -- claims --------------------------------------------------------------------------------------------------------

    async def test_a_new_run_can_be_claimed_and_names_its_epoch(self) -> None:
        async with self.store() as (store, _):
            run = new_run_id()
            claim = await store.claim(run, "a", LEASE)
            same((claim.run, claim.owner), (run, "a"), "the claim")
            if not claim.epoch or claim.fence < 1:
                raise AssertionError(f"{claim} has no epoch or no fence")

    async def test_a_run_that_somebody_owns_cannot_be_claimed(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            await refused(store.claim(claim.run, "b", LEASE), Fenced, "a second owner")
            await store.push(claim, answer("x"))

    async def test_a_run_whose_lease_has_lapsed_can_be_taken_over_under_a_greater_fence_in_the_same_epoch(self) -> None:
        async with self.store() as (store, passing):
            first = await store.claim(new_run_id(), "a", LEASE)
            await passing(LEASE + 1)
            second = await store.claim(first.run, "b", LEASE)
            same((second.epoch, second.fence > first.fence), (first.epoch, True), "after a takeover")

    async def test_a_renewed_claim_does_not_lapse(self) -> None:
        async with self.store() as (store, passing):
            claim = await store.claim(new_run_id(), "a", LEASE)
            for _ in range(3):
                await passing(LEASE - 1)
                await store.renew(claim, LEASE)
            await refused(store.claim(claim.run, "b", LEASE), Fenced, "a claim on a run whose lease is renewed")

    async def test_a_claim_that_was_taken_over_cannot_be_renewed(self) -> None:
        async with self.store() as (store, passing):
            first = await store.claim(new_run_id(), "a", LEASE)
            await passing(LEASE + 1)
            second = await store.claim(first.run, "b", LEASE)
            await refused(store.renew(first, LEASE), Fenced, "renewing a lost claim")
            await store.renew(second, LEASE)

    async def test_an_older_claim_of_ones_own_is_worth_no_more_than_a_strangers(self) -> None:
        async with self.store() as (store, passing):
            first = await store.claim(new_run_id(), "a", LEASE)
            await passing(LEASE + 1)
            await store.claim(first.run, "b", LEASE)
            await passing(LEASE + 1)
            third = await store.claim(first.run, "a", LEASE)
            fourth = await store.claim(first.run, "a", LEASE)
            for claim in (first, third):
                await refused(store.push(claim, answer("x")), Fenced, f"a push under fence {claim.fence}")
                await refused(store.renew(claim, LEASE), Fenced, f"renewing fence {claim.fence}")
                await store.release(claim)
            await store.push(fourth, answer("x"))

    async def test_a_released_run_can_be_claimed_at_once_and_its_entries_stay(self) -> None:
        async with self.store() as (store, _):
            first = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("x")
            await store.push(first, entries)
            await store.release(first)
            second = await store.claim(first.run, "b", LEASE)
            same(second.fence > first.fence, True, "the fence grows")
            same(await tailed(store, first.run, 0), entries, "the entries after a release")

    async def test_after_a_release_nothing_can_be_pushed_or_renewed_under_the_old_claim(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            await store.release(claim)
            await refused(store.push(claim, answer("x")), Fenced, "a push after a release")
            await refused(store.renew(claim, LEASE), Fenced, "renewing after a release")

    async def test_a_release_of_a_lost_claim_does_not_touch_the_new_owner(self) -> None:
        async with self.store() as (store, passing):
            first = await store.claim(new_run_id(), "a", LEASE)
            await passing(LEASE + 1)
            second = await store.claim(first.run, "b", LEASE)
            await store.release(first)
            await refused(store.claim(first.run, "c", LEASE), Fenced, "a claim on a run that is owned")
            await store.push(second, answer("x"))

    # -- push and tail -------------------------------------------------------------------------------------------------

    async def test_what_was_pushed_is_tailed_exactly_from_any_offset(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("größer", "\u2028\0\r\n", "", "😀" * 100)
            await store.push(claim, entries[:3])
            await store.push(claim, entries[3:])
            for after in range(len(entries) + 1):
                same(await tailed(store, claim.run, after), entries[after:], f"tailed after {after}")

    async def test_a_push_may_be_repeated_in_whole_or_in_part(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("a", "b", "c")
            for pushed in (entries[:2], entries[:2], entries[:4], entries[1:4], [], entries):
                await store.push(claim, pushed)
            same(await tailed(store, claim.run, 0), entries, "what is held after repeated pushes")

    async def test_a_push_that_would_leave_a_hole_is_refused_whole(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("a", "b", "c")
            await refused(store.push(claim, entries[1:]), ValueError, "a hole at the beginning")
            await store.push(claim, entries[:2])
            await refused(store.push(claim, entries[3:]), ValueError, "a hole after what is held")
            await refused(store.push(claim, [entries[2], entries[4]]), ValueError, "a hole within a push")
            await store.push(claim, entries[2:])
            same(await tailed(store, claim.run, 0), entries, "what is held after refused pushes")

    async def test_a_tail_gives_what_comes_later_and_ends_with_the_run(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("a", "b")
            await store.push(claim, entries[:1])
            tails = [asyncio.ensure_future(tailed(store, claim.run, after)) for after in (0, 0, 1, 3)]
            for entry in entries[1:]:
                await asyncio.sleep(0)
                await store.push(claim, [entry])
            found = [await tail for tail in tails]
            same(found, [entries, entries, entries[1:], entries[3:]], "what several tails gave")

    async def test_a_tail_goes_on_across_a_takeover(self) -> None:
        async with self.store() as (store, passing):
            first = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("a", "b")
            await store.push(first, entries[:3])
            tail = asyncio.ensure_future(tailed(store, first.run, 0))
            await passing(LEASE + 1)
            second = await store.claim(first.run, "b", LEASE)
            await store.push(second, entries[3:])
            same(await tail, entries, "what was tailed across a takeover")

    async def test_a_tail_of_a_run_that_nobody_has_claimed_ends_at_once(self) -> None:
        async with self.store() as (store, _):
            same(await tailed(store, new_run_id(), 0), [], "an unknown run")
            same(await store.orphans(), [], "what a tail leaves behind")

    async def test_runs_are_kept_apart(self) -> None:
        async with self.store() as (store, _):
            claims = [await store.claim(new_run_id(), "a", LEASE) for _ in range(3)]
            for number, claim in enumerate(claims):
                await store.push(claim, answer(str(number)))
            found = [await tailed(store, claim.run, 0) for claim in claims]
            same(found, [answer(str(number)) for number in range(3)], "the entries of three runs")

    # -- orphans, cancels, forgetting ----------------------------------------------------------------------------------

    async def test_orphans_are_unfinished_runs_that_nobody_owns_any_more(self) -> None:
        async with self.store() as (store, passing):
            owned = await store.claim(new_run_id(), "a", LEASE * 100)
            lapsed = await store.claim(new_run_id(), "a", LEASE)
            released = await store.claim(new_run_id(), "a", LEASE * 100)
            finished = await store.claim(new_run_id(), "a", LEASE)
            same(await store.orphans(), [], "while everything is owned")
            await store.push(lapsed, answer("x")[:2])
            await store.push(finished, answer("x"))
            await store.release(released)
            await store.release(finished)
            await passing(LEASE + 1)
            same(sorted(await store.orphans()), sorted([lapsed.run, released.run]), "the orphans")
            await store.claim(lapsed.run, "b", LEASE)
            same(await store.orphans(), [released.run], "once one was taken over")
            await store.renew(owned, LEASE)

    async def test_word_that_a_run_is_to_be_cancelled_reaches_whoever_owns_it(self) -> None:
        async with self.store() as (store, passing):
            first = await store.claim(new_run_id(), "a", LEASE)
            other = await store.claim(new_run_id(), "a", LEASE)
            same(await store.cancels(first), None, "before anybody asked")
            await store.ask_cancel(first.run, "client")
            same((await store.cancels(first), await store.cancels(other)), ("client", None), "who asked")
            await passing(LEASE + 1)
            second = await store.claim(first.run, "b", LEASE)
            same(await store.cancels(second), "client", "who asked, for the next owner")
            await refused(store.cancels(first), Fenced, "asking for a run of somebody else")

    async def test_asking_to_cancel_an_unknown_run_leaves_nothing_behind(self) -> None:
        async with self.store() as (store, _):
            run = new_run_id()
            await store.ask_cancel(run, "client")
            same(await store.orphans(), [], "the orphans")
            same(await store.cancels(await store.claim(run, "a", LEASE)), None, "who asked")

    async def test_a_forgotten_run_is_as_if_it_had_never_been(self) -> None:
        async with self.store() as (store, passing):
            claim = await store.claim(new_run_id(), "a", LEASE)
            await store.push(claim, answer("x")[:2])
            await store.forget(claim.run)
            await store.forget(claim.run)
            await refused(store.push(claim, answer("x")[2:]), Fenced, "a push to a forgotten run")
            await passing(LEASE + 1)
            same(await store.orphans(), [], "the orphans")
            same(await tailed(store, claim.run, 0), [], "the entries")
            again = await store.claim(claim.run, "b", LEASE)
            await store.push(again, answer("y"))
            same(await tailed(store, claim.run, 0), answer("y"), "the entries of the run that took its name")

    async def test_whoever_tails_a_run_that_is_forgotten_is_let_go(self) -> None:
        async with self.store() as (store, _):
            claim = await store.claim(new_run_id(), "a", LEASE)
            entries = answer("x")
            await store.push(claim, entries[:2])
            seen = asyncio.Event()

            async def follow() -> list[Entry]:
                found: list[Entry] = []
                async with asyncio.timeout(CEILING), aclosing(store.tail(claim.run, 0)) as tail:
                    async for entry in tail:
                        found.append(entry)
                        if len(found) == 2:
                            seen.set()
                return found

            following = asyncio.ensure_future(follow())
            await seen.wait()
            await store.forget(claim.run)
            same(await following, entries[:2], "what was tailed before")

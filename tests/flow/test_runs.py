"""Runs from their beginning to the time they are forgotten: who owns them, who leaves them, what ends them, and what all may hold."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator

import pytest

from penstock.core.errors import Refused, fault
from penstock.core.events import Cancelled, Delta, Event, Failed, Finished, Note
from penstock.core.lifecycle import Phase
from penstock.core.request import ChatRequest, Run
from penstock.flow.handle import RunHandle
from penstock.flow.inbox import CAPACITY
from penstock.flow.policy import OnDisconnect, Policy
from penstock.flow.runs import Runs
from penstock.stores.memory import MemoryStore
from tests.flow.house import ALICE, BOB, CANCEL, GRACE, LASTING, SMALL, House, end, refusal
from tests.flow.scripted import OPENED, STARTED, Played, answer, drained, held, never, settle, sized

# -- begin ---------------------------------------------------------------------------------------------------------------


async def test_a_run_has_an_id_an_owner_and_a_source_that_knows_it() -> None:
    house = House()
    source = Played(*answer("x"))
    handle = await house.run(source)
    assert house.runs.find(handle.id, ALICE) is handle
    assert house.runs.mine(ALICE) == [handle]
    assert house.runs.mine(BOB) == []
    assert source.run is handle
    assert house.seen.started == [handle.id]
    assert end(handle) == Finished()


@pytest.mark.parametrize("run_id", ["st_" + "a" * 26, "nonsense", "", "st_" + "A" * 26])
async def test_unknown_malformed_and_foreign_runs_are_refused_in_the_same_words(run_id: str) -> None:
    house = House()
    foreign = await house.run(Played())
    with pytest.raises(Refused) as unknown:
        house.runs.find(run_id, BOB)
    with pytest.raises(Refused) as others:
        house.runs.find(foreign.id, BOB)
    assert unknown.value.fault == others.value.fault
    assert unknown.value.fault.code == "stream_not_found"
    await house.runs.close()


async def test_two_runs_never_share_anything() -> None:
    house = House()
    one, two = await house.run(Played(*answer("one"))), await house.run(Played(*answer("two")))
    assert one.id != two.id
    assert one.log.snapshot().text() == "one"
    assert two.log.snapshot().text() == "two"


# -- leaving ---------------------------------------------------------------------------------------------------------------


async def test_under_cancel_the_last_reader_takes_the_run_with_it() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    handle = await house.run(source)
    one, two = house.runs.attach(handle, 0), house.runs.attach(handle, 0)
    one.detach()
    assert end(handle) is None, "somebody still listens"
    two.detach()
    assert end(handle) == Cancelled("disconnect")
    await settle()
    assert source.closed == 1


async def test_under_grace_a_deserted_run_goes_on() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    handle = await house.run(source, GRACE)
    house.runs.attach(handle, 0).detach()
    assert handle.unattended_since == house.clock.now
    source.say(Delta(0, "x"))
    await settle()
    assert handle.log.last == 3
    house.runs.attach(handle, 0)
    assert handle.unattended_since is None
    await house.runs.close()


async def test_under_finish_a_deserted_run_goes_on_to_its_cap() -> None:
    house = House()
    source = Played(STARTED, OPENED, *[sized(100)] * 100)
    handle = await house.run(source, Policy(on_disconnect=OnDisconnect("finish"), bounds=SMALL))
    assert handle.unattended_since is None
    assert SMALL.max_run_bytes < handle.log.kept <= SMALL.max_run_bytes + 100
    await house.runs.close()


async def test_a_run_that_is_asked_for_in_the_background_finishes_whatever_the_route_says() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    request = ChatRequest(model="demo", messages=(), background=True)
    handle = await house.runs.start(request, source, CANCEL, principal=ALICE)
    await settle()
    house.runs.attach(handle, 0).detach()
    source.say(*answer("x")[2:])
    await settle()
    assert end(handle) == Finished()


async def test_a_run_created_detached_finishes_until_somebody_came() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    handle = await house.run(source, CANCEL, detached=True)
    assert (handle.on_disconnect.what, handle.unattended_since) == ("finish", None)
    house.runs.attach(handle, 0).detach()
    assert end(handle) == Cancelled("disconnect")


async def test_a_run_created_detached_is_bounded_like_others_once_somebody_came_and_left() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    policy = Policy(on_disconnect=OnDisconnect("grace", 5), bounds=SMALL)
    handle = await house.run(source, policy, detached=True)
    house.runs.attach(handle, 0).detach()
    source.say(*[sized(100)] * 100)
    await settle()
    assert handle.log.waiting_for_room
    assert handle.log.said <= SMALL.detached_bytes + 100
    await house.runs.close()


async def test_leaving_a_run_that_has_ended_changes_nothing() -> None:
    house = House()
    handle = await house.run(Played(*answer("x")))
    house.runs.attach(handle, 0).detach("done")
    assert end(handle) == Finished()
    assert house.seen.left == ["done"]


@pytest.mark.parametrize("what", ["cancel", "grace"])
async def test_a_slow_reader_that_is_dropped_was_the_last_one_to_leave(what: str) -> None:
    house = House()
    source = Played(STARTED, OPENED)
    on_disconnect = OnDisconnect("cancel") if what == "cancel" else OnDisconnect("grace", 5)
    policy = Policy(slow_reader="disconnect", on_disconnect=on_disconnect, bounds=SMALL)
    handle = await house.run(source, policy)
    reader = house.runs.attach(handle, 0)
    source.say(*[sized(100)] * 15)
    await settle()
    assert reader.dropped is not None
    if what == "cancel":
        assert end(handle) == Cancelled("disconnect")
        assert source.closed == 1, "though it was in the middle of saying something"
        assert [type(entry.event) for entry in held(handle.log)[-2:]] == [type(answer()[2]), Cancelled]
    else:
        assert end(handle) is None
        assert handle.unattended_since == house.clock.now
        assert drained(house.runs.attach(handle, reader.offset)) == held(handle.log)[reader.offset :]
    await house.runs.close()


async def test_a_last_word_that_drops_the_last_reader_is_said_once() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    handle = await house.run(
        source, Policy(slow_reader="disconnect", on_disconnect=OnDisconnect("cancel"), bounds=SMALL)
    )
    house.runs.attach(handle, 0)
    source.say(sized(700))
    await settle()
    house.runs.end(handle, Failed(fault("gap_timeout", "x" * 200)))
    terminals = [entry.event for entry in held(handle.log) if isinstance(entry.event, Finished | Failed | Cancelled)]
    assert terminals == [end(handle)] == [Failed(fault("gap_timeout", "x" * 200))]


# -- input -------------------------------------------------------------------------------------------------------------------


async def test_input_stands_in_the_log_before_the_source_sees_it() -> None:
    house = House()
    heard: list[tuple[object, object]] = []

    async def listens(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        yield STARTED
        async for item in run.inbox:
            heard.append((item, held(handle.log)[-1].event))
            yield Note("heard", item)

    handle = await house.run(listens, LASTING)
    house.runs.input(handle, {"approve": True})
    house.runs.input(handle, 2)
    assert heard == []
    await settle()
    assert heard[0] == ({"approve": True}, Note("input", 2))
    assert [entry.event for entry in held(handle.log)] == [
        STARTED,
        Note("input", {"approve": True}),
        Note("input", 2),
        Note("heard", {"approve": True}),
        Note("heard", 2),
    ]
    await house.runs.close()


async def test_a_source_that_takes_no_input_says_so_and_nothing_is_logged() -> None:
    house = House()
    handle = await house.run(Played(STARTED, OPENED))
    assert refusal(lambda: house.runs.input(handle, 1)) == "input_not_accepted"
    assert handle.log.last == 2
    await house.runs.close()


async def test_input_that_nobody_reads_is_refused_when_there_is_enough_of_it() -> None:
    house = House()
    handle = await house.run(Played(STARTED))
    handle.inbox.open()
    for number in range(CAPACITY):
        house.runs.input(handle, number)
    assert refusal(lambda: house.runs.input(handle, "one more")) == "input_full"
    assert handle.log.last == 1 + CAPACITY
    await house.runs.close()


async def test_input_is_refused_once_the_run_keeps_as_much_as_it_may() -> None:
    house = House()
    handle = await house.run(Played(STARTED), Policy(bounds=SMALL))
    handle.inbox.open()
    for _ in range(3):
        house.runs.input(handle, "x" * 2000)
        handle.inbox.waiting()
    assert refusal(lambda: house.runs.input(handle, "x")) == "input_full"
    await house.runs.close()


async def test_input_after_the_end_is_refused() -> None:
    house = House()
    handle = await house.run(Played(STARTED))
    handle.inbox.open()
    house.runs.cancel(handle)
    assert refusal(lambda: house.runs.input(handle, 1)) == "input_not_accepted"


# -- cancel --------------------------------------------------------------------------------------------------------------------


async def test_a_cancel_names_who_wanted_it_and_is_heard_by_every_reader() -> None:
    house = House()
    source = Played(STARTED, OPENED, Delta(0, "x"))
    handle = await house.run(source)
    readers = [house.runs.attach(handle, after) for after in (0, 1, 3)]
    house.runs.cancel(handle)
    house.runs.cancel(handle, by="server")
    for reader in readers:
        assert drained(reader)[-1].event == Cancelled("client")
        assert reader.finished
    await settle()
    assert source.closed == 1
    assert house.seen.ended == [Cancelled("client")]


async def test_a_cancel_after_the_end_changes_nothing() -> None:
    house = House()
    handle = await house.run(Played(*answer("x")))
    house.runs.cancel(handle)
    assert end(handle) == Finished()


# -- bounds on all runs -----------------------------------------------------------------------------------------------------------


async def test_ended_runs_make_way_oldest_first_and_then_new_ones_are_refused() -> None:
    house = House(max_runs=3)
    ended = []
    for _ in range(2):
        ended.append(await house.run(Played(*answer("x"))))
        house.clock.turn(1)
    await house.run(Played(STARTED))
    await house.run(Played(STARTED))
    assert ended[0].id not in house.runs.by_id
    assert ended[1].id in house.runs.by_id
    await house.run(Played(STARTED))
    with pytest.raises(Refused) as problem:
        await house.run(Played(STARTED))
    assert (problem.value.fault.code, problem.value.fault.retryable) == ("overloaded", True)
    assert problem.value.fault.retry_after is not None
    await house.runs.close()


async def test_an_ended_run_that_is_being_read_does_not_make_way() -> None:
    house = House(max_runs=1)
    handle = await house.run(Played(*answer("x")))
    reader = house.runs.attach(handle, 0)
    with pytest.raises(Refused):
        await house.run(Played(STARTED))
    assert drained(reader) == held(handle.log)
    reader.detach()
    await house.run(Played(*answer("y")))


async def test_no_more_ended_runs_make_way_than_must() -> None:
    house = House(max_bytes=10_000)
    for _ in range(10):
        await house.run(Played(*answer("x" * 1000)))
        house.clock.turn(1)
    each = next(iter(house.runs.by_id.values())).log.kept
    house.runs.kept = 10 * each
    last = await house.run(Played(*answer("y")))
    del house.runs.by_id[last.id]
    assert len(house.runs.by_id) == 10_000 // each


async def test_a_forgotten_run_lets_its_readers_go_and_leaves_nothing_behind() -> None:
    house = House()
    handle = await house.run(Played(*answer("x" * 100)))
    reader = house.runs.attach(handle, 0)
    house.runs.kept = handle.log.kept
    house.runs.forget(handle)
    house.runs.forget(handle)
    assert reader.dropped == fault("cursor_gone")
    assert house.runs.kept == 0
    assert house.runs.mine(ALICE) == []
    await house.runs.settle()
    run_id = handle.id
    del handle, reader
    gc.collect()
    assert [one for one in gc.get_objects() if type(one) is RunHandle and one.id == run_id] == []


async def test_a_store_that_fails_is_told_of_and_holds_nothing_up() -> None:
    class Failing(MemoryStore):
        async def forget(self, run: str) -> None:
            raise ConnectionError("down")

    house = House()
    house.store = house.runs.store = Failing(clock=house.clock)
    one, two = await house.run(Played(*answer("x"))), await house.run(Played(*answer("y")))
    house.runs.forget(one)
    house.runs.forget(two)
    await house.runs.settle()
    await house.runs.settle()
    assert [str(error) for error in house.seen.failures] == ["down", "down"]


# -- the server goes ---------------------------------------------------------------------------------------------------------------


async def test_a_draining_server_begins_nothing_new() -> None:
    house = House()
    await house.runs.drain(0)
    with pytest.raises(Refused) as problem:
        await house.run(Played(STARTED))
    assert (problem.value.fault.code, problem.value.fault.retryable) == ("interrupted", True)


async def test_runs_may_end_while_the_server_drains() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    handle = await house.run(source, LASTING)
    draining = asyncio.ensure_future(house.runs.drain(3600))
    await settle()
    source.say(*answer("x")[2:])
    await draining
    assert end(handle) == Finished()


async def test_runs_that_do_not_end_in_time_fail_retryable() -> None:
    house = House()
    source = Played(STARTED, OPENED)
    handle = await house.run(source, LASTING)
    ended = await house.run(Played(*answer("x")), LASTING)
    draining = asyncio.ensure_future(house.runs.drain(3600))
    await settle()
    assert not draining.done()
    house.runs.abandon()
    await draining
    assert end(handle) == Failed(fault("interrupted"))
    assert end(ended) == Finished()
    await settle()
    assert source.closed == 1


async def test_a_closed_house_leaves_no_task_behind() -> None:
    house = House()
    before = asyncio.all_tasks()
    sources = [Played(), Played(STARTED), Played(STARTED, OPENED), Played(*answer("x"))]
    handles = [await house.run(source, LASTING) for source in sources]
    await house.runs.close()
    assert [handle.state for handle in handles] == [Phase.ENDED] * 4
    assert [source.closed for source in sources] == [1] * 4
    assert asyncio.all_tasks() == before


async def test_a_closing_house_does_not_wait_for_a_source_that_hangs() -> None:
    house = House()
    before = asyncio.all_tasks()
    source = Played(STARTED, OPENED, clean_up=never)
    handle = await house.run(source, LASTING)
    await house.runs.close(seconds=0)
    assert house.seen.abandoned == [handle.id]
    await settle()
    assert source.closed == 1
    assert asyncio.all_tasks() == before


async def test_without_a_clock_of_its_own_it_goes_by_the_loops() -> None:
    runs = Runs(MemoryStore())
    before = asyncio.get_running_loop().time()
    assert before <= runs.now() <= asyncio.get_running_loop().time()


async def test_the_claim_of_an_ended_run_is_given_back() -> None:
    house = House()
    live, ended = await house.run(Played(STARTED)), await house.run(Played(*answer("x")))
    await house.runs.settle()
    assert (await house.store.claim(ended.id, "somebody", 1)).fence == 2
    assert await house.store.orphans() == []
    await house.runs.close()
    assert sorted(await house.store.orphans()) == sorted([live.id])

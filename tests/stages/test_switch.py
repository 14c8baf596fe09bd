"""What is learnt of a target from how an attempt at it ends, and what is not its fault."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from penstock.core.errors import fault
from penstock.core.events import Cancelled, Delta, Event, Failed, Finished, Terminal
from penstock.core.health import Breaking, Circuit, Health
from penstock.core.request import ChatRequest, Run
from penstock.core.source import Source, compose
from penstock.core.target import House, switch
from penstock.flow.handle import RunHandle
from penstock.flow.policy import Policy, TimeLimits
from penstock.flow.pump import CLOSING
from penstock.stages import continuation, fallback, queue, retry
from penstock.stages.queue import Turnstile
from tests.flow.house import CANCEL
from tests.flow.house import House as Keeping
from tests.flow.scripted import OPENED, STARTED, Played, settle
from tests.stages.house import Scripted, house, refusing, saying

IMPATIENT = Policy(limits=TimeLimits(own=frozenset({"first_token_timeout", "connect_timeout"})))


def staged(home: House, **doors: Turnstile) -> Source:
    """What stands before the targets of a model that has several."""
    once = retry.Retrying(attempts=1)
    stages = [continuation.build(home), fallback.build(home), retry.build(home, once), queue.build(home, doors)]
    return compose(switch(home), stages)


def last(handle: RunHandle) -> Terminal | None:
    """The last word of a run, without the account that is put there for its source."""
    told = handle.pump.terminal
    return told and msgspec.structs.replace(told, usage=msgspec.UNSET)


def brittle(home: House) -> Health:
    """How the first target does, which rests after a single failure."""
    health = home.health["a"]
    health.breaking = Breaking(failures=1)
    return health


@pytest.mark.parametrize("spoken", [False, True])
async def test_a_target_that_was_given_up_for_its_silence_has_failed(spoken: bool) -> None:
    silent = Played(STARTED, OPENED, Delta(0, "x")) if spoken else Played(STARTED)
    home, keeping = house(a=silent, b=Scripted(saying("b"))), Keeping()
    health = brittle(home)
    handle = await keeping.run(staged(home))
    handle.pump.late(fault("gap_timeout" if spoken else "first_token_timeout"))
    await settle()
    assert last(handle) == Finished("stop")
    assert (health.circuit(0.0), health.in_flight) == (Circuit.OPEN, 0)


async def test_a_client_that_is_less_patient_than_the_server_says_nothing_of_the_target() -> None:
    home, keeping = house(a=Played(), b=Scripted(refusing("connect_timeout"))), Keeping()
    for name in ("a", "b"):
        home.health[name].breaking = Breaking(failures=1)
    handle = await keeping.run(staged(home), IMPATIENT)
    handle.pump.late(fault("first_token_timeout"))
    await settle()
    assert isinstance(last(handle), Failed)
    assert {name: health.circuit(0.0) for name, health in home.health.items()} == {
        "a": Circuit.CLOSED,
        "b": Circuit.CLOSED,
    }


async def test_who_waited_in_line_says_nothing_of_the_target_it_never_asked() -> None:
    home, keeping, door = house(a=Played(), b=Scripted(saying("b"))), Keeping(), Turnstile(1, line=1)
    await door.enter("another")
    handle = await keeping.run(staged(home, a=door))
    handle.pump.late(fault("first_token_timeout"))
    await settle()
    assert last(handle) == Finished("stop")
    assert (home.health["a"].outcomes, door.waiting) == ({"answered": 0, "failed": 0, "given_up": 0}, 0)


async def test_the_limit_of_the_first_word_counts_from_when_the_target_is_asked() -> None:
    home, keeping, door = house(a=Played(), b=Scripted(saying("b"))), Keeping(), Turnstile(1, line=1)
    await door.enter("another")
    handle = await keeping.run(staged(home, a=door))
    now = keeping.clock.turn(200)
    door.leave()
    await settle()
    assert handle.pump.asked == now
    keeping.runs.cancel(handle)
    await settle()


async def test_a_target_that_raises_what_it_must_not_is_reported_and_another_is_asked() -> None:
    problem = ValueError("a slip of its author's")
    home, keeping = house(a=Scripted([STARTED, problem]), b=Scripted(saying("b"))), Keeping()
    handle = await keeping.run(staged(home))
    assert (last(handle), keeping.seen.raised) == (Finished("stop"), [problem])


@pytest.mark.parametrize("spoken", [False, True])
async def test_a_target_that_ends_without_saying_how_has_broken_off(spoken: bool) -> None:
    silent = Scripted([STARTED, OPENED, Delta(0, "one ")] if spoken else [STARTED])
    home, keeping = house(a=silent, b=Scripted(saying("two"))), Keeping()
    handle = await keeping.run(staged(home))
    assert (last(handle), handle.said().text()) == (Finished("stop"), "one two" if spoken else "two")
    assert home.health["a"].outcomes == {"answered": 0, "failed": 1, "given_up": 0}


async def test_a_cancel_in_the_moment_of_a_time_limit_ends_the_run_and_asks_nobody_else() -> None:
    second = Scripted(saying("b"))
    home, keeping = house(a=Played(), b=second), Keeping()
    handle = await keeping.run(staged(home), CANCEL)
    handle.pump.late(fault("first_token_timeout"))
    keeping.runs.cancel(handle)
    await settle()
    assert (last(handle), second.asked, handle.pump.closing) == (Cancelled("client"), [], False)


async def test_a_target_that_takes_two_cancels_to_leave_is_left_and_the_task_is_not_cancelled_for_good() -> None:
    stubborn = Played(stubborn=True)
    cancelling: list[int] = []

    async def second(request: ChatRequest, run: Run) -> AsyncGenerator[Event, None]:
        task = asyncio.current_task()
        assert task is not None
        cancelling.append(task.cancelling())
        async for event in Scripted(saying("b"))(request, run):
            yield event

    home, keeping = house(a=stubborn, b=second), Keeping()
    handle = await keeping.run(staged(home))
    for _ in range(2):
        handle.pump.late(fault("first_token_timeout"))
        await settle()
        keeping.clock.turn(CLOSING)
    assert (last(handle), cancelling) == (Finished("stop"), [0])

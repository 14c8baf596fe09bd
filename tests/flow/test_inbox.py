from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import Refused
from penstock.core.events import Json
from penstock.flow.inbox import CAPACITY, BoundedInbox
from tests.flow.scripted import settle


async def listen(inbox: BoundedInbox, heard: list[Json]) -> None:
    async for item in inbox:
        heard += [item]


def refusal(inbox: BoundedInbox) -> str:
    with pytest.raises(Refused) as problem:
        inbox.check()
    return problem.value.fault.code


def test_input_is_refused_until_the_source_says_that_it_listens() -> None:
    inbox = BoundedInbox()
    assert refusal(inbox) == "input_not_accepted"
    inbox.open()
    inbox.check()


def test_input_that_is_not_read_is_bounded() -> None:
    inbox = BoundedInbox()
    inbox.open()
    for number in range(CAPACITY):
        inbox.check()
        inbox.put(number)
    assert refusal(inbox) == "input_full"
    assert inbox.waiting() == 0
    inbox.check()


def test_input_can_be_taken_without_waiting_in_its_order() -> None:
    inbox = BoundedInbox()
    inbox.put("a")
    inbox.put("b")
    assert [inbox.waiting(), inbox.waiting(), inbox.waiting()] == ["a", "b", None]


async def test_whoever_iterates_listens_and_gets_everything_in_order() -> None:
    inbox = BoundedInbox()
    heard: list[Json] = []
    listening = asyncio.ensure_future(listen(inbox, heard))
    await settle()
    inbox.check()
    inbox.put(1)
    inbox.put(2)
    await settle()
    inbox.put(3)
    await settle()
    assert heard == [1, 2, 3]
    assert not listening.done()
    inbox.close()
    await listening


async def test_the_end_of_the_run_lets_the_listener_go_after_what_was_accepted() -> None:
    inbox = BoundedInbox()
    heard: list[Json] = []
    inbox.open()
    inbox.put("last")
    inbox.close()
    await listen(inbox, heard)
    assert heard == ["last"]
    assert refusal(inbox) == "input_not_accepted"


async def test_a_listener_that_was_cancelled_may_listen_again() -> None:
    inbox = BoundedInbox()
    first = asyncio.ensure_future(listen(inbox, []))
    await settle()
    first.cancel()
    await asyncio.wait([first])
    heard: list[Json] = []
    inbox.put("still here")
    inbox.close()
    await listen(inbox, heard)
    assert heard == ["still here"]


async def test_closing_twice_is_closing_once() -> None:
    inbox = BoundedInbox()
    listening = asyncio.ensure_future(listen(inbox, []))
    await settle()
    inbox.close()
    inbox.close()
    await listening

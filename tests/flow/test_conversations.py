"""Conversations that can be gone on from: shared, counted to the byte, and gone when nobody needs them."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core.errors import Refused
from penstock.core.events import Closed, Delta, Finished, Opened, Started
from penstock.core.request import ChatRequest, Message, Run
from penstock.core.snapshot import Snapshot, fold
from penstock.flow.conversations import Conversations, Recent, Turn
from penstock.flow.handle import RunHandle
from tests.core.test_snapshot import placed
from tests.flow.house import ALICE, CANCEL, House
from tests.flow.scripted import settle


def asked(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def answer(text: str) -> Snapshot:
    return fold(placed(Started("st_x", "m", 0), Opened(0, "text"), Delta(0, text), Closed(0), Finished()))


def turn(conversations: Conversations, text: str, before: Turn | None = None) -> Turn:
    made = conversations.begin(asked(text), before)
    conversations.settle(made, answer(text.upper()))
    return made


def test_a_conversation_is_read_from_its_beginning() -> None:
    kept = Conversations()
    last = turn(kept, "b", turn(kept, "a"))
    assert [(m["role"], m["content"]) for m in last.messages()] == [
        ("user", "a"),
        ("assistant", "A"),
        ("user", "b"),
        ("assistant", "B"),
    ]
    assert last.length == sum(len(each.asked) + len(each.answered or b"") for each in (last, last.before) if each)


def test_what_two_go_on_from_is_kept_once_and_until_the_last_of_them_is_gone() -> None:
    kept = Conversations()
    root = turn(kept, "root" * 100)
    left, right = turn(kept, "l", root), turn(kept, "r", root)
    assert kept.size == root.size + left.size + right.size
    assert kept.release(root) == 0
    assert kept.release(left) == left.size
    assert kept.size == root.size + right.size
    assert kept.release(right) == root.size + right.size
    assert kept.size == 0


def test_a_connection_goes_on_from_its_last_answers_alone() -> None:
    kept = Conversations()
    recent = Recent(kept, most=2, longest=1 << 20)
    for name in "abc":
        made = kept.begin(asked(name), None)
        recent.add(name, made)
        recent.ended(name, answer(name))
        kept.release(made)
    assert [recent.find(name) is not None for name in "abc"] == [False, True, True]
    assert kept.size == sum(each.size for name in "bc" if (each := recent.find(name)))
    recent.close()
    assert kept.size == 0


def test_a_connection_holds_no_more_of_them_than_fits_and_the_last_one_always() -> None:
    kept = Conversations()
    recent = Recent(kept, longest=3_000)
    for number, size in enumerate((100, 100, 1_000, 2_500, 9_000)):
        made = kept.begin(asked("x" * size), None)
        recent.add(str(number), made)
        kept.release(made)
    assert [recent.find(str(number)) is not None for number in range(5)] == [False, False, False, False, True]
    last = kept.begin(asked("x"), None)
    recent.add("last", last)
    kept.release(last)
    assert recent.find("4") is None
    recent.ended("last", answer("y" * 9_000))
    assert recent.find("last") is last
    assert kept.size == last.size
    recent.close()
    assert kept.size == 0


async def silent(request: ChatRequest, run: Run) -> Any:
    yield Started(run.id, "m", 0)
    yield Finished()


async def kept_run(house: House, text: str, before: Turn | None = None) -> RunHandle:
    made = house.runs.conversations.begin(asked(text), before)
    handle = await house.runs.start(
        ChatRequest(model="m", messages=(), keep=True), silent, CANCEL, principal=ALICE, turn=made
    )
    await settle()
    return handle


async def test_its_bytes_count_among_what_runs_keep_and_go_with_the_run() -> None:
    house = House()
    handle = await kept_run(house, "x" * 10_000)
    house.runs.look(house.clock())
    assert handle.turn is not None
    assert house.runs.kept == handle.log.kept + handle.turn.size
    house.runs.forget(handle)
    assert (house.runs.kept, house.runs.conversations.size) == (0, 0)


async def test_conversations_alone_fill_a_server_and_the_oldest_give_way() -> None:
    house = House(max_bytes=30_000)
    handles = [await kept_run(house, "x" * 10_000) for _ in range(5)]
    held = [handle.id in house.runs.by_id for handle in handles]
    assert held == [False, False, False, True, True]
    assert house.runs.conversations.size <= 30_000


async def test_a_run_that_may_not_begin_keeps_no_turn() -> None:
    house = House()
    house.runs.admission.draining = True
    with pytest.raises(Refused):
        await kept_run(house, "x")
    assert (house.runs.kept, house.runs.conversations.size) == (0, 0)

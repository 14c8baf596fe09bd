"""A key stands for one run: whoever asks again gets that one."""

from __future__ import annotations

import asyncio

import pytest

from penstock.core.errors import Refused
from penstock.core.events import Cancelled
from penstock.core.source import Source
from penstock.flow.handle import RunHandle
from penstock.flow.policy import Policy
from tests.flow.house import ALICE, BOB, GRACE, House, refusal
from tests.flow.scripted import ASKED, STARTED, Played, answer, settle


async def keyed(house: House, source: Source, policy: Policy = GRACE, key: str = "k") -> RunHandle:
    assert house.runs.keys.answering(ALICE, "/r", key, b"body") is None
    handle = await house.run(source, policy)
    house.runs.keys.remember(handle, "/r", key, b"body")
    return handle


async def test_the_same_key_and_body_answer_with_the_same_run() -> None:
    house = House()
    handle = await keyed(house, Played(*answer("x")))
    assert house.runs.keys.answering(ALICE, "/r", "k", b"body") is handle


async def test_one_key_begins_one_run_however_many_ask_at_once() -> None:
    house = House()
    go = asyncio.Event()
    begun: list[RunHandle] = []

    async def begin() -> RunHandle:
        await go.wait()
        begun.append(await house.runs.start(ASKED, Played(STARTED), GRACE, principal=ALICE))
        return begun[-1]

    asking = [asyncio.ensure_future(house.runs.keys.once(ALICE, "/r", "k", b"body", begin)) for _ in range(50)]
    await settle()
    go.set()
    assert await asyncio.gather(*asking) == begun * 50
    assert len(begun) == 1
    await house.runs.close()


async def test_whoever_waits_for_a_start_that_fails_starts_it_again() -> None:
    house = House()
    tries: list[int] = []

    async def begin() -> RunHandle:
        tries.append(len(tries))
        await asyncio.sleep(0)
        if len(tries) == 1:
            raise Refused("unknown_model")
        return await house.runs.start(ASKED, Played(*answer("x")), GRACE, principal=ALICE)

    asking = [asyncio.ensure_future(house.runs.keys.once(ALICE, "/r", "k", b"body", begin)) for _ in range(3)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(one) for one in found] == [Refused, RunHandle, RunHandle]
    assert found[1] is found[2]
    assert tries == [0, 1]


async def test_a_key_is_of_one_principal_and_one_route() -> None:
    house = House()
    await keyed(house, Played(*answer("x")))
    assert house.runs.keys.answering(BOB, "/r", "k", b"body") is None
    assert house.runs.keys.answering(ALICE, "/other", "k", b"body") is None


async def test_the_same_key_with_another_body_is_refused() -> None:
    house = House()
    await keyed(house, Played(*answer("x")))
    assert refusal(lambda: house.runs.keys.answering(ALICE, "/r", "k", b"other")) == "idempotency_mismatch"


async def test_a_key_whose_run_is_gone_never_begins_a_second_one() -> None:
    house = House()
    house.runs.forget(await keyed(house, Played(*answer("x"))))
    assert refusal(lambda: house.runs.keys.answering(ALICE, "/r", "k", b"body")) == "run_gone"


@pytest.mark.parametrize("terminal", [Cancelled("disconnect"), Cancelled("grace")], ids=lambda t: t.by)
async def test_a_run_that_ended_because_its_client_left_does_not_answer_for_the_key(terminal: Cancelled) -> None:
    house = House()
    handle = await keyed(house, Played(STARTED))
    house.runs.end(handle, terminal)
    assert house.runs.keys.answering(ALICE, "/r", "k", b"body") is None


async def test_a_run_that_its_client_cancelled_still_answers_for_the_key() -> None:
    house = House()
    handle = await keyed(house, Played(STARTED))
    house.runs.cancel(handle)
    house.runs.end(handle, Cancelled("grace"))
    assert house.runs.keys.answering(ALICE, "/r", "k", b"body") is handle


async def test_a_key_that_was_given_to_another_run_is_not_taken_from_it() -> None:
    house = House(max_keys=1)
    old = await keyed(house, Played(STARTED))
    await keyed(house, Played(STARTED), key="other")
    new = await keyed(house, Played(STARTED))
    house.runs.end(old, Cancelled("grace"))
    assert house.runs.keys.answering(ALICE, "/r", "k", b"body") is new
    await house.runs.close()


async def test_the_table_of_keys_is_bounded_and_forgets_the_oldest() -> None:
    house = House(max_keys=2)
    for key in ("a", "b", "c"):
        await keyed(house, Played(*answer("x")), key=key)
    found = [house.runs.keys.answering(ALICE, "/r", key, b"body") is not None for key in ("a", "b", "c")]
    assert found == [False, True, True]

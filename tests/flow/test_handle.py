"""Where a reader joins a run: what each cursor gets."""

from __future__ import annotations

from penstock.core.cursor import Cursor
from penstock.core.events import Delta, Finished
from penstock.flow.handle import Gap, Place, RunHandle
from penstock.flow.policy import Policy
from tests.flow.house import SMALL, House, refusal
from tests.flow.scripted import OPENED, STARTED, Played, answer, drained, settle, sized


async def trimmed() -> tuple[House, RunHandle]:
    """A live run whose beginning is no longer held."""
    house = House()
    source = Played(STARTED, OPENED, *[sized(100)] * 300)
    handle = await house.run(source, Policy(bounds=SMALL))
    reader = house.runs.attach(handle, 0)
    while reader.poll(1 << 20):
        await settle()
    assert handle.log.first > 10
    return house, handle


async def test_no_cursor_begins_at_the_beginning() -> None:
    house = House()
    handle = await house.run(Played(*answer("x")))
    assert handle.place(None) == Place(0)


async def test_a_cursor_goes_on_after_what_was_received() -> None:
    house = House()
    handle = await house.run(Played(*answer("x")))
    assert handle.place(Cursor(handle.id, "a1", 3)) == Place(3)
    assert handle.place(Cursor(handle.id, "a1", 0)) == Place(0)
    assert handle.place(Cursor(handle.id, "a1", 3, 2)) == Place(2, skip=2)
    assert handle.place(Cursor(handle.id, "a1", 5)) == Place(5)


async def test_a_cursor_beyond_the_end_is_refused_live_or_ended() -> None:
    house = House()
    live, ended = await house.run(Played(STARTED)), await house.run(Played(*answer("x")))
    assert refusal(lambda: live.place(Cursor(live.id, "a1", 2))) == "cursor_ahead"
    assert refusal(lambda: ended.place(Cursor(ended.id, "a1", 6))) == "cursor_ahead"
    assert refusal(lambda: ended.place(Cursor(ended.id, "a1", 6, 1))) == "cursor_ahead"
    await house.runs.close()


async def test_a_cursor_of_another_epoch_gets_everything_told_anew() -> None:
    house = House()
    handle = await house.run(Played(STARTED, OPENED, Delta(0, "x")))
    assert handle.place(Cursor(handle.id, "b2", 2)) == Place(3, gap=Gap(3, 3, "epoch"))
    assert handle.place(Cursor(handle.id, "b2", 99)) == Place(3, gap=Gap(3, 3, "epoch"))
    await house.runs.close()


async def test_after_a_gap_in_an_ended_run_the_last_word_is_still_to_come() -> None:
    house = House()
    handle = await house.run(Played(*answer("x")))
    place = handle.place(Cursor(handle.id, "b2", 2))
    assert place == Place(4, gap=Gap(3, 4, "epoch"))
    assert [entry.event for entry in drained(house.runs.attach(handle, place.after))] == [Finished()]


async def test_an_ended_run_of_which_nothing_is_shown_yet_has_a_place_for_an_old_cursor() -> None:
    house = House()
    house.store.shared = True
    handle = await house.run(Played(*answer("x")))
    assert handle.place(Cursor(handle.id, "b2", 2)) == Place(0, gap=Gap(0, 0, "epoch"))
    house.runs.attach(handle, 0)


async def test_what_was_trimmed_is_a_gap_and_never_silence() -> None:
    house, handle = await trimmed()
    first = handle.log.first
    assert handle.place(None) == Place(first - 1, gap=Gap(1, first - 1, "trimmed"))
    assert handle.place(Cursor(handle.id, "a1", 4)) == Place(first - 1, gap=Gap(5, first - 1, "trimmed"))
    assert handle.place(Cursor(handle.id, "a1", first - 1)) == Place(first - 1)
    gap = Gap(first - 1, first - 1, "trimmed")
    assert handle.place(Cursor(handle.id, "a1", first - 1, 1)) == Place(first - 1, gap=gap)
    await house.runs.close()


async def test_every_place_can_be_attached_to() -> None:
    house, handle = await trimmed()
    for offset in range(handle.log.shown + 1):
        place = handle.place(Cursor(handle.id, "a1", offset))
        reader = house.runs.attach(handle, place.after)
        assert [entry.first for entry in drained(reader)] == list(range(place.after + 1, handle.log.last + 1))
        reader.detach()
    await house.runs.close()
